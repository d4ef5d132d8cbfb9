"""How the node reaches a container that runs: addresses, ports, and commands beside its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from meshlab.cluster.node.environment import beside, interpreted
from meshlab.cluster.node.probes import Target
from meshlab.cluster.node.process import Process, environment_of

if TYPE_CHECKING:
    from meshlab.cluster.node.container import ContainerRunner

__all__ = ["target_of"]


def target_of(container: ContainerRunner, process: Process) -> Target:
    """Whom the probes and hooks of a container ask."""
    pod, view = container.pod, container.view
    ports = {str(port["name"]): int(port["containerPort"]) for port in container.spec.get("ports") or []
             if port.get("name")}

    def command(argv: Sequence[str]) -> list[str]:
        line = interpreted(beside(view.command(argv), container.image, pod.host.python), pod.host.python)
        return pod.host.pods.beside(process.record.pid, line, view.root)

    network = pod.host.settings.network
    return Target(address=pod.address, local=network.local_of(pod.address), node=network.node, ports=ports,
                  # Asked of the process itself: an adopted one has the variables of the day on which it was started.
                  environ=environment_of(process.record.pid), cwd=view.root, command=command,
                  dial=lambda: pod.host.pods.socket(pod.uid))
