"""Probes: is a container alive, started, ready?

`check` asks once. `Prober` keeps asking: briskly until the first success, because that is what everybody waits for,
and at the probe's own period afterwards. Asking early never counts as a failure: thresholds count periods.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meshlab.cluster.node.grpchealth import serving
from meshlab.cluster.node.outcome import Outcome
from meshlab.settings import bound_port

__all__ = ["BRISK", "Outcome", "Prober", "Target", "accepts", "accepts_inside", "ask", "check", "envoy_live"]

#: Seconds between questions until the first success. A refused connection on loopback costs 50 µs, so that
#: thirty containers starting together cost one core 1 %.
BRISK = 0.1


@dataclass(frozen=True)
class Target:
    """Whom probes ask and from where: the pod's address, its private address, the node's, named ports, commands."""

    address: str
    local: str
    node: str
    ports: Mapping[str, int]
    environ: Mapping[str, str]
    cwd: Path
    command: Callable[[Sequence[str]], list[str]]
    #: Makes a socket from which the private address can be reached.
    dial: Callable[[], socket.socket]

    def port(self, port: int | str) -> int:
        """The number of a port that a probe names by number or name."""
        return self.ports[port] if isinstance(port, str) and port in self.ports else int(port)


async def accepts(address: str, port: int, source: str) -> bool:
    """Whether something listens at `address` on nominal `port`; asked from the address `source`."""
    try:
        _, writer = await asyncio.open_connection(address, bound_port(port), local_addr=(source, 0))
    except OSError:
        return False
    writer.transport.abort()
    return True


async def accepts_inside(target: Target, port: int) -> bool:
    """Whether something listens on nominal `port` of the pod's private address."""
    with target.dial() as asking:
        asking.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(asking, (target.local, bound_port(port)))
        except OSError:
            return False
    return True


async def envoy_live(socket: Path) -> bool:
    """Whether the Envoy behind this admin socket answers LIVE, that is, has its first listeners."""
    try:
        reader, writer = await asyncio.open_unix_connection(str(socket))
    except OSError:
        return False
    try:
        writer.write(b"GET /ready HTTP/1.1\r\nHost: envoy\r\nConnection: close\r\n\r\n")
        status = await reader.readline()
    except OSError:
        return False
    finally:
        writer.transport.abort()
    return status.split(b" ")[1:2] == [b"200"]


async def check(probe: Mapping[str, Any], target: Target) -> Outcome:
    """Ask once, within the probe's timeout."""
    seconds = float(probe.get("timeoutSeconds") or 1)
    try:
        async with asyncio.timeout(seconds):
            return await ask(probe, target)
    except TimeoutError:
        return Outcome(False, _late(probe, target, seconds))


async def ask(handler: Mapping[str, Any], target: Target) -> Outcome:
    """Do what a probe or a hook says, once."""
    if http := handler.get("httpGet"):
        return await _http(http, target)
    if tcp := handler.get("tcpSocket"):
        return await _tcp(tcp, target)
    if command := handler.get("exec"):
        return await _exec(command, target)
    grpc = handler.get("grpc") or {}
    found = await serving(target.address, int(grpc["port"]), str(grpc.get("service") or ""), target.node)
    return Outcome(found.ok, found.message)


def _late(probe: Mapping[str, Any], target: Target, seconds: float) -> str:
    """What a kubelet says of a probe that took too long."""
    if http := probe.get("httpGet"):
        return (f'Get "{_url(http, target)}": context deadline exceeded (Client.Timeout exceeded while awaiting '
                "headers)")
    if tcp := probe.get("tcpSocket"):
        return f"dial tcp {tcp.get('host') or target.address}:{target.port(tcp['port'])}: i/o timeout"
    if grpc := probe.get("grpc"):
        return f'timeout: failed to connect service "{target.address}:{grpc["port"]}" within {seconds:g}s'
    return f"command timed out after {seconds:g}s"


def _url(http: Mapping[str, Any], target: Target) -> str:
    path = str(http.get("path") or "/")
    host, scheme = http.get("host") or target.address, str(http.get("scheme") or "HTTP").lower()
    return f"{scheme}://{host}:{target.port(http['port'])}{path if path.startswith('/') else '/' + path}"


