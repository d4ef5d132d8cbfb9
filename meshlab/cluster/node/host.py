"""What the node gives every pod: the API, the catalogue, files, data of ConfigMaps, a base environment."""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from meshlab.cluster.api.status import NotFound
from meshlab.cluster.controllers.events import Recorder
from meshlab.cluster.network.podnetwork import PodNetwork
from meshlab.cluster.node.account import account_volumes
from meshlab.cluster.node.images import Catalogue
from meshlab.cluster.node.paths import ContainerPaths, PodPaths
from meshlab.cluster.node.process import CONTAINER_MARK
from meshlab.settings import Capture, Settings

if TYPE_CHECKING:
    from meshlab.cluster.api.api import Api

__all__ = ["NODE_NAME", "Host", "TokenIssuer"]

#: The only node of a lab.
NODE_NAME = "meshlab"


class TokenIssuer(Protocol):
    """Makes tokens for the service accounts of pods."""

    def issue(
        self, namespace: str, name: str, *, pod: tuple[str, str] | None = None, audiences: list[str] | None = None
    ) -> str: ...


@dataclass
class Host:
    """Shared by all pods of the node; `addresses` are those in use, by pod uid."""

    api: Api
    settings: Settings
    auth: TokenIssuer
    catalogue: Catalogue
    recorder: Recorder
    #: How the lab's network is spread over pods.
    pods: PodNetwork
    addresses: dict[str, str] = field(default_factory=dict)
    python: str = sys.executable

    @property
    def shim(self) -> Path:
        """The folder whose sitecustomize takes the connections of Python programs to the cluster network."""
        return Path(__file__).parent.parent / "network" / "shim"

    @property
    def services(self) -> Path:
        """The folder of the demo services' scripts."""
        return Path(__file__).parent.parent.parent / "services"

    def data(self, kind: str, namespace: str, name: str) -> Mapping[str, bytes] | None:
        """The data of a ConfigMap or Secret as bytes; None if there is no such object."""
        try:
            obj = self.api.get(self.api.kinds(kind), namespace, name)
        except NotFound:
            return None
        if kind == "Secret":
            return {key: base64.b64decode(value) for key, value in (obj.get("data") or {}).items()}
        found = {key: str(value).encode() for key, value in (obj.get("data") or {}).items()}
        return found | {key: base64.b64decode(value) for key, value in (obj.get("binaryData") or {}).items()}

    def text(self, kind: str, namespace: str, name: str) -> Mapping[str, str] | None:
        """The same as text, for variables."""
        data = self.data(kind, namespace, name)
        return None if data is None else {key: value.decode(errors="replace") for key, value in data.items()}

    def volumes(self, pod: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """A pod's volumes, its account's among them."""
        spec, accounts = pod["spec"], self.api.kinds("ServiceAccount")
        account = self.api.find(accounts, pod["metadata"]["namespace"], spec.get("serviceAccountName") or "default")
        return [*(spec.get("volumes") or []), *account_volumes(pod, account)]

    def mark(self, uid: str, container: str = "") -> str:
        """What the processes of a pod, or of one of its containers, carry in their environment."""
        return f"{self.settings.home}|{uid}|" + (f"{container}|" if container else "")

    def environment(self, pod: Mapping[str, Any], container: str, paths: PodPaths, files: ContainerPaths,
                    address: str, *, shim: bool) -> dict[str, str]:
        """What every container finds in its environment, whatever its image."""
        settings = self.settings
        environ = {
            # python3 of the pod is the lab's own, and kubectl and istioctl are those of the lab.
            "PATH": os.pathsep.join([str(Path(self.python).parent), str(settings.bin), "/usr/local/bin", "/usr/bin",
                                     "/bin"]),
            "HOME": str(paths.folder),
            "HOSTNAME": str(pod["metadata"]["name"]),
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
            "POD_IP": address,
            "LOCAL_IP": settings.network.local_of(address),
            "MESHLAB_HOME": str(settings.home),
            "MESHLAB_POD_DIR": str(paths.folder),
            "MESHLAB_ROOT": str(files.root),
            "MESHLAB_NETWORK": str(settings.network_file),
            "MESHLAB_NODE_IP": settings.network.node,
            "MESHLAB_SOCKETS": str(settings.sockets),
            "MESHLAB_CAPTURE": settings.network.capture.value,
            "KUBECONFIG": str(paths.kubeconfig),
            # What libraries look for in a cluster. The address is the node's: that of the service is not everybody's.
            "KUBERNETES_SERVICE_HOST": settings.network.node,
            "KUBERNETES_SERVICE_PORT": str(settings.api_port),
            "no_proxy": "*",
            "NO_PROXY": "*",
            CONTAINER_MARK: self.mark(str(pod["metadata"]["uid"]), container),
        }
        for name in ("TZ", "JUPYTERHUB_SERVICE_PREFIX"):  # the clock, and where a browser sees pages behind a hub
            if value := os.environ.get(name):
                environ[name] = value
        if shim and settings.network.capture is Capture.SHIM:
            environ["PYTHONPATH"] = str(self.shim)
        return environ

    def write_kubeconfig(self, pod: Mapping[str, Any], path: Path) -> None:
        """The pod's own way to the API, as its service account."""
        namespace = str(pod["metadata"]["namespace"])
        account = str(pod["spec"].get("serviceAccountName") or "default")
        cluster = {
            "server": f"https://{self.settings.network.node}:{self.settings.api_port}",
            "certificate-authority": str(self.settings.pki / "ca.pem"),
        }
        # JSON is YAML, and needs no library to write.
        text = json.dumps({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "meshlab", "cluster": cluster}],
            "users": [{"name": account, "user": {"token": self.auth.issue(namespace, account)}}],
            "contexts": [{"name": "meshlab",
                          "context": {"cluster": "meshlab", "user": account, "namespace": namespace}}],
            "current-context": "meshlab",
        })
        draft = path.with_suffix(".tmp")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(text)
        draft.rename(path)
