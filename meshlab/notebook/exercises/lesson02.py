"""Exercises of lesson 02: what is injected, and who may pass by the sidecar."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import yaml

from meshlab.capability import Capability
from meshlab.errors import MeshlabError
from meshlab.notebook.exercise import Problem, Verdict

if TYPE_CHECKING:
    from meshlab.lab import Lab

__all__ = ["problems"]


def problems(lab: Lab) -> tuple[Problem, ...]:
    def stay_out(answer: object) -> Verdict:
        if not answer:
            return Verdict.not_attempted("write the annotation as 'key: value'")
        deployment = next(o for o in lab.documents("svca-v0.1.yaml") if o["kind"] == "Deployment")
        try:
            deployment["metadata"]["annotations"] = yaml.safe_load(str(answer))
            out = lab.istioctl("kube-inject -f -", stdin=yaml.safe_dump(deployment))
        except (MeshlabError, yaml.YAMLError) as error:
            return Verdict.not_yet("that gives an error: {error}", error=error)
        made = next(o for o in yaml.safe_load_all(out) if o and o["kind"] == "Deployment")
        labels = made["spec"]["template"]["metadata"]["labels"]
        if "istio-proxy" in out or {"sidecar.istio.io/inject", "istio.io/rev"} & set(labels):
            return Verdict.not_yet("kube-inject still adds a sidecar")
        return Verdict.right("kube-inject leaves this Deployment alone")

    def user(answer: object) -> Verdict:
        if answer is None:
            return Verdict.not_attempted("write a number")
        arguments = next(each["args"] for each in injected()["initContainers"] if "-u" in each.get("args", []))
        excepted = int(arguments[arguments.index("-u") + 1])
        if answer in (excepted, str(excepted)):
            return Verdict.right("what this user sends is not led into the sidecar: the sidecar itself runs as it")
        return Verdict.not_yet("istio-init is told another number than {answer}", answer=answer)

    def injected() -> Any:
        """The spec of a pod of svca with its sidecar: what kube-inject writes, or on a cluster what istiod made."""
        if not lab.engine.can(Capability.LEGACY_CONTROL_PLANE):
            return json.loads(lab.kubectl("get pods -l app=svca -o json"))["items"][0]["spec"]
        out = lab.istioctl(f"kube-inject -f {lab.files}/demo/svca-v0.1.yaml")
        return next(o for o in yaml.safe_load_all(out) if o and o["kind"] == "Deployment")["spec"]["template"]["spec"]

    return (
        Problem(
            "stay out",
            "Which annotation keeps kube-inject away?",
            stay_out,
            (
                "the control plane's own Deployments carry it: "
                "kubectl get deployment istio-pilot -n istio-system -o yaml",
                "its key begins with sidecar.istio.io/",
                "the value is a text, so put it in quotes",
            ),
            """ex1.check('sidecar.istio.io/inject: "false"')""",
        ),
        Problem(
            "past the proxy",
            "Connections of which user id does istio-init not redirect?",
            user,
            ("look at the arguments of the init container", "-u is for user"),
            "ex2.check(1337)",
        ),
    )
