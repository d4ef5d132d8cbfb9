"""Rules of where a pod may run: affinities, spreading, tolerations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from meshlab.cluster.api import formats
from meshlab.cluster.api.causes import Cause, duplicate, forbidden, invalid, required, unsupported
from meshlab.cluster.api.validate_meta import selector

__all__ = ["affinity", "node_selector", "spread", "tolerations"]

Object = Mapping[str, Any]
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
UNSATISFIABLE = ("DoNotSchedule", "ScheduleAnyway")


def affinity(path: str, value: Object) -> list[Cause]:
    """`spec.affinity`"""
    causes: list[Cause] = []
    if node := value.get("nodeAffinity"):
        if (terms := node.get(REQUIRED)) is not None:
            causes += node_selector(f"{path}.nodeAffinity.{REQUIRED}", terms)
        for i, term in enumerate(node.get(PREFERRED) or ()):
            here = f"{path}.nodeAffinity.{PREFERRED}[{i}]"
            causes += _weight(here, term)
            causes += _node_term(f"{here}.preference", term.get("preference") or {}, lenient=True)
    for kind in ("podAffinity", "podAntiAffinity"):
        pods = value.get(kind) or {}
        for i, term in enumerate(pods.get(REQUIRED) or ()):
            causes += _pod_term(f"{path}.{kind}.{REQUIRED}[{i}]", term)
        for i, term in enumerate(pods.get(PREFERRED) or ()):
            here = f"{path}.{kind}.{PREFERRED}[{i}]"
            causes += _weight(here, term)
            causes += _pod_term(f"{here}.podAffinityTerm", term.get("podAffinityTerm") or {})
    return causes


def node_selector(path: str, value: Object) -> list[Cause]:
    """A NodeSelector at `path`."""
    terms = value.get("nodeSelectorTerms") or ()
    if not terms:
        return [required(f"{path}.nodeSelectorTerms", "must have at least one node selector term")]
    return [cause for i, term in enumerate(terms) for cause in _node_term(f"{path}.nodeSelectorTerms[{i}]", term)]


def _weight(path: str, term: Object) -> list[Cause]:
    weight = term.get("weight") or 0
    return [] if 0 < weight <= 100 else [invalid(f"{path}.weight", weight, "must be in the range 1-100")]


def _node_term(path: str, term: Object, *, lenient: bool = False) -> list[Cause]:
    """`lenient`: what is only preferred may name values that no label has."""
    causes: list[Cause] = []
    for i, item in enumerate(term.get("matchExpressions") or ()):
        here = f"{path}.matchExpressions[{i}]"
        operator, values = item.get("operator") or "", item.get("values") or ()
        if operator in ("In", "NotIn"):
            if not values:
                causes.append(required(f"{here}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
        elif operator in ("Exists", "DoesNotExist"):
            if values:
                why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                causes.append(forbidden(f"{here}.values", why))
        elif operator in ("Gt", "Lt"):
            if len(values) != 1:
                why = "must be specified single value when `operator` is 'Lt' or 'Gt'"
                causes.append(required(f"{here}.values", why))
        else:
            causes.append(invalid(f"{here}.operator", operator, "not a valid selector operator"))
        causes += _label_name(f"{here}.key", item.get("key") or "")
        for j, value in enumerate(() if lenient else values):
            causes += [invalid(f"{here}.values[{j}]", value, why) for why in formats.label_value(value)]
    for i, item in enumerate(term.get("matchFields") or ()):
        here = f"{path}.matchFields[{i}]"
        operator, values = item.get("operator") or "", item.get("values") or ()
        if operator not in ("In", "NotIn"):
            causes.append(invalid(f"{here}.operator", operator, "not a valid selector operator"))
        elif len(values) != 1:
            why = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
            causes.append(required(f"{here}.values", why))
        if item.get("key") != "metadata.name":
            causes.append(invalid(f"{here}.key", item.get("key") or "", "not a valid field selector key"))
        else:
            for j, value in enumerate(values):
                causes += [invalid(f"{here}.values[{j}]", value, why) for why in formats.dns_subdomain(value)]
    return causes


def _label_name(path: str, name: str) -> list[Cause]:
    return [invalid(path, name, why) for why in formats.label_key(name)]


def _pod_term(path: str, term: Object) -> list[Cause]:
    causes: list[Cause] = []
    for key in ("labelSelector", "namespaceSelector"):
        if (value := term.get(key)) is not None:
            causes += selector(f"{path}.{key}", value)
    for name in term.get("namespaces") or ():
        causes += [invalid(f"{path}.namespace", name, why) for why in formats.dns_label(name)]
    key = term.get("topologyKey") or ""
    if not key:
        causes.append(required(f"{path}.topologyKey", "can not be empty"))
    return causes + _label_name(f"{path}.topologyKey", key)


def spread(path: str, constraints: Sequence[Object]) -> list[Cause]:
    """`spec.topologySpreadConstraints`"""
    causes: list[Cause] = []
    for i, item in enumerate(constraints):
        here, skew, key = f"{path}[{i}]", item.get("maxSkew") or 0, item.get("topologyKey") or ""
        action = item.get("whenUnsatisfiable") or ""
        if skew <= 0:
            causes.append(invalid(f"{here}.maxSkew", skew, "must be greater than zero"))
        if not key:
            causes.append(required(f"{here}.topologyKey", "can not be empty"))
        else:
            causes += _label_name(f"{here}.topologyKey", key)
        if action not in UNSATISFIABLE:
            causes.append(unsupported(f"{here}.whenUnsatisfiable", action, UNSATISFIABLE))
        if any((one.get("topologyKey") or "", one.get("whenUnsatisfiable") or "") == (key, action)
               for one in constraints[i + 1:]):  # fmt: skip
            causes.append(duplicate(f"{here}.{{topologyKey, whenUnsatisfiable}}", f"{{{key}, {action}}}"))
        if (least := item.get("minDomains")) is not None:
            if least <= 0:
                causes.append(invalid(f"{here}.minDomains", least, "must be greater than zero"))
            if action != "DoNotSchedule":
                why = f"can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}"
                causes.append(invalid(f"{here}.minDomains", least, why))
        for policy in ("nodeAffinityPolicy", "nodeTaintsPolicy"):
            if (value := item.get(policy)) is not None and value not in ("Honor", "Ignore"):
                causes.append(unsupported(f"{here}.{policy}", value, ("Honor", "Ignore")))
        causes += _match_keys(f"{here}.matchLabelKeys", item.get("matchLabelKeys") or (), item.get("labelSelector"))
        if (chosen := item.get("labelSelector")) is not None:
            causes += selector(f"{here}.labelSelector", chosen)
    return causes


def _match_keys(path: str, keys: Sequence[str], chosen: Object | None) -> list[Cause]:
    if keys and chosen is None:
        return [forbidden(path, "must not be specified when labelSelector is not set")]
    terms = (chosen or {}).get("matchExpressions") or ()
    selected = {*((chosen or {}).get("matchLabels") or {}), *(term.get("key") for term in terms)}
    causes: list[Cause] = []
    for i, key in enumerate(keys):
        causes += _label_name(f"{path}[{i}]", key)
        if key in selected:
            causes.append(invalid(f"{path}[{i}]", key, "exists in both matchLabelKeys and labelSelector"))
    return causes


def tolerations(path: str, values: Sequence[Object]) -> list[Cause]:
    """`spec.tolerations`"""
    causes: list[Cause] = []
    for i, item in enumerate(values):
        here, key, operator = f"{path}[{i}]", item.get("key") or "", item.get("operator") or ""
        effect, value = item.get("effect") or "", item.get("value") or ""
        if key:
            causes += _label_name(f"{here}.key", key)
        elif operator != "Exists":
            why = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
            causes.append(invalid(f"{here}.operator", operator, why))
        if item.get("tolerationSeconds") is not None and effect != "NoExecute":
            why = "effect must be 'NoExecute' when `tolerationSeconds` is set"
            causes.append(invalid(f"{here}.effect", effect, why))
        if operator in ("", "Equal"):
            if reasons := formats.label_value(value):
                causes.append(invalid(f"{here}.operator", value, ";".join(reasons)))
        elif operator == "Exists":
            if value:
                causes.append(invalid(f"{here}.operator", value, "value must be empty when `operator` is 'Exists'"))
        else:
            causes.append(unsupported(f"{here}.operator", operator, ("Equal", "Exists")))
        if effect and effect not in EFFECTS:
            causes.append(unsupported(f"{here}.effect", effect, EFFECTS))
    return causes
