"""AuthorizationPolicies as Envoy's RBAC filters. Pure.

DENY is asked first, then ALLOW: whoever a DENY rule matches is refused; if there is any ALLOW policy, so is whoever no
ALLOW rule matches. Both HTTP filters are in every inbound listener but off, and the route table switches them on: a
policy that comes or goes changes routes, never a listener. A TCP listener has no routes, there the filters themselves
come and go.

A rule about requests on a port that the mesh takes as TCP is read as istiod reads it: in an ALLOW policy it matches
nothing; in a DENY policy what it says of requests is left out, so that it denies more, not less.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from meshlab.mesh.config.security import Action, Authorization, Rule, Values, action_problem
from meshlab.mesh.pilot.encode import Fields, pack

__all__ = ["ALLOW", "DENY", "TOKENS", "enforced", "http_filters", "policy_problem", "tcp_filters"]

Policies = Mapping[Action, Sequence[Authorization]]
#: Names of the two HTTP filters.
DENY, ALLOW = "envoy.filters.http.rbac.deny", "envoy.filters.http.rbac.allow"
TCP_RBAC = "envoy.filters.network.rbac"
#: Where the token filter leaves what it has verified: its own metadata, under this key.
TOKENS, PAYLOAD = "envoy.filters.http.jwt_authn", "payload"
#: Attributes that connections have, too; all others are of requests.
OF_CONNECTIONS = frozenset({
    "source.principal", "source.namespace", "source.serviceAccount", "source.ip", "remote.ip", "destination.ip",
    "destination.port", "request.port", "connection.sni",
})
ANY: Fields = {"any": True}


class Inexpressible(ValueError):
    """An attribute that this kind of connection, or this mesh, does not have; the text names it."""


def policy_problem(policy: Authorization) -> str:
    """Why a policy is not, or not wholly, in force; "" if it is."""
    if reason := action_problem(policy.action.value, policy.provider):
        return reason
    for rule in policy.rules:
        try:
            _policy(rule, policy.namespace, int)
        except (Inexpressible, ValueError) as error:
            return f"cannot be expressed to Envoy: {error}"
    return ""


def http_filters() -> list[Fields]:
    """Both filters, off."""
    return [{"name": name, "disabled": True, "typed_config": pack("RBAC", {})} for name in (DENY, ALLOW)]


def enforced(policies: Policies, port: Callable[[int], int] = int) -> dict[str, Fields]:
    """`typed_per_filter_config` that switches on what these policies need.

    `port` gives the port on which a pod's port is really bound.
    """
    found = {}
    for name, action in ((DENY, Action.DENY), (ALLOW, Action.ALLOW)):
        if wanted := policies.get(action):
            rules = _rules(wanted, action, port, tcp=False)
            found[name] = pack("RBACPerRoute", {"rbac": {"rules": rules}})
    return found


def tcp_filters(policies: Policies, port: Callable[[int], int] = int) -> list[Fields]:
    """The same for a TCP listener, in front of its proxy; asked once, when a connection opens."""
    return [
        {"name": TCP_RBAC, "typed_config": pack("TcpRBAC", {
            "stat_prefix": f"{action.value.lower()}.", "rules": _rules(policies[action], action, port, tcp=True),
        })}
        for action in (Action.DENY, Action.ALLOW)
        if policies.get(action)
    ]


def _rules(policies: Iterable[Authorization], action: Action, port: Callable[[int], int], *, tcp: bool) -> Fields:
    found: Fields = {}
    for policy in policies:
        for number, rule in enumerate(policy.rules):
            try:
                made = _policy(rule, policy.namespace, port, tcp=tcp, lenient=action is not Action.ALLOW)
            except (Inexpressible, ValueError):
                continue
            found[f"ns[{policy.namespace}]-policy[{policy.name}]-rule[{number}]"] = made
    return {"action": action.value, "policies": found}


# One rule


def _policy(
    rule: Rule, namespace: str, port: Callable[[int], int], *, tcp: bool = False, lenient: bool = False
) -> Fields:
    """A `Policy`: one of the permissions and one of the principals must match. Raises Inexpressible, ValueError."""

    def parts(
        wanted: Iterable[tuple[str, Values]], make: Callable[[str, str], Fields | None], word: str
    ) -> list[Fields]:
        """All that these attributes demand; `make` gives None for an attribute of the other kind."""
        demands: list[Fields] = []
        for key, values in wanted:
            if tcp and key not in OF_CONNECTIONS:
                if lenient:
                    continue
                raise Inexpressible(f"{key} is an attribute of requests")
            for listed, wrap in ((values.some, False), (values.none, True)):
                made = [each for value in listed if (each := make(key, value)) is not None]
                if made:
                    either = made[0] if len(made) == 1 else {f"or_{word}": {word: made}}
                    demands.append({_NOT[word]: either} if wrap else either)
        return demands

    def permission(key: str, value: str) -> Fields | None:
        return _permission(key, value, port)

    def principal(key: str, value: str) -> Fields | None:
        return _principal(key, value, namespace)

    for key, _ in rule.conditions:
        if not (_is_permission(key) or _is_principal(key)):
            raise Inexpressible(f"condition {key!r} is unknown")
    common_rules = parts(rule.conditions, permission, "rules")
    common_ids = parts(rule.conditions, principal, "ids")
    return {
        "permissions": [
            _all([*parts(each, permission, "rules"), *common_rules], "rules") for each in rule.operations or ((),)
        ],
        "principals": [_all([*parts(each, principal, "ids"), *common_ids], "ids") for each in rule.sources or ((),)],
    }


_NOT = {"rules": "not_rule", "ids": "not_id"}


def _all(demands: list[Fields], word: str) -> Fields:
    if not demands:
        return ANY
    return demands[0] if len(demands) == 1 else {f"and_{word}": {word: demands}}


def _is_permission(key: str) -> bool:
    return key in (
        "request.host", "request.port", "request.method", "request.path", "destination.ip", "destination.port",
        "connection.sni",
    )


def _permission(key: str, value: str, port: Callable[[int], int]) -> Fields | None:
    match key:
        case "request.host":
            return {"header": _header(":authority", value, ignore_case=True)}
        case "request.method":
            return {"header": _header(":method", value)}
        case "request.path":
            return _path(value)
        case "request.port" | "destination.port":
            return {"destination_port": port(int(value))}
        case "destination.ip":
            return {"destination_ip": _network(value)}
        case "connection.sni":
            return {"requested_server_name": _text(value)}
    return None


def _path(value: str) -> Fields:
    if "{*}" in value or "{**}" in value:
        template = value.replace("{**}", "**").replace("{*}", "*")
        return {"uri_template": {
            "name": "uri-template", "typed_config": pack("UriTemplateMatchConfig", {"path_template": template}),
        }}
    return {"url_path": {"path": _text(value)}}


_HEADER = re.compile(r"request\.headers\[(.+)\]")
_CLAIM = re.compile(r"request\.auth\.claims((?:\[[^\]]+\])+)")


def _is_principal(key: str) -> bool:
    return key in (
        "source.principal", "source.namespace", "source.serviceAccount", "source.ip", "remote.ip",
        "request.auth.principal", "request.auth.audiences", "request.auth.presenter",
    ) or bool(_HEADER.fullmatch(key) or _CLAIM.fullmatch(key))


def _principal(key: str, value: str, namespace: str) -> Fields | None:
    match key:
        case "source.principal":
            return _identity(value)
        case "source.namespace":
            return _peer({"safe_regex": {"regex": f"spiffe://[^/]+/ns/{_escaped(value)}/sa/.*"}})
        case "source.serviceAccount":
            space, _, name = value.rpartition("/")
            return _peer({"safe_regex": {
                "regex": f"spiffe://[^/]+/ns/{re.escape(space or namespace)}/sa/{re.escape(name)}"
            }})
        case "source.ip":
            return {"direct_remote_ip": _network(value)}
        case "remote.ip":
            return {"remote_ip": _network(value)}
        case "request.auth.principal":
            return _token_principal(value)
        case "request.auth.audiences":
            return _claim(["aud"], value)
        case "request.auth.presenter":
            return _claim(["azp"], value)
    if found := _HEADER.fullmatch(key):
        return {"header": _header(found[1].lower(), value)}
    if found := _CLAIM.fullmatch(key):
        return _claim(re.findall(r"\[([^\]]+)\]", found[1]), value)
    return None


def _peer(matcher: Fields | None) -> Fields:
    """Who proved an identity by mutual TLS; without a matcher, whoever it is."""
    return {"authenticated": {"principal_name": matcher} if matcher else {}}


def _identity(value: str) -> Fields:
    """`cluster.local/ns/default/sa/svca`, `*` for anybody who has proved one."""
    if value == "*":
        return _peer(None)
    return _peer(_text(value if value.startswith("*") else f"spiffe://{value}"))


def _token_principal(value: str) -> Fields:
    """`<issuer>/<subject>` of a token. Issuers have slashes of their own, so every place may be the one that joins."""
    if value == "*":
        return {"and_ids": {"ids": [_claim(["iss"], "*"), _claim(["sub"], "*")]}}
    begins, ends = value.endswith("*"), value.startswith("*")
    text = value.strip("*")
    ways: list[Fields] = []
    if begins:
        ways.append(_both(f"{text}*", "*"))
    if ends:
        ways.append(_both("*", f"*{text}"))
    for found in re.finditer("/", text):
        issuer, subject = text[: found.start()], text[found.end():]
        ways.append(_both(f"*{issuer}" if ends else issuer, f"{subject}*" if begins else subject))
    if not ways:
        raise Inexpressible(f"request principal {value!r} is not <issuer>/<subject>")
    return ways[0] if len(ways) == 1 else {"or_ids": {"ids": ways}}


def _both(issuer: str, subject: str) -> Fields:
    return {"and_ids": {"ids": [_claim(["iss"], issuer), _claim(["sub"], subject)]}}


def _claim(path: Sequence[str], value: str) -> Fields:
    """A claim that is this text, or a list that has it."""
    text: Fields = {"string_match": _text(value)}
    return {"metadata": {
        "filter": TOKENS,
        "path": [{"key": each} for each in (PAYLOAD, *path)],
        "value": {"or_match": {"value_matchers": [text, {"list_match": {"one_of": text}}]}},
    }}


def _header(name: str, value: str, *, ignore_case: bool = False) -> Fields:
    if value == "*":
        return {"name": name, "present_match": True}
    matcher = _text(value)
    if ignore_case:
        matcher["ignore_case"] = True
    return {"name": name, "string_match": matcher}


def _text(value: str) -> Fields:
    """A StringMatcher: `*` anything but nothing, `x*`, `*x`, or exactly this."""
    if value == "*":
        return {"safe_regex": {"regex": ".+"}}
    if value.startswith("*"):
        return {"suffix": value[1:]}
    if value.endswith("*"):
        return {"prefix": value[:-1]}
    return {"exact": value}


def _escaped(value: str) -> str:
    """A name in which `*` stands for anything, as a regular expression."""
    return "[^/]*".join(re.escape(each) for each in value.split("*"))


def _network(value: str) -> Fields:
    network = ipaddress.ip_network(value, strict=False)
    return {"address_prefix": str(network.network_address), "prefix_len": {"value": network.prefixlen}}
