"""An Ingress of 2018 for a cluster that serves today's only."""

from __future__ import annotations

from typing import Any

import pytest

from meshlab.errors import ManifestError
from meshlab.real.ingresses import modern

OLD = "extensions/v1beta1"


def ingress(version: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": version, "kind": "Ingress", "metadata": {"name": "pay"}, "spec": spec}


@pytest.mark.parametrize("version", [OLD, "networking.k8s.io/v1beta1"])
def test_backends_and_paths_say_what_they_said(version: str) -> None:
    old = ingress(
        version,
        backend={"serviceName": "svcb", "servicePort": "http"},
        rules=[{"http": {"paths": [
            {"path": "/pay.*", "backend": {"serviceName": "svca", "servicePort": 80}},
            {"path": "/", "pathType": "Prefix", "backend": {"serviceName": "svcb", "servicePort": "http"}},
        ]}}, {"host": "shop.example"}],
    )  # fmt: skip
    svca = {"service": {"name": "svca", "port": {"number": 80}}}
    svcb = {"service": {"name": "svcb", "port": {"name": "http"}}}
    assert modern(old) == ingress(
        "networking.k8s.io/v1",
        defaultBackend=svcb,
        rules=[{"http": {"paths": [
            {"path": "/pay.*", "pathType": "ImplementationSpecific", "backend": svca},
            {"path": "/", "pathType": "Prefix", "backend": svcb},
        ]}}, {"host": "shop.example"}],
    )  # fmt: skip
    assert "backend" in old["spec"], "what was given stays as it was"


def test_everything_else_stays_as_it_is() -> None:
    for other in (ingress("networking.k8s.io/v1"), {"apiVersion": OLD, "kind": "Deployment", "metadata": {}}):
        assert modern(other) == other


@pytest.mark.parametrize("spec", [{"rules": ["/pay"]}, {"rules": [{"http": "svca"}]}, {"backend": "svca:80"}])
def test_one_without_the_form_of_its_kind_is_refused(spec: dict[str, Any]) -> None:
    with pytest.raises(ManifestError, match=r"cannot be read"):
        modern(ingress(OLD, **spec))


def test_one_without_a_spec_is_refused() -> None:
    with pytest.raises(ManifestError, match=r"cannot be read"):
        modern({"apiVersion": OLD, "kind": "Ingress", "metadata": {"name": "pay"}})
