"""Checks of routes of connections (`tcp`, `tls`): those after one that takes all of theirs."""

from __future__ import annotations

from collections.abc import Iterator

from meshlab.mesh.config.analyze.messages import Message, message
from meshlab.mesh.config.analyze.scene import Scene
from meshlab.mesh.config.routing import TcpMatch

__all__ = ["unreachable"]


def unreachable(scene: Scene) -> Iterator[Message]:
    """Blocks and matches that can never hold."""
    for each in scene.objects("VirtualService"):
        for kind in ("tls", "tcp"):
            blocks = [block for block in each.value.tcp if block.tls == (kind == "tls")]
            before: list[tuple[int, TcpMatch]] = []
            for number, block in enumerate(blocks):
                matches = block.matches or (TcpMatch(),)
                lost = [next((n for n, wide in before if _covers(wide, match)), None) for match in matches]
                if None not in lost:
                    whole = any(n == lost[0] and wide == TcpMatch() for n, wide in before)
                    why = "only the last rule can have no matches" if whole else f"rule #{lost[0]} takes all of its"
                    text = f"VirtualService rule #{number} not used ({why})."
                    yield message("IST0130", each.subject, text, "spec", kind, number)
                for position, earlier in enumerate(lost if None in lost else ()):
                    if earlier is not None:
                        text = (
                            f"VirtualService rule #{number} match #{position} is not used "
                            f"(duplicate/overlapping match in rule #{earlier})."
                        )
                        yield message("IST0131", each.subject, text, "spec", kind, number, "match", position)
                before += [(number, match) for match in matches]


def _covers(wide: TcpMatch, narrow: TcpMatch) -> bool:
    """Whether every connection that matches `narrow` matches `wide`, as far as can be told by looking."""
    return (
        wide.port in (0, narrow.port)
        and wide.source in (None, narrow.source)
        and all(
            not mine or (bool(theirs) and set(theirs) <= set(mine))
            for mine, theirs in (
                (wide.destinations, narrow.destinations), (wide.sni, narrow.sni), (wide.gateways, narrow.gateways)
            )
        )
    )  # fmt: skip
