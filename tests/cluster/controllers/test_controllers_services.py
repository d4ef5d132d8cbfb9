"""Endpoints and EndpointSlices."""

from __future__ import annotations

import asyncio
from pathlib import Path

from controller_lab import NODE, controller_lab, deployment

from meshlab.cluster.controllers.backends import target_port


def service(name: str = "web", **spec):
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}], **spec}}


def addresses(lab, name: str = "web", field: str = "addresses"):
    found = lab.find("Endpoints", name)
    return [a["ip"] for s in (found or {}).get("subsets") or [] for a in s.get(field) or []]


def sliced(lab, name: str = "web"):
    """ip → (ready, serving, terminating)."""
    return {e["addresses"][0]: tuple(e["conditions"].get(c) for c in ("ready", "serving", "terminating"))
            for s in lab.all("EndpointSlice", selector=f"kubernetes.io/service-name={name}")
            for e in s.get("endpoints") or []}


def test_pods_are_behind_a_service_while_they_are_ready(tmp_path: Path):
    async def story() -> None:
        async with controller_lab(tmp_path) as lab:
            lab.create(service())
            lab.create(NODE)  # a pod without one is deleted without grace
            lab.create(deployment(replicas=2))
            await lab.until(lambda: len([p for p in lab.pods() if p["spec"].get("nodeName")]) == 2)
            a, b = lab.pods()
            lab.set_status(a, ip="127.54.0.12")
            lab.set_status(b, ip="127.54.0.5")
            await lab.until(lambda: addresses(lab) == ["127.54.0.5", "127.54.0.12"])
            lab.set_status(a, ready=False, ip="127.54.0.12")
            await lab.until(lambda: addresses(lab) == ["127.54.0.5"]
                            and addresses(lab, field="notReadyAddresses") == ["127.54.0.12"])
            await lab.until(lambda: sliced(lab) == {"127.54.0.5": (True, True, False),
                                                    "127.54.0.12": (False, False, False)})
            lab.delete("Pod", b["metadata"]["name"])  # has a grace period: it is still there
            await lab.until(lambda: "127.54.0.5" not in addresses(lab))
            await lab.until(lambda: sliced(lab).get("127.54.0.5") == (False, True, True))
            [subset] = lab.get("Endpoints", "web")["subsets"]
            assert subset["ports"] == [{"port": 8080, "protocol": "TCP"}]
            assert subset["notReadyAddresses"][0]["targetRef"]["name"] == a["metadata"]["name"]

    asyncio.run(story())


def test_a_pod_whose_label_changes_leaves_and_another_service_takes_it(tmp_path: Path):
    async def story() -> None:
        async with controller_lab(tmp_path) as lab:
            lab.create(service())
            lab.create(service("other", selector={"app": "other"}))
            pod = lab.create({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"app": "web"}},
                              "spec": {"containers": [{"name": "c", "image": "x"}]}})
            lab.set_status(pod, ip="127.54.0.7")
            await lab.until(lambda: addresses(lab) == ["127.54.0.7"])
            lab.change("Pod", "p", {"metadata": {"labels": {"app": "other"}}})
            await lab.until(lambda: addresses(lab) == [] and addresses(lab, "other") == ["127.54.0.7"])

    asyncio.run(story())


def test_a_service_that_goes_takes_its_endpoints_with_it(tmp_path: Path):
    async def story() -> None:
        async with controller_lab(tmp_path) as lab:
            lab.create(service())
            await lab.until(lambda: lab.find("Endpoints", "web") and lab.all("EndpointSlice"))
            lab.delete("Service", "web")
            await lab.until(lambda: not lab.find("Endpoints", "web") and not lab.all("EndpointSlice"))

    asyncio.run(story())


def test_endpoints_written_by_hand_stay_and_are_mirrored(tmp_path: Path):
    async def story() -> None:
        async with controller_lab(tmp_path) as lab:
            lab.create({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "outside"},
                        "spec": {"ports": [{"port": 9997}]}})
            lab.create({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "outside"},
                        "subsets": [{"addresses": [{"ip": "127.100.35.27"}], "ports": [{"port": 9997}]}]})
            await lab.until(lambda: sliced(lab, "outside") == {"127.100.35.27": (True, None, None)})
            await lab.quiet()
            assert addresses(lab, "outside") == ["127.100.35.27"]

    asyncio.run(story())


def test_a_named_target_port_is_looked_up_in_each_pod():
    pod = {"spec": {"containers": [{"name": "c", "ports": [{"name": "web", "containerPort": 8081},
                                                           {"name": "dns", "containerPort": 53, "protocol": "UDP"}]}]}}
    for port, expected in (({"port": 80, "targetPort": "web"}, 8081), ({"port": 80}, 80),
                           ({"port": 80, "targetPort": 90}, 90), ({"port": 80, "targetPort": "none"}, None),
                           ({"port": 53, "targetPort": "dns", "protocol": "UDP"}, 53),
                           ({"port": 53, "targetPort": "dns"}, None)):
        assert target_port(port, pod) == expected, port


def test_unready_pods_are_published_where_a_service_asks_for_it(tmp_path: Path):
    async def story() -> None:
        async with controller_lab(tmp_path) as lab:
            lab.create(service(clusterIP="None", publishNotReadyAddresses=True))
            lab.create(deployment(replicas=1))
            [pod] = await lab.until(lab.pods)
            lab.set_status(pod, ready=False, ip="127.54.0.3")
            await lab.until(lambda: addresses(lab) == ["127.54.0.3"])
            assert "service.kubernetes.io/headless" in lab.get("Endpoints", "web")["metadata"]["labels"]

    asyncio.run(story())
