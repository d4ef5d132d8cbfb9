"""exec, attach, cp and port-forward, as kubectl and the official client speak them, into real pods."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, config
from kubernetes.stream import portforward, stream

from meshlab.cluster import Cluster, Parts
from meshlab.kube import Kube

KUBECTL = str(Path(sys.executable).parent / "kubectl")
#: kubectl speaks WebSocket, and SPDY when it is told to.
TRANSPORTS = pytest.mark.parametrize("websockets", ["true", "false"], ids=["websocket", "spdy"])

SERVER = """
import http.server
print("serving", flush=True)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.send_header("Content-Length", "2000000"); self.end_headers()
        self.wfile.write(b"x" * 2000000)
        print("asked", flush=True)
    def log_message(self, *args): pass
http.server.ThreadingHTTPServer(("0.0.0.0", 8000), Handler).serve_forever()
"""


@pytest.fixture(scope="module")
def whole() -> Iterator[Cluster]:
    with Cluster(parts=Parts.ALL) as running:
        running.kube.create(("v1", "configmaps", "default"), {
            "kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "files"}, "data": {"greeting": "hello"},
        })
        run(running, "web", SERVER)
        yield running


def run(cluster: Cluster, name: str, program: str, **spec: Any) -> None:
    """A pod that runs a Python program, ready."""
    container = {
        "name": "c", "image": "python:3.12", "command": ["python", "-c", program],
        "env": [{"name": "GREETING", "value": "good day"}],
        "ports": [{"containerPort": 8000}] if "8000" in program else [],
        "volumeMounts": [{"name": "files", "mountPath": "/etc/files"}],
    }
    volumes = [{"name": "files", "configMap": {"name": "files"}}]
    cluster.kube.create(("v1", "pods", "default"), {
        "kind": "Pod", "apiVersion": "v1", "metadata": {"name": name},
        "spec": {"containers": [container], "volumes": volumes, "terminationGracePeriodSeconds": 1, **spec},
    })
    done = subprocess.run([KUBECTL, "wait", f"pod/{name}", "--for=condition=Ready", "--timeout=120s"],
                          env=cluster.environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def kubectl(whole: Cluster) -> Callable[..., subprocess.CompletedProcess[str]]:
    def call(*args: str, input: str | None = None, websockets: str = "true") -> subprocess.CompletedProcess[str]:
        environ = {**whole.environ, "KUBECTL_REMOTE_COMMAND_WEBSOCKETS": websockets}
        return subprocess.run([KUBECTL, *args], env=environ, input=input, capture_output=True, text=True, timeout=180)

    return call


@pytest.fixture
def core(whole: Cluster) -> Iterator[client.CoreV1Api]:
    made = config.new_client_from_config(str(whole.kubeconfig))
    made.configuration.no_proxy = "*"
    with made:
        yield client.CoreV1Api(made)


@TRANSPORTS
def test_a_command_has_its_outputs_and_its_exit_code(kubectl: Any, websockets: str) -> None:
    done = kubectl("exec", "web", "--", "sh", "-c", "echo out; echo err >&2; exit 3", websockets=websockets)
    assert (done.returncode, done.stdout) == (3, "out\n")
    assert done.stderr == "err\ncommand terminated with exit code 3\n"


@TRANSPORTS
def test_standard_input_reaches_the_command_to_its_end(kubectl: Any, websockets: str) -> None:
    text = "".join(f"line {n}\n" for n in range(20_000))
    done = kubectl("exec", "-i", "web", "--", "cat", input=text, websockets=websockets)
    assert done.returncode == 0 and done.stdout == text


def test_a_command_is_where_its_container_is(kubectl: Any) -> None:
    told = "import os,urllib.request as u; print(os.environ['GREETING'], open('/etc/files/greeting').read(), " \
           "u.urlopen('http://127.0.0.1:8000/').status, os.getcwd())"
    done = kubectl("exec", "web", "--", "python3", "-c", told)
    assert done.stdout.startswith("good day hello 200 "), done
    assert done.stdout.endswith("containers/c/root\n")


@pytest.mark.parametrize(("args", "said"), [
    (("web", "--", "no-such-program"), 'exec: "no-such-program": executable file not found in $PATH'),
    (("web", "--", "/no/such/program"), 'exec: "/no/such/program": no such file or directory'),
    (("web", "-c", "other", "--", "true"), "container other is not valid for pod web"),
    (("nobody", "--", "true"), 'pods "nobody" not found'),
])
def test_what_cannot_be_run_is_said(kubectl: Any, args: tuple[str, ...], said: str) -> None:
    done = kubectl("exec", *args)
    assert done.returncode == 1 and said in done.stderr


def test_a_pod_that_does_not_run_takes_no_commands(whole: Cluster, kubectl: Any) -> None:
    whole.kube.create(("v1", "pods", "default"), {
        "kind": "Pod", "apiVersion": "v1", "metadata": {"name": "unknown"},
        "spec": {"containers": [{"name": "c", "image": "no-such-image"}]},
    })
    assert 'container not found ("c")' in kubectl("exec", "unknown", "--", "true").stderr
    assert "pod is not running" in kubectl("port-forward", "unknown", "0:80").stderr


@TRANSPORTS
def test_a_terminal_has_a_size_and_an_exit_code(whole: Cluster, websockets: str) -> None:
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 99, 0, 0))
    environ = {**whole.environ, "KUBECTL_REMOTE_COMMAND_WEBSOCKETS": websockets}
    child = subprocess.Popen([KUBECTL, "exec", "-it", "web", "--", "sh"], env=environ, stdin=slave, stdout=slave,
                             stderr=slave, start_new_session=True)
    os.close(slave)
    seen = b""
    # The size is sent once the command runs: ask until it has come.
    deadline = time.monotonic() + 60
    try:
        while not (b"33 99" in seen and b"/dev/pts/" in seen) and time.monotonic() < deadline:
            os.write(master, b"stty size; tty\r")
            if select.select([master], [], [], 0.3)[0]:
                seen += os.read(master, 65536)
        os.write(master, b"exit 7\r")
        assert child.wait(60) == 7
    finally:
        os.close(master)
    assert b"33 99" in seen and b"/dev/pts/" in seen


def test_a_command_ends_with_its_pod(whole: Cluster) -> None:
    run(whole, "short", "import time\nwhile True: time.sleep(1)")
    child = subprocess.Popen([KUBECTL, "exec", "short", "--", "sh", "-c", "echo $$; exec sleep 1000"],
                             env=whole.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None
    pid = int(child.stdout.readline())
    assert Path(f"/proc/{pid}").exists()
    whole.kube.delete(("v1", "pods", "default", "short"))
    child.communicate(timeout=60)
    assert child.returncode != 0
    assert not Path(f"/proc/{pid}").exists()


def test_a_command_ends_with_its_container(whole: Cluster) -> None:
    run(whole, "restarting", "import sys\nopen('ready','w')\nimport signal\nsignal.pause()")
    child = subprocess.Popen([KUBECTL, "exec", "restarting", "--", "sh", "-c", "echo $$; exec sleep 1000"],
                             env=whole.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None
    pid = int(child.stdout.readline())
    (record,) = whole.settings.pods.glob("default_restarting_*/containers/c/process.json")
    os.kill(json.loads(record.read_text())["pid"], signal.SIGTERM)
    child.communicate(timeout=60)
    assert child.returncode == 137
    assert not Path(f"/proc/{pid}").exists()


def test_a_command_outlives_a_client_that_goes(whole: Cluster, kubectl: Any) -> None:
    child = subprocess.Popen(
        [KUBECTL, "exec", "web", "--", "sh", "-c", "echo begun; sleep 1; touch finished"],
        env=whole.environ, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None and child.stdout.readline() == "begun\n"
    child.kill()
    child.communicate()
    waiting = "i=0; while [ ! -e finished ] && [ $i -lt 600 ]; do sleep 0.1; i=$((i+1)); done; ls finished"
    assert kubectl("exec", "web", "--", "sh", "-c", waiting).stdout == "finished\n"


def test_files_are_copied_there_and_back(kubectl: Any, tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(os.urandom(300_000))
    assert kubectl("cp", str(tmp_path / "there"), "web:copied").returncode == 0
    assert kubectl("cp", "web:copied", str(tmp_path / "back")).returncode == 0
    assert (tmp_path / "back").read_bytes() == (tmp_path / "there").read_bytes()


def test_without_tar_the_copy_says_so(whole: Cluster, kubectl: Any, tmp_path: Path) -> None:
    empty = [{"name": "PATH", "value": "/nowhere"}]
    whole.kube.create(("v1", "pods", "default"), {
        "kind": "Pod", "apiVersion": "v1", "metadata": {"name": "bare"},
        "spec": {"containers": [{"name": "c", "image": "python:3.12", "env": empty, "command": [
            "python", "-c", "import signal; signal.pause()"]}], "terminationGracePeriodSeconds": 1},
    })
    kubectl("wait", "pod/bare", "--for=condition=Ready", "--timeout=120s")
    (tmp_path / "file").write_text("x")
    assert "needs tar on this machine" in kubectl("cp", str(tmp_path / "file"), "bare:file").stderr


def test_attach_shows_what_is_printed_from_now_on(whole: Cluster, core: client.CoreV1Api) -> None:
    joined = stream(core.connect_get_namespaced_pod_attach, "web", "default", stdout=True, stdin=False, stderr=True,
                    _preload_content=False)
    address = core.read_namespaced_pod("web", "default").status.pod_ip
    end = time.monotonic() + 60
    while "asked" not in joined.read_stdout(timeout=0.3) and time.monotonic() < end:
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"http://{address}:8000/").close()
    assert time.monotonic() < end
    joined.close()
    joined.sock.shutdown()


@TRANSPORTS
def test_a_pod_of_ones_own_is_fed_and_read(kubectl: Any, websockets: str) -> None:
    done = kubectl("run", f"own-{websockets}", "-i", "--rm", "--restart=Never", "--quiet", "--image=busybox", "--",
                   "sh", "-c", "echo first; cat; exit 0", input="one\ntwo\n", websockets=websockets)
    assert done.returncode == 0, done
    assert done.stdout.startswith("first\none\ntwo\n")


def test_a_terminal_of_ones_own(whole: Cluster) -> None:
    master, slave = pty.openpty()
    child = subprocess.Popen(
        [KUBECTL, "run", "shell", "-it", "--rm", "--restart=Never", "--image=busybox", "--", "sh"],
        env=whole.environ, stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
    os.close(slave)
    seen, deadline = b"", time.monotonic() + 60
    try:
        while b"/dev/pts/" not in seen and time.monotonic() < deadline:
            os.write(master, b"tty\r")
            if select.select([master], [], [], 0.3)[0]:
                seen += os.read(master, 65536)
        os.write(master, b"exit\r")
        while select.select([master], [], [], 60)[0]:
            try:
                seen += os.read(master, 65536)
            except OSError:
                break  # kubectl has ended
        assert child.wait(60) == 0, seen
    finally:
        os.close(master)
    assert b"/dev/pts/" in seen and b'pod "shell" deleted' in seen


@TRANSPORTS
def test_a_port_is_forwarded_for_many_connections(whole: Cluster, websockets: str) -> None:
    environ = {**whole.environ, "KUBECTL_PORT_FORWARD_WEBSOCKETS": websockets}
    forwarding = subprocess.Popen([KUBECTL, "port-forward", "--address=127.0.0.1", "pod/web", ":8000"],
                                  env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert forwarding.stdout is not None
    said = re.fullmatch(r"Forwarding from 127\.0\.0\.1:(\d+) -> 8000\n", forwarding.stdout.readline())
    assert said is not None
    sizes: list[int] = []

    def ask() -> None:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://127.0.0.1:{said[1]}/", timeout=60) as answer:
            sizes.append(len(answer.read()))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    forwarding.send_signal(signal.SIGINT)
    forwarding.communicate(timeout=60)
    assert sizes == [2_000_000] * 8


def test_the_official_client_ends_input_and_reads_the_exit_code(core: client.CoreV1Api) -> None:
    shell = stream(core.connect_get_namespaced_pod_exec, "web", "default", command=["sh", "-c", "cat; exit 4"],
                   stdin=True, stdout=True, stderr=True, tty=False, _preload_content=False)
    assert shell.subprotocol == "v5.channel.k8s.io"
    shell.write_stdin("to and fro\n")
    assert shell.readline_stdout(timeout=60) == "to and fro"
    shell.close_channel(0)
    shell.run_forever(timeout=60)
    assert shell.returncode == 4
    shell.sock.shutdown()  # which the client leaves open once the server has closed


def test_the_official_client_forwards_ports(core: client.CoreV1Api) -> None:
    forwarded = portforward(core.connect_get_namespaced_pod_portforward, "web", "default", ports="8000,81")
    open_ = forwarded.socket(8000)
    open_.settimeout(60)
    open_.sendall(b"GET / HTTP/1.0\r\n\r\n")
    size = 0
    while data := open_.recv(65536):
        size += len(data)
    assert size > 2_000_000
    closed = forwarded.socket(81)
    closed.settimeout(60)
    assert closed.recv(1) == b""
    assert "connection refused" in forwarded.error(81)
    assert forwarded.error(8000) is None
    # The client's thread closes the connection once both of its sockets are closed.
    open_.close()
    closed.close()
    end = time.monotonic() + 60
    while forwarded.connected and time.monotonic() < end:
        select.select([], [], [], 0.02)
    assert not forwarded.connected
    forwarded.websocket.shutdown()


@pytest.mark.parametrize(("path", "code", "said"), [
    ("exec?stdout=true", 400, "you must specify at least one command for the container"),
    ("exec?command=ls", 400, "you must specify at least 1 of stdin, stdout, stderr"),
    ("exec?command=ls&stdout=true", 400, "Upgrade request required"),
    ("portforward?ports=80", 400, "Upgrade request required"),
])
def test_a_plain_request_is_refused(whole: Cluster, path: str, code: int, said: str) -> None:
    kube: Kube = whole.kube
    raw = kube.raw("GET", f"/api/v1/namespaces/default/pods/web/{path}")
    assert raw.status == code and said in raw.text
