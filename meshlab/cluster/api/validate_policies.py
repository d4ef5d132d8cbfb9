"""Rules of admission policies and their bindings."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from meshlab.cluster.api import formats
from meshlab.cluster.api.causes import Cause, duplicate, invalid, required, unsupported
from meshlab.cluster.api.validate_meta import selector

__all__ = ["binding", "policy"]

Object = Mapping[str, Any]

ACTIONS = ("Audit", "Deny", "Warn")
REASONS = ("Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized")
IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def policy(obj: Object, _old: Object | None) -> list[Cause]:
    """A ValidatingAdmissionPolicy."""
    spec = obj.get("spec") or {}
    causes: list[Cause] = []
    if spec.get("failurePolicy") not in ("Fail", "Ignore"):
        causes.append(unsupported("spec.failurePolicy", spec.get("failurePolicy") or "", ("Fail", "Ignore")))
    if (kind := spec.get("paramKind")) is not None:
        causes += [required(f"spec.paramKind.{key}") for key in ("apiVersion", "kind") if not kind.get(key)]
    constraints = spec.get("matchConstraints")
    if constraints is None:
        causes.append(required("spec.matchConstraints"))
    else:
        if not constraints.get("resourceRules"):
            causes.append(required("spec.matchConstraints.resourceRules"))
        causes += _resources("spec.matchConstraints", constraints)
    if not spec.get("validations") and not spec.get("auditAnnotations"):
        causes.append(required("spec.validations", "validations or auditAnnotations must contain items"))
        causes.append(required("spec.auditAnnotations", "validations or auditAnnotations must contain items"))
    return causes + list(_names(spec)) + list(_expressions(spec))


def binding(obj: Object, _old: Object | None) -> list[Cause]:
    """A ValidatingAdmissionPolicyBinding."""
    spec = obj.get("spec") or {}
    causes: list[Cause] = []
    if not (name := spec.get("policyName")):
        causes.append(required("spec.policyName"))
    else:
        causes += [invalid("spec.policyName", name, why) for why in formats.dns_subdomain(name)]
    if (reference := spec.get("paramRef")) is not None:
        causes += _reference(reference)
    causes += _resources("spec.matchResources", spec.get("matchResources") or {})
    actions = list(spec.get("validationActions") or ())
    if not actions:
        causes.append(required("spec.validationActions", "at least one validation action is required"))
    for i, action in enumerate(actions):
        if action not in ACTIONS:
            causes.append(unsupported(f"spec.validationActions[{i}]", action, ACTIONS))
        elif action in actions[:i]:
            causes.append(duplicate(f"spec.validationActions[{i}]", action))
    if "Deny" in actions and "Warn" in actions:
        why = (
            "must not contain both Deny and Warn (repeating the same validation failure information in the API "
            "response and headers serves no purpose)"
        )
        causes.append(invalid("spec.validationActions", actions, why))
    return causes


def _reference(reference: Object) -> list[Cause]:
    both, here = ("name" in reference, "selector" in reference), "spec.paramRef"
    causes = selector(f"{here}.selector", reference.get("selector") or {})
    if all(both):
        why = "name and selector are mutually exclusive"
        causes += [invalid(f"{here}.name", reference["name"], why), invalid(f"{here}.selector", None, why)]
    elif not any(both):
        causes.append(required(here, "one of name or selector must be specified"))
    action = reference.get("parameterNotFoundAction")
    if not action:
        causes.append(required(f"{here}.parameterNotFoundAction"))
    elif action not in ("Allow", "Deny"):
        causes.append(unsupported(f"{here}.parameterNotFoundAction", action, ("Deny", "Allow")))
    return causes


def _resources(path: str, match: Object) -> list[Cause]:
    causes = []
    if match.get("matchPolicy") not in (None, "Equivalent", "Exact"):
        causes.append(unsupported(f"{path}.matchPolicy", match["matchPolicy"], ("Equivalent", "Exact")))
    for chosen in ("namespaceSelector", "objectSelector"):
        causes += selector(f"{path}.{chosen}", match.get(chosen) or {})
    for listed in ("resourceRules", "excludeResourceRules"):
        for i, rule in enumerate(match.get(listed) or ()):
            for key in ("operations", "apiGroups", "apiVersions", "resources"):
                if not rule.get(key):
                    causes.append(required(f"{path}.{listed}[{i}].{key}"))
    return causes


def _names(spec: Object) -> Iterator[Cause]:
    for listed, shape in (("variables", IDENTIFIER), ("matchConditions", None)):
        seen: set[str] = set()
        for i, item in enumerate(spec.get(listed) or ()):
            name, here = item.get("name") or "", f"spec.{listed}[{i}].name"
            if not name:
                yield required(here)
            elif shape is not None and not shape.fullmatch(name):
                yield invalid(here, name, "name is not a valid CEL identifier")
            if name and name in seen:
                yield duplicate(here, name)
            seen.add(name)
    for i, validation in enumerate(spec.get("validations") or ()):
        if (reason := validation.get("reason")) is not None and reason not in REASONS:
            yield unsupported(f"spec.validations[{i}].reason", reason, REASONS)


def _expressions(spec: Object) -> Iterator[Cause]:
    """Expressions that are none."""
    from meshlab.cluster.api.cel.expressions import CompileError, Expressions, UnknownFunctionError
    from meshlab.cluster.api.policies.evaluation import NAMES

    language: Expressions | None = None
    for listed, keys in (
        ("variables", ("expression",)), ("matchConditions", ("expression",)),
        ("validations", ("expression", "messageExpression")), ("auditAnnotations", ("valueExpression",)),
    ):  # fmt: skip
        for i, item in enumerate(spec.get(listed) or ()):
            for key in keys:
                text, here = item.get(key) or "", f"spec.{listed}[{i}].{key}"
                if not text.strip():
                    if key != "messageExpression":
                        yield required(here, f"{key} is not specified" if listed == "validations" else "")
                    continue
                language = language or Expressions(NAMES)
                try:
                    language.compile(text)
                except UnknownFunctionError:
                    continue  # a real server takes it; it is kept and not looked at
                except CompileError as error:
                    yield invalid(here, text, f"compilation failed: {error}")
