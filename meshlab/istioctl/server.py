"""The commands' view of the API server: rules by kind, namespace and name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshlab.errors import Rejected
from meshlab.kube import Kube
from meshlab.mesh.config.kinds import API_VERSION, Kind

__all__ = ["RuleServer"]


class RuleServer:
    """Rules in the API server of a kubeconfig."""

    def __init__(self, kubeconfig: str) -> None:
        """Raises LabError where there is no usable kubeconfig."""
        self.kube = Kube.from_kubeconfig(kubeconfig or None)

    @property
    def namespace(self) -> str:
        """The namespace of objects that name none: the context's, else `default`."""
        return self.kube.namespace or "default"

    def resources(self) -> dict[str, str]:
        """Plural by kind of everything in config.istio.io/v1alpha2."""
        answer = self.kube.get(f"/apis/{API_VERSION}")
        return {each["kind"]: each["name"] for each in answer.get("resources", ()) if "/" not in each["name"]}

    def create(self, plural: str, namespace: str, obj: Mapping[str, Any]) -> dict[str, Any]:
        return self.kube.create((API_VERSION, plural, namespace), obj)

    def replace(self, plural: str, namespace: str, obj: Mapping[str, Any]) -> dict[str, Any]:
        return self.kube.replace((API_VERSION, plural, namespace, obj["metadata"]["name"]), obj)

    def get(self, plural: str, namespace: str, name: str) -> dict[str, Any] | None:
        """None where there is no such object."""
        try:
            return self.kube.get((API_VERSION, plural, namespace, name))
        except Rejected as error:
            if error.code == 404:
                return None
            raise

    def list(self, kind: Kind, namespace: str) -> list[dict[str, Any]]:
        """In the server's order, which is that of names."""
        return list(self.kube.list((API_VERSION, kind.plural, namespace))["items"])

    def delete(self, plural: str, namespace: str, name: str) -> None:
        self.kube.delete((API_VERSION, plural, namespace, name))
