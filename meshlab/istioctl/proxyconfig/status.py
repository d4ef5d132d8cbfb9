"""`istioctl proxy-status`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from meshlab.errors import MeshlabError
from meshlab.istioctl.proxyconfig.columns import columns
from meshlab.sidecars.compare import Compared
from meshlab.sidecars.syncz import KINDS, Sync

__all__ = ["comparison_text", "status_text"]


def status_text(found: Sequence[Sync], output: str = "table", *, verbose: bool = False) -> str:
    """`verbose`: one column for each kind, as all versions before 1.27 printed it."""
    if output == "json":
        return json.dumps([asdict(each) for each in found], indent=4) + "\n"
    if output == "yaml":
        import yaml

        return str(yaml.safe_dump([asdict(each) for each in found], sort_keys=False))
    if output != "table":
        raise MeshlabError(f'output format "{output}" not supported', why="there are json, yaml and table")
    if not verbose:
        rows = [["NAME", "CLUSTER", "ISTIOD", "VERSION", "SUBSCRIBED TYPES"]]
        rows += [[each.proxy, each.cluster, each.control_plane, each.version, _subscribed(each)] for each in found]
        return columns(rows)
    rows = [["NAME", "CLUSTER", *KINDS, "ISTIOD", "VERSION"]]
    for each in found:
        states = [each.states.get(kind, "IGNORED") for kind in KINDS]
        rows.append([each.proxy, each.cluster, *states, each.control_plane, each.version])
    return columns(rows) + _refusals(found)


def comparison_text(found: Sequence[Compared], states: Sequence[Sync]) -> str:
    """`Clusters Match`, or where they do not; then what the proxy refused."""
    said = []
    for each in found:
        loaded = f" (RDS last loaded at {each.loaded.astimezone():%a, %d %b %Y %H:%M:%S %Z})" if each.loaded else ""
        match = f"Don't Match{loaded}\n{each.difference}" if each.difference else f"Match{loaded}"
        said.append(f"{each.kind} {match}\n")
    return "".join(said) + _refusals(states)


def _refusals(found: Sequence[Sync]) -> str:
    return "".join(f"{each.proxy} refused {kind}: {why}\n" for each in found for kind, why in each.reasons.items())


def _subscribed(sync: Sync) -> str:
    kinds = [kind for kind in KINDS if kind in sync.states]
    kinds += [kind for kind in sync.states if kind not in KINDS]
    return f"{len(kinds)} ({','.join(kinds)})" if kinds else "0"
