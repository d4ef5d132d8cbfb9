"""kube-inject: who gets a sidecar, and what it looks like."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from meshlab.errors import ManifestError
from meshlab.istioctl.flags import parse
from meshlab.istioctl.inject import KINDS, Policy, SidecarParams, inject_object
from meshlab.istioctl.inject_flags import FLAGS
from meshlab.istioctl.kube_inject import inject_text, params_from_flags
from meshlab.istioctl.main import main
from meshlab.mesh.config.meshconfig import MeshConfig, parse_mesh_config

if TYPE_CHECKING:
    from conftest import Rules

PARAMS = SidecarParams("hub/proxy_init:t", "hub/proxy_debug:t", "me")
STATUS = "sidecar.istio.io/status"


def deployment(template: dict[str, Any] | None = None, **meta: Any) -> dict[str, Any]:
    template = template or {"metadata": {"labels": {"app": "svca"}}, "spec": {"containers": [{"name": "svca"}]}}
    return {
        "apiVersion": "extensions/v1beta1",
        "kind": "Deployment",
        "metadata": {"name": "svca", **meta},
        "spec": {"template": template},
    }


def pod_of(obj: dict[str, Any]) -> dict[str, Any]:
    pod: dict[str, Any] = obj["spec"]["template"]["spec"]
    return pod


def injected(obj: dict[str, Any], params: SidecarParams = PARAMS) -> bool:
    containers = pod_of(inject_object(obj, params)).get("containers") or []
    return "istio-proxy" in [each["name"] for each in containers]


def test_the_sidecar_comes_last_and_is_set_up_first() -> None:
    out = inject_object(deployment(), PARAMS)
    pod = pod_of(out)
    assert [each["name"] for each in pod["containers"]] == ["svca", "istio-proxy"]
    assert [each["name"] for each in pod["initContainers"]] == ["istio-init", "enable-core-dump"]
    assert pod["initContainers"][0]["args"] == ["-p", "15001", "-u", "1337"]
    assert [each["name"] for each in pod["volumes"]] == ["istio-envoy", "istio-certs"]
    assert pod["volumes"][1]["secret"] == {"secretName": "istio.default", "optional": True}
    status = {STATUS: "injected-version-me"}
    assert out["metadata"]["annotations"] == out["spec"]["template"]["metadata"]["annotations"] == status
    sidecar = pod["containers"][1]
    assert "ports" not in sidecar
    assert sidecar["securityContext"] == {"privileged": True, "readOnlyRootFilesystem": False, "runAsUser": 1337}


def test_the_sidecars_arguments_are_the_mesh_configurations() -> None:
    mesh = parse_mesh_config(
        "proxyListenPort: 15002\ndefaultConfig: {zipkinAddress: 'z:9411', parentShutdownDuration: 1m}\n"
    )
    pod = pod_of(inject_object(deployment(), SidecarParams("i", "p", "v", mesh, include_ranges="10.0.0.0/8")))
    args = pod["containers"][1]["args"]
    assert args[:4] == ["proxy", "sidecar", "-v", "2"]
    flags = dict(zip(args[4::2], args[5::2], strict=True))
    assert flags["--serviceCluster"] == "svca"
    assert (flags["--zipkinAddress"], flags["--parentShutdownDuration"]) == ("z:9411", "1m0s")
    assert flags["--statsdUdpAddress"] == ""
    assert pod["initContainers"][0]["args"] == ["-p", "15002", "-u", "1337", "-i", "10.0.0.0/8"]


def test_without_an_app_label_the_cluster_is_the_meshs_own() -> None:
    pod = pod_of(inject_object(deployment({"spec": {"serviceAccountName": "sa"}}), PARAMS))
    assert pod["containers"][0]["args"][9] == "istio-proxy"
    assert pod["volumes"][1]["secret"]["secretName"] == "istio.sa"


@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        (deployment(), True),
        (deployment(annotations={"sidecar.istio.io/inject": "YES"}), True),
        (deployment(annotations={"sidecar.istio.io/inject": "on"}), True),
        (deployment(annotations={"sidecar.istio.io/inject": True}), True),
        (deployment(annotations={"sidecar.istio.io/inject": "false"}), False),
        (deployment(annotations={"sidecar.istio.io/inject": "1"}), False),
        (deployment(annotations={"sidecar.istio.io/inject": ""}), False),
        (deployment(annotations={STATUS: "injected-before"}), False),
        (deployment(namespace="kube-system"), False),
        (deployment(namespace="istio-system"), False),
        (deployment(namespace="shop"), True),
        (deployment({"spec": {"hostNetwork": True, "containers": []}}), False),
        (deployment({"metadata": {"annotations": {"sidecar.istio.io/inject": "false"}}, "spec": {}}), True),
    ],
)
def test_the_workloads_own_annotations_and_namespace_decide(obj: dict[str, Any], expected: bool) -> None:
    assert injected(obj) is expected


def test_where_injection_is_off_only_an_annotation_turns_it_on() -> None:
    off = SidecarParams("i", "p", "v", policy=Policy.DISABLED)
    assert not injected(deployment(), off)
    assert injected(deployment(annotations={"sidecar.istio.io/inject": "true"}), off)


def test_namespaces_can_be_left_out() -> None:
    assert not injected(deployment(namespace="a"), SidecarParams("i", "p", "v", exclude_namespaces=("a",)))
    assert not injected(deployment(namespace="a"), SidecarParams("i", "p", "v", include_namespaces=("b",)))
    assert injected(deployment(namespace="b"), SidecarParams("i", "p", "v", include_namespaces=("b",)))


def test_injecting_twice_changes_nothing_more() -> None:
    once = inject_object(deployment(), PARAMS)
    assert inject_object(once, PARAMS) == once


def test_the_given_object_is_left_as_it_was() -> None:
    obj = deployment()
    inject_object(obj, PARAMS)
    assert obj == deployment()


@pytest.mark.parametrize(("version", "kind"), [pair for pair in KINDS if pair[1] != "CronJob"])
def test_every_kind_with_a_pod_template_is_handled(version: str, kind: str) -> None:
    assert injected({**deployment(), "apiVersion": version, "kind": kind})


def test_a_cron_jobs_pod_is_found_and_its_job_is_annotated() -> None:
    pod = {"spec": {"containers": [{"name": "c"}]}}
    obj = {
        "apiVersion": "batch/v2alpha1",
        "kind": "CronJob",
        "metadata": {"name": "c"},
        "spec": {"jobTemplate": {"spec": {"template": pod}}},
    }
    job = inject_object(obj, PARAMS)["spec"]["jobTemplate"]
    assert STATUS in job["metadata"]["annotations"]
    assert [each["name"] for each in job["spec"]["template"]["spec"]["containers"]] == ["c", "istio-proxy"]


WORKLOAD = """\
apiVersion: extensions/v1beta1
kind: Deployment
metadata:
  name: svca
