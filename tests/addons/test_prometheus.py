"""How Prometheus is started in a pod, and what is said when it cannot be."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from meshlab.addons.discovery import targets
from meshlab.addons.prometheus import plan, with_files
from meshlab.errors import ManifestError

CONFIG = {"global": {"scrape_interval": "15s"}, "scrape_configs": [
    {"job_name": "istio-mesh", "static_configs": [{"targets": ["istio-mixer.istio-system:42422"]}]},
    {"job_name": "own", "proxy_url": "http://10.0.0.1:1"}]}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "prometheus.yml"
    file.write_text(yaml.safe_dump(CONFIG))
    return file


def test_jobs_go_through_the_nodes_proxy_and_data_stay_in_the_pod(config: Path, tmp_path: Path) -> None:
    start = plan(["--storage.tsdb.retention=6h", f"--config.file={config}"],
                 {"POD_IP": "127.40.0.9", "MESHLAB_NODE_IP": "127.40.0.1", "MESHLAB_POD_DIR": str(tmp_path / "pod")},
                 Path("/usr/bin/prometheus"))
    jobs = yaml.safe_load(start.config)["scrape_configs"]
    assert [job["proxy_url"] for job in jobs] == ["http://127.40.0.1:3128", "http://10.0.0.1:1"]
    home = tmp_path / "pod" / "prometheus"
    assert start.config_file == home / "prometheus.yml"
    assert f"--config.file={home / 'prometheus.yml'}" in start.arguments
    assert f"--storage.tsdb.path={home / 'data'}" in start.arguments
    assert "--storage.tsdb.retention.time=6h" in start.arguments
    assert "--web.listen-address=127.40.0.9:9090" in start.arguments


def test_outside_a_lab_jobs_stay_as_they_are(config: Path) -> None:
    start = plan([f"--config.file={config}"], {}, Path("/usr/bin/prometheus"))
    assert yaml.safe_load(start.config) == CONFIG


def test_rules_are_read_where_the_pods_volumes_are(tmp_path: Path) -> None:
    file = tmp_path / "prometheus.yml"
    file.write_text("rule_files: [/etc/prometheus/rules.yml]")
    for environ, place in (({"MESHLAB_ROOT": "/pod/root"}, "/pod/root/etc/prometheus/rules.yml"),
                           ({}, "/etc/prometheus/rules.yml")):
        start = plan([f"--config.file={file}"], environ, Path("/usr/bin/prometheus"))
        assert yaml.safe_load(start.config)["rule_files"] == [place]


def test_an_unpacked_package_brings_its_own_pages(config: Path, tmp_path: Path) -> None:
    assets = tmp_path / "usr/share/prometheus/web"
    assets.mkdir(parents=True)
    start = plan([f"--config.file={config}"], {}, tmp_path / "usr/bin/prometheus")
    assert f"--web.local-assets={assets}" in start.arguments


def test_behind_a_hub_only_the_browsers_address_changes(config: Path, tmp_path: Path) -> None:
    network = tmp_path / "network.json"
    network.write_text('{"services": {"istio-system/prometheus": {"ip": "127.107.160.37"}}}')
    environ = {"JUPYTERHUB_SERVICE_PREFIX": "/user/x/", "MESHLAB_NETWORK": str(network)}
    arguments = set(plan([f"--config.file={config}"], environ, Path("p")).arguments)
    address = "http://127.0.0.1/user/x/proxy/127.107.160.37:9090/"
    assert {f"--web.external-url={address}", "--web.route-prefix=/"} <= arguments
    network.write_text("{}")
    with pytest.raises(ManifestError, match="no Service prometheus yet"):
        plan([f"--config.file={config}"], environ, Path("p"))


@pytest.mark.parametrize("text", [None, "a: [", "- a"])
def test_a_configuration_that_cannot_be_read_is_named(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "p.yml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ManifestError, match=r"p\.yml"):
        plan([f"--config.file={file}"], {}, Path("/usr/bin/prometheus"))


def test_the_program_says_in_one_line_what_is_wrong(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "meshlab.addons.prometheus", f"--config.file={tmp_path / 'no'}"],
                          capture_output=True, text=True, timeout=120, check=False,
                          env={**os.environ, "MESHLAB_POD_DIR": str(tmp_path)})
    assert done.returncode == 1
    assert done.stderr.startswith("prometheus: Prometheus") and "Traceback" not in done.stderr


def pod(name: str, ip: str, *containers: dict[str, object], **labels: str) -> dict[str, object]:
    return {"metadata": {"name": name, "namespace": "default", "labels": labels},
            "spec": {"containers": list(containers), "initContainers": [{"name": "istio-init"}]},
            "status": {"podIP": ip, "phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}


def test_pods_are_targets_with_the_labels_of_kubernetes_discovery() -> None:
    found = targets([
        pod("svcb", "127.40.0.9", {"name": "svcb", "ports": [{"containerPort": 8080, "name": "web"}]},
            {"name": "istio-proxy"}, **{"app": "svcb", "a.b/c": "d"}),
        {"metadata": {"name": "pending", "namespace": "default"}, "status": {}},
    ])
    assert [group["targets"] for group in found] == [["127.40.0.9"], ["127.40.0.9:8080"], ["127.40.0.9"]]
    proxy = {name.removeprefix("__meta_kubernetes_"): value for name, value in found[2]["labels"].items()}
    assert proxy["pod_container_name"] == "istio-proxy" and proxy["pod_container_init"] == "false"
    assert proxy["pod_label_app"] == "svcb" and proxy["pod_label_a_b_c"] == "d" and proxy["pod_ready"] == "true"
    assert found[1]["labels"]["__meta_kubernetes_pod_container_port_number"] == "8080"


def test_discovery_becomes_a_file(tmp_path: Path) -> None:
    jobs = [{"job_name": "a", "static_configs": []}, {"job_name": "b", "kubernetes_sd_configs": [{"role": "pod"}]}]
    found = with_files({"scrape_configs": jobs}, tmp_path / "pods.json")["scrape_configs"]
    assert found[0] == jobs[0]
    assert found[1] == {"job_name": "b", "file_sd_configs": [
        {"files": [str(tmp_path / "pods.json")], "refresh_interval": "1m"}]}
    with pytest.raises(ManifestError, match="discovers 'node'"):
        with_files({"scrape_configs": [{"job_name": "c", "kubernetes_sd_configs": [{"role": "node"}]}]}, tmp_path)
