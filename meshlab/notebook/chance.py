"""How far a measured split may lie from its weights by chance alone.

A mesh draws a version for each request independently, so the count of one version among n requests is
binomial. 7 of 10 requests to one side of a 50/50 rule prove nothing; 260 of 400 prove that something is
wrong. This module says where the line is, exactly, and without a statistics package.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from meshlab.addons.svg import bar_chart
from meshlab.phrases import tr

__all__ = ["FALSE_ALARM", "Band", "Split", "band", "split"]

#: How often a correct split may be called wrong: one run in a million. The workbook makes some tens of
#: such statements per run, so chance fails it about once in 20,000 runs.
FALSE_ALARM = 1e-6


@dataclass(frozen=True)
class Band:
    """Counts from `low` to `high`, both included, that chance explains for `n` requests with this `share`."""

    n: int
    share: float
    low: int
    high: int

    def __contains__(self, count: object) -> bool:
        return isinstance(count, int) and self.low <= count <= self.high

    def __str__(self) -> str:
        if self.low == self.high:
            return tr("exactly {low} of {n}", low=self.low, n=self.n)
        return tr("{low} to {high} of {n}", low=self.low, high=self.high, n=self.n)


@dataclass(frozen=True)
class Split:
    """A measured split beside its weights: `counts` per name, `bands` per name.

    >>> print(split({"v0.1": 208, "v0.2": 192}, {"v0.1": 50, "v0.2": 50}))
    v0.1  208 of 400 = 52.0 %  weight 50: chance explains 151 to 249 of 400  ok
    v0.2  192 of 400 = 48.0 %  weight 50: chance explains 151 to 249 of 400  ok
    """

    counts: Mapping[str, int]
    weights: Mapping[str, float]
    bands: Mapping[str, Band]

    @property
    def n(self) -> int:
        return sum(self.counts.values())

    @property
    def fits(self) -> bool:
        """Whether chance explains every count. Answers from a name without a weight never fit."""
        return all(self.counts.get(name, 0) in limits for name, limits in self.bands.items())

    def __str__(self) -> str:
        lines = []
        for name, limits in self.bands.items():
            count = self.counts.get(name, 0)
            percent = 100 * count / self.n if self.n else 0.0
            verdict = tr("ok") if count in limits else tr("NOT CHANCE")
            lines.append(
                tr(
                    "{name}  {count} of {n} = {percent:.1f} %  weight {weight:g}: chance explains {limits}  {verdict}",
                    name=name,
                    count=count,
                    n=self.n,
                    percent=percent,
                    weight=self.weights.get(name, 0),
                    limits=limits,
                    verdict=verdict,
                )
            )
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return self.svg()

    def svg(self, *, width: int = 640) -> str:
        """A bar per name with the band of chance drawn on it; its title says the same in words."""
        expected = {name: (float(limits.low), float(limits.high)) for name, limits in self.bands.items()}
        return bar_chart(
            {name: float(self.counts.get(name, 0)) for name in self.bands},
            title=tr("{n} requests by version; boxed: what chance explains at these weights", n=self.n),
            expected=expected,
            maximum=float(max(self.n, 1)),
            width=width,
        )


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def band(n: int, share: float, *, false_alarm: float = FALSE_ALARM) -> Band:
    """The counts among `n` independent requests with probability `share` that chance explains.

    At most `false_alarm` lies outside, by exact binomial tails, half on each side; so a share of 0 or 1 has a
    band without width.

    >>> print(band(400, 0.5))
    151 to 249 of 400
    >>> print(band(400, 0.0))
    exactly 0 of 400
    """
    if n < 0 or not 0 <= share <= 1:
        raise ValueError(f"n must be at least 0 and share within 0..1, not {n} and {share}")
    if share in (0, 1):
        count = round(n * share)
        return Band(n, share, count, count)
    odds = [math.exp(_log_choose(n, k) + k * math.log(share) + (n - k) * math.log1p(-share)) for k in range(n + 1)]
    low, tail = 0, odds[0]
    while low < n and tail <= false_alarm / 2:
        low += 1
        tail += odds[low]
    high, tail = n, odds[n]
    while high > 0 and tail <= false_alarm / 2:
        high -= 1
        tail += odds[high]
    return Band(n, share, low, high)


def split(counts: Mapping[str, int], weights: Mapping[str, float], *, false_alarm: float = FALSE_ALARM) -> Split:
    """Compare measured `counts` with `weights` (any positive total); a name without a weight has weight 0."""
    total = sum(weights.values())
    if total <= 0:
        raise ValueError("the weights must have a positive total")
    n = sum(counts.values())
    names = [*weights, *(name for name in sorted(counts) if name not in weights)]
    bands = {name: band(n, weights.get(name, 0) / total, false_alarm=false_alarm) for name in names}
    return Split(dict(counts), dict(weights), bands)
