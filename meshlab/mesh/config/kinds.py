"""The kinds of config.istio.io/v1alpha2: which ones Pilot knows, and how each is spelled.

A kind has a hyphenated type (`route-rule`, in keys and messages), a name on the command line and in URLs without
hyphens (`routerule`, `routerules`) and a CamelCase kind in documents (`RouteRule`). The kind alone selects the
schema: 0.4.0 never looked at apiVersion, and takes `kind: route-rule` as well.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "API_VERSION",
    "GROUP",
    "MIXER_KINDS",
    "PILOT_KINDS",
    "VERSION",
    "Kind",
    "camel",
    "hyphenated",
    "kind_of_type",
]

GROUP = "config.istio.io"
VERSION = "v1alpha2"
API_VERSION = f"{GROUP}/{VERSION}"

#: Kinds that Mixer reads; istioctl sends them to the API server as they are.
MIXER_KINDS = (
    "rule",
    "attributemanifest",
    "denier",
    "listchecker",
    "kubernetes",
    "kubernetesenv",
    "memquota",
    "noop",
    "prometheus",
    "stackdriver",
    "statsd",
    "stdio",
    "servicecontrol",
    "checknothing",
    "listentry",
    "logentry",
    "metric",
    "quota",
    "reportnothing",
)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind that Pilot knows."""

    type: str
    plural_type: str
    #: Whether istioctl's `get` and `delete` take it; IngressRule comes from Ingress objects only.
    listed: bool = True

    @property
    def kind(self) -> str:
        return camel(self.type)

    @property
    def name(self) -> str:
        """As typed on the command line: `routerule`."""
        return self.type.replace("-", "")

    @property
    def plural(self) -> str:
        """As in URLs: `routerules`."""
        return self.plural_type.replace("-", "")


#: In the order in which istioctl lists them.
PILOT_KINDS = (
    Kind("route-rule", "route-rules"),
    Kind("ingress-rule", "ingress-rules", listed=False),
    Kind("gateway", "gateways"),
    Kind("egress-rule", "egress-rules"),
    Kind("destination-policy", "destination-policies"),
    Kind("http-api-spec", "http-api-specs"),
    Kind("http-api-spec-binding", "http-api-spec-bindings"),
    Kind("quota-spec", "quota-specs"),
    Kind("quota-spec-binding", "quota-spec-bindings"),
    Kind("end-user-authentication-policy-spec", "end-user-authentication-policy-specs"),
    Kind("end-user-authentication-policy-spec-binding", "end-user-authentication-policy-spec-bindings"),
)

_INITIALISMS = {"HTTPAPISpec": "http-api-spec", "HTTPAPISpecBinding": "http-api-spec-binding"}


def hyphenated(kind: str) -> str:
    """`RouteRule` → `route-rule`.

    >>> hyphenated("ExampleXY"), hyphenated("route-rule"), hyphenated("HTTPAPISpec")
    ('example-x-y', 'route-rule', 'http-api-spec')
    """
    if kind in _INITIALISMS:
        return _INITIALISMS[kind]
    out = []
    for position, char in enumerate(kind):
        if "A" <= char <= "Z":
            out.append(("-" if position else "") + char.lower())
        else:
            out.append(char)
    return "".join(out)


def camel(type_name: str) -> str:
    """`route-rule` → `RouteRule`."""
    for kind, hyphens in _INITIALISMS.items():
        if hyphens == type_name:
            return kind
    return "".join(word[:1].upper() + word[1:] for word in type_name.split("-"))


def kind_of_type(type_name: str) -> Kind | None:
    """The kind with this hyphenated type."""
    return next((kind for kind in PILOT_KINDS if kind.type == type_name), None)
