"""The sliders of lesson 09, the canary of lesson 12 and the switch of lesson 10, against a lab of dictionaries."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from notebook_fakes import FakeLab

from meshlab.notebook import Canary, CircuitBreaker, MutualTLSSwitch, RouteKnobs, ScaleSlider
from meshlab.traffic import Answer, Answers


@pytest.fixture
def lab() -> FakeLab:
    return FakeLab()


@pytest.mark.parametrize(
    ("knobs", "part", "value"),
    [
        ({"delay": 0.5}, "httpFault", {"delay": {"percent": 100, "fixedDelay": "0.5s"}}),
        ({"abort_percent": 30}, "httpFault", {"abort": {"percent": 30, "httpStatus": 503}}),
        ({"timeout": 0.2}, "httpReqTimeout", {"simpleTimeout": {"timeout": "0.2s"}}),
        ({"retries": 2}, "httpReqRetries", {"simpleRetry": {"attempts": 2, "perTryTimeout": "2s"}}),
    ],
)
def test_a_knob_becomes_its_part_of_one_rule(
    lab: FakeLab, knobs: dict[str, float], part: str, value: dict[str, object]
) -> None:
    control = RouteKnobs(lab, "svcb")  # type: ignore[arg-type]
    control.set(**knobs)
    (rule,) = lab.rules()
    assert rule["spec"][part] == value and rule["spec"]["destination"] == {"name": "svcb"}
    control.set(**dict.fromkeys(knobs, 0))
    assert lab.rules() == []


def test_a_moved_slider_stores_the_rule_and_both_generations_are_shown(lab: FakeLab) -> None:
    control = RouteKnobs(lab, "svcb", headers={"x-tester": "yes"})  # type: ignore[arg-type]
    control._sliders["delay"].value = 1.5
    (rule,) = lab.rules()
    assert rule["spec"]["match"] == {"request": {"headers": {"x-tester": {"exact": "yes"}}}}
    assert "acknowledged by 2 sidecars" in control.said
    assert "RouteRule" in control._yaml.value and "VirtualService" in control._yaml.value
    control.clear()
    assert lab.rules() == [] and control._sliders["delay"].value == 0


def test_an_external_address_is_a_destination_by_service(lab: FakeLab) -> None:
    RouteKnobs(lab, "127.100.35.27").set(delay=1)  # type: ignore[arg-type]
    assert lab.rules()[0]["spec"]["destination"] == {"service": "127.100.35.27"}


def test_the_circuit_breaker_comes_and_goes(lab: FakeLab) -> None:
    breaker = CircuitBreaker(lab, "svcb", errors=3, connections=1, pending=2)  # type: ignore[arg-type]
    breaker._button.value = True
    simple = lab.rules()[0]["spec"]["circuitBreaker"]["simpleCb"]
    assert (simple["httpConsecutiveErrors"], simple["maxConnections"], simple["httpMaxPendingRequests"]) == (3, 1, 2)
    breaker.turn(False)
    assert lab.rules() == [] and not breaker._button.value


def answers(lab: FakeLab, n: int, *, broken: str) -> Answers:
    """As many of the new version as its weight says, in a row; the version `broken` fails."""
    weights = {r["labels"]["version"]: r.get("weight", 100) for r in lab.rules()[0]["spec"]["route"]}
    found = Answers()
    for version, weight in weights.items():
        status = 500 if version == broken else 200
        found.extend(Answer(status, "", 1.0, {"x-served-by": f"pod;{version}"}) for _ in range(n * weight // 100))
    return found


@pytest.mark.parametrize(("broken", "promoted", "steps"), [("", True, 4), ("v0.1", True, 4), ("v0.2", False, 1)])
def test_a_canary_is_promoted_or_rolled_back_by_its_own_failures(
    lab: FakeLab, broken: str, promoted: bool, steps: int
) -> None:
    canary = Canary(lab, lambda n: answers(lab, n, broken=broken))  # type: ignore[arg-type]
    assert canary.run() is promoted and len(canary.stages) == steps
    versions = [route["labels"]["version"] for route in lab.rules()[0]["spec"]["route"]]
    assert versions == (["v0.2"] if promoted else ["v0.1"])
    assert ("rolled back" in canary.said) is not promoted


def test_the_scale_slider_says_how_many_pods_and_shows_the_command() -> None:
    asked: list[int] = []
    found = {"spec": {"replicas": 1}}
    lab: Any = SimpleNamespace(
        access=SimpleNamespace(find=lambda *which: found),
        scale=lambda deployment, pods: asked.append(pods) or 0.5,
        settled=lambda: None,
    )
    slider = ScaleSlider(lab, "svcb")
    slider._slider.value = 3
    assert asked == [3] and "3 pods, ready after 0.5 s" in slider.said
    assert "kubectl scale deployment svcb --replicas=3" in slider._yaml.value
    slider.set(1)
    assert "1 pod, ready" in slider.said
    with pytest.raises(ValueError, match=r"0\.\.6"):
        slider.set(7)


def test_the_mutual_tls_switch_stores_a_mode_and_refuses_others(lab: FakeLab) -> None:
    switch = MutualTLSSwitch(lab, "svcb")  # type: ignore[arg-type]
    switch._buttons.value = "STRICT"
    assert yaml.safe_load(switch.yaml("STRICT")) == lab.stored["PeerAuthentication", "svcb-mtls"]
    assert "authPolicy: MUTUAL_TLS" in switch._yaml.value  # 2018 beside today
    with pytest.raises(ValueError, match="DISABLE, PERMISSIVE, STRICT"):
        switch.set("strict")
    switch.clear()
    assert lab.stored == {}
