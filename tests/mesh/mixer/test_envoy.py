"""A real Envoy streams its access log to Mixer, run as the program that it is in the lab."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from mixer_parts import envoy, get, pod, program, python, sidecar, until, write_store

from meshlab.mesh.web import Server, fetch, plain

HOST = f"127.{71 + os.getpid() % 8}.{os.getpid() // 8 % 256}.1"
MIXER, SIDECAR = HOST, HOST[:-1] + "7"


@pytest.fixture
def mixer(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    store = write_store(tmp_path / "config", pod("svcb-1", SIDECAR, app="svcb", version="v0.1"),
                        pod("svca-1", HOST[:-1] + "5", app="svca", version="v0.1"))
    command = python("meshlab.mesh.mixer", f"--configStore2URL=fs://{store}",
                     "--configStoreURL=fs:///etc/opt/mixer/configroot", "--configDefaultNamespace=istio-system",
                     "--zipkinURL=http://zipkin:9411/api/v1/spans", "--logtostderr", "-v", "2")
    with program(tmp_path / "mixer.log", *command,
                 env={"POD_IP": MIXER, "LOCAL_IP": HOST[:-1] + "2"}) as process:
        until(lambda: fetch(f"http://{MIXER}:9093/healthz")[0] == 200)
        yield process
    assert process.returncode == 0


@pytest.fixture
def reporting(tmp_path: Path, mixer: subprocess.Popen[bytes]) -> Iterator[str]:
    config = tmp_path / "envoy.yaml"
    with Server((HOST[:-1] + "3", 0), lambda request: plain("hello")) as backend:
        config.write_text(json.dumps(sidecar(SIDECAR, backend.address, (HOST[:-1] + "2", 9091))))
        with program(tmp_path / "envoy.log", *envoy(config)):
            until(lambda: fetch(f"http://{SIDECAR}:8080/ready"))
            yield SIDECAR


def test_envoy_reports_and_prometheus_could_read_it(reporting: str, tmp_path: Path) -> None:
    caller = HOST[:-1] + "5"
    for _ in range(3):
        assert get((reporting, 8080), "/notify", caller).endswith(b"hello")
    assert get((reporting, 8090), "/tcp", caller).endswith(b"hello")

    pair = ('source_service="svca.default.svc.cluster.local",source_version="v0.1",'
            'destination_service="svcb.default.svc.cluster.local",destination_version="v0.1"')

    def page() -> str:
        return fetch(f"http://{MIXER}:42422/metrics")[1].decode()

    until(lambda: f'istio_request_count{{{pair},response_code="200"}} 3\n' in page())
    until(lambda: f"istio_tcp_bytes_received{{{pair}}} " in page())
    assert f'istio_response_size_sum{{{pair},response_code="200"}} 15\n' in page()
    assert re.search(r"istio_tcp_bytes_sent\{[^}]*\} [1-9]\d+\n", page())
    lines = [json.loads(line) for line in (tmp_path / "mixer.log").read_text().splitlines()
             if line.startswith("{")]
    notified = [line for line in lines if line["url"] == "/notify"]
    assert len(notified) == 3
    assert notified[0]["sourceIp"] == caller and notified[0]["destinationIp"] == reporting
    assert re.fullmatch(r"\d+(\.\d+)?(ms|µs)", notified[0]["latency"])


def test_what_is_in_force_and_how_mixer_fares_can_be_read(mixer: subprocess.Popen[bytes]) -> None:
    def rules() -> list[str]:
        return [rule["name"] for rule in json.loads(fetch(f"http://{MIXER}:9094/")[1])["rules"]]

    until(lambda: len(rules()) == 4)
    assert rules() == ["kubeattrgenrulerule.rule.istio-system", "promhttp.rule.istio-system",
                       "promtcp.rule.istio-system", "stdio.rule.istio-system"]
    own = fetch(f"http://{MIXER}:9093/metrics")[1].decode()
    assert "mixer_config_problems 0\n" in own and "process_resident_memory_bytes" in own


def test_a_taken_port_is_named(mixer: subprocess.Popen[bytes], tmp_path: Path) -> None:
    env = {**os.environ, "POD_IP": MIXER, "LOCAL_IP": MIXER}
    second = subprocess.run([sys.executable, "-m", "meshlab.mesh.mixer", f"--configStore2URL=fs://{tmp_path}"],
                            env=env, capture_output=True, text=True, timeout=60, check=False)
    assert second.returncode == 1
    assert f"cannot listen on {MIXER}:9091" in second.stderr
