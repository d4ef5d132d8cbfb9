"""Makes `meshlab/cluster/api/types.jsonl` out of Kubernetes' own OpenAPI definitions.

    python tests/tools/make_schemas.py

They come from the wheel `kubernetes-validate` (a tool of developers: the package itself reads only our file), and
only facts are taken: names, types, keys; no sentence. A line of types.jsonl is one Go type: its name, a tab, JSON.
The first line is the index of kinds. The server seeks to the lines it needs, so that a lab that knows only pods and
services holds only their types.

What OpenAPI does not say stands in go_types.json, by type and field: "g" the Go type that decoding errors name,
"n" a zero value is kept (the field is a pointer, or lacks omitempty), "a" an absent struct is written as {}.

Versions that today's definitions no longer have (extensions/v1beta1, rbac v1beta1, apiextensions v1beta1, …) are
made here from their successors, with what differed.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import kubernetes_validate

RELEASE = "v1.37.0"
HERE = Path(__file__).resolve().parents[2] / "meshlab" / "cluster" / "api"

#: Kinds to serve: everything of these API versions, and the Go types that those reach.
VERSIONS = (
    "v1",
    "apps/v1",
    "batch/v1",
    "autoscaling/v1",
    "autoscaling/v2",
    "networking.k8s.io/v1",
    "discovery.k8s.io/v1",
    "events.k8s.io/v1",
    "rbac.authorization.k8s.io/v1",
    "apiextensions.k8s.io/v1",
    "apiregistration.k8s.io/v1",
    "coordination.k8s.io/v1",
    "policy/v1",
    "storage.k8s.io/v1",
    "scheduling.k8s.io/v1",
    "node.k8s.io/v1",
    "admissionregistration.k8s.io/v1",
    "certificates.k8s.io/v1",
    "authentication.k8s.io/v1",
    "authorization.k8s.io/v1",
)
#: Kinds of those versions that nothing of ours serves.
LEFT_OUT = {"APIGroup", "APIVersions", "WatchEvent", "IPAddress", "ServiceCIDR", "VolumeAttributesClass",
            "CSIStorageCapacity", "ComponentStatus", "APIGroupList", "APIResourceList", "ClusterTrustBundle",
            "PodCertificateRequest", "MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding"}  # fmt: skip

PREFIXES = (
    ("io.k8s.apimachinery.pkg.apis.meta.", "meta."),
    ("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.", "apiextensions."),
    ("io.k8s.kube-aggregator.pkg.apis.apiregistration.", "apiregistration."),
    ("io.k8s.api.", ""),
)
#: Go types that are one value on the wire.
SCALARS = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": {"t": "quantity"},
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": {"t": "intstr"},
    "io.k8s.apimachinery.pkg.apis.meta.v1.Time": {"t": "time"},
    "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime": {"t": "microtime"},
    "io.k8s.apimachinery.pkg.apis.meta.v1.Duration": {"t": "string"},
    "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1": {"t": "raw"},
    "io.k8s.apimachinery.pkg.runtime.RawExtension": {"t": "raw"},
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON": {"t": "any"},
}
#: Defaults of fields that are keys of a list: server-side apply fills them in before it compares elements.
#: From the `+default` markers of the Go types, which the definitions above leave out.
KEY_DEFAULTS = {
    ("core.v1.ServicePort", "protocol"): "TCP",
    ("core.v1.ContainerPort", "protocol"): "TCP",
    ("core.v1.LocalObjectReference", "name"): "",
}


def short(name: str) -> str:
    for prefix, to in PREFIXES:
        if name.startswith(prefix):
            return to + name[len(prefix):]
    raise ValueError(name)


class Maker:
    def __init__(self, definitions: dict[str, Any], go: dict[str, Any]) -> None:
        self.definitions = definitions
        self.go = go
        self.types: dict[str, dict[str, Any]] = {}

    def field(self, schema: dict[str, Any]) -> dict[str, Any]:
        """One field's schema in our letters; see `meshlab.cluster.api.schema`."""
        out: dict[str, Any] = {}
        if ref := schema.get("$ref"):
            name = ref.removeprefix("#/$defs/")
            if name in SCALARS:
                out = dict(SCALARS[name])
            else:
                definition = self.definitions[name]
                if "properties" in definition or "object" in definition.get("type", ()):
                    self.type(name)
                    out = {"r": short(name)}
                    if kind := definition.get("x-kubernetes-map-type"):
                        out["m"] = kind
                else:
                    out = {"t": "any"}  # JSONSchemaPropsOrBool and its like
                    if "JSONSchemaPropsOr" in name:
                        out["o"] = short(name)
        else:
            kinds = schema.get("type")
            kind = next((k for k in kinds if k != "null"), "any") if isinstance(kinds, list) else kinds or "any"
            if kind == "array":
                out = {"l": self.field(schema["items"])}
            elif kind == "object":
                values = schema.get("additionalProperties")
                out = {"p": self.field(values)} if values else {"t": "raw"}
            else:
                out = {"t": kind}
        if (fmt := schema.get("format")) and out.get("t") not in ("time", "microtime"):
            out["f"] = fmt
        if value := schema.get("x-kubernetes-list-type"):
            out["x"] = value
        if value := schema.get("x-kubernetes-list-map-keys"):
            out["k"] = value
        if value := schema.get("x-kubernetes-map-type"):
            out["m"] = value
        if value := schema.get("x-kubernetes-patch-merge-key"):
            out["mk"] = value
        if value := schema.get("x-kubernetes-patch-strategy"):
            out["s"] = value
        return out

    def type(self, name: str) -> None:
        key = short(name)
        if key in self.types:
            return
        definition = self.definitions[name]
        made: dict[str, Any] = {}
        self.types[key] = made
        fields = {}
        for field, schema in definition.get("properties", {}).items():
            fields[field] = self.field(schema)
            if (default := KEY_DEFAULTS.get((key, field))) is not None:
                fields[field]["d"] = default
            fields[field].update(self.go.get(key, {}).get(field, {}))
        made["f"] = fields
        if required := definition.get("required"):
            made["q"] = required
        if kind := definition.get("x-kubernetes-map-type"):
            made["m"] = kind
        if kinds := definition.get("x-kubernetes-group-version-kind"):
            made["g"] = [[g["group"], g["version"], g["kind"]] for g in kinds
                         if g["kind"] != "DeleteOptions" or (g["group"], g["version"]) == ("", "v1")]


