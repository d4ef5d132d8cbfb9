"""The life of pods, as processes of this machine."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path

import pytest
from node_lab import FOREVER, NETWORK, marked, node_lab, python

from meshlab.cluster.api.streams import KubeletError


def test_a_pod_runs_is_ready_and_leaves_nothing_behind(tmp_path: Path):
    async def story() -> None:
        async with node_lab(tmp_path) as lab:
            lab.config("app", **{"main.py": "import os, time\n"
                                            "print('hello', os.environ['WHO'], os.environ['POD_IP'], flush=True)\n"
                                            "time.sleep(600)\n"})
            lab.run("web", {"name": "c", "image": "python:3.12", "command": ["python", "/app/main.py"],
                            "env": [{"name": "WHO", "value": "world"}],
                            "volumeMounts": [{"name": "app", "mountPath": "/app"}]},
                    volumes=[{"name": "app", "configMap": {"name": "app"}}])
            await lab.until(lambda: lab.ready("web"))
            pod = lab.pod("web")
            ip = pod["status"]["podIP"]
            assert ip.startswith(NETWORK.pods + ".") and pod["status"]["hostIP"] == NETWORK.node
            async def greeted() -> bool:
                return await lab.log("web") == f"hello world {ip}\n"
            async with asyncio.timeout(60):
                while not await greeted():
                    await asyncio.sleep(0.01)
            described = json.loads((lab.folder("web") / "pod.json").read_text())
            assert described == {"namespace": "default", "name": "web", "uid": pod["metadata"]["uid"], "ip": ip,
                                 "local_ip": NETWORK.local_of(ip), "labels": {"app": "web"},
                                 "serviceAccount": "default"}
            assert (lab.folder("web") / "kubeconfig").stat().st_mode & 0o777 == 0o600
            folder = lab.folder("web")
            lab.delete("web")
            await lab.until(lambda: lab.gone("web"))
            assert not folder.exists() and marked(tmp_path) == []
            told = [event.split(":")[0] for event in lab.events("web")]
            assert told == ["Scheduled", "Pulled", "Created", "Started", "Killing"]

    asyncio.run(story())


def test_init_containers_run_in_order_before_the_others(tmp_path: Path):
    async def story() -> None:
        async with node_lab(tmp_path) as lab:
            write = {"volumeMounts": [{"name": "w", "mountPath": "/w"}]}
            lab.run("p", python("print(open('/w/order').read(), flush=True); import time; time.sleep(600)", **write),
                    initContainers=[python("open('/w/order', 'a').write('one ')", "one", **write),
                                    python("open('/w/order', 'a').write('two')", "two", **write)],
                    volumes=[{"name": "w", "emptyDir": {}}])
            await lab.until(lambda: lab.ready("p"))
            assert [lab.state("p", i, "initContainerStatuses") for i in (0, 1)] == ["Completed", "Completed"]
            async with asyncio.timeout(60):
                while await lab.log("p") != "one two\n":
                    await asyncio.sleep(0.01)

    asyncio.run(story())


def test_proxy_init_says_what_is_captured_and_core_dumps_are_only_explained(tmp_path: Path):
    async def story() -> None:
        async with node_lab(tmp_path) as lab:
            lab.run("p", python(FOREVER), initContainers=[
                {"name": "istio-init", "image": "docker.io/istio/proxy_init:0.4.0",
                 "args": ["-p", "15001", "-u", "1337", "-i", "127.105.0.0/16"],
                 "securityContext": {"privileged": True}},
                {"name": "enable-core-dump", "image": "alpine", "command": ["/bin/sh"],
                 "args": ["-c", "sysctl -w kernel.core_pattern=/etc/istio/proxy/core"],
                 "securityContext": {"privileged": True}}])
            before = Path("/proc/sys/kernel/core_pattern").read_text()
            await lab.until(lambda: lab.ready("p"))
            assert json.loads((lab.folder("p") / "capture.json").read_text()) == {
                "port": 15001, "uid": 1337, "ranges": "127.105.0.0/16"}
            assert "not done by this lab" in await lab.log("p", "enable-core-dump")
            assert Path("/proc/sys/kernel/core_pattern").read_text() == before

    asyncio.run(story())


@pytest.mark.parametrize(("policy", "code", "phase", "reason"), [
    ("Never", 0, "Succeeded", "Completed"), ("Never", 3, "Failed", "Error"), ("OnFailure", 0, "Succeeded", "Completed"),
])
def test_a_pod_that_ends_for_good_says_how(tmp_path: Path, policy, code, phase, reason):
    async def story() -> None:
        async with node_lab(tmp_path) as lab:
            lab.run("p", python(f"import sys; print('last words'); sys.exit({code})"), restartPolicy=policy)
            await lab.until(lambda: lab.phase("p") == phase)
            ended = lab.container("p")["state"]["terminated"]
            assert (ended["exitCode"], ended["reason"]) == (code, reason)
            assert await lab.log("p") == "last words\n"
            lab.delete("p")
            await lab.until(lambda: lab.gone("p") and not list(lab.settings.pods.iterdir()))

    asyncio.run(story())


def test_a_crash_is_answered_at_once_and_the_next_one_after_a_pause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("meshlab.cluster.node.backoff.FIRST", 100.0)

    async def story() -> None:
        async with node_lab(tmp_path) as lab:
            lab.run("p", python("import sys; print('dying'); sys.exit(3)"))
            await lab.until(lambda: lab.state("p") == "CrashLoopBackOff")
            status = lab.container("p")
            assert status["restartCount"] == 1
            assert status["lastState"]["terminated"]["exitCode"] == 3
            said = status["state"]["waiting"]["message"]
            assert said.startswith("back-off 1m40s restarting failed container=c pod=p_")
            assert lab.phase("p") == "Running" and not lab.ready("p")
            assert await lab.log("p", previous=True) == "dying\n"
            lab.delete("p")  # a pod that waits does not hold up its deletion
            await lab.until(lambda: lab.gone("p"))

    asyncio.run(story())


def test_a_killed_process_is_started_again_with_its_children_gone(tmp_path: Path):
    async def story() -> None:
        async with node_lab(tmp_path) as lab:
            lab.run("p", python("import subprocess, sys, time\n"
                                "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
                                "print('up', flush=True); time.sleep(600)"))
            record = lab.folder("p") / "containers" / "c" / "process.json"
            await lab.until(lambda: lab.ready("p") and len(marked(tmp_path)) == 2)
            first = json.loads(record.read_text())
            os.kill(first["pid"], signal.SIGKILL)
            await lab.until(lambda: lab.container("p")["restartCount"] == 1 and lab.ready("p"))
            ended = lab.container("p")["lastState"]["terminated"]
            assert ended["exitCode"] == 137
            assert json.loads(record.read_text())["pid"] != first["pid"]
            await lab.until(lambda: len(marked(tmp_path)) == 2)

    asyncio.run(story())


def test_an_unknown_image_is_told_with_the_known_ones_and_can_be_corrected(tmp_path: Path):
    async def story() -> None:
        async with node_lab(tmp_path) as lab:
            lab.run("p", {"name": "c", "image": "redis:7", "command": ["python", "-c", FOREVER]})
            await lab.until(lambda: lab.state("p") == "ErrImagePull")
            assert "istio/pilot" in lab.container("p")["state"]["waiting"]["message"]
            await lab.until(lambda: lab.state("p") == "ImagePullBackOff")
            with pytest.raises(KubeletError, match="trying and failing to pull image"):
                await lab.log("p")
            lab.api.patch(lab.api.kinds("Pod"), "default", "p",
                          {"spec": {"containers": [{"name": "c", "image": "python:3.12"}]}}, "strategic")
            await lab.until(lambda: lab.ready("p"))

    asyncio.run(story())


def test_a_pod_waits_for_its_configuration_and_starts_when_it_comes(tmp_path: Path):
    async def story() -> None:
        async with node_lab(tmp_path) as lab:
            show = "import os, time; print(os.environ.get('X') or open('/d/x').read(), flush=True); time.sleep(600)"
            lab.run("env", python(show, env=[{"name": "X", "valueFrom": {"configMapKeyRef": {
                "name": "later", "key": "x"}}}]))
            lab.run("file", python(show, volumeMounts=[{"name": "d", "mountPath": "/d"}]),
                    volumes=[{"name": "d", "configMap": {"name": "later"}}])
            await lab.until(lambda: lab.state("env") == "CreateContainerConfigError")
            assert lab.state("file") == "ContainerCreating"
            await lab.until(lambda: 'FailedMount: MountVolume.SetUp failed for volume "d" : configmap "later" not found'
                            in lab.events("file"))
            lab.config("later", x="value")
            await lab.until(lambda: lab.ready("env") and lab.ready("file"))
            async with asyncio.timeout(60):
                while [await lab.log("env"), await lab.log("file")] != ["value\n", "value\n"]:
                    await asyncio.sleep(0.01)

    asyncio.run(story())


def test_a_changed_configmap_reaches_the_files_of_a_running_pod(tmp_path: Path):
    async def story() -> None:
        async with node_lab(tmp_path) as lab:
            lab.config("c", a="1")
            lab.run("p", python(FOREVER, volumeMounts=[{"name": "d", "mountPath": "/d"}]),
                    volumes=[{"name": "d", "configMap": {"name": "c"}}])
            await lab.until(lambda: lab.ready("p"))
            root = lab.folder("p") / "containers" / "c" / "root" / "d"
            assert (root / "a").read_text() == "1"
            lab.api.patch(lab.api.kinds("ConfigMap"), "default", "c", {"data": {"a": None, "b": "2"}}, "merge")
            await lab.until(lambda: (root / "b").exists())
            assert (root / "b").read_text() == "2" and not (root / "a").exists()

    asyncio.run(story())


SERVE = ("import http.server, os, pathlib\n"
         "class H(http.server.BaseHTTPRequestHandler):\n"
         "    def do_GET(self):\n"
         "        ok = pathlib.Path(os.environ['MESHLAB_POD_DIR'], self.path[1:]).exists()\n"
         "        self.send_response(200 if ok else 500); self.send_header('Content-Length', '0'); self.end_headers()\n"
         "http.server.HTTPServer((os.environ['POD_IP'], 8080), H).serve_forever()\n")


def test_readiness_follows_the_probe_in_both_directions(tmp_path: Path):
    async def story() -> None:
        async with node_lab(tmp_path) as lab:
            lab.run("p", python(SERVE, ports=[{"name": "web", "containerPort": 8080}], readinessProbe={
                "httpGet": {"path": "/gate", "port": "web"}, "periodSeconds": 1, "failureThreshold": 1}))
            await lab.until(lambda: lab.state("p") == "running")
            assert not lab.ready("p")
            gate = lab.folder("p") / "gate"
            gate.touch()
            await lab.until(lambda: lab.ready("p"))
            gate.unlink()
            await lab.until(lambda: not lab.ready("p"))
            failed = "Unhealthy: Readiness probe failed: HTTP probe failed with statuscode: 500"
            await lab.until(lambda: failed in lab.events("p"))

    asyncio.run(story())


def test_a_container_that_is_not_alive_is_restarted(tmp_path: Path):
    async def story() -> None:
        async with node_lab(tmp_path) as lab:
            lab.run("p", python(FOREVER, livenessProbe={
                "exec": {"command": ["python", "-c", "import sys; sys.exit(1)"]}, "periodSeconds": 1,
                "failureThreshold": 1}))
            await lab.until(lambda: lab.container("p")["restartCount"] == 1)
            assert "Killing: Container c failed liveness probe, will be restarted" in lab.events("p")

    asyncio.run(story())


def test_ready_means_answers_for_a_proxy_and_for_a_declared_port(tmp_path: Path):
    async def story() -> None:
        async with node_lab(tmp_path) as lab:
            uid = {"name": "POD_UID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}}
            gate = {"name": "GATE", "value": "/tmp/gate"}  # noqa: S108 - the container's own
            lab.run("p", {"name": "proxy", "image": "envoy:1", "env": [uid, gate]})
            await lab.until(lambda: lab.state("p") == "running")
            lab.run("q", python(SERVE, ports=[{"containerPort": 8080}]))
            await lab.until(lambda: lab.ready("q"))
            assert not lab.ready("p")
            (lab.folder("p") / "containers/proxy/root/tmp/gate").touch()
            await lab.until(lambda: lab.ready("p"))

    asyncio.run(story())


def test_a_fixed_address_is_kept(tmp_path: Path):
    async def story() -> None:
        async with node_lab(tmp_path) as lab:
            lab.run("p", python(FOREVER), annotations={"meshlab.io/pod-ip": "external"})
            await lab.until(lambda: lab.ready("p"))
            assert lab.pod("p")["status"]["podIP"] == NETWORK.external

    asyncio.run(story())


def test_a_stubborn_pod_is_killed_after_its_grace_and_a_second_deletion_hastens_it(tmp_path: Path):
    async def story() -> None:
        async with node_lab(tmp_path) as lab:
            stubborn = python("import signal, time; signal.signal(15, lambda *_: None); print('up', flush=True)\n"
                              "while True: time.sleep(600)")
            lab.run("p", stubborn, terminationGracePeriodSeconds=600)
            async with asyncio.timeout(60):
                while not (lab.ready("p") and await lab.log("p") == "up\n"):
                    await asyncio.sleep(0.01)
            lab.delete("p")
            await lab.until(lambda: lab.pod("p")["metadata"].get("deletionTimestamp"))
            lab.delete("p", grace=1)
            await lab.until(lambda: lab.gone("p"))
            assert marked(tmp_path) == []

    asyncio.run(story())


def test_a_forced_deletion_removes_the_pod_at_once_and_its_processes_soon(tmp_path: Path):
    async def story() -> None:
        async with node_lab(tmp_path) as lab:
            lab.run("p", python(FOREVER))
            await lab.until(lambda: lab.ready("p"))
            lab.delete("p", grace=0)
            assert lab.gone("p")
            await lab.until(lambda: marked(tmp_path) == [] and not list(lab.settings.pods.iterdir()))

    asyncio.run(story())


def test_a_pod_past_its_deadline_fails(tmp_path: Path):
    async def story() -> None:
        async with node_lab(tmp_path) as lab:
            lab.run("p", python(FOREVER), activeDeadlineSeconds=1)
            await lab.until(lambda: lab.phase("p") == "Failed")
            assert lab.pod("p")["status"]["reason"] == "DeadlineExceeded"
            await lab.until(lambda: marked(tmp_path) == [])

    asyncio.run(story())


def test_a_sidecar_that_is_an_init_container_starts_first_and_ends_last(tmp_path: Path):
    async def story() -> None:
        async with node_lab(tmp_path) as lab:
            lab.run("p", python("print('done')"), restartPolicy="Never",
                    initContainers=[python(FOREVER, "side", restartPolicy="Always")])
            await lab.until(lambda: lab.state("p") == "Completed")
            await lab.until(lambda: marked(tmp_path) == [])
            assert lab.phase("p") == "Succeeded"

    asyncio.run(story())


def test_a_program_that_cannot_be_run_says_so(tmp_path: Path):
    async def story() -> None:
        async with node_lab(tmp_path) as lab:
            lab.run("p", {"name": "c", "image": "busybox", "command": ["/no/such/program"]}, restartPolicy="Never")
            await lab.until(lambda: lab.phase("p") == "Failed")
            ended = lab.container("p")["state"]["terminated"]
            assert (ended["exitCode"], ended["reason"]) == (128, "StartError")
            assert "no such file or directory" in ended["message"]

    asyncio.run(story())


def test_a_pod_whose_files_cannot_be_made_waits_and_says_so(tmp_path: Path):
    async def story() -> None:
        async with node_lab(tmp_path) as lab:
            lab.run("p", python(FOREVER))
            folder = lab.folder("p")
            folder.write_text("in the way")  # the node hears of the pod only in the next turn of the loop
            await lab.until(lambda: any(e.startswith("FailedCreatePodSandBox") for e in lab.events("p")))
            assert lab.phase("p") == "Pending"
            folder.unlink()
            lab.delete("p")
            await lab.until(lambda: lab.gone("p"))

    asyncio.run(story())


def test_a_followed_log_ends_with_its_container(tmp_path: Path):
    async def story() -> None:
        async with node_lab(tmp_path) as lab:
            lab.run("p", python("import time\nfor i in range(3): print(i, flush=True); time.sleep(0.2)"),
                    restartPolicy="Never")
            await lab.until(lambda: lab.state("p") == "running")
            assert await lab.log("p", follow=True) == "0\n1\n2\n"

    asyncio.run(story())
