"""Which API server a kubeconfig means, and how to prove who we are there.

Certificates and tokens are read here. Plug-ins that log in (exec, auth providers) are left to the official client,
which costs half a second and 60 MB: pods and the lab's own tools never meet one.
"""

from __future__ import annotations

import base64
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meshlab.errors import LabError
from meshlab.settings import Settings

if TYPE_CHECKING:
    import ssl

__all__ = ["Access", "tls_context"]


@dataclass(frozen=True)
class Access:
    """One context of a kubeconfig. `ca` and `certificate` (certificate, key) are PEM."""

    server: str
    token: str | None = None
    ca: bytes | None = None
    certificate: tuple[bytes, bytes] | None = None
    verify: bool = True
    namespace: str = "default"
    #: The name in the server's certificate, where it is called otherwise (tls-server-name).
    server_name: str = ""
    #: URL of a proxy on the way to it (proxy-url).
    proxy: str = ""

    @classmethod
    def load(cls, path: str | Path | None = None, context: str | None = None) -> Access:
        """From `path`, else the first file of $KUBECONFIG, else the lab's own.

        Raises LabError where the file is missing or names no server.
        """
        env = os.environ.get("KUBECONFIG", "").split(os.pathsep)[0]
        file = Path(path or env or Settings.load().kubeconfig).expanduser()
        try:
            config = _parse(file.read_text())
        except OSError as error:
            why = error.strerror or str(error)
            raise LabError(f"no kubeconfig at {file}", why=why, then="meshlab up") from error
        try:
            ctx = _named(config["contexts"], context or config["current-context"])["context"]
            cluster = _named(config["clusters"], ctx["cluster"])["cluster"]
            users = [u for u in config.get("users") or () if u["name"] == ctx.get("user")]
            user = (users[0].get("user") or {}) if users else {}
            server = str(cluster["server"])
        except (KeyError, TypeError, StopIteration) as error:
            raise LabError(f"{file} names no cluster: {error!r}", then="kubectl config view") from error
        if "exec" in user or "auth-provider" in user:
            return cls._logged_in(file, context, ctx.get("namespace") or "default", cluster)
        token = user.get("token")
        if not token and (read := _content(user, "tokenFile", file)):
            token = read.decode().strip()
        cert, key = _content(user, "client-certificate", file), _content(user, "client-key", file)
        return cls(
            server,
            token=token,
            ca=_content(cluster, "certificate-authority", file),
            certificate=(cert, key) if cert and key else None,
            verify=not cluster.get("insecure-skip-tls-verify"),
            namespace=ctx.get("namespace") or "default",
            server_name=str(cluster.get("tls-server-name") or ""),
            proxy=str(cluster.get("proxy-url") or ""),
        )

    @classmethod
    def _logged_in(cls, file: Path, context: str | None, namespace: str, cluster: Mapping[str, Any]) -> Access:
        """What a plug-in says that we are: the official client runs it."""
        from kubernetes.client import Configuration
        from kubernetes.config import ConfigException, load_kube_config

        found = Configuration()
        try:
            load_kube_config(str(file), context=context, client_configuration=found)
        except ConfigException as error:
            raise LabError(f"the login of {file} failed", why=str(error), then="kubectl get --raw /version") from error
        said = found.auth_settings().get("BearerToken") or {}
        authorization = str(said.get("value") or "").rpartition(" ")[2]
        certificate = (Path(found.cert_file), Path(found.key_file)) if found.cert_file and found.key_file else None
        return cls(
            found.host,
            token=authorization or None,
            ca=Path(found.ssl_ca_cert).read_bytes() if found.ssl_ca_cert else None,
            certificate=(certificate[0].read_bytes(), certificate[1].read_bytes()) if certificate else None,
            verify=found.verify_ssl,
            namespace=namespace,
            server_name=str(cluster.get("tls-server-name") or ""),
            proxy=str(cluster.get("proxy-url") or ""),
        )


def tls_context(ca: bytes | None, certificate: tuple[bytes, bytes] | None, verify: bool = True) -> ssl.SSLContext:
    """A client's TLS settings; the system's authorities where `ca` is None."""
    import ssl

    context = ssl.create_default_context(cadata=ca.decode() if ca else None)
    if not verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if certificate:
        # ssl reads certificates from files only.
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "client.pem"
            file.touch(0o600)
            file.write_bytes(certificate[0] + b"\n" + certificate[1])
            context.load_cert_chain(file)
    return context


def _parse(text: str) -> Any:
    if text.startswith("{"):
        return json.loads(text)  # our own are JSON, which spares pods the import of a YAML parser
    import yaml

    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506


def _named(entries: Any, name: str) -> Any:
    return next(e for e in entries if e["name"] == name)


def _content(entry: Mapping[str, Any], key: str, base: Path) -> bytes | None:
    """`key-data` (base64), or what is in the file that `key` names, relative to the kubeconfig."""
    if data := entry.get(key + "-data"):
        return base64.b64decode(data)
    if file := entry.get(key):
        return (base.parent / str(file)).read_bytes()
    return None
