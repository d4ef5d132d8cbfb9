from __future__ import annotations

import pytest
from notebook_fakes import FakeLab

from meshlab.errors import NotInForce
from meshlab.notebook import EgressSwitch, LivePlot, LoadSwitch, WeightSlider, by_version


@pytest.fixture
def lab() -> FakeLab:
    return FakeLab()


def press(control: object, part: str, value: object) -> None:
    """What the browser does: change the value of a part."""
    getattr(control, part).value = value


def test_the_egress_switch_creates_and_deletes_the_tutorials_rule(lab: FakeLab) -> None:
    switch = EgressSwitch(lab)
    assert not switch.allowed
    switch.turn(True)
    rule = lab.stored["EgressRule", "enable-svcb-engress-rule"]
    assert rule["spec"] == {
        "destination": {"service": "127.100.35.27"}, "ports": [{"port": 9997, "protocol": "http"}]
    }
    assert switch.allowed and switch._button.value and "acknowledged by 2 sidecars after 5 ms" in switch.said
    switch.turn(False)
    assert not switch.allowed and not switch._button.value and lab.stored == {}


def test_pressing_the_switch_does_what_its_method_does(lab: FakeLab) -> None:
    switch = EgressSwitch(lab)
    press(switch, "_button", True)
    assert switch.allowed
    press(switch, "_button", False)
    assert not switch.allowed


def test_turning_twice_changes_nothing_the_second_time(lab: FakeLab) -> None:
    switch = EgressSwitch(lab)
    switch.turn(True)
    assert switch.turn(True) is None
    assert len(lab.applied) == 1 and "already" in switch.said


def test_a_switch_shows_what_the_lab_holds_when_it_is_made(lab: FakeLab) -> None:
    EgressSwitch(lab).turn(True)
    assert EgressSwitch(lab)._button.value


def test_an_error_of_a_press_is_told_in_the_box_and_the_button_goes_back(lab: FakeLab) -> None:
    switch = EgressSwitch(lab)
    lab.refuse = "a sidecar did not <acknowledge>"
    press(switch, "_button", True)
    assert "a sidecar did not &lt;acknowledge&gt;" in switch.said and "apply it again" in switch.said
    assert switch._button.value is False


def test_an_error_of_a_call_is_raised(lab: FakeLab) -> None:
    switch = EgressSwitch(lab)
    lab.refuse = "no"
    with pytest.raises(NotInForce):
        switch.turn(True)


@pytest.mark.parametrize(
    ("weight", "routes"),
    [
        (0, [("v0.1", 100)]),
        (5, [("v0.1", 95), ("v0.2", 5)]),
        (50, [("v0.1", 50), ("v0.2", 50)]),
        (100, [("v0.2", 100)]),
    ],
)
def test_the_slider_writes_a_rule_whose_weights_total_100(
    lab: FakeLab, weight: int, routes: list[tuple[str, int]]
) -> None:
    slider = WeightSlider(lab)
    slider.set(weight)
    written = lab.stored["RouteRule", "route-rules-svcb"]["spec"]["route"]
    assert [(r["labels"]["version"], r["weight"]) for r in written] == routes
    assert slider.weights == dict(routes)
    assert slider._slider.value == weight


def test_moving_the_slider_does_what_its_method_does(lab: FakeLab) -> None:
    slider = WeightSlider(lab)
    press(slider, "_slider", 30)
    assert slider.weights == {"v0.1": 70, "v0.2": 30} and len(lab.applied) == 1
    assert "70/30: acknowledged by 2 sidecars" in slider.said


def test_the_slider_says_when_no_sidecar_cared(lab: FakeLab) -> None:
    lab.proxies = {}
    slider = WeightSlider(lab)
    slider.set(30)
    assert "no sidecar" in slider.said and "changed by it" in slider.said


def test_the_slider_counts_against_the_weights_in_force(lab: FakeLab) -> None:
    slider = WeightSlider(lab)
    slider.set(50)
    lab.served = {"v0.1": 190, "v0.2": 210}
    assert slider.measure().fits and "<svg" in slider._picture.value
    lab.served = {"v0.1": 0, "v0.2": 400}
    assert not slider.measure().fits and "NOT CHANCE" in slider.said
    slider.set(100)
    assert slider.measure().fits


def test_the_count_button_counts(lab: FakeLab) -> None:
    slider = WeightSlider(lab)
    slider.set(50)
    lab.served = {"v0.1": 200, "v0.2": 200}
    slider._count.click()
    assert "200 of 400" in slider.said


@pytest.mark.parametrize("weight", [-1, 101])
def test_a_weight_outside_0_to_100_is_refused(lab: FakeLab, weight: int) -> None:
    with pytest.raises(ValueError, match=r"within 0\.\.100"):
        WeightSlider(lab).set(weight)


def test_traffic_is_off_until_it_is_started_and_starts_once(lab: FakeLab) -> None:
    switch = LoadSwitch(lab)
    assert lab.loads == [] and switch.stop() == {}
    first = switch.start()
    assert switch.start() is first and len(lab.loads) == 1 and switch._button.value
    lab.loads[0].counts["svcb-1;v0.1"] = 3
    assert switch.stop()["sent"] == 3
    assert not lab.loads[0].running and not switch._button.value


def test_pressing_the_traffic_button_starts_and_stops(lab: FakeLab) -> None:
    switch = LoadSwitch(lab)
    press(switch, "_button", True)
    assert lab.loads[0].running
    press(switch, "_button", False)
    assert not lab.loads[0].running


def test_a_picture_runs_while_the_traffic_does(lab: FakeLab) -> None:
    plot = LivePlot(lambda: {"a": 1.0}, title="t", every=0.01)
    switch = LoadSwitch(lab).watch(plot)
    assert not plot.running
    switch.start()
    assert plot.running
    switch.stop()
    assert not plot.running


def test_rates_by_version_are_differences_and_begin_anew_with_another_stream(lab: FakeLab) -> None:
    switch = LoadSwitch(lab)
    sample = by_version(switch)
    assert sample() == {}
    load = switch.start()
    load.counts = {"a;v0.1": 5, "b;v0.1": 5, "c;v0.2": 7}
    rates = sample()
    assert set(rates) == {"v0.1", "v0.2"} and rates["v0.1"] / rates["v0.2"] == pytest.approx(10 / 7)
    assert sample() == {"v0.1": 0.0, "v0.2": 0.0}
    switch.stop()
    switch.start().counts = {"a;v0.1": 1}
    assert sample()["v0.1"] > 0


def test_in_a_terminal_a_control_says_what_it_is_and_what_it_did() -> None:
    slider = WeightSlider(FakeLab())  # type: ignore[arg-type]
    slider.set(30)
    assert repr(slider) == "[Traffic: how much of svcb goes to v0.2?] 70/30: acknowledged by 2 sidecars after 5 ms"
    plot = LivePlot(lambda: {"v0.1": 3.0}, title="requests")
    assert repr(plot) == "[requests] no data yet"
    plot.take()
    assert repr(plot) == "[requests] v0.1 3"
