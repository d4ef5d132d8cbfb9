"""CertificateSigningRequests: who is approved gets a certificate of the lab's authority.

The signers of Kubernetes itself are served; requests for others wait for whoever serves those. Certificates for
clients of the API server are good for speaking to this one.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from meshlab.cluster.api.metadata import timestamp
from meshlab.cluster.api.status import ApiError
from meshlab.cluster.controllers.follow import follow
from meshlab.cluster.controllers.objects import Obj
from meshlab.settings import Settings

if TYPE_CHECKING:
    from meshlab.cluster.api.api import Api

__all__ = ["CertificateSigner", "refusal"]

log = logging.getLogger(__name__)

#: Seconds that a certificate is good for, and at most what is asked for: a year, as a cluster's default.
LIFETIME = 365 * 24 * 3600
#: What each signer's certificates must be for, and may be for.
CLIENT, SERVER = "client auth", "server auth"
KEY_USAGES = ("digital signature", "key encipherment")
SIGNERS = {
    "kubernetes.io/kube-apiserver-client": CLIENT,
    "kubernetes.io/kube-apiserver-client-kubelet": CLIENT,
    "kubernetes.io/kubelet-serving": SERVER,
}


def refusal(spec: Mapping[str, Any]) -> str:
    """Why a signer does not sign a request; "" if it does."""
    wanted = SIGNERS[spec["signerName"]]
    kind = "client" if wanted == CLIENT else "serving"
    for usage in spec.get("usages") or ():
        if usage not in (*KEY_USAGES, wanted):
            return f"invalid usage for {kind} certificate: {usage}"
    if wanted not in (spec.get("usages") or ()):
        return f"missing required usage for {kind} certificate: {wanted}"
    return ""


class CertificateSigner:
    """One request at a time, each in a process that ends with it."""

    name = "certificate-controller"

    def __init__(self, api: Api, settings: Settings) -> None:
        self._api, self._folder = api, settings.pki
        self._requests = api.kinds("CertificateSigningRequest")
        self._waiting: dict[str, None] = {}
        self._filled = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(follow(self._api, self._requests, self._note), name="certificate requests")
            group.create_task(self._sign_all(), name="signer")

    def _note(self, kind: str, obj: Obj) -> None:
        if kind != "DELETED" and _ready(obj):
            self._waiting[obj["metadata"]["name"]] = None
            self._filled.set()

    async def _sign_all(self) -> None:
        while True:
            await self._filled.wait()
            self._filled.clear()
            while self._waiting:
                name = next(iter(self._waiting))
                del self._waiting[name]
                try:
                    await self._sign(name)
                except ApiError as error:
                    log.info("%s %s: %s", self.name, name, error)

    async def _sign(self, name: str) -> None:
        obj = self._api.find(self._requests, None, name)
        if obj is None or not _ready(obj):
            return
        spec = obj["spec"]
        if why := refusal(spec):
            self._fail(obj, "SignerValidationFailure", why)
            return
        try:
            request = base64.b64decode(spec["request"]).decode()
        except ValueError as error:
            self._fail(obj, "SigningError", f"unable to parse csr: {error}")
            return
        asked = {
            "request": request,
            "usages": spec.get("usages") or [],
            "seconds": min(spec.get("expirationSeconds") or LIFETIME, LIFETIME),
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "meshlab.cluster.api.signing", str(self._folder),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        made, said = await process.communicate(json.dumps(asked).encode())
        if process.returncode == 0:
            self._write(obj, {"certificate": base64.b64encode(made).decode()})
        elif process.returncode == 2:
            self._fail(obj, "SigningError", said.decode().strip())
        else:
            log.error("%s %s: %s", self.name, name, said.decode().strip())

    def _fail(self, obj: Obj, reason: str, message: str) -> None:
        now = timestamp()
        condition = {
            "type": "Failed", "status": "True", "reason": reason, "message": message, "lastUpdateTime": now,
            "lastTransitionTime": now,
        }  # fmt: skip
        self._write(obj, {"conditions": [*obj["status"].get("conditions", ()), condition]})

    def _write(self, obj: Obj, status: Mapping[str, Any]) -> None:
        new = {**obj, "status": {**(obj.get("status") or {}), **status}}
        self._api.update(self._requests, None, obj["metadata"]["name"], new, subresource="status", user=self.name)


def _ready(obj: Obj) -> bool:
    """Whether a request is approved, and nothing has come of it yet."""
    status = obj.get("status") or {}
    conditions = {c["type"] for c in status.get("conditions") or () if c.get("status", "True") == "True"}
    done = status.get("certificate") or conditions & {"Denied", "Failed"}
    return obj["spec"].get("signerName") in SIGNERS and "Approved" in conditions and not done