def renamed(types: dict[str, Any], name: str, of: str, group: str = "", version: str = "",
            refs: dict[str, str] | None = None, drop: tuple[str, ...] = (), add: dict[str, Any] | None = None) -> None:
    """A type of an older version: the same as `of`, with some references, fields or requirements changed."""
    made = copy.deepcopy(types[of])
    text = json.dumps(made)
    for old, new in (refs or {}).items():
        text = text.replace(f'"{old}"', f'"{new}"')
    made = json.loads(text)
    for field in drop:
        made["f"].pop(field, None)
    made["f"].update(add or {})
    if "q" in made:
        made["q"] = [f for f in made["q"] if f in made["f"]]
    if "g" in made:
        made["g"] = [[group, version, made["g"][0][2]]]
    types[name] = made


def older(types: dict[str, Any]) -> None:
    """The API versions of 2017 that the tutorial writes, and those that older controllers still ask for."""
    ext = "extensions.v1beta1."
    for kind in ("Deployment", "ReplicaSet", "DaemonSet"):
        spec = f"{kind}Spec"
        extra: dict[str, Any] = {}
        if kind == "Deployment":
            types[ext + "RollbackConfig"] = {"f": {"revision": {"t": "integer", "f": "int64"}}}
            extra = {"rollbackTo": {"r": ext + "RollbackConfig"}}
        if kind == "DaemonSet":
            extra = {"templateGeneration": {"t": "integer", "f": "int64"}}
        renamed(types, ext + spec, f"apps.v1.{spec}", add=extra)
        types[ext + spec]["q"] = ["template"] if kind != "ReplicaSet" else []
        for top in (kind, f"{kind}List"):
            renamed(types, ext + top, f"apps.v1.{top}", "extensions", "v1beta1",
                    refs={f"apps.v1.{spec}": ext + spec, f"apps.v1.{kind}": ext + kind})
    for group, version in (("extensions", ext), ("networking.k8s.io", "networking.v1beta1.")):
        net = "networking.v1."
        types[version + "IngressBackend"] = {"f": {
            "serviceName": {"t": "string"}, "servicePort": {"t": "intstr"},
            "resource": {"r": "core.v1.TypedLocalObjectReference", "m": "atomic"},
        }}
        refs = {net + n: version + n for n in ("IngressBackend", "HTTPIngressPath", "HTTPIngressRuleValue",
                                               "IngressRule", "IngressSpec", "Ingress")}
        for name in ("HTTPIngressPath", "HTTPIngressRuleValue", "IngressRule"):
            renamed(types, version + name, net + name, refs=refs)
        types[version + "HTTPIngressPath"]["q"] = ["backend"]
        renamed(types, version + "IngressSpec", net + "IngressSpec", refs=refs, drop=("defaultBackend",),
                add={"backend": {"r": version + "IngressBackend"}})
        for name in ("Ingress", "IngressList"):
            renamed(types, version + name, net + name, group, "v1beta1", refs=refs)
    net = "networking.v1."
    for name in ("IngressClass", "IngressClassList"):
        renamed(types, f"networking.v1beta1.{name}", net + name, "networking.k8s.io", "v1beta1",
                refs={net + "IngressClass": "networking.v1beta1.IngressClass"})
    rbac, beta = "rbac.v1.", "rbac.v1beta1."
    names = ("Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")
    for kind in names:
        for name in (kind, f"{kind}List"):
            renamed(types, beta + name, rbac + name, "rbac.authorization.k8s.io", "v1beta1",
                    refs={rbac + kind: beta + kind})
    crd, old = "apiextensions.v1.", "apiextensions.v1beta1."
    column = {**types[crd + "CustomResourceColumnDefinition"]["f"]}
    column["JSONPath"] = column.pop("jsonPath")
    types[old + "CustomResourceColumnDefinition"] = {"f": column, "q": ["name", "type", "JSONPath"]}
    renamed(types, old + "CustomResourceDefinitionVersion", crd + "CustomResourceDefinitionVersion",
            refs={crd + "CustomResourceColumnDefinition": old + "CustomResourceColumnDefinition"})
    types[old + "CustomResourceConversion"] = {"f": {
        "strategy": {"t": "string"}, "webhookClientConfig": {"r": crd + "WebhookClientConfig"},
        "conversionReviewVersions": {"l": {"t": "string"}, "x": "atomic"}}, "q": ["strategy"]}
    top = types[old + "CustomResourceDefinitionVersion"]["f"]
    renamed(types, old + "CustomResourceDefinitionSpec", crd + "CustomResourceDefinitionSpec",
            refs={crd + "CustomResourceDefinitionVersion": old + "CustomResourceDefinitionVersion",
                  crd + "CustomResourceConversion": old + "CustomResourceConversion"},
            add={"version": {"t": "string"}, "validation": top["schema"], "subresources": top["subresources"],
                 "additionalPrinterColumns": top["additionalPrinterColumns"]})
    types[old + "CustomResourceDefinitionSpec"]["q"] = ["group", "names", "scope"]
    for name in ("CustomResourceDefinition", "CustomResourceDefinitionList"):
        renamed(types, old + name, crd + name, "apiextensions.k8s.io", "v1beta1",
                refs={crd + n: old + n for n in ("CustomResourceDefinitionSpec", "CustomResourceDefinition")})


