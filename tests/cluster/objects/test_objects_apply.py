"""Server-side apply and the ownership of fields."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlab.cluster.api.apply import Conflict, apply, track
from meshlab.cluster.api.declared import faults
from meshlab.cluster.api.fieldset import compare, decode_fields, encode_fields, field_set, merge, path_text
from meshlab.cluster.api.schema import Node, Schemas
from meshlab.cluster.api.status import BadRequest
from meshlab.cluster.api.structural import node as custom_node

NOW = datetime(2026, 1, 1, tzinfo=UTC)
Object = dict[str, Any]


def config_map(**data: str) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "n"}, "data": data}


def deployment(*containers: Object, **spec: Any) -> Object:
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
            "spec": {**spec, "template": {"spec": {"containers": list(containers)}}}}  # fmt: skip


class Server:
    """One object, and everybody who applies to it or changes it."""

    def __init__(self, schemas: Schemas, api_version: str = "v1", kind: str = "ConfigMap", node: Node | None = None):
        self.node = node or schemas.for_kind(api_version, kind)
        self.api_version = api_version
        self.live: Object | None = None
        self.now = NOW

    def apply(self, config: Object, manager: str, *, force: bool = False) -> Object:
        self.now += timedelta(seconds=1)
        self.live = apply(self.live, config, manager=manager, force=force, node=self.node,
                          api_version=self.api_version, now=self.now)  # fmt: skip
        return self.live

    def write(self, obj: Object, manager: str, subresource: str | None = None) -> Object:
        self.now += timedelta(seconds=1)
        managed = track(self.live, obj, manager=manager, subresource=subresource, node=self.node,
                        api_version=self.api_version, now=self.now)  # fmt: skip
        self.live = {**obj, "metadata": {**obj["metadata"], "managedFields": managed}}
        return self.live

    def owners(self) -> dict[str, Any]:
        assert self.live is not None
        return {e["manager"]: e["fieldsV1"] for e in self.live["metadata"]["managedFields"]}


def test_what_is_no_longer_stated_goes(schemas: Schemas) -> None:
    server = Server(schemas)
    server.apply(config_map(a="1", b="2"), "one")
    assert server.apply(config_map(b="2"), "one")["data"] == {"b": "2"}
    assert server.owners() == {"one": {"f:data": {"f:b": {}}}}


def test_another_managers_value_is_a_conflict_until_forced(schemas: Schemas) -> None:
    server = Server(schemas)
    server.apply(config_map(a="1"), "one")
    with pytest.raises(Conflict) as refused:
        server.apply(config_map(a="2"), "two")
    assert str(refused.value) == 'Apply failed with 1 conflict: conflict with "one": .data.a'
    assert refused.value.conflicts == [{"manager": "one", "field": ".data.a", "message": 'conflict with "one"'}]
    server.apply(config_map(a="2"), "two", force=True)
    assert server.owners() == {"two": {"f:data": {"f:a": {}}}}


def test_several_conflicts_are_listed_by_manager(schemas: Schemas) -> None:
    server = Server(schemas)
    server.apply(config_map(a="1", b="1"), "one")
    server.apply(config_map(c="1"), "two")
    with pytest.raises(Conflict) as refused:
        server.apply(config_map(a="2", b="2", c="2"), "three")
    assert str(refused.value) == (
        'Apply failed with 3 conflicts: conflicts with "one":\n- .data.a\n- .data.b\nconflicts with "two":\n- .data.c'
    )


def test_the_same_value_is_owned_together_and_stays_while_anybody_states_it(schemas: Schemas) -> None:
    server = Server(schemas)
    server.apply(config_map(a="1", o="1"), "one")
    server.apply(config_map(a="1"), "two")
    assert server.apply(config_map(o="1"), "one")["data"] == {"a": "1", "o": "1"}
    assert server.owners() == {"one": {"f:data": {"f:o": {}}}, "two": {"f:data": {"f:a": {}}}}


def test_elements_of_a_list_belong_to_those_who_state_them(schemas: Schemas) -> None:
    server = Server(schemas, "apps/v1", "Deployment")
    server.apply(deployment({"name": "main", "image": "a"}, replicas=1), "one")
    server.apply(deployment({"name": "main", "env": [{"name": "X", "value": "1"}]}), "two")
    made = server.apply(deployment({"name": "side", "image": "b"}), "three")
    assert made["spec"]["template"]["spec"]["containers"] == [
        {"name": "main", "image": "a", "env": [{"name": "X", "value": "1"}]}, {"name": "side", "image": "b"},
    ]  # fmt: skip
    template = server.owners()["two"]["f:spec"]["f:template"]["f:spec"]["f:containers"]
    assert template == {
        'k:{"name":"main"}': {
            ".": {}, "f:env": {'k:{"name":"X"}': {".": {}, "f:name": {}, "f:value": {}}}, "f:name": {},
        }
    }
    gone = server.apply(deployment(), "three")
    assert [c["name"] for c in gone["spec"]["template"]["spec"]["containers"]] == ["main"]


def test_a_ports_protocol_is_part_of_its_name_even_where_it_is_left_out(schemas: Schemas) -> None:
    server = Server(schemas, "v1", "Service")
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}}
    server.apply(service, "one")
    ports = server.owners()["one"]["f:spec"]["f:ports"]
    assert ports == {'k:{"port":80,"protocol":"TCP"}': {".": {}, "f:port": {}}}


def test_the_same_key_twice_is_refused(schemas: Schemas) -> None:
    server = Server(schemas, "apps/v1", "Deployment")
    with pytest.raises(BadRequest, match=r'duplicate entries for key \[name="a"\]'):
        server.apply(deployment({"name": "a"}, {"name": "a"}), "one")


def test_a_write_takes_what_it_changes(schemas: Schemas) -> None:
    server = Server(schemas)
    server.apply(config_map(a="1", b="1"), "one")
    server.write(config_map(a="2", b="1"), "edit")
    assert server.owners() == {"one": {"f:data": {"f:b": {}}}, "edit": {"f:data": {"f:a": {}}}}
    with pytest.raises(Conflict, match=r'conflict with "edit" using v1: \.data\.a'):
        server.apply(config_map(a="3"), "one")


def test_a_creator_owns_what_it_wrote_and_maps_that_it_made(schemas: Schemas) -> None:
    server = Server(schemas, "apps/v1", "Deployment")
    obj = deployment({"name": "c", "image": "i"}, replicas=1)
    obj["metadata"]["labels"] = {"app": "web"}
    server.write(obj, "kubectl-create")
    owned = server.owners()["kubectl-create"]
    assert owned["f:metadata"] == {"f:labels": {".": {}, "f:app": {}}}
    assert owned["f:spec"]["f:template"]["f:spec"]["f:containers"] == {
        'k:{"name":"c"}': {".": {}, "f:image": {}, "f:name": {}}
    }


def test_status_has_owners_of_its_own(schemas: Schemas) -> None:
    server = Server(schemas, "apps/v1", "Deployment")
    created = server.write({**deployment(), "status": {}}, "kubectl-create")
    server.write({**created, "status": {"replicas": 1}}, "controller", subresource="status")
    assert server.live is not None
    (entry,) = (e for e in server.live["metadata"]["managedFields"] if e["manager"] == "controller")
    assert (entry["subresource"], entry["fieldsV1"]) == ("status", {"f:status": {"f:replicas": {}}})


def test_an_object_that_nobody_tracks_stays_untracked(schemas: Schemas) -> None:
    server = Server(schemas)
    server.live = config_map(a="1")
    server.write(config_map(a="2"), "edit")
    assert server.owners() == {}
    server.apply(config_map(b="1"), "one")
    assert set(server.owners()) == {"before-first-apply", "one"}


def test_kubectl_takes_over_from_its_own_annotation(schemas: Schemas) -> None:
    server = Server(schemas)
    annotation = '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"a":"1"}}\n'
    obj = config_map(a="1")
    obj["metadata"]["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": annotation}
    server.write(obj, "kubectl-client-side-apply")
    made = server.apply(config_map(a="2"), "kubectl")
    assert made["data"] == {"a": "2"}
    assert '"a":"2"' in made["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"]


def test_applying_the_same_again_changes_nothing(schemas: Schemas) -> None:
    server = Server(schemas, "apps/v1", "Deployment")
    config = deployment({"name": "a", "image": "i"}, replicas=2)
    once = server.apply(config, "one")
    assert server.apply(config, "one") == once


def test_owners_of_an_older_version_are_compared_in_it(schemas: Schemas) -> None:
    server = Server(schemas, "apps/v1", "Deployment")
    server.write(deployment({"name": "a", "image": "i"}, replicas=2), "creator")
    assert server.live is not None
    for entry in server.live["metadata"]["managedFields"]:
        entry["apiVersion"] = "extensions/v1beta1"
    server.apply(deployment({"name": "a", "image": "j"}), "one", force=True)
    owned = server.owners()["creator"]["f:spec"]["f:template"]["f:spec"]["f:containers"]['k:{"name":"a"}']
    assert "f:image" not in owned


def test_many_updaters_are_merged(schemas: Schemas) -> None:
    server = Server(schemas)
    server.write(config_map(k0="0"), "m0")
    data = {"k0": "0"}
    for i in range(1, 15):
        data[f"k{i}"] = str(i)
        server.write(config_map(**data), f"m{i:02}")
    assert len(server.owners()) == 10
    assert "ancient-changes" in server.owners()


def test_custom_resources_follow_their_schema_or_what_they_look_like(schemas: Schemas) -> None:
    element = {"type": "object", "properties": {"name": {"type": "string"}, "w": {"type": "integer"}}}
    items = {
        "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"], "items": element,
    }  # fmt: skip
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"items": items}}}}
    typed = Server(schemas, "x.io/v1", "Zag", custom_node(schema))

    def zag(*listed: Object) -> Object:
        return {"apiVersion": "x.io/v1", "kind": "Zag", "metadata": {"name": "z"}, "spec": {"items": list(listed)}}

    typed.apply(zag({"name": "a", "w": 1}), "one")
    assert typed.apply(zag({"name": "b"}), "two")["spec"]["items"] == [{"name": "a", "w": 1}, {"name": "b"}]
    free = Server(schemas, "x.io/v1", "Zag", custom_node(None))
    free.apply(zag({"name": "a", "w": 1}), "one")
    with pytest.raises(Conflict, match=r"\.spec\.items"):
        free.apply(zag({"name": "b"}), "two")


@pytest.mark.parametrize("schema", [None, {"type": "object", "x-kubernetes-preserve-unknown-fields": True}])
def test_custom_resources_without_named_fields_may_have_any(schemas: Schemas, schema: Object | None) -> None:
    free = custom_node(schema)
    zag = {"apiVersion": "x.io/v1", "kind": "Zag", "metadata": {"name": "z"}, "status": {"phase": [{"a": 1}]}}
    assert list(faults(zag, free)) == []
    assert Server(schemas, "x.io/v1", "Zag", free).apply(zag, "one")["status"] == zag["status"]


LEAVES = st.one_of(st.integers(0, 3), st.sampled_from(["x", "y"]), st.none(), st.just([]), st.just({}))
TREES = st.recursive(LEAVES, lambda t: st.dictionaries(st.sampled_from("abc"), t, max_size=3), max_leaves=8)
OBJECTS = st.dictionaries(st.sampled_from("abcd"), TREES, max_size=4)


@given(OBJECTS)
def test_a_set_of_fields_survives_being_written(obj: Object) -> None:
    paths = field_set(obj, None)
    assert decode_fields(encode_fields(paths)) == paths
    assert all(path_text(path) for path in paths)


@given(OBJECTS, OBJECTS)
def test_what_is_merged_in_is_there(live: Object, config: Object) -> None:
    merged = merge(live, config, None)
    change = compare(merged, merge(merged, config, None), None)
    assert not (change.added | change.modified | change.removed)
    assert not compare(live, merged, None).removed


@given(OBJECTS, OBJECTS)
def test_a_comparison_turned_round_adds_what_was_removed(before: Object, after: Object) -> None:
    there, back = compare(before, after, None), compare(after, before, None)
    assert (there.added, there.removed) == (back.removed, back.added)
