"""What pods may ask of their node beyond running: hooks, gRPC probes, disks, limits, last words."""

from __future__ import annotations

import asyncio
import json
import socketserver
import threading
from pathlib import Path
from typing import Any

import pytest
from node_lab import FOREVER, NodeLab, Obj, node_lab, python

from meshlab.cluster.node.disk import host_path
from meshlab.cluster.node.environment import BadReference, resource_value
from meshlab.cluster.node.grpchealth import serving
from meshlab.cluster.node.paths import ContainerPaths, PodPaths
from meshlab.cluster.node.view import View


def shell(script: str, name: str = "c", **container: Any) -> Obj:
    return {"name": name, "image": "busybox", "command": ["sh", "-c", script], **container}


def exec_hook(script: str) -> Obj:
    return {"exec": {"command": ["sh", "-c", script]}}


def ended(lab: NodeLab, name: str) -> Obj:
    found: Obj = lab.container(name)["state"].get("terminated") or {}
    return found


# Hooks


def test_nothing_begins_before_the_hook_after_the_start_is_done(tmp_path: Path) -> None:
    async def story() -> None:
        async with node_lab(tmp_path) as lab:
            waits = exec_hook("until [ -e /tmp/go ]; do sleep 0.02; done")
            lab.run("p", shell("sleep 600", lifecycle={"postStart": waits}))
            await lab.until(lambda: "Started: Started container c" in lab.events("p"))
            assert lab.state("p") == "ContainerCreating"
            (lab.folder("p") / "containers/c/root/tmp/go").touch()
            await lab.until(lambda: lab.ready("p"))

    asyncio.run(story())


def test_a_container_whose_first_hook_fails_is_killed(tmp_path: Path) -> None:
    async def story() -> None:
        async with node_lab(tmp_path) as lab:
            lab.run("p", shell("sleep 600", lifecycle={"postStart": exec_hook("exit 3")}), restartPolicy="Never")
            await lab.until(lambda: ended(lab, "p"))
            assert "FailedPostStartHook: PostStartHook failed" in lab.events("p")
            assert not lab.ready("p")

    asyncio.run(story())


def test_the_hook_before_the_stop_comes_before_the_signal(tmp_path: Path) -> None:
    async def story() -> None:
        async with node_lab(tmp_path) as lab:
            lab.run("p", shell("trap 'echo signal >> /v/order; exit 0' TERM; touch /v/up; while :; do sleep 0.02; done",
                               volumeMounts=[{"name": "v", "mountPath": "/v"}],
                               lifecycle={"preStop": exec_hook("sleep 0.1; echo hook >> /v/order")}),
                    volumes=[{"name": "v", "hostPath": {"path": "/kept"}}], terminationGracePeriodSeconds=60)
            kept = tmp_path / "disk/kept"
            await lab.until(lambda: lab.ready("p") and (kept / "up").exists())
            lab.delete("p")
            await lab.until(lambda: lab.gone("p"))
            assert (kept / "order").read_text().split() == ["hook", "signal"]

    asyncio.run(story())


def test_a_hook_that_takes_all_of_the_grace_is_left_and_said(tmp_path: Path) -> None:
    async def story() -> None:
        async with node_lab(tmp_path) as lab:
            lab.run("p", shell("sleep 600", lifecycle={"preStop": {"exec": {"command": ["sleep", "600"]}}}),
                    terminationGracePeriodSeconds=1)
            await lab.until(lambda: lab.ready("p"))
            lab.delete("p")
            await lab.until(lambda: lab.gone("p"))
            assert "FailedPreStopHook: PreStopHook failed" in lab.events("p")

    asyncio.run(story())


