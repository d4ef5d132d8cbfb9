"""istio-ca: one certificate per service account, as a secret that the account's pods mount.

    python -m meshlab.mesh.ca --self-signed-ca=true …

For every service account `sa` there is a secret `istio.<sa>` of type istio.io/key-and-cert with cert-chain.pem,
key.pem and root-cert.pem. It is made when the account appears, made again when it is deleted or half of its
lifetime is over, and goes with the account. The CA's own key is in the secret istio-ca-secret and survives it.
"""

from __future__ import annotations

import argparse
import base64
import logging
import os
import queue
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import Any

from meshlab.errors import LabError, Rejected
from meshlab.kube import Informer, Kube
from meshlab.mesh.certificates import CERTIFICATE_LIFETIME, Order, Pair, Signer
from meshlab.mesh.config.durations import Duration

__all__ = ["CertificateAuthority", "main", "secret_name"]

log = logging.getLogger("meshlab.ca")

Key = tuple[str, str]
Object = dict[str, Any]
SECRET_TYPE, CA_TYPE, CA_SECRET = "istio.io/key-and-cert", "istio.io/ca-root", "istio-ca-secret"
PREFIX = "istio."
#: Account of the control plane → its service, whose name the API server holds it to when it calls a webhook.
SERVED = {"istio-pilot-service-account": "istio-pilot"}
#: Annotation of a secret whose certificate has names of DNS: these.
NAMES = "meshlab.io/dns-names"
#: Share of a certificate's lifetime after which it is replaced.
RENEWED_AT = 0.5
#: Seconds of quiet before signing: the accounts of a new cluster come together, and signing in one go is cheap.
QUIET = 0.05
#: Seconds before a refused write is tried again.
RETRY = 5.0


def secret_name(account: str) -> str:
    return PREFIX + account


