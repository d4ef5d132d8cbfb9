"""The options that come with a request. What is wrong with them is said all at once, as a real server says it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from multidict import MultiMapping

from meshlab.cluster.api.causes import Cause, forbidden, invalid, required, too_long, unsupported
from meshlab.cluster.api.request import flag, number
from meshlab.cluster.api.status import BadRequest, Invalid

__all__ = ["DeleteOptions", "WriteOptions", "check_list", "check_table", "delete_options", "write_options"]

Object = dict[str, Any]
Query = MultiMapping[str]

#: Bytes of a field manager's name.
LONGEST_MANAGER = 128
VALIDATIONS = ("Ignore", "Strict", "Warn")
PROPAGATIONS = ("Foreground", "Background", "Orphan")


@dataclass(frozen=True)
class WriteOptions:
    """CreateOptions, UpdateOptions or PatchOptions."""

    dry_run: bool
    #: What becomes of unknown fields: Ignore, Warn or Strict.
    validation: str
    #: Whether an apply takes fields from other managers.
    force: bool = False


@dataclass(frozen=True)
class DeleteOptions:
    """`propagation` None is the kind's own way."""

    dry_run: bool
    propagation: str | None
    #: Seconds; None is the object's own grace period.
    grace: int | None
    uid: str | None
    revision: str | None


def write_options(query: Query, verb: str, *, apply: bool | None = None) -> WriteOptions:
    """The options of a Create, Update or Patch; `apply` says of a patch whether it is server-side apply.

    Raises Invalid.
    """
    manager, validation = query.get("fieldManager", ""), query.get("fieldValidation", "")
    causes: list[Cause] = []
    if apply and not manager:
        causes.append(required("fieldManager", "is required for apply patch"))
    if apply is False and "force" in query:
        causes.append(forbidden("force", "may not be specified for non-apply patch"))
    causes += _manager(manager)
    dry_run = query.getall("dryRun", [])
    causes += _dry_run(dry_run)
    if validation and validation not in VALIDATIONS:
        # The empty one is a choice of its own to a real server.
        causes.append(unsupported("fieldValidation", validation, ("", *VALIDATIONS)))
    _refuse(f"{verb}Options", causes)
    return WriteOptions(_asked(dry_run), validation or "Warn", flag(query, "force"))


def delete_options(query: Query, body: Object) -> DeleteOptions:
    """Of a body, which is {} where there is none, and where it is silent of the query. Raises Invalid or BadRequest."""
    if body.get("kind", "DeleteOptions") != "DeleteOptions":
        raise BadRequest("decoded object cannot be converted to DeleteOptions")
    causes: list[Cause] = []
    orphan = body.get("orphanDependents")
    propagation = body.get("propagationPolicy") or query.get("propagationPolicy")
    if orphan is not None and propagation:
        why = "orphanDependents and deletionPropagation cannot be both set"
        causes.append(invalid("propagationPolicy", propagation, why))
    if propagation and propagation not in PROPAGATIONS:
        causes.append(unsupported("propagationPolicy", propagation, (*PROPAGATIONS, "nil")))
    dry_run = query.getall("dryRun", []) or list(body.get("dryRun") or ())
    causes += _dry_run(dry_run)
    _refuse("DeleteOptions", causes)
    if orphan is not None:
        propagation = "Orphan" if orphan else "Background"
    conditions = body.get("preconditions") or {}
    return DeleteOptions(
        _asked(dry_run),
        propagation or None,
        body.get("gracePeriodSeconds", number(query, "gracePeriodSeconds")),
        conditions.get("uid"),
        conditions.get("resourceVersion"),
    )


def check_list(query: Mapping[str, str], *, watch: bool) -> None:
    """That the options of a list or watch fit each other. Raises Invalid."""
    match, initial = query.get("resourceVersionMatch", ""), query.get("sendInitialEvents")
    causes: list[Cause] = []

    def forbid(detail: str) -> None:
        causes.append(forbidden("resourceVersionMatch", detail))

    if watch:
        if initial is not None and match != "NotOlderThan":
            forbid("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")
        if match and initial is None:
            forbid("resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided")
        if match and match != "NotOlderThan":
            causes.append(unsupported("resourceVersionMatch", match, ("NotOlderThan",)))
        if match and query.get("continue"):
            forbid("resourceVersionMatch is forbidden when continue is provided")
    else:
        revision = query.get("resourceVersion", "")
        if match and not revision:
            forbid("resourceVersionMatch is forbidden unless resourceVersion is provided")
        if match and query.get("continue"):
            forbid("resourceVersionMatch is forbidden when continue is provided")
        if match and match not in ("Exact", "NotOlderThan"):
            causes.append(unsupported("resourceVersionMatch", match, ("Exact", "NotOlderThan", "")))
        if match == "Exact" and revision == "0":
            forbid('resourceVersionMatch "exact" is forbidden for resourceVersion "0"')
        if initial is not None:
            causes.append(forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"))
    _refuse("ListOptions", causes)


def check_table(include: str) -> None:
    """That `includeObject` says what may stand beside the cells. Raises BadRequest."""
    if include not in ("", "None", "Metadata", "Object"):
        cause = invalid("includeObject", include, "must be 'Metadata', 'Object', 'None', or empty")
        raise BadRequest(f"Unable to convert to Table as requested: {cause.field}: {cause.message}")


def _refuse(kind: str, causes: Sequence[Cause]) -> None:
    if causes:
        raise Invalid.kind(kind, "meta.k8s.io", "", causes)


def _manager(name: str) -> list[Cause]:
    causes = []
    if len(name.encode("utf-8", "replace")) > LONGEST_MANAGER:
        causes.append(too_long("fieldManager", LONGEST_MANAGER))
    at = 0
    for char in name:
        if not char.isprintable():
            causes.append(invalid("fieldManager", name, f"invalid character U+{ord(char):04X} (at position {at})"))
        at += len(char.encode("utf-8", "replace"))
    return causes


def _dry_run(values: list[str]) -> list[Cause]:
    given = [value for value in values if value]
    if all(value == "All" for value in given):
        return []
    return [unsupported("dryRun", values, ("All",))]


def _asked(values: list[str]) -> bool:
    return any(values)
