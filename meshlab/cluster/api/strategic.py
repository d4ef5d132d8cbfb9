"""Strategic merge patch: what `kubectl apply`, `set`, `edit`, `patch` and `rollout restart` send for built-in kinds.

Lists whose type declares a merge key are merged element by element. Directives in a patch: `$patch: delete|replace|
merge`, `$retainKeys`, `$setElementOrder/<list>`, `$deleteFromPrimitiveList/<list>`.

Order of a merged list: elements that the patch (or `$setElementOrder`) names come in the patch's order; elements
that only the server has keep their place relative to the neighbours they had, else stand at the end. Hence a
container that a patch adds comes first, which surprises, and is how a real server does it.

Pure: neither the object nor the patch is changed.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any

from meshlab.cluster.api.patch import PatchError
from meshlab.cluster.api.schema import Node

__all__ = ["strategic_merge"]

DIRECTIVE = "$patch"
RETAIN = "$retainKeys"
DELETE = "$deleteFromPrimitiveList"
ORDER = "$setElementOrder"
NO_LISTS_OF_LISTS = "lists of lists are not supported"


def strategic_merge(obj: Mapping[str, Any], patch: Mapping[str, Any], node: Node) -> dict[str, Any]:
    """The object after the patch. PatchError where an element lacks its merge key or a directive is unknown."""
    if not isinstance(patch, Mapping):
        raise PatchError("error decoding patch: json: cannot unmarshal into Go value of type map[string]interface {}")
    return _merge_map(copy.deepcopy(dict(obj)), copy.deepcopy(dict(patch)), node)


def _bad(message: str) -> PatchError:
    # A real server answers most of these with a 500, for want of a better class; they are the client's fault.
    return PatchError(message, "Invalid" if message == NO_LISTS_OF_LISTS else "BadRequest")


def _no_key(element: Mapping[str, Any], key: str) -> PatchError:
    return _bad(f"map: {go_map(element)} does not contain declared merge key: {key}")


def go_map(value: Any) -> str:
    """A JSON value as Go prints it with %v: `map[name:a ports:[80]]`."""
    if isinstance(value, Mapping):
        return "map[" + " ".join(f"{k}:{go_map(v)}" for k, v in sorted(value.items())) + "]"
    if isinstance(value, list):
        return "[" + " ".join(go_map(v) for v in value) + "]"
    if value is None:
        return "<nil>"
    return value if isinstance(value, str) else json.dumps(value)


def _merge_map(original: dict[str, Any], patch: dict[str, Any], node: Node | None) -> dict[str, Any]:
    if DIRECTIVE in patch:
        directive = patch.pop(DIRECTIVE)
        if directive == "replace":
            return patch
        if directive == "delete":
            return {}
        raise _bad(f"unknown patch type: {go_map(directive)} in map: {go_map(patch)}")
    _retain_keys(original, patch)
    _ordered_lists(original, patch, node)
    for name, value in patch.items():
        key, deletes = name, False
        if name.startswith(DELETE):
            head, slash, key = name.partition("/")
            if not slash or head != DELETE:
                raise _bad("invalid patch format of primitive list")
            deletes = True
        if value is None:
            original.pop(key, None)
            continue
        if key not in original or type(original[key]) is not type(value):
            if not deletes:
                kept, keep = _undirected(_without_nulls(value))
                if keep:
                    original[key] = kept
                else:
                    original.pop(key, None)
            continue
        child = node.child(key) if node else None
        if isinstance(value, dict):
            replace = child is not None and "replace" in child.strategies
            original[key] = value if replace else _merge_map(original[key], value, child)
        elif isinstance(value, list):
            if deletes or (child is not None and "merge" in child.strategies):
                original[key] = _merge_list(original[key], value, child, deletes=deletes)
            else:
                original[key] = value
        else:
            original[key] = value
    return original


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_nulls(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [_without_nulls(v) for v in value]
    return value


def _undirected(value: Any) -> tuple[Any, bool]:
    """A new value without directives, and whether anything is to be kept."""
    if isinstance(value, dict):
        if DIRECTIVE in value:
            return None, False
        pairs = ((k, _undirected(v)) for k, v in value.items())
        return {k: v for k, (v, keep) in pairs if keep}, True
    if isinstance(value, list):
        return [v for v, keep in map(_undirected, value) if keep], True
    return value, True


def _retain_keys(original: dict[str, Any], patch: dict[str, Any]) -> None:
    if RETAIN not in patch:
        return
    retained = patch.pop(RETAIN)
    if not isinstance(retained, list):
        raise _bad("invalid patch format of retainKeys")
    for key, value in patch.items():
        if value is None or key.startswith((DELETE, ORDER)):
            continue
        if key not in retained:
            raise _bad("invalid patch format of retainKeys")
    for key in [k for k in original if k not in retained]:
        del original[key]


def _ordered_lists(original: dict[str, Any], patch: dict[str, Any], node: Node | None) -> None:
    """Merges the lists that come with a `$setElementOrder`, and takes both out of the patch."""
    for name in [k for k in patch if k.startswith(ORDER)]:
        order = patch.pop(name)
        head, slash, key = name.partition("/")
        if not slash or head != ORDER or not isinstance(order, list):
            raise _bad("invalid patch format of setElementOrder list")
        for side in (original, patch):
            if side.get(key) is not None and not isinstance(side[key], list):
                raise _bad("expected a list, but received another type")
        live, given = original.get(key), patch.get(key)
        child = node.child(key) if node else None
        merge_key = child.merge_key if child else ""
        _check_order(given or [], order, merge_key)
        if live is None and given is None:
            continue
        if given is None:
            merged = live
        elif live is None:
            merged, _ = _undirected(given)
        elif child is not None and "merge" in child.strategies:
            seen = list(live)
            merged = _merge_list(list(live), given, child, deletes=False, memory=seen)
            live = seen
        else:
            merged = given
        assert merged is not None  # noqa: S101 - one of the two lists is there
        original[key] = _sorted_by(merged, order, live or [], merge_key)
        patch.pop(key, None)


def _check_order(given: list[Any], order: list[Any], merge_key: str) -> None:
    """What the patch names must stand in `order`, in the same sequence."""
    if not order or not given:
        return
    rest = iter(order)
    for element in given:
        if isinstance(element, dict) and DIRECTIVE in element:
            continue
        wanted = _key_of(element, merge_key)
        if not any(_key_of(other, merge_key) == wanted for other in rest):
            raise _bad(
                f"The order in patch list:\n{go_map(given)}\n doesn't match {ORDER} list:\n{go_map(order)}\n"
            )


def _key_of(element: Any, merge_key: str) -> Any:
    if not merge_key:
        return element
    if not isinstance(element, dict):
        raise _bad(f"expected a map, but received a {go_kind(element)}")
    if merge_key not in element:
        raise _no_key(element, merge_key)
    return element[merge_key]


def go_kind(value: Any) -> str:
    """Go's word for a JSON value's kind."""
    for kind, name in ((bool, "bool"), (str, "string"), (int, "int64"), (float, "float64"), (list, "slice")):
        if isinstance(value, kind):
            return name
    return "map" if isinstance(value, dict) else "nil"


def _merge_list(
    original: list[Any], patch: list[Any], node: Node | None, *, deletes: bool, memory: list[Any] | None = None
) -> list[Any]:
    """Both lists merged. `memory` becomes what Kubernetes' code leaves of the live list, which it overwrites while
    it merges and reads afterwards: places of deleted elements are taken by new ones. That decides an order, so it
    is done the same way here."""
    if not original and not patch:
        return original
    elements = [*original, *patch]
    if any(isinstance(e, list) for e in elements):
        raise _bad(NO_LISTS_OF_LISTS)
    maps = isinstance(elements[0], dict)
    if any(isinstance(e, dict) != maps for e in elements):
        raise _bad(f"list element types are not identical: {go_map([original, patch])}")
    if not maps:
        if deletes:
            return [e for e in original if e not in patch]
        return _sorted_by(list(dict.fromkeys(elements)), patch, original, "")
    key = node.merge_key if node else ""
    if not key:
        raise _bad(f"cannot merge lists without merge key for {node.item.go_name if node and node.item else ''}")
    original, patch = _special_elements(original, patch, key)
    if memory is not None:
        memory[: len(original)] = original
    merged = list(original)
    for element in patch:
        if key not in element:
            raise _no_key(element, key)
        place = next((i for i, e in enumerate(merged) if e.get(key) == element[key]), None)
        if place is None:
            if memory is not None and len(merged) < len(memory):
                memory[len(merged)] = element
            merged.append(element)
        else:
            merged[place] = _merge_map(merged[place], element, node.item if node else None)
    return _sorted_by(merged, patch, original, key)


def _special_elements(original: list[Any], patch: list[Any], key: str) -> tuple[list[Any], list[Any]]:
    """Obeys `$patch` elements; what is left of the live list, and the patch without them."""
    plain, replace = [], False
    for element in patch:
        if DIRECTIVE not in element:
            plain.append(element)
            continue
        directive = element[DIRECTIVE]
        if directive == "delete":
            if key not in element:
                raise _no_key(element, key)
            original = [e for e in original if e.get(key) != element[key]]
        elif directive == "replace":
            replace = True
        elif directive == "merge":
            raise _bad("merging lists cannot yet be specified in the patch")
        else:
            raise _bad(f"unknown patch type: {go_map(directive)} in map: {go_map(element)}")
    return (plain, []) if replace else (original, plain)


def _sorted_by(merged: list[Any], order: list[Any], live: list[Any], key: str) -> list[Any]:
    """Elements that `order` names in its order, mixed with the server's own by the order of the live list."""

    def place(items: list[Any]) -> dict[str, int]:
        places: dict[str, int] = {}
        for i, item in enumerate(items):
            places.setdefault(json.dumps(_key_of(item, key), sort_keys=True), i)
        return places

    def name(item: Any) -> str:
        return json.dumps(_key_of(item, key), sort_keys=True)

    wanted, lived = place(order), place(live)
    named = sorted((m for m in merged if name(m) in wanted), key=lambda m: wanted[name(m)])
    own = [m for m in merged if name(m) not in wanted]
    own.sort(key=lambda m: lived.get(name(m), len(lived)))
    result: list[Any] = []
    i = j = 0
    while i < len(named) and j < len(own):
        left, right = lived.get(name(named[i])), lived.get(name(own[j]))
        # An element of the server goes first only where the live list had it before the patch's.
        if left is not None and right is not None and right < left:
            result.append(own[j])
            j += 1
        else:
            result.append(named[i])
            i += 1
    return [*result, *named[i:], *own[j:]]
