"""Rules of CustomResourceDefinitions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshlab.cluster.api import formats
from meshlab.cluster.api.causes import Cause, duplicate, forbidden, invalid, required, unsupported
from meshlab.cluster.api.structural_rules import value_causes
from meshlab.cluster.api.validate_client import client_config
from meshlab.cluster.api.validate_meta import immutable

__all__ = ["definition"]

Object = Mapping[str, Any]
NAMES = ("plural", "singular", "kind", "listKind")
SCOPES = ("Cluster", "Namespaced")
TYPES = ("array", "boolean", "integer", "number", "object", "string")


def definition(obj: Object, old: Object | None) -> list[Cause]:
    spec = obj.get("spec") or {}
    causes: list[Cause] = []
    group, names = spec.get("group") or "", spec.get("names") or {}
    plural = names.get("plural") or ""
    name = (obj.get("metadata") or {}).get("name") or ""
    if name != f"{plural}.{group}":
        causes.append(invalid("metadata.name", name, "must be spec.names.plural+\".\"+spec.group"))
    if not group:
        causes.append(required("spec.group"))
    elif reasons := formats.dns_subdomain(group):
        causes.append(invalid("spec.group", group, ",".join(reasons)))
    elif "." not in group:
        causes.append(invalid("spec.group", group, "should be a domain with at least one dot"))
    if spec.get("scope") not in SCOPES:
        causes.append(unsupported("spec.scope", spec.get("scope") or "", SCOPES))
    had = ((old or {}).get("spec") or {}).get("versions") or ()
    known = [(version.get("schema") or {}).get("openAPIV3Schema") for version in had]
    causes += _versions(spec.get("versions") or (), known, schemaless=bool(spec.get("preserveUnknownFields")))
    for key in NAMES:
        value = names.get(key) or ""
        if not value:
            causes.append(required(f"spec.names.{key}"))
        else:
            # Kinds are compared in lower case.
            shown = value.lower() if key in ("kind", "listKind") else value
            reasons = formats.dns1035_label(shown)
            causes += [invalid(f"spec.names.{key}", value, why) for why in reasons]
    if names.get("kind") and names.get("kind") == names.get("listKind"):
        why = "kind and listKind may not be the same"
        causes.append(invalid("spec.names.listKind", names["listKind"], why))
    causes += _conversion(spec.get("conversion") or {})
    if old is not None:
        before = old.get("spec") or {}
        causes += immutable("spec.group", group, before.get("group"))
        established = any(
            c.get("type") == "Established" and c.get("status") == "True"
            for c in (old.get("status") or {}).get("conditions") or ()
        )
        if established:
            causes += immutable("spec.scope", spec.get("scope"), before.get("scope"))
            for key in ("plural", "kind"):
                causes += immutable(f"spec.names.{key}", names.get(key), (before.get("names") or {}).get(key))
    return causes


def _conversion(conversion: Object) -> list[Cause]:
    here, strategy = "spec.conversion", conversion.get("strategy") or ""
    webhook = conversion.get("webhook") or {}
    client, versions = webhook.get("clientConfig"), webhook.get("conversionReviewVersions") or ()
    if strategy == "None":
        why = "should not be set when strategy is not set to Webhook"
        set_ = (("webhookClientConfig", client), ("conversionReviewVersions", versions))
        return [forbidden(f"{here}.{name}", why) for name, value in set_ if value]
    if strategy != "Webhook":
        return [unsupported(f"{here}.strategy", strategy, ("None", "Webhook"))]
    causes = []
    if client is None:
        causes.append(required(f"{here}.webhookClientConfig", "required when strategy is set to Webhook"))
    else:
        causes += client_config(f"{here}.webhookClientConfig", client)
    if not versions:
        causes.append(required(f"{here}.conversionReviewVersions"))
    elif not {"v1", "v1beta1"} & set(versions):
        why = "must include at least one of v1, v1beta1"
        causes.append(invalid(f"{here}.conversionReviewVersions", list(versions), why))
    return causes


def _versions(versions: Any, known: list[Any], *, schemaless: bool) -> list[Cause]:
    """`known` are schemas that were accepted before. `schemaless`: apiextensions.k8s.io/v1beta1 let definitions be
    without a schema, and so kept every field."""
    causes: list[Cause] = []
    seen: set[str] = set()
    stored = 0
    schemas = [(version.get("schema") or {}).get("openAPIV3Schema") for version in versions]
    # What all versions have in common is the definition's own to a real server.
    common = all(schema == schemas[0] for schema in schemas)
    for i, version in enumerate(versions):
        path, name = f"spec.versions[{i}]", version.get("name") or ""
        stored += bool(version.get("storage"))
        if reasons := formats.dns1035_label(name):
            causes += [invalid(f"{path}.name", name, why) for why in reasons]
        if name in seen:
            causes.append(duplicate(f"{path}.name", name))
        seen.add(name)
        schema, place = schemas[i], f"{'spec.validation' if common else f'{path}.schema'}.openAPIV3Schema"
        if schema is None and not schemaless:
            causes.append(required(f"{path}.schema.openAPIV3Schema"))
        elif schema is not None and not (common and i):
            causes += _root(place, schema)
            if not causes and schema not in known:
                causes += _defaults(place, schema) or _rules(place, schema)
        for j, column in enumerate(version.get("additionalPrinterColumns") or ()):
            here = f"{path}.additionalPrinterColumns[{j}]"
            for key in ("name", "type", "jsonPath"):
                if not column.get(key):
                    causes.append(required(f"{here}.{key}"))
            kinds = ("boolean", "date", "integer", "number", "string")
            if column.get("type") and column["type"] not in kinds:
                causes.append(unsupported(f"{here}.type", column["type"], kinds))
    if not versions:
        causes.append(required("spec.versions", "must have exactly one version marked as storage version"))
    elif stored != 1:
        why = "must have exactly one version marked as storage version"
        causes.append(invalid("spec.versions", list(versions), why))
    return causes


def _defaults(path: str, schema: Object) -> list[Cause]:
    """That every default is a value of its own schema."""
    causes: list[Cause] = []
    if schema.get("default") is not None:
        causes += value_causes(f"{path}.default", schema["default"], schema)
    for name, child in sorted((schema.get("properties") or {}).items()):
        causes += _defaults(f"{path}.properties[{name}]", child)
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), Mapping):
            causes += _defaults(f"{path}.{key}", schema[key])
    return causes


def _rules(path: str, schema: Object) -> list[Cause]:
    from meshlab.cluster.api.cel import definition_causes

    return definition_causes(path, schema)


def _root(path: str, schema: Object) -> list[Cause]:
    if schema.get("type") != "object":
        if not schema.get("type"):
            return [required(f"{path}.type", "must not be empty at the root")]
        return [invalid(f"{path}.type", schema["type"], "must be object at the root")]
    return _structural(path, schema, root=True)


def _structural(path: str, schema: Object, *, root: bool = False) -> list[Cause]:
    """Every place needs one type, and maps have either properties or values of one kind."""
    causes: list[Cause] = []
    kind = schema.get("type") or ""
    free = schema.get("x-kubernetes-int-or-string") or schema.get("x-kubernetes-preserve-unknown-fields")
    if not kind and not free:
        causes.append(required(f"{path}.type", "must not be empty for specified object fields"))
    elif kind and kind not in TYPES:
        causes.append(unsupported(f"{path}.type", kind, TYPES))
    if kind == "array" and not schema.get("items"):
        causes.append(required(f"{path}.items", "must be specified"))
    if schema.get("properties") and schema.get("additionalProperties"):
        causes.append(forbidden(f"{path}.additionalProperties", "must not be used at the same time as properties"))
    for name, child in sorted((schema.get("properties") or {}).items()):
        if root and name in ("metadata", "apiVersion", "kind"):
            continue
        causes += _structural(f"{path}.properties[{name}]", child)
    if isinstance(schema.get("items"), Mapping):
        causes += _structural(f"{path}.items", schema["items"])
    if isinstance(schema.get("additionalProperties"), Mapping):
        causes += _structural(f"{path}.additionalProperties", schema["additionalProperties"])
    return causes
