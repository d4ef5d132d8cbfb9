"""What istiod refuses of the other kinds of networking.istio.io beyond their schemas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshlab.mesh.config.gotext import go_quote
from meshlab.mesh.config.today.checks import (
    at,
    check_export_to,
    check_host,
    check_labels,
    check_name,
    check_one_line,
    is_address,
    is_cidr,
)
from meshlab.mesh.config.today.outside_rules import PROTOCOLS

__all__ = ["destination_rule", "gateway", "service_entry", "sidecar", "workload_entry"]

Fields = Mapping[str, Any]
#: Of Envoy's Maglev tables.
LARGEST_TABLE = 5_000_011
#: The longest name that Envoy asks for by TLS, bytes.
LONGEST_SNI = 255
_BY_REQUEST = ("HTTP", "HTTP2", "GRPC", "GRPC-WEB")
#: Protocols whose connections name the host that they are for.
_NAMING = (*_BY_REQUEST, "HTTPS", "TLS")
#: A Sidecar says at least one of these; which pods it is for is nothing yet.
_SIDECAR = ("egress", "ingress", "outboundTrafficPolicy", "inboundConnectionPool")


def destination_rule(spec: Fields) -> list[str]:
    out = check_host(spec["host"])
    out += at("trafficPolicy", _policy(spec.get("trafficPolicy")))
    names = set[str]()
    for number, subset in enumerate(spec.get("subsets") or ()):
        name = subset["name"]
        problems = check_name(name, "subset name") + check_labels((subset.get("labels") or {}).items())
        problems += at("trafficPolicy", _policy(subset.get("trafficPolicy")))
        if name in names:
            problems.append(f"duplicate subset name {go_quote(name)}")
        names.add(name)
        out += at(f"subsets[{number}]", problems)
    out += check_labels(((spec.get("workloadSelector") or {}).get("matchLabels") or {}).items())
    return out + check_export_to(spec.get("exportTo") or ())


def _policy(policy: Fields | None, *, port: bool = False) -> list[str]:
    if policy is None:
        return []
    sections = ("outlierDetection", "connectionPool", "loadBalancer", "tls", "portLevelSettings", "tunnel")
    if not port and all(policy.get(name) is None for name in (*sections, "proxyProtocol")):
        return ["traffic policy must have at least one field"]
    out = _pool(policy.get("connectionPool")) + _balancer(policy.get("loadBalancer")) + _tls(policy.get("tls"))
    seen = set[int]()
    for number, each in enumerate(policy.get("portLevelSettings") or ()):
        chosen = (each.get("port") or {}).get("number")
        problems = _policy(each, port=True)
        if not chosen:
            problems.append("a port number is required")
        elif chosen in seen:
            problems.append(f"duplicate port {chosen}")
        seen.add(chosen or 0)
        out += at(f"portLevelSettings[{number}]", problems)
    return out


def _pool(pool: Fields | None) -> list[str]:
    if pool is None:
        return []
    if pool.get("tcp") is None and pool.get("http") is None:
        return ["connection pool must have at least one field"]
    http = pool.get("http")
    if http is not None and http.get("h2UpgradePolicy") == "UPGRADE" and http.get("useClientProtocol"):
        return ["use client protocol must not be true when H2UpgradePolicy is UPGRADE"]
    return []


def _balancer(balancer: Fields | None) -> list[str]:
    warm, out = (balancer or {}).get("warmup") or {}, list[str]()
    if warm.get("aggression") is not None and warm["aggression"] < 1:
        out.append("warmup.aggression must be at least 1")
    if warm.get("minimumPercent") is not None and not 0 <= warm["minimumPercent"] <= 100:
        out.append("warmup.minimumPercent must be in the range 0..100")
    chosen = (balancer or {}).get("consistentHash")
    if chosen is None:
        return out
    size = (chosen.get("maglev") or {}).get("tableSize") or 0
    if chosen.get("maglev") is not None and not size:
        out.append("tableSize must be set for maglev")
    elif size and (size > LARGEST_TABLE or not _prime(size)):
        out.append(f"maglev.tableSize {size} is no prime number of at most {LARGEST_TABLE:,}: Envoy refuses others")
    keys = ("httpHeaderName", "httpCookie", "useSourceIp", "httpQueryParameterName")
    if not any(chosen.get(key) for key in keys):
        out.append(f"consistentHash needs one of {', '.join(keys)}")
    return out + check_one_line(chosen.get("httpHeaderName") or "", "consistentHash.httpHeaderName")


def _prime(number: int) -> bool:
    return number > 1 and all(number % each for each in range(2, int(number**0.5) + 1))


def _tls(tls: Fields | None) -> list[str]:
    if tls is None:
        return []
    mode, out = tls.get("mode") or "DISABLE", list[str]()
    if len((tls.get("sni") or "").encode()) > LONGEST_SNI:
        out.append(f"sni is longer than {LONGEST_SNI} bytes: Envoy refuses it")
    own = ("clientCertificate", "privateKey", "caCertificates")
    if tls.get("credentialName") and any(tls.get(name) for name in own) and mode in ("SIMPLE", "MUTUAL"):
        out.append(f"cannot specify client certificates or CA certificate If credentialName is set: {mode}")
    elif mode == "MUTUAL" and not tls.get("credentialName"):
        for name, text in (("clientCertificate", "client certificate"), ("privateKey", "private key")):
            if not tls.get(name):
                out.append(f"{text} required for mutual tls")
    if mode == "ISTIO_MUTUAL" and any(tls.get(name) for name in own):
        out.append("certificates must not be set with mode ISTIO_MUTUAL, which uses Istio's own")
    return out


def service_entry(spec: Fields) -> list[str]:
    hosts, resolution = spec.get("hosts") or (), spec.get("resolution") or "NONE"
    out = [problem for host in hosts if host != "*" for problem in check_host(host)]
    networks = False
    for address in spec.get("addresses") or ():
        networks = networks or is_cidr(address)
        if not is_address(address) and not is_cidr(address):
            out.append(f"{address} is not a valid IP address or CIDR block")
    if networks and resolution not in ("NONE", "STATIC"):
        out.append("CIDR addresses are allowed only for NONE/STATIC resolution types")
    out += _entry_ports(spec)
    endpoints = spec.get("endpoints") or ()
    for number, each in enumerate(endpoints):
        out += at(f"endpoints[{number}]", _endpoint(each, spec, resolution))
    protocols = [(port.get("protocol") or "").upper() for port in spec.get("ports") or ()]
    if resolution != "NONE" and len(hosts) > 1 and any(each not in _NAMING for each in protocols):
        out.append("multiple hosts provided with non-HTTP, non-TLS ports")
    by_name = resolution in ("DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS")
    if by_name and not endpoints and spec.get("workloadSelector") is None:
        if any("*" in host for host in hosts) and resolution != "DYNAMIC_DNS":
            out.append(f"hosts must be FQDN if no endpoints are provided for resolution mode {resolution}")
        if resolution == "DNS_ROUND_ROBIN" and len(hosts) != 1:
            out.append("there must only be 0 or 1 endpoint and one host for resolution mode DNS_ROUND_ROBIN")
    if resolution == "DNS_ROUND_ROBIN" and len(endpoints) > 1:
        out.append("there must only be 0 or 1 endpoint for resolution mode DNS_ROUND_ROBIN")
    out += check_labels(((spec.get("workloadSelector") or {}).get("labels") or {}).items())
    return out + check_export_to(spec.get("exportTo") or (), nobody=True)


def _entry_ports(spec: Fields) -> list[str]:
    ports, out = spec.get("ports") or (), list[str]()
    names = set[str]()
    for port in ports:
        name, protocol = port["name"], (port.get("protocol") or "").upper()
        if name in names:
            out.append(f"service entry port name {go_quote(name)} already defined")
        names.add(name)
        out += [f"invalid port name: {name}" for _ in check_name(name, "port name")]
        if protocol not in PROTOCOLS:
            out.append(f"protocol {go_quote(protocol)} of port {name} is not supported")
    return out


def _endpoint(endpoint: Fields, spec: Fields, resolution: str) -> list[str]:
    address, out = endpoint.get("address") or "", list[str]()
    if address.startswith("unix://"):
        if not address.removeprefix("unix://").startswith(("/", "@")):
            out.append(f"{address} is not an absolute path")
        if len(spec.get("ports") or ()) != 1:
            out.append("exactly 1 service port required for unix endpoints")
        if endpoint.get("ports"):
            out.append("endpoint ports are not allowed with a unix address")
    elif resolution == "STATIC":
        if not is_address(address) and not endpoint.get("network"):
            out.append(f"endpoint address {go_quote(address)} is not a valid IP address")
    elif not is_address(address) and check_host(address, wildcard=False):
        out += [f"endpoint address {go_quote(address)} is not a valid FQDN or an IP address"]
    known = {port["name"] for port in spec.get("ports") or ()}
    out += [
        f"endpoint port {name} is not defined by the service entry"
        for name in endpoint.get("ports") or ()
        if name not in known
    ]
    return out + check_labels((endpoint.get("labels") or {}).items())


def workload_entry(spec: Fields) -> list[str]:
    address = spec.get("address") or ""
    out = []
    if address.startswith("unix://"):
        path = address.removeprefix("unix://")
        if not path.startswith(("/", "@")):
            out.append("UDS must be an absolute path or abstract socket")
        elif path.endswith("/"):
            out.append("UDS may not be a dir")
        if spec.get("ports"):
            out.append("unix domain socket address cannot have ports")
    elif address and not is_address(address) and check_host(address, wildcard=False):
        out.append(f"address {go_quote(address)} is neither an IP address nor a host name")
    return out + check_labels((spec.get("labels") or {}).items())


def gateway(spec: Fields) -> list[str]:
    out, names = list[str](), set[str]()
    for number, server in enumerate(spec.get("servers") or ()):
        problems = _server(server)
        name = server["port"]["name"]
        if name in names:
            problems.append(f"port names in servers must be unique: duplicate name {name}")
        names.add(name)
        out += at(f"servers[{number}]", problems)
    return out + check_labels((spec.get("selector") or {}).items())


def _server(server: Fields) -> list[str]:
    out = []
    for host in server["hosts"]:
        namespace, slash, name = host.rpartition("/")
        if slash and namespace not in ("*", ".") and check_name(namespace, "namespace"):
            out.append(f"invalid namespace value {go_quote(namespace)} in {go_quote(host)}")
        if name != "*" and not is_address(name):
            out += check_host(name)
    protocol, tls = server["port"]["protocol"].upper(), server.get("tls")
    if protocol not in PROTOCOLS or protocol in ("", "UDP"):
        out.append(f"invalid protocol {go_quote(server['port']['protocol'])}")
    if protocol in ("HTTPS", "TLS"):
        if tls is None:
            return [*out, "server must have TLS settings for HTTPS/TLS protocols"]
    elif tls is not None:
        if protocol in _BY_REQUEST and {key for key, value in tls.items() if value} <= {"httpsRedirect"}:
            return out
        return [*out, "server cannot have TLS settings for non HTTPS/TLS ports"]
    return out + _server_tls(tls or {}, protocol)


def _server_tls(tls: Fields, protocol: str) -> list[str]:
    mode = tls.get("mode") or "PASSTHROUGH"
    out = []
    if protocol in ("HTTPS", "TLS") and tls.get("httpsRedirect"):
        out.append("tls.httpsRedirect should only be used with http servers")
    if mode in ("SIMPLE", "MUTUAL", "OPTIONAL_MUTUAL") and not (
        tls.get("credentialName") or tls.get("credentialNames")
    ):
        word = mode.replace("_", " ")
        if not tls.get("serverCertificate"):
            out.append(f"{word} TLS requires a server certificate")
        if not tls.get("privateKey"):
            out.append(f"{word} TLS requires a private key")
        if mode != "SIMPLE" and not tls.get("caCertificates"):
            out.append(f"{word} TLS requires a client CA bundle")
    if mode == "ISTIO_MUTUAL" and any(tls.get(n) for n in ("serverCertificate", "privateKey", "caCertificates")):
        out.append("ISTIO_MUTUAL TLS cannot have associated certificates")
    low, high = tls.get("minProtocolVersion") or "TLS_AUTO", tls.get("maxProtocolVersion") or "TLS_AUTO"
    if "TLS_AUTO" not in (low, high) and low > high:
        out.append("TLS min version must not be greater than TLS max version")
    return out


def sidecar(spec: Fields) -> list[str]:
    out = check_labels(((spec.get("workloadSelector") or {}).get("labels") or {}).items())
    if not any(spec.get(name) for name in _SIDECAR):
        out.append("sidecar: empty configuration provided")
    seen = set[int]()
    for number, each in enumerate(spec.get("ingress") or ()):
        problems, port = list[str](), each["port"]
        if not port.get("number"):
            problems.append("port is required for ingress listeners")
        elif port["number"] in seen:
            problems.append(f"ports on IP bound listeners must be unique: duplicate port {port['number']}")
        seen.add(port.get("number") or 0)
        problems += _default_endpoint(each.get("defaultEndpoint") or "")
        out += at(f"ingress[{number}]", problems)
    open_egress = 0
    for number, each in enumerate(spec.get("egress") or ()):
        open_egress += each.get("port") is None
        for host in each["hosts"]:
            name = host.split("/", 1)[1]
            if name != "*":
                out += at(f"egress[{number}]", check_host(name))
            if "." not in name and "*" not in name:
                out += at(f"egress[{number}]", ["short names (non FQDN) are not allowed"])
    if open_egress > 1:
        out.append("sidecar: only one egress listener can have an empty port")
    return out


def _default_endpoint(text: str) -> list[str]:
    if not text or text.startswith("unix://"):
        return []
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or not 0 < int(port) < 65536:
        return [f"defaultEndpoint {text} must be of form <IP>:<port>"]
    if host not in ("127.0.0.1", "0.0.0.0", "[::1]", "[::]"):  # noqa: S104 - a text, nothing is bound
        return [
            "defaultEndpoint must be of form 127.0.0.1:<port>,0.0.0.0:<port>,[::1]:port,[::]:port or unix://, "
            f"not {text}"
        ]
    return []
