"""istio-auth.yaml is istio.yaml but for what mutual TLS needs: the two cannot drift apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

INSTALL = Path(__file__).parents[2] / "manifests" / "istio-0.4.0" / "install" / "kubernetes"
Documents = list[dict[str, Any]]


def documents(name: str) -> Documents:
    return [each for each in yaml.safe_load_all((INSTALL / name).read_text()) if each]


def differences(a: Any, b: Any, path: str = "") -> list[tuple[str, Any, Any]]:
    """(path, one, other) of every leaf that differs."""
    if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
        return [found for key in a for found in differences(a[key], b[key], f"{path}.{key}")]
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        return [found for i, (x, y) in enumerate(zip(a, b, strict=True)) for found in differences(x, y, f"{path}[{i}]")]
    return [] if a == b else [(path, a, b)]


def named(obj: dict[str, Any]) -> str:
    return f"{obj['kind']}/{obj['metadata']['name']}"


def test_the_same_64_objects_in_the_same_order() -> None:
    plain, secured = documents("istio.yaml"), documents("istio-auth.yaml")
    assert len(plain) == 64
    assert [named(each) for each in plain] == [named(each) for each in secured]


def test_only_the_mesh_settings_and_the_three_proxies_differ() -> None:
    found = [
        (named(a), path, one, other)
        for a, b in zip(documents("istio.yaml"), documents("istio-auth.yaml"), strict=True)
        for path, one, other in differences(a, b)
    ]
    args = [(name, one, other) for name, path, one, other in found if ".args[" in path]
    assert args == [
        ("Deployment/istio-mixer", "NONE", "MUTUAL_TLS"),
        ("Deployment/istio-mixer", "/etc/istio/proxy/envoy_mixer.json", "/etc/istio/proxy/envoy_mixer_auth.json"),
        ("Deployment/istio-pilot", "NONE", "MUTUAL_TLS"),
        ("Deployment/istio-pilot", "/etc/istio/proxy/envoy_pilot.json", "/etc/istio/proxy/envoy_pilot_auth.json"),
        ("Deployment/istio-ingress", "NONE", "MUTUAL_TLS"),
    ]
    ((name, path, one, other),) = [each for each in found if ".args[" not in each[1]]
    assert (name, path) == ("ConfigMap/istio", ".data.mesh")
    assert one.replace("# authPolicy", "authPolicy").replace("# controlPlane", "controlPlane") == other
    settings = yaml.safe_load(other)
    assert settings["authPolicy"] == settings["defaultConfig"]["controlPlaneAuthPolicy"] == "MUTUAL_TLS"
