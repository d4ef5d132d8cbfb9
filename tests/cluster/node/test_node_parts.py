"""The parts of the node that need no node: images, paths, environment, volumes, status, logs."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from meshlab.cluster.node.builtins import capture_of
from meshlab.cluster.node.environment import BadReference, command_line, expand, field_value, variables
from meshlab.cluster.node.images import Catalogue, normalised
from meshlab.cluster.node.logs import LogClock, LogOptions, read_log
from meshlab.cluster.node.paths import ContainerPaths, PodPaths, rewrite
from meshlab.cluster.node.status import ContainerState, phase, quality
from meshlab.cluster.node.view import View
from meshlab.cluster.node.volumes import File, Sources, contents, mount, write


@pytest.mark.parametrize(("image", "name"), [
    ("docker.io/istio/pilot:0.4.0", "docker.io/istio/pilot"),
    ("istio/proxy:0.4.0", "docker.io/istio/proxy_debug"),
    ("docker.io/istio/proxy_debug:0.4.0", "docker.io/istio/proxy_debug"),
    ("docker.io/istio/proxy_init:0.4.0", "docker.io/istio/proxy_init"),
    ("prom/statsd-exporter:v0.5.0", "prom/statsd-exporter"),
    ("docker.io/prom/prometheus:v2.0.0", "docker.io/prom/prometheus"),
    ("docker.io/openzipkin/zipkin:latest", "docker.io/openzipkin/zipkin"),
    ("docker.io/grafana/grafana:12.0.1", "docker.io/istio/grafana"),
    ("docker.io/bigwhite/istio-demo-svcb:v0.2", "docker.io/bigwhite/istio-demo-svcb:v0.2"),
    ("bigwhite/istio-demo-msgd", "docker.io/bigwhite/istio-demo-msgd"),
    ("docker.io/library/python:3.12-slim@sha256:00", "python"),
    ("alpine", "alpine"),
    ("docker.io/bigwhite/istio-demo-svcb:v0.3", None),
    ("gcr.io/istio/pilot:0.4.0", None),
    ("pythonista:1", None),
    ("nginx:1.27-alpine", "nginx"),
    ("redis", None),
])
def test_an_image_is_found_by_its_name(image, name):
    found = Catalogue().find(image)
    assert (found.name if found else None) == name


def test_names_lose_their_registry_but_not_their_tag():
    assert normalised("docker.io/library/python:3.12-slim") == "python:3.12-slim"


@pytest.mark.parametrize(("text", "expected"), [
    ("/etc/statsd/mapping.conf", "/r/etc/statsd/mapping.conf"),
    ("-statsd.mapping-config=/etc/statsd/mapping.conf", "-statsd.mapping-config=/r/etc/statsd/mapping.conf"),
    ("--configPath=/etc/istio/proxy", "--configPath=/r/etc/istio/proxy"),
    ("a:/etc/statsd,b:/etc/istio/proxy/x", "a:/r/etc/statsd,b:/r/etc/istio/proxy/x"),
    ("/etc/statsd2/x", "/etc/statsd2/x"),
    ("/my/etc/statsd", "/my/etc/statsd"),
    ("http://host/etc/statsd", "http://host/etc/statsd"),
    ("file:///etc/statsd", "file:///etc/statsd"),
    ("open('/etc/statsd/x').read()", "open('/r/etc/statsd/x').read()"),
    ("nothing", "nothing"),
])
def test_paths_below_a_mount_become_paths_of_this_machine(text, expected):
    assert rewrite(text, Path("/r"), ["/etc/statsd/", "/etc/istio/proxy", "/"]) == expected


POD = {"metadata": {"name": "p", "namespace": "n", "uid": "u", "labels": {"app": "x", "b": "y"}},
       "spec": {"nodeName": "meshlab", "containers": [{"name": "c", "resources": {"limits": {"cpu": "2"}}}]},
       "status": {"podIP": "127.40.0.9", "hostIP": "127.40.0.1"}}
DATA = {("ConfigMap", "m"): {"a": "1", "not a name": "2"}, ("Secret", "s"): {"k": "v"}}


def lookup(kind: str, name: str):
    return DATA.get((kind, name))


@pytest.mark.parametrize(("text", "expected"), [
    ("$(A)/$(B)", "1/$(B)"), ("$$(A)", "$(A)"), ("$A", "$A"), ("$(A", "$(A"), ("$$$(A)", "$1"),
])
def test_references_to_variables_are_replaced_as_kubernetes_does(text, expected):
    assert expand(text, {"A": "1"}) == expected


@pytest.mark.parametrize(("path", "expected"), [
    ("metadata.name", "p"), ("metadata.labels['app']", "x"), ("metadata.labels['none']", ""),
    ("metadata.labels", 'app="x"\nb="y"'), ("status.podIP", "127.40.0.9"), ("spec.nodeName", "meshlab"),
])
def test_fields_of_the_pod_are_offered_to_containers(path, expected):
    assert field_value(POD, path) == expected


def test_variables_come_in_order_and_may_refer_to_earlier_ones():
    found = variables({"name": "c", "envFrom": [{"configMapRef": {"name": "m"}, "prefix": "P_"},
                                                {"secretRef": {"name": "none", "optional": True}}],
                       "env": [{"name": "A", "value": "a$(P_a)"},
                               {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
                               {"name": "C", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "z",
                                                                               "optional": True}}},
                               {"name": "D", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
                               {"name": "E", "value": "$(A)$(B)"}]}, POD, lookup)
    assert found == {"P_a": "1", "A": "a1", "B": "v", "D": "2", "E": "a1v"}


@pytest.mark.parametrize(("source", "message"), [
    ({"configMapKeyRef": {"name": "none", "key": "k"}}, 'configmap "none" not found'),
    ({"secretKeyRef": {"name": "s", "key": "z"}}, "couldn't find key z in Secret n/s"),
    ({"fieldRef": {"fieldPath": "spec.x"}}, "unsupported fieldPath: spec.x"),
])
def test_a_variable_without_a_source_says_which(source, message):
    with pytest.raises(BadReference, match=message):
        variables({"name": "c", "env": [{"name": "A", "valueFrom": source}]}, POD, lookup)


@pytest.mark.parametrize(("image", "container", "expected"), [
    ("istio/pilot:0.4.0", {"command": ["ignored"], "args": ["discovery", "-v", "2"]},
     ["PY", "-m", "meshlab.mesh.pilot", "discovery", "-v", "2"]),
    ("bigwhite/istio-demo-svcb:v0.1", {"args": ["-msgsvc", "$(HOST):9997"]}, ["PY", "/s/svcb.py", "-msgsvc", "h:9997"]),
    ("python:3.12", {"command": ["/usr/local/bin/python3.12", "/app/x.py"],
                     "volumeMounts": [{"mountPath": "/app"}]}, ["PY", "/root/app/x.py"]),
    ("python:3.12", {}, ["PY"]),
    ("busybox", {"command": ["sleep"], "args": ["1"]}, ["sleep", "1"]),
    ("busybox", {}, ["sh"]),
])
def test_a_command_line_is_what_the_image_and_the_manifest_make_of_it(image, container, expected):
    row = Catalogue().find(image)
    assert row is not None
    local = View(ContainerPaths(Path("/")), container).local
    assert command_line(container, row, python="PY", services=Path("/s"), local=local,
                        known={"HOST": "h"}) == expected


def test_proxy_init_knows_its_options():
    assert capture_of(["-p", "15001", "-u", "1337"]) == {"port": 15001, "uid": 1337, "ranges": "*"}
    with pytest.raises(ValueError, match="illegal option -z"):
        capture_of(["-z", "1"])


def sources(kind: str, name: str):
    found = DATA.get((kind, name))
    return None if found is None else {key: value.encode() for key, value in found.items()}


@pytest.mark.parametrize(("volume", "expected"), [
    ({"emptyDir": {}}, None),
    ({"configMap": {"name": "m"}}, {"a": b"1", "not a name": b"2"}),
    ({"configMap": {"name": "m", "items": [{"key": "a", "path": "x/y"}]}}, {"x/y": b"1"}),
    ({"configMap": {"name": "none", "optional": True}}, {}),
    ({"secret": {"secretName": "s"}}, {"k": b"v"}),
    ({"downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}}, {"name": b"p"}),
    ({"projected": {"sources": [{"serviceAccountToken": {"path": "token"}}, {"secret": {"name": "s"}}]}},
     {"token": b"T", "k": b"v"}),
])
def test_volumes_have_the_files_that_their_source_says(volume, expected):
    found = contents({"name": "v", **volume}, POD, Sources(sources, lambda _: "T"))
    assert (None if found is None else {path: file.data for path, file in found.items()}) == expected


@pytest.mark.parametrize(("volume", "message"), [
    ({"configMap": {"name": "none"}}, 'configmap "none" not found'),
    ({"configMap": {"name": "m", "items": [{"key": "z", "path": "z"}]}}, "non-existent configmap key: z"),
    ({"configMap": {"name": "m", "items": [{"key": "a", "path": "../../x"}]}}, "leaves its volume"),
    ({"hostPath": {"path": "/"}}, "hostPath is not offered by this lab"),
])
def test_a_volume_that_cannot_be_says_why(volume, message):
    with pytest.raises(BadReference, match=message):
        contents({"name": "v", **volume}, POD, Sources(sources, lambda _: "T"))


def test_files_change_all_at_once_and_only_when_they_differ(tmp_path: Path):
    assert write(tmp_path, {"a": File(b"1"), "d/b": File(b"2")})
    assert not write(tmp_path, {"a": File(b"1"), "d/b": File(b"2")})
    reader = (tmp_path / "..data").resolve()
    assert write(tmp_path, {"a": File(b"3")})
    assert (tmp_path / "a").read_text() == "3" and not (tmp_path / "d").exists() and not reader.exists()


def test_mounts_lie_below_the_root_whatever_their_path_says(tmp_path: Path):
    pod, container = PodPaths(tmp_path / "pod"), ContainerPaths(tmp_path / "pod" / "containers" / "c")
    for name in ("outer", "inner"):
        (pod.volumes / name).mkdir(parents=True)
    for _ in range(2):  # a restarted container finds its links
        mount(container, pod, [{"name": "inner", "mountPath": "/etc/app/certs"},
                               {"name": "outer", "mountPath": "/../../etc/app"}])
    (container.root / "etc/app/file").write_text("x")
    (container.root / "etc/app/certs/key").write_text("y")
    assert (pod.volumes / "outer/file").exists() and (pod.volumes / "inner/key").exists()
    assert not (tmp_path / "etc").exists()


def state(**kind) -> ContainerState:
    made = ContainerState("c", "i")
    if kind:
        made.state = kind
    return made


RUNNING = {"running": {"startedAt": "x"}}
DONE, FAILED = {"terminated": {"exitCode": 0}}, {"terminated": {"exitCode": 1}}


@pytest.mark.parametrize(("policy", "inits", "containers", "expected"), [
    ("Always", [], [state()], "Pending"),
    ("Always", [], [state(**RUNNING)], "Running"),
    ("Always", [], [state(**RUNNING), state()], "Pending"),
    ("Always", [state(**RUNNING)], [state()], "Pending"),
    ("Always", [], [state(**FAILED)], "Running"),
    ("Always", [], [state(**DONE)], "Running"),
    ("Never", [], [state(**DONE), state(**DONE)], "Succeeded"),
    ("Never", [], [state(**DONE), state(**FAILED)], "Failed"),
    ("Never", [state(**FAILED)], [state()], "Failed"),
    ("OnFailure", [], [state(**DONE), state(**FAILED)], "Running"),
    ("OnFailure", [], [state(**DONE)], "Succeeded"),
])
def test_the_phase_follows_from_the_containers(policy, inits, containers, expected):
    assert phase(policy, inits, containers) == expected


@pytest.mark.parametrize(("resources", "expected"), [
    ({}, "BestEffort"), ({"requests": {"cpu": "1"}}, "Burstable"),
    ({"limits": {"cpu": "1", "memory": "1Gi"}}, "Guaranteed"),
])
def test_the_quality_of_service_follows_from_the_resources(resources, expected):
    assert quality({"spec": {"containers": [{"name": "c", "resources": resources}]}}) == expected


def read(log: Path, clock: LogClock, **options) -> str:
    async def story() -> bytes:
        return b"".join([part async for part in read_log(log, clock, LogOptions(**options), ended=lambda: True)])

    return asyncio.run(story()).decode()


def test_logs_can_be_cut_by_lines_time_and_bytes(tmp_path: Path):
    log = tmp_path / "0.log"
    log.write_text("one\ntwo\n")
    clock = LogClock(log)
    clock.look(1000.0)
    with log.open("a") as file:
        file.write("three\nfour")
    clock.look(2000.5)
    again = LogClock(log)  # what the next daemon reads
    for known in (clock, again):
        assert read(log, known) == "one\ntwo\nthree\nfour"
        assert read(log, known, tail=0) == ""
        assert read(log, known, tail=2) == "three\nfour"
        assert read(log, known, tail=9) == "one\ntwo\nthree\nfour"
        assert read(log, known, since=1500.0) == "three\nfour"
        assert read(log, known, since=2001.0) == ""
        assert read(log, known, limit=5) == "one\nt"
        assert read(log, known, timestamps=True, tail=3) == (
            "1970-01-01T00:16:40.000000000Z two\n1970-01-01T00:33:20.500000000Z three\n"
            "1970-01-01T00:33:20.500000000Z four")


def test_the_tail_of_a_long_log_is_found_across_blocks(tmp_path: Path):
    log = tmp_path / "0.log"
    log.write_text("".join(f"{i:07d}\n" for i in range(30_000)))
    clock = LogClock(log)
    assert read(log, clock, tail=20_000).splitlines()[0] == "0010000"


def test_a_log_that_grows_without_end_keeps_its_newest_part(tmp_path: Path):
    log = tmp_path / "0.log"
    clock = LogClock(log)
    line = "x" * 1023 + "\n"
    with log.open("a") as writer:
        for second in range(25):
            writer.write(line * 1024)
            writer.flush()
            clock.look(1000.0 + second)
            clock.trim()
        writer.write("end\n")
        writer.flush()
    clock.look(1100.0)
    assert log.stat().st_blocks * 512 < 21 * 1024 * 1024 < log.stat().st_size
    for known in (clock, LogClock(log)):
        kept = read(log, known)
        assert kept.startswith(line) and kept.endswith(line + "end\n") and "\0" not in kept
        assert 10 * 1024 * 1024 <= len(kept) <= 20 * 1024 * 1024
        assert read(log, known, since=1022.5) == line * 2048 + "end\n"
        assert read(log, known, tail=1, timestamps=True) == "1970-01-01T00:18:20.000000000Z end\n"


def test_a_log_that_is_not_there_yet_is_empty(tmp_path: Path):
    assert read(tmp_path / "0.log", LogClock(tmp_path / "0.log")) == ""
