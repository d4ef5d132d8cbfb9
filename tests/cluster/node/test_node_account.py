"""What a pod's programs find of their service account."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from node_lab import NodeLab, Obj, node_lab

from meshlab.cluster.node.account import PLACE


def shell(script: str, **container: Any) -> Obj:
    return {"name": "c", "image": "busybox", "command": ["sh", "-c", script], **container}


def said(lab: NodeLab) -> str:
    log = lab.folder("p") / "containers/c/0.log"
    return log.read_text() if log.exists() else ""


@pytest.mark.parametrize(("spec", "account", "there"), [
    ({}, {}, True),
    ({}, {"automountServiceAccountToken": False}, False),
    ({"automountServiceAccountToken": False}, {}, False),
    ({"automountServiceAccountToken": True}, {"automountServiceAccountToken": False}, True),
])
def test_a_program_finds_its_account_where_libraries_look(
    tmp_path: Path, spec: Obj, account: Obj, there: bool
) -> None:
    async def story() -> None:
        async with node_lab(tmp_path) as lab:
            lab.config("kube-root-ca.crt", **{"ca.crt": "certificate"})
            lab.create({"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": "sa"}, **account})
            lab.run("p", shell(f"cat {PLACE}/token {PLACE}/ca.crt {PLACE}/namespace; env; sleep 1000"),
                    serviceAccountName="sa", **spec)
            await lab.until(lambda: "KUBERNETES_SERVICE_PORT=" in said(lab))
            assert said(lab).startswith("token-of-default-sacertificatedefault") is there
            assert lab.pod("p")["spec"].get("volumes") is None

    asyncio.run(story())


def test_a_container_that_mounts_its_own_account_keeps_it(tmp_path: Path) -> None:
    async def story() -> None:
        async with node_lab(tmp_path) as lab:
            lab.config("settings", token="mine")
            lab.run("p", shell(f"cat {PLACE}/token; sleep 1000", volumeMounts=[{"name": "own", "mountPath": PLACE}]),
                    volumes=[{"name": "own", "configMap": {"name": "settings"}}])
            await lab.until(lambda: "mine" in said(lab))

    asyncio.run(story())
