"""What is stored, valid, and yet not served at the edge of the mesh: a name leads nowhere, a secret is not there. Pure.

It comes into force by itself once that is there, so it is no `Problem` of the rule's own.
"""

from __future__ import annotations

from collections.abc import Iterator

from meshlab.mesh.config.ingress import parse_rule_name
from meshlab.mesh.pilot.gateways import server_problem
from meshlab.mesh.pilot.ingress import backend_problem, tls_problem
from meshlab.mesh.pilot.world import Problem, World

__all__ = ["unmet", "unserved"]


def unserved(world: World) -> Iterator[Problem]:
    """Every path of an Ingress and every server of a Gateway that nobody serves, and why."""
    for rule in world.ingress_rules:
        if reason := backend_problem(world, rule) or tls_problem(world, rule):
            yield Problem(rule.meta.key, reason, rule.meta.resource_version)
    yield from _servers(world)


def unmet(world: World) -> Iterator[Problem]:
    """What whoever stores it did not ask for in vain: TLS without its certificate.

    A path whose backend is not there is silently left out, as in 0.4.
    """
    for rule in world.ingress_rules:
        if reason := tls_problem(world, rule):
            name = parse_rule_name(rule.meta.name)[0]
            yield Problem(f"Ingress/{rule.meta.namespace}/{name}", reason, rule.meta.resource_version)
    yield from _servers(world)


def _servers(world: World) -> Iterator[Problem]:
    for gateway in world.gateways:
        for server in gateway.servers:
            if (reason := server_problem(world, gateway, server)) and gateway.origin is not None:
                key = f"{gateway.origin.key}/{server.name or server.port}"
                yield Problem(key, reason, gateway.origin.revision)