def test_sidecars_end_after_the_containers_that_they_serve(tmp_path: Path) -> None:
    async def story() -> None:
        async with node_lab(tmp_path) as lab:
            note = "trap 'echo {0} >> /v/order; exit 0' TERM; touch /v/{0}; while :; do sleep 0.02; done"
            mounts = [{"name": "v", "mountPath": "/v"}]
            lab.run("p", shell(note.format("app"), volumeMounts=mounts), volumes=[
                {"name": "v", "hostPath": {"path": "/kept"}}], initContainers=[
                shell(note.format(name), name, volumeMounts=mounts, restartPolicy="Always") for name in ("one", "two")],
                terminationGracePeriodSeconds=60)
            kept = tmp_path / "disk/kept"
            await lab.until(lambda: lab.ready("p") and all((kept / each).exists() for each in ("app", "one", "two")))
            lab.delete("p")
            await lab.until(lambda: lab.gone("p"))
            assert (kept / "order").read_text().split() == ["app", "two", "one"]

    asyncio.run(story())


# gRPC


class Speaker(socketserver.ThreadingTCPServer):
    """Says one thing to whoever comes, after an HTTP/2 server's first words."""

    allow_reuse_address = True
    said = b""


class Answer(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        self.request.recv(65536)
        self.request.sendall(b"\0\0\0\4\0\0\0\0\0" + b"\0\0\x08\6\0\0\0\0\0" + bytes(8) + self.server.said)
        self.request.recv(65536)


def data(body: bytes, kind: int = 0, flags: int = 0) -> bytes:
    return len(body).to_bytes(3, "big") + bytes([kind, flags]) + (1).to_bytes(4, "big") + body


@pytest.mark.parametrize(("said", "ok", "words"), [
    (data(b"\x88", kind=1, flags=4) + data(b"\0\0\0\0\2\x08\1"), True, ""),
    (data(b"\x88", kind=1, flags=4) + data(b"\0\0\0\0\2\x08\2"), False,
     'service unhealthy (responded with "NOT_SERVING")'),
    (data(b"\x88", kind=1, flags=5), False, "error: health rpc failed: the server does not know the service"),
    (b"", False, "was closed"),
    (b"\xff\xff\xff\0\0\0\0\0\0", False, "was closed"),
])
def test_the_health_question_of_grpc_is_understood(said: bytes, ok: bool, words: str) -> None:
    with Speaker(("127.0.0.1", 0), Answer) as server:
        server.said = said
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()

        async def ask() -> Any:
            asking = asyncio.create_task(serving("127.0.0.1", server.server_address[1], "", "127.0.0.1"))
            return await asyncio.wait_for(asking, 60)

        found = asyncio.run(ask())
        server.shutdown()
    assert found.ok is ok
    assert ok or words in found.message


def test_a_real_grpc_server_is_asked_for_its_health() -> None:
    import grpc

    def check(request: bytes, context: grpc.ServicerContext) -> bytes:
        if request != b"\x0a\3web":
            context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return b"\x08\1"

    from concurrent.futures import ThreadPoolExecutor

    server = grpc.server(ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(
        "grpc.health.v1.Health", {"Check": grpc.unary_unary_rpc_method_handler(check)})])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        found = [asyncio.run(serving("127.0.0.1", port, name, "127.0.0.1")).ok for name in ("web", "other")]
    finally:
        server.stop(None).wait()
    assert found == [True, False]


# Files


@pytest.mark.parametrize(("kind", "there", "words"), [
    ("", None, ""), ("DirectoryOrCreate", None, ""), ("FileOrCreate", None, ""), ("File", "file", ""),
    ("Directory", None, "hostPath type check failed: /var/data is not a directory"),
    ("File", "folder", "hostPath type check failed: /var/data is not a file"),
    ("", "link", "leads out of the node's disk"),
])
def test_a_path_of_the_node_is_on_the_nodes_own_disk(tmp_path: Path, kind: str, there: str | None, words: str) -> None:
    place = tmp_path / "disk/var/data"
    place.parent.mkdir(parents=True)
    match there:
        case "file":
            place.touch()
        case "folder":
            place.mkdir()
        case "link":
            place.symlink_to("/")
    source = {"path": "/../var/./data", "type": kind}
    if words:
        with pytest.raises(BadReference, match=words.replace("/../var/./data", "")):
            host_path(tmp_path / "disk", {**source, "path": "/var/data"})
    else:
        assert host_path(tmp_path / "disk", source) == place
        assert place.exists()


