"""Random valid rules of v1alpha2, for properties that must hold of all of them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

NAMES = ("svca", "svcb", "svcc")
VERSIONS = ("v0.1", "v0.2", "v0.3")
Spec = dict[str, Any]

service = st.sampled_from(NAMES).map(lambda name: {"name": name})
labels = st.sampled_from(VERSIONS).map(lambda version: {"version": version})
seconds = st.integers(1, 90).map(lambda n: f"{n}s")
header_value = st.sampled_from(("a", "b", "user-1", "x.y"))
string_match = st.one_of(
    st.fixed_dictionaries({kind: header_value})
    for kind in ("exact", "prefix", "regex")  # type: ignore[arg-type]
)
path_match = st.one_of(
    st.fixed_dictionaries({kind: st.sampled_from(("/", "/a", "/a/b", "/c"))})
    for kind in ("exact", "prefix")  # type: ignore[arg-type]
)


@st.composite
def matches(draw: st.DrawFn) -> Spec:
    out: Spec = {}
    headers = draw(st.dictionaries(st.sampled_from(("cookie", "x-user", "method")), string_match, max_size=2))
    if draw(st.booleans()):
        headers["uri"] = draw(path_match)
    if headers:
        out["request"] = {"headers": headers}
    if draw(st.integers(0, 3)) == 0:
        out["source"] = {**draw(service), **draw(st.one_of(st.just({}), labels.map(lambda each: {"labels": each})))}
    return out


@st.composite
def weights(draw: st.DrawFn) -> list[Spec]:
    versions = draw(st.lists(st.sampled_from(VERSIONS), min_size=1, max_size=3, unique=True))
    if len(versions) == 1:
        return [{"labels": {"version": versions[0]}} | draw(st.sampled_from(({}, {"weight": 100})))]
    cuts = sorted(draw(st.lists(st.integers(0, 100), min_size=len(versions) - 1, max_size=len(versions) - 1)))
    shares = [high - low for low, high in zip([0, *cuts], [*cuts, 100], strict=True)]
    return [{"labels": {"version": v}, "weight": w} for v, w in zip(versions, shares, strict=True)]


faults = st.fixed_dictionaries(
    {},
    optional={
        "delay": st.fixed_dictionaries({"percent": st.integers(0, 100), "fixedDelay": seconds}),
        "abort": st.fixed_dictionaries({"percent": st.integers(0, 100), "httpStatus": st.sampled_from((0, 400, 503))}),
    },
)
cors = st.fixed_dictionaries(
    {"allowOrigin": st.lists(st.sampled_from(("*", "http://a.com")), max_size=2)},
    optional={
        "allowMethods": st.just(["GET", "POST"]),
        "allowHeaders": st.just(["x-a"]),
        "maxAge": seconds,
        "allowCredentials": st.booleans(),
    },
)


@st.composite
def route_rules(draw: st.DrawFn) -> Spec:
    """The spec of one; websockets always allowed, because today's API cannot forbid them."""
    out: Spec = {"destination": draw(service), "precedence": draw(st.integers(0, 3))}
    if draw(st.booleans()):
        out["match"] = draw(matches())
    if draw(st.integers(0, 5)) == 0:
        return out | {"redirect": draw(st.sampled_from(({"uri": "/new"}, {"authority": "b", "uri": "/x"})))}
    out["websocketUpgrade"] = True
    if draw(st.booleans()):
        out["route"] = draw(weights())
    for name, strategy in (
        ("rewrite", st.sampled_from(({"uri": "/new"}, {"authority": "other"}))),
        ("httpReqTimeout", seconds.map(lambda each: {"simpleTimeout": {"timeout": each}})),
        ("httpReqRetries", st.builds(lambda n, t: {"simpleRetry": {"attempts": n, "perTryTimeout": t}},
                                     st.integers(0, 5), seconds)),
        ("httpFault", faults),
        ("corsPolicy", cors),
        ("mirror", st.builds(lambda a, b: a | {"labels": b}, service, labels)),
        ("appendHeaders", st.dictionaries(st.sampled_from(("x-one", "x-two")), header_value, min_size=1)),
    ):  # fmt: skip
        if draw(st.integers(0, 3)) == 0:
            out[name] = draw(strategy)  # type: ignore[arg-type]
    return out


@st.composite
def destination_policies(draw: st.DrawFn) -> Spec:
    out: Spec = {"destination": draw(service) | draw(st.one_of(st.just({}), labels.map(lambda each: {"labels": each})))}
    if draw(st.booleans()):
        out["loadBalancing"] = {"name": draw(st.sampled_from(("ROUND_ROBIN", "LEAST_CONN", "RANDOM")))}
    if draw(st.booleans()):
        numbers = draw(st.dictionaries(st.sampled_from((
            "maxConnections", "httpMaxPendingRequests", "httpMaxRequests", "httpConsecutiveErrors",
            "httpMaxRequestsPerConnection", "httpMaxEjectionPercent",
        )), st.integers(0, 100)))  # fmt: skip
        times = {"sleepWindow": draw(seconds), "httpDetectionInterval": draw(st.sampled_from(("10s", "500ms")))}
        out["circuitBreaker"] = {"simpleCb": numbers | times}
    if draw(st.integers(0, 3)) == 0:
        out["source"] = draw(service)
    return out


@st.composite
def egress_rules(draw: st.DrawFn) -> Spec:
    host = draw(st.sampled_from(("127.100.35.27", "www.google.com", "*.foo.com", "127.100.0.0/16")))
    web = () if "/" in host else ("http", "https", "http2", "grpc")
    tcp = ("tcp", "mongo") if host[0] == "1" else ()
    numbers = draw(st.lists(st.sampled_from((80, 443, 9997, 27017)), min_size=1, max_size=2, unique=True))
    ports = [{"port": number, "protocol": draw(st.sampled_from((*web, *tcp)))} for number in numbers]
    return {"destination": {"service": host}, "ports": ports}


def document(kind: str, name: str, spec: Spec) -> Spec:
    meta = {"name": name, "namespace": "default"}
    return {"apiVersion": "config.istio.io/v1alpha2", "kind": kind, "metadata": meta, "spec": spec}


@st.composite
def streams(draw: st.DrawFn) -> list[Spec]:
    """Rules of all three kinds, with the Services that they are about."""
    out: list[Spec] = [
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
         "spec": {"selector": {"app": f"{name}-app"}, "ports": [{"port": 80, "name": "http"}]}}
        for name in NAMES
    ]  # fmt: skip
    for kind, strategy, most in (
        ("RouteRule", route_rules(), 5),
        ("DestinationPolicy", destination_policies(), 4),
        ("EgressRule", egress_rules(), 3),
    ):
        for number, spec in enumerate(draw(st.lists(strategy, max_size=most))):
            out.append(document(kind, f"{kind.lower()}-{number}", spec))
    return out
