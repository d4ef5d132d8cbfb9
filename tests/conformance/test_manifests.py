"""The tutorial's manifests as a cluster can run them."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import yaml

from meshlab.real.inject import inject
from meshlab.real.manifests import IMAGE, demo, servicegraph_program, write_files
from meshlab.tutorial import DEMO, plain

ADDRESS = "10.96.7.7"


def made(tmp_path: Path, name: str) -> list[dict[str, Any]]:
    write_files(plain(), tmp_path, ADDRESS, "meshlab")
    return [d for d in yaml.safe_load_all((tmp_path / "demo" / f"{name}.yaml").read_text()) if d]


def kinds(documents: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [each for each in documents if each["kind"] == kind]


def test_every_image_is_a_stock_one_and_every_program_comes_along(tmp_path: Path) -> None:
    for name in DEMO:
        documents = made(tmp_path, name)
        (deployment,) = kinds(documents, "Deployment")
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        assert (deployment["apiVersion"], container["image"]) == ("apps/v1", IMAGE)
        mounted = {v["configMap"]["name"] for v in deployment["spec"]["template"]["spec"]["volumes"]}
        assert mounted <= {each["metadata"]["name"] for each in kinds(documents, "ConfigMap")}
        assert deployment["spec"]["selector"]["matchLabels"].items() <= (
            deployment["spec"]["template"]["metadata"]["labels"].items()
        )
        assert all(each["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "meshlab" for each in documents)


def test_a_program_runs_from_what_is_mounted_and_nothing_else(tmp_path: Path) -> None:
    for name in DEMO:
        documents = made(tmp_path / "manifests", name)
        (deployment,) = kinds(documents, "Deployment")
        pod = deployment["spec"]["template"]["spec"]
        (mount,) = pod["containers"][0]["volumeMounts"]
        (volume,) = pod["volumes"]
        (config_map,) = kinds(documents, "ConfigMap")
        root = tmp_path / name
        for item in volume["configMap"]["items"]:
            (root / item["path"]).parent.mkdir(parents=True, exist_ok=True)
            (root / item["path"]).write_text(config_map["data"][item["key"]])
        command = [word.replace(mount["mountPath"], str(root)) for word in pod["containers"][0]["command"][1:]]
        # -S: without the packages of this environment, of which meshlab is one.
        done = subprocess.run(
            [sys.executable, "-S", "-E", *command, "-colour"], capture_output=True, timeout=30, text=True
        )
        assert (done.returncode, done.stderr.splitlines()[0]) == (2, "flag provided but not defined: -colour")


def test_the_port_that_misleads_is_tcp_and_the_cure_is_http(tmp_path: Path) -> None:
    def port(name: str) -> str:
        return str(kinds(made(tmp_path, name), "Service")[0]["spec"]["ports"][0]["name"])

    assert [port("svcb-v0.1"), port("svca-v0.1"), port("svcb-http"), port("svca-http")] == [
        "tcp",
        "tcp",
        "http",
        "http",
    ]


def test_the_host_outside_has_an_address_that_the_mesh_is_not_told_of(tmp_path: Path) -> None:
    (service,) = kinds(made(tmp_path, "msgd"), "Service")
    assert service["metadata"]["annotations"] == {"networking.istio.io/exportTo": "~"}
    (svcb,) = kinds(made(tmp_path, "svcb-v0.2"), "Deployment")
    assert svcb["spec"]["template"]["spec"]["containers"][0]["args"] == ["-msgsvc", f"{ADDRESS}:9997"]
    assert ADDRESS in (tmp_path / "demo" / "rules" / "enable-svcb-engress-rule.yaml").read_text()


def test_what_was_made_once_is_left_as_it_is(tmp_path: Path) -> None:
    documents = made(tmp_path, "svcb-v0.1")
    again = demo(documents, ADDRESS)
    assert [each.get("spec") for each in again] == [each.get("spec") for each in documents]


def test_a_pod_asks_for_its_sidecar_as_its_mesh_wants_to_be_asked(tmp_path: Path) -> None:
    (deployment,) = kinds(made(tmp_path, "svca-v0.1"), "Deployment")

    def asked(**how: str) -> dict[str, Any]:
        metadata: dict[str, Any] = inject(deployment, **how)["spec"]["template"]["metadata"]
        return metadata

    assert asked()["labels"]["sidecar.istio.io/inject"] == "true"
    assert asked(revision="canary")["labels"]["istio.io/rev"] == "canary"
    annotations = asked(ranges="10.96.0.0/16")["annotations"]
    assert annotations == {"traffic.sidecar.istio.io/includeOutboundIPRanges": "10.96.0.0/16"}
    assert inject({"kind": "Service", "metadata": {}}) == {"kind": "Service", "metadata": {}}


def test_every_container_of_ours_may_run_where_pods_are_restricted(tmp_path: Path) -> None:
    write_files(plain(), tmp_path, ADDRESS, "meshlab")
    seen = 0
    for path in (*tmp_path.glob("demo/*.yaml"), *tmp_path.glob("istio-0.4.0/install/kubernetes/addons/*.yaml")):
        for document in kinds([d for d in yaml.safe_load_all(path.read_text()) if d], "Deployment"):
            spec = document["spec"]["template"]["spec"]
            assert not [volume for volume in spec.get("volumes") or () if "hostPath" in volume]
            for container in spec["containers"]:
                seen += 1
                # The Pod Security Standard "restricted", as Kubernetes' own page on it lists it.
                context = container["securityContext"]
                assert context["allowPrivilegeEscalation"] is False and context["runAsNonRoot"] is True, path.name
                assert context["capabilities"] == {"drop": ["ALL"]} and context["runAsUser"] > 0, path.name
                assert context["seccompProfile"] == {"type": "RuntimeDefault"}, path.name
                assert not any(port.get("hostPort") for port in container["ports"]), path.name
    assert seen >= 10


def test_servicegraph_is_one_file_the_same_each_time_and_small_enough() -> None:
    program = servicegraph_program()
    assert program == servicegraph_program()
    assert len(program) < 100_000
    names = zipfile.ZipFile(io.BytesIO(program)).namelist()
    assert "meshlab/addons/servicegraph.py" in names


def test_servicegraph_has_all_that_it_is_made_of_and_draws(tmp_path: Path) -> None:
    file = tmp_path / "servicegraph.pyz"
    file.write_bytes(servicegraph_program())
    modules = [
        name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for name in zipfile.ZipFile(file).namelist()
        if name.startswith("meshlab/")
    ]
    # Without this checkout, and without the packages of this environment, as in python:3.12-slim.
    text = f"import sys; sys.path.insert(0, {str(file)!r})\n"
    text += "".join(f"import {name}\n" for name in modules)
    text += "print(meshlab.errors.__file__, meshlab.addons.dot.draw('digraph { a -> b }'))"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", text], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(file)) and "a" in done.stdout
