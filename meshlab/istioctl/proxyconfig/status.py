"""`istioctl proxy-status`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from meshlab.errors import MeshlabError
from meshlab.istioctl.proxyconfig.columns import columns
from meshlab.sidecars.syncz import KINDS, Sync

__all__ = ["status_text"]


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
    refused = [f"{each.proxy} refused {kind}: {reason}\n" for each in found for kind, reason in each.reasons.items()]
    return columns(rows) + "".join(refused)


def _subscribed(sync: Sync) -> str:
    kinds = [kind for kind in KINDS if kind in sync.states]
    kinds += [kind for kind in sync.states if kind not in KINDS]
    return f"{len(kinds)} ({','.join(kinds)})" if kinds else "0"
