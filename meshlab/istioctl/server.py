"""The commands' view of the API server: rules by kind, namespace and name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from meshlab.errors import Rejected
from meshlab.kube import Kube
from meshlab.mesh.config.kinds import API_VERSION, Kind

__all__ = ["RuleServer"]


class RuleServer:
    """Rules in the API server of a kubeconfig."""

    def __init__(self, kubeconfig: str) -> None:
        """Nothing is read yet: what is wrong with a file of rules can be said without a cluster."""
        self._kubeconfig = kubeconfig
        #: Newest resourceVersion of what was written, by plural.
        self.written: dict[str, int] = {}

    @cached_property
    def kube(self) -> Kube:
        """Raises LabError where there is no usable kubeconfig."""
        return Kube.from_kubeconfig(self._kubeconfig or None)

    @property
    def namespace(self) -> str:
        """The namespace of objects that name none: the context's, else `default`."""
        return self.kube.namespace or "default"

    def resources(self) -> dict[str, str]:
        """Plural by kind of everything in config.istio.io/v1alpha2."""
        with _installed():
            answer = self.kube.get(f"/apis/{API_VERSION}")
        return {each["kind"]: each["name"] for each in answer.get("resources", ()) if "/" not in each["name"]}

    def create(self, plural: str, namespace: str, obj: Mapping[str, Any]) -> dict[str, Any]:
        with _installed():
            return self._wrote(plural, self.kube.create((API_VERSION, plural, namespace), obj))

    def replace(self, plural: str, namespace: str, obj: Mapping[str, Any]) -> dict[str, Any]:
        with _installed():
            name = obj["metadata"]["name"]
            return self._wrote(plural, self.kube.replace((API_VERSION, plural, namespace, name), obj))

    def _wrote(self, plural: str, stored: dict[str, Any]) -> dict[str, Any]:
        revision = str((stored.get("metadata") or {}).get("resourceVersion") or "")
        if revision.isdigit():
            self.written[plural] = max(int(revision), self.written.get(plural, 0))
        return stored

    def in_force(self) -> str:
        """Waits until what was written is in force, and says so. Raises NotInForce."""
        from meshlab.istioctl.wait import in_force

        return in_force(self.kube, self.written)

    def get(self, plural: str, namespace: str, name: str) -> dict[str, Any] | None:
        """None where there is no such object."""
        with _installed():
            try:
                return self.kube.get((API_VERSION, plural, namespace, name))
            except Rejected as error:
                if error.reason == "NotFound":
                    return None
                raise

    def list(self, kind: Kind, namespace: str) -> list[dict[str, Any]]:
        """In the server's order, which is that of names."""
        with _installed():
            return list(self.kube.list((API_VERSION, kind.plural, namespace))["items"])

    def delete(self, plural: str, namespace: str, name: str) -> None:
        with _installed():
            self.kube.delete((API_VERSION, plural, namespace, name))


@contextmanager
def _installed() -> Iterator[None]:
    """A server that has never heard of the kind answers 404 without a reason: Istio is not installed there."""
    try:
        yield
    except Rejected as error:
        if error.code == 404 and error.reason != "NotFound":
            raise Rejected(
                {"code": 404, "reason": "NoKind", "message": "the server could not find the requested resource"},
                then="kubectl apply -f install/kubernetes/istio.yaml (the cluster does not know Istio's kinds)",
            ) from None
        raise
