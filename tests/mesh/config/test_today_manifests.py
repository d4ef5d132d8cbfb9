"""What a learner applies for today's Istio is what the programs behind it do: the files cannot drift away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from meshlab.installation import WEBHOOKS
from meshlab.mesh.config.admission import rules
from meshlab.mesh.config.meshconfig import parse_mesh_config
from meshlab.mesh.config.outside import OutboundPolicy

MANIFESTS = Path(__file__).parents[3] / "manifests"
Object = dict[str, Any]


def objects(name: str) -> list[Object]:
    return [each for each in yaml.safe_load_all((MANIFESTS / name).read_text()) if each]


def test_the_webhooks_are_those_that_the_installation_waits_for_and_call_pilot() -> None:
    found = objects("istio-today/webhooks.yaml")
    assert [(each["kind"].lower() + "s", each["metadata"]["name"]) for each in found] == list(WEBHOOKS)
    called = {tuple(h["clientConfig"]["service"].values()) for each in found for h in each["webhooks"]}
    assert called == {("istio-pilot", "istio-system", path, 443) for path in ("/inject", "/validate")}
    assert not any("caBundle" in h["clientConfig"] for each in found for h in each["webhooks"])


def test_every_kind_that_pilot_judges_is_asked_about() -> None:
    (validating,) = (each for each in objects("istio-today/webhooks.yaml") if each["kind"].startswith("Validating"))
    assert [rule for hook in validating["webhooks"] for rule in hook["rules"]] == rules()


def test_todays_settings_are_those_of_the_tutorial_and_two_more() -> None:
    (plain,) = (
        each["data"]["mesh"]
        for each in objects("istio-0.4.0/install/kubernetes/istio.yaml")
        if (each["kind"], each["metadata"]["name"]) == ("ConfigMap", "istio")
    )
    (today,) = (each["data"]["mesh"] for each in objects("istio-today/mesh.yaml"))
    added = {"outboundTrafficPolicy": {"mode": "ALLOW_ANY"}, "enableAutoMtls": True}
    assert yaml.safe_load(today) == {**yaml.safe_load(plain), **added}
    assert parse_mesh_config(today).outbound_traffic_policy is OutboundPolicy.ALLOW_ANY