spec:
  replicas: 1
  template:
    metadata:
      labels:
        version: 1.0
    spec:
      containers:
      - args: ["-n", 8080]
        env:
        - {name: DEBUG, value: yes}
        name: svca
"""
OTHER = "# kept as it is\napiVersion: v1\nkind:   Service\nmetadata: {name: svca}\n"


def test_scalars_become_text_where_kubernetes_wants_text() -> None:
    out = yaml.safe_load(inject_text(WORKLOAD, PARAMS, io.StringIO()).split("---\n")[0])
    assert out["spec"]["template"]["metadata"]["labels"] == {"version": "1"}
    container = pod_of(out)["containers"][0]
    assert (container["args"], container["env"][0]["value"]) == (["-n", "8080"], "true")


def test_other_documents_pass_through_byte_for_byte() -> None:
    text = inject_text(f"{OTHER}---\n{WORKLOAD}---\n", PARAMS, io.StringIO())
    first, second, rest = text.split("---\n")
    assert first == OTHER
    assert second.startswith("apiVersion: extensions/v1beta1\nkind: Deployment\nmetadata:\n  annotations:\n")
    assert rest == ""


def test_a_workload_of_an_unknown_version_passes_through_with_a_warning() -> None:
    said = io.StringIO()
    newer = WORKLOAD.replace("extensions/v1beta1", "apps/v1")
    assert inject_text(newer, PARAMS, said) == f"{newer}---\n"
    assert said.getvalue() == (
        "Warning: Deployment svca of apps/v1 gets no sidecar: Istio 0.4.0 knows extensions/v1beta1\n"
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: b: c\n", "error converting YAML to JSON: yaml: mapping values"),
        (WORKLOAD.replace("    spec:\n", "    spec: x\n").split("      containers")[0], "spec is 'x', not an object"),
        (WORKLOAD.split("      - args")[0].replace("containers:", "containers: 3"), "containers is not a list"),
    ],
)
def test_what_cannot_be_read_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ManifestError, match=reason):
        inject_text(text, PARAMS, io.StringIO())


def test_flags_change_images_and_settings() -> None:
    flags = parse(["--hub=h", "--tag", "t", "--debug=false", "--coreDump=false", "--verbosity", "0"], FLAGS)
    params = params_from_flags(flags, MeshConfig())
    assert (params.init_image, params.proxy_image) == ("h/proxy_init:t", "h/proxy:t")
    assert (params.core_dump, params.debug, params.verbosity) == (False, False, 0)
    pod = pod_of(inject_object(deployment(), params))
    assert len(pod["initContainers"]) == 1
    assert pod["containers"][1]["args"][2] == "--configPath"
    assert pod["containers"][1]["securityContext"]["readOnlyRootFilesystem"] is True


def test_the_mesh_configuration_comes_from_the_cluster(rules: Rules, kubeconfig: Path, tmp_path: Path) -> None:
    source, target = tmp_path / "in.yaml", tmp_path / "out.yaml"
    source.write_text(WORKLOAD)
    path = "/api/v1/namespaces/istio-system/configmaps/istio"
    command = ["kube-inject", "-f", str(source), "-o", str(target), "-c", str(kubeconfig)]
    err = io.StringIO()
    assert main(command, io.StringIO(), err) == 255
    assert 'could not read valid configmap "istio" from namespace  "istio-system": ' in err.getvalue()
    rules.objects[path] = {"data": {"mesh": "defaultConfig: {discoveryAddress: 'pilot.here:15003'}"}}
    assert main(command, io.StringIO(), io.StringIO()) == 0
    assert "- pilot.here:15003\n" in target.read_text()
    rules.objects[path] = {"data": {"mesh": "proxyListenPort: 0"}}
    assert main(command, io.StringIO(), err := io.StringIO()) == 255
    assert "invalid proxy listen port" in err.getvalue()
