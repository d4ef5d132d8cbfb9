"""Exercises of lesson 01: what the mesh's own configuration says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import yaml

from meshlab.notebook.exercise import Problem, Verdict

if TYPE_CHECKING:
    from meshlab.lab import Lab

__all__ = ["problems"]

#: Where a mesh's configuration does not say it: https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/
DISCOVERY = "istiod.istio-system.svc:15012"


def problems(lab: Lab) -> tuple[Problem, ...]:
    namespace = lab.engine.control_plane[0].namespace

    said = yaml.safe_load(lab.kubectl(f"get configmap istio -n {namespace} -o jsonpath={{.data.mesh}}")) or {}
    asked = (said.get("defaultConfig") or {}).get("discoveryAddress") or DISCOVERY
    mixer = said.get("mixerAddress")
    (provider, *_) = (said.get("defaultProviders") or {}).get("metrics") or ("nobody",)

    def judge(answer: object, wanted: str, key: str) -> Verdict:
        if answer is None:
            return Verdict.not_attempted("write it as 'service:port'")
        if answer in (wanted, wanted.replace(".istio-system", "")):
            return Verdict.right("the mesh's configuration says {key}: {wanted}", key=key, wanted=wanted)
        return Verdict.not_yet("{answer!r} is not what the mesh's configuration says", answer=answer)

    def discovery(answer: object) -> Verdict:
        return judge(answer, str(asked), "discoveryAddress")

    def reports(answer: object) -> Verdict:
        return judge(answer, str(mixer), "mixerAddress")

    def counted(answer: object) -> Verdict:
        return judge(answer, str(provider), "defaultProviders")

    return (
        Problem(
            "the first question of a sidecar",
            "Whom does a sidecar ask for its configuration?",
            discovery,
            ("look for a key that ends in Address", "it is under defaultConfig", "discovery is Pilot's business"),
            f"ex1.check('{asked}')",
        ),
        Problem(
            "where the reports go",
            "To whom does a sidecar report the requests that it served?",
            reports,
            ("the same ConfigMap says it", "Mixer makes metrics and logs of reports", "it is Mixer's proxy: 15004"),
            f"ex2.check('{mixer}')",
        )
        if mixer
        else Problem(
            "where the reports go",
            "This cluster's Istio has no Mixer: sidecars count their requests themselves. For whom, by default?",
            counted,
            ("the same ConfigMap says it", "it is under defaultProviders"),
            f"ex2.check('{provider}')",
        ),
    )