def test_what_one_pod_leaves_on_the_node_another_finds(tmp_path: Path) -> None:
    async def story() -> None:
        async with node_lab(tmp_path) as lab:
            volumes = [{"name": "v", "hostPath": {"path": "/var/log/shared", "type": "DirectoryOrCreate"}}]
            mounts = [{"name": "v", "mountPath": "/out"}]
            lab.run("one", shell("echo found > /out/it", volumeMounts=mounts), volumes=volumes, restartPolicy="Never")
            await lab.until(lambda: lab.phase("one") == "Succeeded")
            lab.delete("one")
            await lab.until(lambda: lab.gone("one"))
            lab.run("two", shell("cat /out/it", volumeMounts=mounts), volumes=volumes, restartPolicy="Never")
            await lab.until(lambda: lab.phase("two") == "Succeeded")
            assert await lab.log("two") == "found\n"

    asyncio.run(story())


def test_folders_of_the_container_are_its_own_and_new_in_every_run(tmp_path: Path) -> None:
    async def story() -> None:
        async with node_lab(tmp_path) as lab:
            # The liveness example of the Kubernetes documentation.
            alive = {**exec_hook("cat /tmp/healthy"), "periodSeconds": 1, "timeoutSeconds": 60}
            lab.run("p", shell("touch /tmp/healthy; ls /tmp; sleep 600", startupProbe={**alive, "failureThreshold": 60},
                               livenessProbe={**alive, "failureThreshold": 1}))
            await lab.until(lambda: lab.ready("p"))
            (lab.folder("p") / "containers/c/root/tmp/more").touch()
            (lab.folder("p") / "containers/c/root/tmp/healthy").unlink()
            await lab.until(lambda: lab.container("p")["restartCount"] == 1 and lab.state("p") == "running")
            await lab.until(lambda: (lab.folder("p") / "containers/c/1.log").read_text() == "healthy\n")

    asyncio.run(story())


def made_view(tmp_path: Path, *mounts: str) -> View:
    pod = PodPaths(tmp_path / "pod")
    for number, _ in enumerate(mounts):
        (pod.volumes / f"v{number}").mkdir(parents=True)
    spec = {"volumeMounts": [{"name": f"v{number}", "mountPath": path} for number, path in enumerate(mounts)]}
    view = View(ContainerPaths(tmp_path / "c"), spec)
    view.make(pod)
    return view


def test_copying_stays_below_the_root_and_names_files_as_the_container_does(tmp_path: Path) -> None:
    view = made_view(tmp_path, "/etc/config")
    root = str(view.root)
    assert view.command(["tar", "cf", "-", "/etc/config/key"]) == ["tar", "cf", "-", "-C", root, "etc/config/key"]
    assert view.command(["tar", "cf", "-", "/etc/config"])[3:] == ["-h", "-C", root, "etc/config"]
    assert view.command(["tar", "-xmf", "-", "-C", "/usr"]) == ["tar", "-xmf", "-", "-C", f"{root}/usr"]
    assert (view.root / "usr").is_dir()
    (view.root / "usr/copied").touch()
    assert view.command(["sh", "-c", "cat /usr/copied /usr/bin/env"])[2] == f"cat {root}/usr/copied /usr/bin/env"


@pytest.mark.parametrize(("ref", "expected"), [
    ({"resource": "limits.cpu"}, "2"),
    ({"resource": "limits.cpu", "divisor": "1m"}, "1500"),
    ({"resource": "requests.memory", "divisor": "1Mi"}, "64"),
    ({"resource": "requests.memory"}, "67108864"),
    ({"resource": "requests.cpu"}, "0"),
])
def test_a_containers_resources_are_told_in_the_unit_that_it_asks_for(ref: Obj, expected: str) -> None:
    resources = {"limits": {"cpu": "1500m"}, "requests": {"memory": "64Mi"}}
    assert resource_value(ref, {"spec": {"containers": [{"name": "c", "resources": resources}]}}, "c") == expected


# Ends


