"""iptables rules as text for iptables-restore: pure functions.

`redirect` is what istio-init of 0.4.0 writes in a pod, with one difference: the proxy's own connections are known by a
mark on their sockets instead of its uid, because an unprivileged lab has one uid only. `balance` is kube-proxy's
part for the lab's whole network. Each text is a whole `nat` table, put in force at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from meshlab.cluster.network.services import Entry, port_key

__all__ = ["PROXY_MARK", "balance", "redirect"]

#: What a sidecar's own connections carry; the number is the uid of Istio's proxy.
PROXY_MARK = 1337
#: On packets of a pod that a service sends back to that very pod: without another source they would be refused.
HAIRPIN_MARK = 0x4000
#: Seconds for which kube-proxy keeps a client with its endpoint under session affinity.
AFFINITY = 10_800


def redirect(port: int, ranges: str) -> str:
    """All TCP into `port`, or only what goes to `ranges` (`10.0.0.0/8,…`); what comes from outside, too.

    >>> print(redirect(15001, "*").splitlines()[5])
    -A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001
    """
    networks = [each.strip() for each in ranges.split(",") if each.strip()]
    taken = ["-A ISTIO_OUTPUT -j ISTIO_REDIRECT"]
    if networks and "*" not in networks:
        taken = [f"-A ISTIO_OUTPUT -d {each} -j ISTIO_REDIRECT" for each in networks]
        taken.append("-A ISTIO_OUTPUT -j RETURN")
    return "\n".join(
        [
            "*nat",
            ":ISTIO_REDIRECT - [0:0]",
            ":ISTIO_OUTPUT - [0:0]",
            "-A PREROUTING -p tcp -j ISTIO_REDIRECT",
            "-A OUTPUT -p tcp -j ISTIO_OUTPUT",
            f"-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports {port}",
            # A program that calls its own pod by its address goes through the sidecar as well.
            "-A ISTIO_OUTPUT -o lo ! -d 127.0.0.1/32 -j ISTIO_REDIRECT",
            f"-A ISTIO_OUTPUT -m mark --mark {PROXY_MARK} -j RETURN",
            "-A ISTIO_OUTPUT -d 127.0.0.1/32 -j RETURN",
            *taken,
            "COMMIT",
            "",
        ]
    )


def balance(services: Mapping[str, Entry], node: str) -> str:
    """Each new TCP connection to a service's address, or to its port of the node, to a random ready endpoint.

    A service without endpoints gets no rule: its address is the node's own, where nobody listens.
    """
    chains: list[str] = []
    front: list[str] = []
    back: list[str] = []
    for name, entry in sorted(services.items()):
        if entry["ip"] in ("", "None"):
            continue
        for port in entry["ports"]:
            ends = entry["endpoints"][port_key(port["port"], port["protocol"])]
            if port["protocol"] != "TCP" or not ends:
                continue
            chain = _chain("SVC", f"{name}:{port['port']}")
            chains.append(chain)
            comment = f'-m comment --comment "{name}:{port["name"] or port["port"]}"'
            front.append(f"-A SERVICES -d {entry['ip']}/32 -p tcp --dport {port['port']} {comment} -j {chain}")
            if port["nodePort"]:
                front.append(f"-A SERVICES -d {node}/32 -p tcp --dport {port['nodePort']} {comment} -j {chain}")
            found = [(_chain("SEP", f"{name}:{port['port']}>{ip}:{number}"), ip, number) for ip, number in ends]
            sticky = bool(entry.get("affinity"))
            back += _endpoints(chain, found, sticky=sticky)
            chains += [each for each, _, _ in found]
    return "\n".join(
        [
            "*nat",
            ":SERVICES - [0:0]",
            *(f":{chain} - [0:0]" for chain in chains),
            "-A PREROUTING -j SERVICES",
            "-A OUTPUT -j SERVICES",
            f"-A POSTROUTING -m mark --mark {HAIRPIN_MARK} -j MASQUERADE",
            *front,
            *back,
            "COMMIT",
            "",
        ]
    )


def _endpoints(chain: str, ends: Iterable[tuple[str, str, int]], *, sticky: bool) -> list[str]:
    listed = list(ends)
    rules = []
    if sticky:
        rules += [
            f"-A {chain} -m recent --name {end} --rcheck --seconds {AFFINITY} --reap -j {end}" for end, _, _ in listed
        ]
    for left, (end, ip, number) in zip(range(len(listed), 0, -1), listed, strict=True):
        chance = f" -m statistic --mode random --probability {1 / left:.10f}" if left > 1 else ""
        rules.append(f"-A {chain}{chance} -j {end}")
        rules.append(f"-A {end} -s {ip}/32 -j MARK --set-mark {HAIRPIN_MARK}")
        remember = f" -m recent --name {end} --set" if sticky else ""
        rules.append(f"-A {end} -p tcp{remember} -j DNAT --to-destination {ip}:{number}")
    return rules


def _chain(kind: str, name: str) -> str:
    """A name of iptables has at most 28 characters."""
    return f"{kind}-{hashlib.sha256(name.encode()).hexdigest()[:16].upper()}"
