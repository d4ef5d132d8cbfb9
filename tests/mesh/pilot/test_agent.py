"""The agent's bootstrap, and certificates of the CA."""

from __future__ import annotations

import json
import shlex
import ssl
import time
from pathlib import Path

import pytest

from meshlab.mesh.agent import _arguments as arguments
from meshlab.mesh.agent import bootstrap, main, resolve
from meshlab.mesh.bootstrap import Endpoint, Identity
from meshlab.mesh.certificates import Order, Signer
from meshlab.settings import bound_port

#: As istio's kube-inject writes them.
SIDECAR = shlex.split(
    "proxy sidecar -v 2 --configPath /etc/istio/proxy --binaryPath /usr/local/bin/envoy --serviceCluster svca "
    "--drainDuration 45s --parentShutdownDuration 1m0s --discoveryAddress istio-pilot.istio-system:15003 "
    "--discoveryRefreshDelay 1s --zipkinAddress zipkin.istio-system:9411 --connectTimeout 10s "
    "--statsdUdpAddress istio-mixer.istio-system:9125 --proxyAdminPort 15000 --controlPlaneAuthPolicy NONE"
)


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "pod.json").write_text(json.dumps(
        {"name": "svca-1", "namespace": "default", "uid": "12345678-90ab"}
    ))
    (tmp_path / "network.json").write_text(json.dumps(
        {"services": {"istio-system/istio-pilot": {"ip": "127.105.80.55"}}}
    ))
    return {
        "POD_IP": "127.40.0.5", "LOCAL_IP": "127.41.0.5", "MESHLAB_POD_DIR": str(tmp_path),
        "MESHLAB_NETWORK": str(tmp_path / "network.json"), "MESHLAB_SOCKETS": "/run/x",
    }


def test_a_sidecars_bootstrap_names_its_pod_and_its_control_plane(environ: dict[str, str]) -> None:
    found = bootstrap(arguments(SIDECAR), environ)
    assert found["node"]["id"] == "sidecar~127.40.0.5~svca-1.default~default.svc.cluster.local"
    assert found["node"]["cluster"] == "svca"
    assert found["admin"]["address"]["pipe"] == {"path": "/run/x/12345678.sock", "mode": 0o600}
    addresses = {
        each["name"]: each["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]
        .get("socket_address")
        for each in found["static_resources"]["clusters"] if each["load_assignment"]["endpoints"]
    }
    assert addresses["pilot"] == {"address": "127.105.80.55", "port_value": 15003}
    assert addresses["mixer_server"] == {"address": "127.105.244.155", "port_value": 15004}
    assert addresses["zipkin"] == {"address": "127.105.7.219", "port_value": 9411}
    assert found["stats_sinks"][0]["typed_config"]["address"]["socket_address"]["protocol"] == "UDP"


@pytest.mark.parametrize(("role", "outer", "inner"), [("pilot", 15003, 8080), ("mixer", 15004, 9091)])
def test_the_control_planes_own_proxies_pass_one_port_on(
    environ: dict[str, str], role: str, outer: int, inner: int
) -> None:
    found = bootstrap(arguments(["proxy", role, "-v", "2", "--customConfigFile", "/x.json"]), environ)
    listener = found["static_resources"]["listeners"][0]["address"]["socket_address"]
    assert listener == {"address": "127.40.0.5", "port_value": outer}
    endpoint = found["static_resources"]["clusters"][0]["load_assignment"]["endpoints"][0]["lb_endpoints"][0]
    assert endpoint["endpoint"]["address"]["socket_address"] == {"address": "127.41.0.5", "port_value": inner}


IDENTITY = Identity("sidecar", "p", "default", "127.44.0.5", "127.45.0.5", "p")


@pytest.mark.parametrize(("address", "expected"), [
    ("127.0.0.9:80", Endpoint("127.0.0.9", bound_port(80))),
    ("svc.ns:8080", Endpoint("127.107.1.1", 8080)),
    ("svc.ns.svc.cluster.local:8080", Endpoint("127.107.1.1", 8080)),
    ("zipkin.istio-system:9411", Endpoint("127.107.7.219", 9411)),
    ("own:1234", Endpoint("127.107.2.2", 1234)),
    ("nobody.ns:1234", None),
])
def test_names_are_resolved_by_the_labs_list_and_its_well_known_addresses(
    address: str, expected: Endpoint | None
) -> None:
    services = {"ns/svc": {"ip": "127.107.1.1"}, "default/own": {"ip": "127.107.2.2"}}
    assert resolve(address, IDENTITY, services) == expected


def test_without_pilot_the_agent_says_so(environ: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["proxy", "sidecar", "--discoveryAddress", "nobody.ns:15003"], environ) == 1
    assert "no Service has that name" in capsys.readouterr().err
    assert main(["proxy", "sidecar"], {}) == 1


def test_a_certificate_names_its_account_and_is_trusted_by_the_ca_that_signed_it(tmp_path: Path) -> None:
    signer = Signer()
    (ca,) = signer.sign(Order(None))
    identity = "spiffe://cluster.local/ns/default/sa/svca"
    (pair,) = signer.sign(Order(ca, (identity,), lifetime=600))
    for name, text in (("ca", ca.certificate), ("cert", pair.certificate), ("key", pair.key)):
        (tmp_path / name).write_text(text)
    context = ssl.create_default_context(cafile=str(tmp_path / "ca"))
    context.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    decoded = ssl._ssl._test_decode_cert(str(tmp_path / "cert"))  # type: ignore[attr-defined]
    assert decoded["subjectAltName"] == (("URI", identity),)
    (end,) = signer.expiries([pair.certificate])
    assert 590 <= end - time.time() <= 600