def main() -> None:
    folder = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema" / f"{RELEASE}-local"
    definitions = json.loads((folder / "_definitions.json").read_text())["$defs"]
    maker = Maker(definitions, json.loads(Path(__file__).with_name("go_types.json").read_text()))
    for name, definition in definitions.items():
        for g in definition.get("x-kubernetes-group-version-kind", ()):
            version = f"{g['group']}/{g['version']}".removeprefix("/")
            served = version in VERSIONS and g["kind"].removesuffix("List") not in LEFT_OUT
            if served and (g["kind"] != "DeleteOptions" or version == "v1"):
                maker.type(name)
    for extra in ("Table", "PartialObjectMetadata"):
        for name in definitions:
            if name.endswith(f"meta.v1.{extra}"):
                maker.type(name)
    maker.type("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps")
    older(maker.types)
    kinds = {}
    for name, made in maker.types.items():
        for group, version, kind in made.get("g", ()):
            kinds[f"{group}/{version}/{kind}".removeprefix("/")] = name
    path = HERE / "types.jsonl"
    with path.open("w") as file:
        file.write(json.dumps({"release": RELEASE, "kinds": kinds}, separators=(",", ":"), sort_keys=True) + "\n")
        for name in sorted(maker.types):
            file.write(name + "\t" + json.dumps(maker.types[name], separators=(",", ":"), ensure_ascii=False) + "\n")
    print(path.name, len(maker.types), path.stat().st_size)


if __name__ == "__main__":
    main()
