"""Mutual TLS with the control plane: a real proxy in front of "Pilot", a real one that calls it."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from meshlab.errors import LabError
from meshlab.mesh.bootstrap import Endpoint, Identity, forwarding, managed
from meshlab.mesh.certificates import issue, root
from meshlab.mesh.control_tls import control_tls


def mounted(folder: Path, account: str) -> Path:
    ca = root()
    pair = issue(ca, f"spiffe://cluster.local/ns/istio-system/sa/{account}")
    certs = folder / "root" / "etc" / "certs"
    certs.mkdir(parents=True)
    for name, text in (("cert-chain.pem", pair.certificate), ("key.pem", pair.key), ("root-cert.pem", ca.certificate)):
        (certs / name).write_text(text)
    return folder / "root"


def test_without_a_certificate_a_proxy_says_whom_it_waits_for(tmp_path: Path) -> None:
    with pytest.raises(LabError) as raised:
        control_tls(tmp_path, tmp_path, "cluster.local", patience=0.05)
    assert "istio-ca" in raised.value.why


def test_envoy_is_told_of_files_and_no_key_is_copied(tmp_path: Path) -> None:
    tls = control_tls(tmp_path, mounted(tmp_path, "istio-pilot-service-account"), "cluster.local")
    for path in (tls.own, tls.roots):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert "PRIVATE KEY" not in path.read_text()
    (own,) = json.loads(tls.own.read_text())["resources"]
    assert Path(own["tls_certificate"]["private_key"]["filename"]).read_text().count("PRIVATE KEY") == 2


def test_proxies_demand_the_identities_of_pilot_and_mixer(tmp_path: Path) -> None:
    tls = control_tls(tmp_path, mounted(tmp_path, "default"), "cluster.local")
    identity = Identity("sidecar", "p", "default", "127.0.0.1", "127.0.0.1", "p")
    config = managed(identity, "/x.sock", Endpoint("127.0.0.1", 1), Endpoint("127.0.0.1", 2), tls=tls)
    wanted = {}
    for cluster in config["static_resources"]["clusters"]:
        if socket := cluster.get("transport_socket"):
            context = socket["typed_config"]["common_tls_context"]["combined_validation_context"]
            (name,) = context["default_validation_context"]["match_typed_subject_alt_names"]
            wanted[cluster["name"]] = name["matcher"]["exact"].rpartition("/")[2]
    assert wanted == {"pilot": "istio-pilot-service-account", "mixer_server": "istio-mixer-service-account"}
    inward = forwarding(identity, "/x.sock", Endpoint("127.0.0.1", 1), Endpoint("127.0.0.1", 2), tls)
    (chain,) = inward["static_resources"]["listeners"][0]["filter_chains"]
    assert chain["transport_socket"]["typed_config"]["require_client_certificate"] is True
