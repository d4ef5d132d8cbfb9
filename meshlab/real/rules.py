"""Rules of v1alpha2 on a cluster whose Istio has never heard of them.

Their three kinds are defined there by meshlab, so that `kubectl get routerules` and `istioctl create` work as in
2018. What the mesh acts on are their translations: documents of networking.istio.io/v1, labelled as such, that follow
the stored rules. Rules for one host become one VirtualService, so all of them are translated together.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from typing import Any

from ..access import Access
from ..mesh.config.convert.rules import convert_rules
from ..mesh.config.documents import read
from ..mesh.config.labels import Labels
from .owned import SELECTOR, TRANSLATED, Owned, labelled

__all__ = ["LEGACY", "Translation", "definitions", "key", "legacy_rules", "sync", "translate"]

Object = dict[str, Any]
GROUP, VERSION = "config.istio.io", "v1alpha2"
#: Kind → plural of the kinds that are translated.
LEGACY = {"RouteRule": "routerules", "EgressRule": "egressrules", "DestinationPolicy": "destinationpolicies"}
#: Kinds that translations are of.
_MADE = tuple(("networking.istio.io/v1", kind) for kind in ("VirtualService", "DestinationRule", "ServiceEntry"))


@dataclass(frozen=True)
class Translation:
    """The documents that the rules became, and what is lost or different in them."""

    documents: tuple[Object, ...] = ()
    notes: tuple[str, ...] = ()
    #: What `sync` did: objects that it changed, as they are stored now, and those that it deleted.
    applied: tuple[Object, ...] = field(default=(), compare=False)
    deleted: tuple[Object, ...] = field(default=(), compare=False)

    @property
    def changes(self) -> tuple[str, ...]:
        """Lines such as `applied VirtualService default/svcb`."""
        done = [("applied", self.applied), ("deleted", self.deleted)]
        return tuple(f"{verb} {' '.join(_name(each))}" for verb, objects in done for each in objects)

    def about(self, keys: Set[str]) -> Translation:
        """The part that comes of these rules (`route-rule/default/x`), with what is to be said of them."""
        documents = [each for each in self.documents if keys & set(_origins(each))]
        # The versions of a host that rules name are of no rule in particular.
        hosts = {host for each in documents for host in each["spec"].get("hosts") or ()}
        documents += [each for each in self.documents if each not in documents and each["spec"].get("host") in hosts]
        notes = [note for note in self.notes if any(f" {key}: " in note for key in keys)]
        return Translation(tuple(documents), tuple(notes))

    def __str__(self) -> str:
        import yaml

        comments = "".join(f"# {note}\n" for note in self.notes)
        return comments + str(yaml.safe_dump_all([_shown(d) for d in self.documents], sort_keys=False, width=110))


def definitions() -> list[Object]:
    """CustomResourceDefinitions of the three kinds; what a rule may say is checked before it is sent."""
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return [
        labelled(
            {
                "apiVersion": "apiextensions.k8s.io/v1",
                "kind": "CustomResourceDefinition",
                "metadata": {"name": f"{plural}.{GROUP}"},
                "spec": {
                    "group": GROUP,
                    "scope": "Namespaced",
                    "names": {"kind": kind, "listKind": f"{kind}List", "plural": plural, "singular": kind.lower()},
                    "versions": [
                        {"name": VERSION, "served": True, "storage": True, "schema": {"openAPIV3Schema": anything}}
                    ],
                },
            }
        )
        for kind, plural in LEGACY.items()
    ]


def legacy_rules(access: Access) -> list[Object]:
    """The stored rules of v1alpha2; none where their kinds are not defined."""
    found: list[Object] = []
    for kind in LEGACY:
        found += access.served(f"{GROUP}/{VERSION}", kind) or []
    return found


def translate(rules: Iterable[Mapping[str, Any]], services: Iterable[Mapping[str, Any]] = ()) -> Translation:
    """What these rules are in today's kinds. `services` are the cluster's, by which callers are told."""
    import yaml

    plain = [_bare(rule) for rule in rules]
    found = list(read(yaml.safe_dump_all(plain)))
    configs = [each.config for each in found if each.config is not None]
    selectors = {
        f"{s['metadata']['name']}.{s['metadata'].get('namespace') or 'default'}.svc.cluster.local": Labels(
            {str(k): str(v) for k, v in ((s.get("spec") or {}).get("selector") or {}).items()}
        )
        for s in services
    }
    documents, notes = [], list[str]()
    for made in convert_rules(configs, selectors):
        notes += [str(note) for note in made.notes]
        if made.obj:
            document = dict(made.obj)
            metadata = {**document["metadata"], "namespace": document["metadata"].get("namespace") or "default"}
            metadata["annotations"] = {"meshlab.io/from": ", ".join(made.origins)}
            documents.append({**document, "metadata": metadata})
    return Translation(tuple(documents), tuple(notes))


def sync(access: Access) -> Translation:
    """Makes the translations what the stored rules say now: applies those that differ, deletes those of no rule.

    It can be run at any time and again after it broke off. Raises `Taken` where somebody else's object has the name.
    """
    owned = Owned(access)
    made = translate(legacy_rules(access), access.items("v1", "Service"))
    there = {_key(each): each for each in owned.items(_MADE, f"{SELECTOR},{TRANSLATED}=true")}
    applied, deleted = list[Object](), list[Object]()
    for document in made.documents:
        document = labelled(document, **{TRANSLATED: "true"})
        before = there.pop(_key(document), None)
        if before is not None and before.get("spec") == document["spec"]:
            continue
        stored, changed = owned.apply(document)
        if changed:
            applied.append(stored)
    for _, old in sorted(there.items()):
        if owned.delete(old):
            deleted.append(old)
    return Translation(made.documents, made.notes, tuple(applied), tuple(deleted))


def key(rule: Mapping[str, Any]) -> str:
    """What a rule is called in notes: `route-rule/default/route-rules-svcb`."""
    kind = re.sub(r"(?<!^)(?=[A-Z])", "-", str(rule["kind"])).lower()
    return f"{kind}/{rule['metadata'].get('namespace') or 'default'}/{rule['metadata']['name']}"


def _origins(document: Mapping[str, Any]) -> list[str]:
    return str((document["metadata"].get("annotations") or {}).get("meshlab.io/from") or "").split(", ")


def _bare(rule: Mapping[str, Any]) -> Object:
    metadata = {k: v for k, v in (rule.get("metadata") or {}).items() if k in ("name", "namespace", "labels")}
    return {
        "apiVersion": rule.get("apiVersion"), "kind": rule.get("kind"), "metadata": metadata, "spec": rule.get("spec"),
    }  # fmt: skip


def _shown(document: Mapping[str, Any]) -> Object:
    metadata = {k: v for k, v in document["metadata"].items() if k in ("name", "namespace")}
    return {**document, "metadata": metadata}


def _key(document: Mapping[str, Any]) -> tuple[str, str, str]:
    metadata = document["metadata"]
    return str(document["kind"]), str(metadata.get("namespace") or "default"), str(metadata["name"])


def _name(document: Mapping[str, Any]) -> tuple[str, str]:
    kind, namespace, name = _key(document)
    return kind, f"{namespace}/{name}"