class CertificateAuthority:
    """Keeps secrets in step with service accounts. `run` returns when `stop` is called."""

    def __init__(
        self, kube: Kube, signer: Signer, *, namespace: str = "istio-system", domain: str = "cluster.local",
        lifetime: float = CERTIFICATE_LIFETIME,
    ) -> None:
        self._kube, self._signer = kube, signer
        self._namespace, self._domain, self._lifetime = namespace, domain, lifetime
        self._events: queue.SimpleQueue[tuple[str, str, Object] | None] = queue.SimpleQueue()
        self._accounts: set[Key] = set()
        #: Secret of account → when it is to be replaced, seconds since 1970.
        self._due: dict[Key, float] = {}
        #: What this CA issued last.
        self._issued: dict[Key, str] = {}
        self._ca: Pair | None = None

    def stop(self) -> None:
        self._events.put(None)

    def run(self) -> None:
        """Raises LabError when the API server cannot be reached at the start."""
        self._ca = self._authority()
        secrets = Informer(self._kube, ("v1", "secrets"), fieldSelector=f"type={SECRET_TYPE}")
        accounts = Informer(self._kube, ("v1", "serviceaccounts"))
        with secrets, accounts:
            secrets.start(lambda event, obj: self._events.put(("secret", event, obj)))
            secrets.synced.wait(10)
            accounts.start(lambda event, obj: self._events.put(("account", event, obj)))
            while self._step():
                pass

    def _step(self) -> bool:
        """Takes events until there is a moment of quiet, then signs what is missing or due. False: the end."""
        wait: float | None = self._until_next()
        while True:
            try:
                event = self._events.get(timeout=wait)
            except queue.Empty:
                break
            if event is None:
                return False
            self._take(*event)
            wait = QUIET
        now = time.time()
        wanted = sorted(key for key in self._accounts if self._due.get(key, 0.0) <= now)
        if wanted:
            self._issue(wanted)
        return True

    def _until_next(self) -> float | None:
        if not self._accounts:
            return None
        first = min(self._due.get(key, 0.0) for key in self._accounts)
        return max(0.0, first - time.time())

    def _take(self, what: str, event: str, obj: Object) -> None:
        meta = obj["metadata"]
        if what == "account":
            key = (meta["namespace"], meta["name"])
            if event != "DELETED":
                self._accounts.add(key)
            elif key in self._accounts:
                self._accounts.discard(key)
                self._due.pop(key, None)
                self._issued.pop(key, None)
                self._remove(key)
            return
        if not meta["name"].startswith(PREFIX):
            return
        key = (meta["namespace"], meta["name"].removeprefix(PREFIX))
        if event == "DELETED":
            self._due.pop(key, None)
        elif _text(obj.get("data") or {}, "cert-chain.pem") != self._issued.get(key):
            # Found at the start, or written by somebody else: a CA that is being replaced, perhaps.
            self._due[key] = self._replace_at(key, obj)

    def _replace_at(self, key: Key, secret: Object) -> float:
        """When a secret that was found is due; at once if another CA signed it, it lacks a name or cannot be read."""
        data = secret.get("data") or {}
        if (secret["metadata"].get("annotations") or {}).get(NAMES, "") != ",".join(self._names(key)):
            return 0.0
        if self._ca is None or _text(data, "root-cert.pem") != self._ca.certificate:
            return 0.0
        try:
            (end,) = self._signer.expiries([_text(data, "cert-chain.pem")])
        except (ValueError, OSError) as error:
            log.warning("secret %s cannot be read and is replaced: %s", secret["metadata"]["name"], error)
            return 0.0
        return end - self._lifetime * (1 - RENEWED_AT)

    def _issue(self, accounts: Sequence[Key]) -> None:
        identities = {f"spiffe://{self._domain}/ns/{space}/sa/{name}": (space, name) for space, name in accounts}
        names = {identity: found for identity, key in identities.items() if (found := self._names(key))}
        pairs = self._signer.sign(Order(self._ca, tuple(identities), self._lifetime, names))
        for key, pair in zip(accounts, pairs, strict=True):
            try:
                self._store(key, pair)
            except (Rejected, LabError) as error:
                # The namespace may be going away; if it is not, the next attempt will find it.
                log.warning("secret for %s/%s not stored: %s", *key, error)
                self._due[key] = time.time() + RETRY
            else:
                self._issued[key] = pair.certificate
                self._due[key] = time.time() + self._lifetime * RENEWED_AT

    def _names(self, key: Key) -> tuple[str, ...]:
        """By which the programs of an account are called by others than proxies."""
        space, name = key
        if space != self._namespace or name not in SERVED:
            return ()
        return f"{SERVED[name]}.{space}.svc", f"{SERVED[name]}.{space}"

    def _store(self, key: Key, pair: Pair) -> None:
        namespace, account = key
        annotations = {"istio.io/service-account.name": account}
        if names := self._names(key):
            annotations[NAMES] = ",".join(names)
        root = self._ca.certificate if self._ca is not None else ""
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": SECRET_TYPE,
            "metadata": {
                "name": secret_name(account), "namespace": namespace,
                "annotations": annotations,
            },
            "data": {
                "cert-chain.pem": _encoded(pair.certificate), "key.pem": _encoded(pair.key),
                "root-cert.pem": _encoded(root),
            },
        }
        self._put(("v1", "secrets", namespace), secret)
        log.info("secret %s/%s issued", namespace, secret_name(account))

    def _put(self, collection: tuple[str, str, str], obj: Object) -> None:
        try:
            self._kube.create(collection, obj)
        except Rejected as error:
            if error.code != 409:
                raise
            self._kube.replace((*collection, obj["metadata"]["name"]), obj)

    def _remove(self, key: Key) -> None:
        try:
            self._kube.delete(("v1", "secrets", key[0], secret_name(key[1])))
        except Rejected as error:
            if error.code != 404:
                log.warning("secret for %s/%s not deleted: %s", *key, error)

    def _authority(self) -> Pair:
        """The CA of this mesh: the stored one, or a new one, stored."""
        target = ("v1", "secrets", self._namespace, CA_SECRET)
        try:
            data = self._kube.get(target)["data"]
            return Pair(_text(data, "ca-cert.pem"), _text(data, "ca-key.pem"))
        except Rejected as error:
            if error.code != 404:
                raise
        (pair,) = self._signer.sign(Order(None))
        self._kube.create(("v1", "secrets", self._namespace), {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": CA_TYPE,
            "metadata": {"name": CA_SECRET, "namespace": self._namespace},
            "data": {"ca-cert.pem": _encoded(pair.certificate), "ca-key.pem": _encoded(pair.key)},
        })
        return pair


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _text(data: Mapping[str, str], name: str) -> str:
    return base64.b64decode(data.get(name) or "").decode("ascii", "replace")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="istio_ca", description="The mesh's certificate authority.")
    parser.add_argument("--self-signed-ca", default="true")
    parser.add_argument("--namespace", default="", help="of the CA's own secret; default: where its pod is")
    parser.add_argument("--cert-ttl", default="1h", metavar="DURATION", help="lifetime of certificates, as 1h or 90s")
    # Of the original's gRPC service for workloads outside Kubernetes, which nothing here asks.
    for unused in ("grpc-port", "grpc-hostname", "stderrthreshold", "v"):
        parser.add_argument(f"--{unused}", default="", help=argparse.SUPPRESS)
    parser.add_argument("--logtostderr", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname).1s %(message)s")
    namespace = options.namespace or os.environ.get("POD_NAMESPACE") or os.environ.get("NAMESPACE")
    try:
        lifetime = Duration.parse(options.cert_ttl).seconds
    except ValueError as error:
        parser.error(f"--cert-ttl: {error}")
    if lifetime <= 0:
        parser.error("--cert-ttl: a certificate has to live for some time")
    authority = CertificateAuthority(
        Kube.from_kubeconfig(), Signer(), namespace=namespace or "istio-system", lifetime=lifetime
    )

    def stop(number: int, frame: FrameType | None) -> None:
        authority.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    try:
        authority.run()
    except (LabError, Rejected) as error:
        log.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
