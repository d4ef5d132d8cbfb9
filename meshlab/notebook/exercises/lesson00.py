"""Exercises of lesson 00: where one is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshlab.capability import Capability
from meshlab.notebook.exercise import Problem, Verdict

if TYPE_CHECKING:
    from meshlab.lab import Lab

__all__ = ["problems"]


def problems(lab: Lab) -> tuple[Problem, ...]:
    known = lab.engine.can(Capability.TUTORIAL_ADDRESSES)

    def address(answer: object) -> Verdict:
        if not answer:
            return Verdict.not_attempted("write an address")
        if not known:
            if _network(answer) in _networks(lab):
                return Verdict.right("a service of this cluster may have it")
            return Verdict.not_yet("services have other addresses here: see `kubectl get svc --all-namespaces`")
        wanted = f"{lab.network.services}.38.238"
        if answer == wanted:
            return Verdict.right("the tutorial's 10.105.38.238, in this lab's network")
        if str(answer).startswith("10.") and not wanted.startswith("10."):
            return Verdict.not_yet("that is the tutorial's own; nothing here listens on it")
        return Verdict.not_yet("the last two numbers are the tutorial's, the first two are this lab's")

    def kinds(answer: object) -> Verdict:
        if answer is None:
            return Verdict.not_attempted("count the namespaces")
        counted = len(lab.kubectl("get namespaces -o name").splitlines())
        if answer == counted:
            return Verdict.right("kubectl counts {counted} too", counted=counted)
        return Verdict.not_yet("kubectl get namespaces does not show {answer}", answer=answer)

    return (
        Problem(
            "where is svca",
            "Which address will the Service svca have in this lab?"
            if known
            else "Which address could the Service svca get on this cluster? (The cluster chooses one of its own.)",
            address,
            ("look at the table of addresses", "lab.network.services has the first two numbers"),
            'ex1.check(lab.network.services + ".38.238")',
        ),
        Problem(
            "ask the server",
            "How many namespaces does the lab's API server know just now?",
            kinds,
            ("kubectl get namespaces", "the first line of the output is a heading"),
            'ex2.check(len(lab.kubectl("get namespaces -o name").splitlines()))',
        ),
    )


def _network(address: object) -> str:
    """Its first two numbers."""
    return ".".join(str(address).split(".")[:2])


def _networks(lab: Lab) -> set[str]:
    """Those in which the cluster has given addresses to services; minikube's network of services is a /12."""
    return {
        _network(each["spec"]["clusterIP"])
        for each in lab.access.items("v1", "Service")
        if each["spec"].get("clusterIP")
    }