async def _http(http: Mapping[str, Any], target: Target) -> Outcome:
    host, port = str(http.get("host") or target.address), target.port(http["port"])
    path = str(http.get("path") or "/")
    url = _url(http, target)
    context = None
    if url.startswith("https:"):
        import ssl

        context = ssl._create_unverified_context()  # noqa: S323 - a kubelet does not verify probes either
    headers = {"Host": f"{host}:{port}", "User-Agent": "kube-probe/1.37", "Accept": "*/*", "Connection": "close"}
    headers |= {str(header["name"]): str(header["value"]) for header in http.get("httpHeaders") or []}
    try:
        reader, writer = await asyncio.open_connection(host, bound_port(port), ssl=context,
                                                       local_addr=(target.node, 0))
    except OSError as error:
        return Outcome(False, f'Get "{url}": dial tcp {host}:{port}: {_reason(error)}')
    try:
        lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        writer.write("\r\n".join(lines).encode())
        words = (await reader.readline()).split()
    except OSError as error:
        return Outcome(False, f'Get "{url}": {_reason(error)}')
    finally:
        writer.transport.abort()
    if len(words) < 2 or not words[1].isdigit():
        return Outcome(False, f'Get "{url}": EOF')
    status = int(words[1])
    return Outcome(200 <= status < 400, f"HTTP probe failed with statuscode: {status}")


async def _tcp(tcp: Mapping[str, Any], target: Target) -> Outcome:
    host, port = str(tcp.get("host") or target.address), target.port(tcp["port"])
    ok = await accepts(host, port, target.node)
    return Outcome(ok, "" if ok else f"dial tcp {host}:{port}: connect: connection refused")


async def _exec(command: Mapping[str, Any], target: Target) -> Outcome:
    argv = target.command(command.get("command") or [])
    try:
        process = await asyncio.create_subprocess_exec(
            *argv, env=dict(target.environ), cwd=target.cwd, start_new_session=True,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
    except OSError as error:
        return Outcome(False, f"exec {argv[:1]}: {_reason(error)}")
    try:
        output, _ = await process.communicate()
    except asyncio.CancelledError:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        raise
    # Paths are told as the container knows them.
    said = output.decode(errors="replace").replace(str(target.cwd), "")
    return Outcome(process.returncode == 0, said[:1024].strip())


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


class Prober:
    """One probe of one container, asked until cancelled.

    `report(ok)` is called when the answer changes, thresholds considered; `failed(message)` for every failure that
    counts, for events. Before the first report the answer is `initial`.
    """

    def __init__(self, probe: Mapping[str, Any], target: Target, *, initial: bool, report: Callable[[bool], None],
                 failed: Callable[[str], None], brisk: bool) -> None:
        self._probe, self._target = probe, target
        self._answer = initial
        self._report, self._failed = report, failed
        self._brisk = brisk

    async def run(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        period = float(self._probe.get("periodSeconds") or 10)
        need_ok = int(self._probe.get("successThreshold") or 1)
        need_bad = int(self._probe.get("failureThreshold") or 3)
        await asyncio.sleep(float(self._probe.get("initialDelaySeconds") or 0))
        good = bad = 0
        # Before it ever answered, a failure counts when a period has passed, not at the first brisk question.
        counted = loop.time() - (0 if self._brisk else period)
        while True:
            outcome = await check(self._probe, self._target)
            now = loop.time()
            if outcome.ok:
                good, bad = good + 1, 0
                if good >= need_ok and not self._answer:
                    self._say(True)
            else:
                good = 0
                if now - counted >= period:
                    counted, bad = now, bad + 1
                    self._failed(outcome.message)
                    if bad >= need_bad:
                        bad = 0
                        self._say(False)
            waiting = self._brisk and not self._answer
            await asyncio.sleep(min(BRISK, period) if waiting else period)

    def _say(self, answer: bool) -> None:
        self._answer = answer
        self._report(answer)
