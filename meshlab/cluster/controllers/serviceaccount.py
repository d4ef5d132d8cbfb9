"""What every namespace has: the service account `default` and the cluster's certificate."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from meshlab.cluster.api.status import AlreadyExists
from meshlab.cluster.controllers.objects import Key, Obj
from meshlab.cluster.controllers.queue import Source
from meshlab.settings import Settings

if TYPE_CHECKING:
    from meshlab.cluster.api.api import Api

__all__ = ["ROOT_CA", "ServiceAccountController"]

ROOT_CA = "kube-root-ca.crt"


class ServiceAccountController:
    """Its keys are namespaces."""

    name = "serviceaccount-controller"

    def __init__(self, api: Api, settings: Settings) -> None:
        self._api = api
        self._certificate = settings.pki / "ca.pem"

    @property
    def sources(self) -> Sequence[Source]:
        return [
            Source("Namespace", lambda _, obj: [("", obj["metadata"]["name"])]),
            Source("ServiceAccount", self._lost("default")),
            Source("ConfigMap", self._lost(ROOT_CA)),
        ]

    @staticmethod
    def _lost(name: str):  # type: ignore[no-untyped-def]
        def keys(kind: str, obj: Obj) -> Iterable[Key]:
            gone = kind == "DELETED" and obj["metadata"]["name"] == name
            return [("", obj["metadata"]["namespace"])] if gone else []

        return keys

    def reconcile(self, key: Key) -> float | None:
        namespace = self._api.find(self._api.kinds("Namespace"), None, key[1])
        if namespace is None or namespace["metadata"].get("deletionTimestamp"):
            return None
        self._ensure("ServiceAccount", key[1], {
            "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": key[1]},
        })
        try:
            certificate = self._certificate.read_text()
        except FileNotFoundError:
            return None  # an API without TLS, as in tests: nothing to trust
        self._ensure("ConfigMap", key[1], {
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": ROOT_CA, "namespace": key[1], "annotations": {
                "kubernetes.io/description": "Contains a CA bundle that can be used to verify the kube-apiserver "
                                             "when using internal endpoints such as the internal service IP."}},
            "data": {"ca.crt": certificate},
        })
        return None

    def _ensure(self, kind: str, namespace: str, obj: Obj) -> None:
        resource = self._api.kinds(kind)
        if self._api.find(resource, namespace, obj["metadata"]["name"]) is None:
            try:
                self._api.create(resource, namespace, obj, user=self.name)
            except AlreadyExists:
                return
