"""Ends the kube-proxy of a daemon that was killed, when there is no daemon any more to do it."""

from __future__ import annotations

import os
import select
import signal
from contextlib import suppress

from meshlab.cluster.network.kubeproxy import KubeProxy
from meshlab.cluster.node.process import Record
from meshlab.settings import Settings

__all__ = ["stop_leftover"]


def stop_leftover(settings: Settings, timeout: float = 5.0) -> bool:
    """Kill the kube-proxy that this lab's record names and wait for its end; whether one ended.

    For use without an event loop, and only while no daemon runs. Harmless when there is nothing to stop.
    """
    proxy = KubeProxy(settings)
    record = Record.read(proxy.record)
    found = False
    if record is not None and record.alive():
        with suppress(ProcessLookupError):
            pidfd = os.pidfd_open(record.pid)
            try:
                if record.alive():  # still the same process, now that its pid cannot be used again
                    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                    ended = select.poll()
                    ended.register(pidfd, select.POLLIN)
                    found = bool(ended.poll(timeout * 1_000))
            finally:
                os.close(pidfd)
    proxy.forget()
    return found
