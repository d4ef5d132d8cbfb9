"""Defaults of what extends the API: definitions, webhooks, admission policies, API services."""

from __future__ import annotations

from typing import Any

from meshlab.cluster.api.filling import at, fill

__all__ = ["admission_policy", "api_service", "definition", "old_definition", "policy_binding", "webhooks"]

Object = dict[str, Any]


def webhooks(obj: Object) -> None:
    for hook in obj.get("webhooks", ()):
        fill(hook, failurePolicy="Fail", matchPolicy="Equivalent", timeoutSeconds=10)
        hook.setdefault("namespaceSelector", {})
        hook.setdefault("objectSelector", {})
        if obj["kind"] == "MutatingWebhookConfiguration":
            fill(hook, reinvocationPolicy="Never")
        for rule in hook.get("rules", ()):
            fill(rule, scope="*")
        if service := (hook.get("clientConfig") or {}).get("service"):
            fill(service, port=443)


def admission_policy(obj: Object) -> None:
    spec = at(obj, "spec")
    fill(spec, failurePolicy="Fail")
    if constraints := spec.get("matchConstraints"):
        fill(constraints, matchPolicy="Equivalent")
        constraints.setdefault("namespaceSelector", {})
        constraints.setdefault("objectSelector", {})
        for rule in constraints.get("resourceRules", ()):
            fill(rule, scope="*")


def policy_binding(obj: Object) -> None:
    spec = at(obj, "spec")
    if reference := spec.get("paramRef"):
        fill(reference, parameterNotFoundAction="Deny")
    if match := spec.get("matchResources"):
        fill(match, matchPolicy="Equivalent")
        match.setdefault("namespaceSelector", {})
        match.setdefault("objectSelector", {})
        for rule in match.get("resourceRules", ()):
            fill(rule, scope="*")


def api_service(obj: Object) -> None:
    if service := at(obj, "spec").get("service"):
        fill(service, port=443)


def definition(obj: Object) -> None:
    spec = at(obj, "spec")
    names = at(spec, "names")
    if kind := names.get("kind"):
        fill(names, singular=kind.lower(), listKind=kind + "List")
    conversion = at(spec, "conversion")
    fill(conversion, strategy="None")
    client = (conversion.get("webhook") or {}).get("clientConfig") or {}
    if service := client.get("service"):
        fill(service, port=443)


def old_definition(obj: Object) -> None:
    spec = at(obj, "spec")
    fill(spec, scope="Namespaced", preserveUnknownFields=True)
    if not spec.get("versions") and spec.get("version"):
        spec["versions"] = [{"name": spec["version"], "served": True, "storage": True}]
    if spec.get("versions") and not spec.get("version"):
        spec["version"] = spec["versions"][0].get("name", "")
    definition(obj)