@pytest.mark.parametrize(("spec", "script", "code", "message"), [
    ({}, "echo why > /dev/termination-log; exit 1", 1, "why\n"),
    ({"terminationMessagePath": "/out/last"}, "echo fine > /out/last", 0, "fine\n"),
    ({"terminationMessagePolicy": "FallbackToLogsOnError"}, "echo from the log; exit 1", 1, "from the log\n"),
    ({"terminationMessagePolicy": "FallbackToLogsOnError"}, "echo from the log", 0, None),
])
def test_a_container_may_leave_a_message(tmp_path: Path, spec: Obj, script: str, code: int,
                                         message: str | None) -> None:
    async def story() -> None:
        async with node_lab(tmp_path) as lab:
            lab.run("p", shell(script, **spec), restartPolicy="Never")
            await lab.until(lambda: ended(lab, "p"))
            assert (ended(lab, "p")["exitCode"], ended(lab, "p").get("message")) == (code, message)

    asyncio.run(story())


def test_who_holds_more_memory_than_its_limit_is_killed_for_it(tmp_path: Path) -> None:
    async def story() -> None:
        async with node_lab(tmp_path) as lab:
            lab.run("p", python("x = b'x' * (64 << 20); import time; time.sleep(600)",
                                resources={"limits": {"memory": "32Mi"}}), restartPolicy="Never")
            await lab.until(lambda: ended(lab, "p"))
            assert (ended(lab, "p")["reason"], ended(lab, "p")["exitCode"]) == ("OOMKilled", 137)

    asyncio.run(story())


def test_a_pod_that_fills_its_volume_is_evicted_and_stays_to_be_read(tmp_path: Path,
                                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meshlab.cluster.node.limits.DISK", 0.05)

    async def story() -> None:
        async with node_lab(tmp_path) as lab:
            mounts = [{"name": "cache", "mountPath": "/cache"}]
            lab.run("p", shell("head -c 3000000 /dev/zero > /cache/big; sleep 600", volumeMounts=mounts),
                    volumes=[{"name": "cache", "emptyDir": {"sizeLimit": "1Mi"}}])
            status = await lab.until(lambda: (found := lab.pod("p")["status"]).get("phase") == "Failed" and found)
            assert (status["reason"], status["message"]) == (
                "Evicted", 'Usage of EmptyDir volume "cache" exceeds the limit "1Mi". ')
            assert "containerStatuses" not in status, "or kubectl would show their end, not why"
            await lab.until(lambda: not list(lab.folder("p").glob("containers/*/process.json")))

    asyncio.run(story())


def test_a_name_that_is_none_is_no_question_of_pulling(tmp_path: Path) -> None:
    async def story() -> None:
        async with node_lab(tmp_path) as lab:
            lab.run("p", {"name": "c", "image": "Nginx:1"})
            await lab.until(lambda: lab.state("p") == "InvalidImageName")

    asyncio.run(story())


def test_projected_sources_come_together_in_one_folder(tmp_path: Path) -> None:
    async def story() -> None:
        async with node_lab(tmp_path) as lab:
            lab.config("settings", mode="fast")
            sources = [
                {"configMap": {"name": "settings"}},
                {"downwardAPI": {"items": [
                    {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
                    {"path": "cpu", "resourceFieldRef": {"containerName": "c", "resource": "limits.cpu"}}]}},
                {"serviceAccountToken": {"path": "token"}},
            ]
            lab.run("p", python(FOREVER, resources={"limits": {"cpu": "3"}, "requests": {"cpu": "1m"}}, volumeMounts=[
                {"name": "all", "mountPath": "/all"}]), volumes=[{"name": "all", "projected": {"sources": sources}}])
            await lab.until(lambda: lab.ready("p"))
            folder = lab.folder("p") / "containers/c/root/all"
            assert {name: (folder / name).read_text() for name in ("mode", "labels", "cpu", "token")} == {
                "mode": "fast", "labels": 'app="p"', "cpu": "3", "token": "token-of-default-default"}
            assert json.loads((lab.folder("p") / "pod.json").read_text())["name"] == "p"

    asyncio.run(story())
