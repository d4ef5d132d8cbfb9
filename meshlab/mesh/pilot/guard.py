"""What stands between the network and one port of a pod: mutual TLS, tokens, authorization. Pure.

    connection → TLS inspector → mutual TLS or plain → tokens → DENY → ALLOW → (Mixer's check) → application
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from meshlab.mesh.config.labels import NO_LABELS
from meshlab.mesh.config.security import PeerMode
from meshlab.mesh.config.services import Port
from meshlab.mesh.pilot import authentication, authorization, mutual
from meshlab.mesh.pilot.encode import Fields, duration, pack
from meshlab.mesh.pilot.proxy import Capture, Proxy
from meshlab.mesh.pilot.world import World
from meshlab.settings import bound_port

__all__ = ["OPEN", "Guard", "guard"]

#: How long a connection may say nothing before it is taken for plain text, ns: some protocols let the server begin.
SILENCE_NS = 1_000_000_000
#: One line for each connection that a strict port refuses; without it only Envoy's counters tell of them.
REFUSED = (
    "[%START_TIME%] refused %DOWNSTREAM_REMOTE_ADDRESS% -> %DOWNSTREAM_LOCAL_ADDRESS% %RESPONSE_FLAGS%: "
    "this port takes mutual TLS only (PeerAuthentication STRICT or authPolicy "
    "MUTUAL_TLS), and plain text came\n"
)


@dataclass(frozen=True)
class Guard:
    """The parts of a listener and of its routes."""

    mode: PeerMode = PeerMode.DISABLE
    domain: str = "cluster.local"
    #: In front of all other filters of HTTP and of TCP.
    http_filters: tuple[Fields, ...] = ()
    tcp_filters: tuple[Fields, ...] = ()
    #: `typed_per_filter_config` of the route table.
    routes: Mapping[str, Fields] = field(default_factory=dict)
    #: Clusters that the filters need, by name.
    clusters: Mapping[str, Fields] = field(default_factory=dict)
    #: Mutual TLS is demanded and there is no certificate: nothing is let in.
    shut: bool = False
    log: str = ""
    #: Paths are brought into their shortest form before rules see them, as today's sidecars do.
    normalize: bool = False

    @property
    def secured(self) -> bool:
        return not self.shut and self.mode in (PeerMode.PERMISSIVE, PeerMode.STRICT)

    def apply(self, listener: Fields, filters: Sequence[Fields], closing: Fields, *, http: bool) -> Fields:
        """Completes a listener: filter chains with these filters; `closing` is the one of what leads nowhere."""
        if self.shut:
            listener["filter_chains"] = [closing]
            return listener
        listener["filter_chains"] = mutual.chains(self.mode, filters, self.domain, http=http)
        if not self.secured:
            return listener
        listener["listener_filters"] = [mutual.inspector()]
        listener["listener_filters_timeout"] = duration(SILENCE_NS)
        if self.mode is PeerMode.PERMISSIVE:
            listener["continue_on_listener_filters_timeout"] = True
        elif self.log:
            listener["access_log"] = [{
                "name": "envoy.access_loggers.file",
                "filter": {"response_flag_filter": {"flags": ["NR"]}},
                "typed_config": pack("FileAccessLog", {
                    "path": self.log, "log_format": {"text_format_source": {"inline_string": REFUSED}},
                }),
            }]
        return listener


#: No guard at all.
OPEN = Guard()


def guard(
    world: World, proxy: Proxy, number: int, port: Port, *, both: bool = False, log: str = ""
) -> Guard:
    """For a pod's port `number`, to which `port` of a service leads.

    `both`: plain text and mutual TLS are taken whatever is said, because callers are about to change.
    """
    security = world.security
    if not security.in_use and not both:
        return OPEN
    pod = world.workloads.get(proxy.ip)
    labels = pod.labels if pod is not None else NO_LABELS
    account = f"{proxy.namespace}/{pod.service_account}" if pod is not None else proxy.account
    mode = security.mode(proxy.namespace, labels, number, port)
    ready = security.certified(account)
    if mode is PeerMode.PERMISSIVE and not ready:
        mode = PeerMode.DISABLE
    shut = mode is PeerMode.STRICT and not ready
    if both and ready:
        mode = PeerMode.PERMISSIVE
    bound = _really_bound(world, proxy)
    policies = security.policies(proxy.namespace, labels)
    tokens = security.tokens_for(proxy.namespace, labels)
    if not port.protocol.is_http:
        tcp = tuple(authorization.tcp_filters(policies, bound))
        return Guard(mode, security.domain, tcp_filters=tcp, shut=shut, log=log)
    filters = [*authentication.filters(tokens)]
    if security.automatic or security.authorizations:
        filters += authorization.http_filters()
    clusters = {each.cluster: _keys(world, proxy, each) for each in authentication.key_sources(tokens)}
    return Guard(
        mode, security.domain, http_filters=tuple(filters), routes=authorization.enforced(policies, bound),
        clusters=clusters, shut=shut, log=log, normalize=security.automatic or bool(security.authorizations),
    )


def _really_bound(world: World, proxy: Proxy) -> Callable[[int], int]:
    """On which port a pod's port is really bound."""
    if proxy.capture is not Capture.SHIM:
        return int
    return lambda number: bound_port(number, world.mesh.low_port_start)


def _keys(world: World, proxy: Proxy, source: authentication.KeySource) -> Fields:
    """The cluster of a server of keys, which may be a service of the mesh."""

    def address(host: str, port: int) -> tuple[str, int] | None:
        parts = host.split(".")
        names = (host, f"{host}.svc.{world.mesh.domain}", f"{host}.{world.mesh.domain}",
                 f"{host}.{proxy.namespace}.svc.{world.mesh.domain}")
        for name in names if len(parts) < 6 else (host,):
            service = world.service(name)
            if service is not None and service.address:
                return service.address, bound_port(port, world.mesh.low_port_start)
        return None

    anywhere: Fields | None = None
    if world.mesh.capture is Capture.SHIM:
        # A loopback address cannot go outside.
        anywhere = {"source_address": {"address": "0.0.0.0", "port_value": 0}}  # noqa: S104
    return authentication.key_cluster(source, address, anywhere)
