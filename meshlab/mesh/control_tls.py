"""Mutual TLS between proxies and the control plane (`controlPlaneAuthPolicy: MUTUAL_TLS`), as 0.4 has it.

A proxy cannot ask Pilot for the certificate by which Pilot is to know it. For this one purpose it is read from the
mounted secret `istio.<account>` (/etc/certs, mode 0600 below the lab's own folder, 0700). Envoy is told of the files by
two small ones of its own format, and reads again when the node has put new ones in force.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meshlab.errors import LabError

__all__ = ["ControlTls", "control_tls"]

Json = dict[str, Any]
FILES = ("cert-chain.pem", "key.pem", "root-cert.pem")
#: Where the secret is mounted.
MOUNTED = "etc/certs"
#: Seconds that a proxy waits for its certificate: as long as 0.4's agent did. The CA may just be starting.
PATIENCE = 60.0
#: Seconds between looks.
PAUSE = 0.02
TLS = "envoy.transport_sockets.tls"
_TYPES = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3"
_VERSIONS = {"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3"}


@dataclass(frozen=True)
class ControlTls:
    """Two files in Envoy's format: the proxy's own certificate, and whom it believes."""

    own: Path
    roots: Path
    domain: str = "cluster.local"

    def upstream(self, account: str) -> Json:
        """To a part of the control plane that runs as this account of istio-system, and nobody else."""
        wanted = {"exact": f"spiffe://{self.domain}/ns/istio-system/sa/{account}"}
        return self._socket("UpstreamTlsContext", wanted, ["h2"])

    def downstream(self) -> Json:
        """From proxies of this mesh."""
        found = self._socket("DownstreamTlsContext", {"prefix": f"spiffe://{self.domain}/"}, ["h2"])
        found["typed_config"]["require_client_certificate"] = True
        return found

    def _socket(self, message: str, peer: Json, protocols: list[str]) -> Json:
        return {"name": TLS, "typed_config": {
            "@type": f"{_TYPES}.{message}",
            "common_tls_context": {
                "tls_params": _VERSIONS,
                "alpn_protocols": protocols,
                "tls_certificate_sds_secret_configs": [_from("default", self.own)],
                "combined_validation_context": {
                    "default_validation_context": {
                        "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": peer}]
                    },
                    "validation_context_sds_secret_config": _from("ROOTCA", self.roots),
                },
            },
        }}


def _from(name: str, path: Path) -> Json:
    return {"name": name, "sds_config": {
        "path_config_source": {"path": str(path)}, "resource_api_version": "V3",
    }}


def control_tls(folder: Path, root: Path, domain: str, patience: float = PATIENCE) -> ControlTls:
    """Waits until the secret is mounted below `root`, then writes into `folder`. Raises LabError without it."""
    mounted = root / MOUNTED
    end = time.monotonic() + patience
    while not all((mounted / name).is_file() for name in FILES):
        if time.monotonic() > end:
            raise LabError(
                f"there is no certificate in /{MOUNTED} after {patience:.0f} s",
                why="controlPlaneAuthPolicy is MUTUAL_TLS, and istio-ca has not written the secret of this account",
                then="kubectl -n istio-system get pods -l istio=istio-ca; kubectl get secrets",
            )
        time.sleep(PAUSE)
    chain, key, roots = (str(mounted / name) for name in FILES)
    watched = {"watched_directory": {"path": str(mounted.resolve())}}
    found = ControlTls(folder / "own-certificate.json", folder / "believed.json", domain)
    _write(found.own, "default", {"tls_certificate": {
        "certificate_chain": {"filename": chain}, "private_key": {"filename": key}, **watched,
    }})
    _write(found.roots, "ROOTCA", {"validation_context": {"trusted_ca": {"filename": roots}, **watched}})
    return found


def _write(path: Path, name: str, secret: Json) -> None:
    """Names of files only, no key."""
    text = json.dumps({"resources": [{"@type": f"{_TYPES}.Secret", "name": name, **secret}]})
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
