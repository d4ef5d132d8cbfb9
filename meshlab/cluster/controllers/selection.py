"""Which objects a controller's object owns, adopts or lets go of: the rules of ownership by selector."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from meshlab.cluster.api.selectors import selector_object
from meshlab.cluster.api.status import Conflict, NotFound
from meshlab.cluster.controllers.objects import Obj, controller_of, owner_reference

if TYPE_CHECKING:
    from meshlab.cluster.api.api import Api
    from meshlab.cluster.api.registry import Resource

__all__ = ["claim"]


def claim(api: Api, owner: Mapping[str, Any], owner_kind: tuple[str, str], children: Resource) -> list[Obj]:
    """The objects of kind `children` that `owner` controls, after adopting and releasing by its selector.

    `owner_kind` is (apiVersion, kind). An orphan that matches is adopted; one that is owned and no longer
    matches is released; what is being deleted is left alone. An owner without a selector keeps what it has: were that
    not counted as its own, it would create without end.
    """
    namespace, uid = owner["metadata"]["namespace"], owner["metadata"]["uid"]
    selector = owner["spec"].get("selector")
    if selector is not None and owner_kind == ("v1", "ReplicationController"):
        selector = {"matchLabels": selector}  # older than selectors with expressions
    match = selector_object(selector)
    going = bool(owner["metadata"].get("deletionTimestamp"))
    claimed: list[Obj] = []
    for child in api.list(children, namespace)[0]:
        reference = controller_of(child)
        if reference is not None:
            if reference["uid"] != uid:
                continue
            if selector is None or match(child):
                claimed.append(child)
            elif not going:
                _write_owners(api, children, child, [r for r in child["metadata"]["ownerReferences"]
                                                     if r["uid"] != uid])
        elif match(child) and not going and not child["metadata"].get("deletionTimestamp"):
            owners = [*(child["metadata"].get("ownerReferences") or []), owner_reference(owner, *owner_kind)]
            adopted = _write_owners(api, children, child, owners)
            if adopted is not None:
                claimed.append(adopted)
    return claimed


def _write_owners(api: Api, resource: Resource, child: Obj, owners: list[Any]) -> Obj | None:
    meta = child["metadata"]
    try:
        return api.update(resource, meta["namespace"], meta["name"],
                          {**child, "metadata": {**meta, "ownerReferences": owners}})
    except (NotFound, Conflict):
        return None  # it changed under our hands, which brings this owner up again
