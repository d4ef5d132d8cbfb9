"""A lab with iptables: pods in networks of their own, and nothing of it left or changed outside."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from meshlab.cluster import daemon
from meshlab.cluster.network.namespaces.lab import check
from meshlab.doctor import fetch_iptables
from meshlab.errors import LabError
from meshlab.kube import Kube
from meshlab.settings import Capture, Settings

CLI = [sys.executable, "-c", "import sys; from meshlab.cli import main; sys.exit(main())"]
PROGRAM = """
import http.server, json, os, socket, urllib.request
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        try:
            if self.path == "/":
                found = {"peer": self.client_address[0], "name": socket.gethostname()}
            else:
                found = json.load(urllib.request.urlopen("http:/" + self.path, timeout=30))
        except OSError as error:
            found = {"error": str(error)}
        body = json.dumps(found).encode()
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("0.0.0.0", 80), Handler).serve_forever()
"""


@pytest.fixture(scope="module")
def _possible(tmp_path_factory: pytest.TempPathFactory) -> None:
    settings = Settings(tmp_path_factory.mktemp("trial"))
    try:
        fetch_iptables(settings)
        check(settings)
    except LabError as error:
        pytest.skip(str(error))


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Settings]:
    """Of a lab that is not up yet; it is down afterwards."""
    settings = Settings(tmp_path / "home")
    yield settings
    assert daemon.stop(Settings.load({"MESHLAB_HOME": str(settings.home)})) == []


@pytest.fixture
def settings(_possible: None, home: Settings) -> Settings:
    """A lab that is up, with two pods that answer."""
    settings = daemon.start(home, capture=Capture.IPTABLES).settings
    with closing(Kube.from_kubeconfig(settings.kubeconfig)) as kube:
        for name in ("one", "two"):
            kube.create(None, pod(name))
            kube.create(None, service(name))
    wait_until(lambda: [is_ready(each) for each in pods(settings)] == [True, True])
    for one, other in (("one", "two"), ("two", "one")):  # a pod is ready before its service leads to it
        wait_until(lambda one=one, other=other: ask(settings, one, other).get("name") == other)
    return settings


def service(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"selector": {"app": name}, "ports": [{"port": 80}]},
    }


def pods(settings: Settings) -> list[dict[str, Any]]:
    """Both pods, as the API has them now."""
    with closing(Kube.from_kubeconfig(settings.kubeconfig)) as kube:
        return sorted(kube.list(("v1", "Pod", "default"))["items"], key=lambda each: str(each["metadata"]["name"]))


def pod(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": name}},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [
                {
                    "name": "web",
                    "image": "python:3.12",
                    "command": ["python", "-c", PROGRAM],
                    "readinessProbe": {"httpGet": {"path": "/", "port": 80}},
                }
            ],
        },
    }


def is_ready(pod: dict[str, Any]) -> bool:
    return any(each["type"] == "Ready" and each["status"] == "True" for each in pod["status"].get("conditions", ()))


def wait_until(true: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "the condition did not come true in time"
        signal.sigtimedwait([], 0.02)


def ask(settings: Settings, pod: str, path: str = "") -> dict[str, Any]:
    with closing(Kube.from_kubeconfig(settings.kubeconfig)) as kube:
        reply = kube.raw("GET", f"/api/v1/namespaces/default/pods/{pod}:80/proxy/{path}")
    found: dict[str, Any] = json.loads(reply.text)
    return found


def processes(settings: Settings) -> dict[int, str]:
    """The lab's recorded processes and the network namespace of each."""
    pids = [json.loads(file.read_text())["pid"] for file in settings.home.glob("**/process.json")]
    return {pid: str(Path(f"/proc/{pid}/ns/net").readlink()) for pid in pids}


@contextmanager
def held(settings: Settings) -> Iterator[set[str]]:
    """The lab's network namespaces. While they are held, the kernel gives their numbers to nobody else's."""
    with ExitStack() as stack:
        for pid in processes(settings):
            descriptor = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
            stack.callback(os.close, descriptor)
        yield set(processes(settings).values())


def networks() -> set[str]:
    """The network namespaces in which there is any process."""
    found = set()
    for link in Path("/proc").glob("[0-9]*/ns/net"):
        try:
            found.add(str(link.readlink()))
        except OSError:
            continue  # ended, or somebody else's
    return found


def surroundings() -> tuple[str, ...]:
    """What a lab could change of this machine: interfaces, routes, mounts, forwarding."""
    names = "\n".join(line.split(":")[0] for line in Path("/proc/net/dev").read_text().splitlines())
    files = ("/proc/net/route", "/proc/self/mountinfo", "/proc/sys/net/ipv4/ip_forward", "/etc/hostname")
    return (names, *(Path(file).read_text() for file in files if Path(file).exists()))


def test_pods_have_the_tutorials_addresses_and_each_other_by_name(settings: Settings) -> None:
    assert ask(settings, "one")["name"] == "one"
    address = pods(settings)[0]["status"]["podIP"]
    assert address.startswith("10.40.")
    assert ask(settings, "one")["peer"] == "10.40.0.1", "the node asked"
    assert ask(settings, "one", "two") == {"peer": address, "name": "two"}
    assert ask(settings, "two", "two.default.svc.cluster.local")["name"] == "two", "itself, by its service"
    assert "Connection refused" in ask(settings, "two", "two:81")["error"]
    assert "Name or service not known" in ask(settings, "two", "three")["error"]


def test_down_leaves_no_process_namespace_or_mount_and_the_machine_is_as_before(
    _possible: None, request: pytest.FixtureRequest
) -> None:
    before = surroundings()
    settings: Settings = request.getfixturevalue("settings")
    with held(settings) as own:
        assert len(own) == 3, "the lab's network, and one for each pod"
        assert str(Path("/proc/self/ns/net").readlink()) not in own
        assert surroundings() == before
        assert daemon.stop(settings) == []
        assert not own & networks()
    assert surroundings() == before
    assert list((settings.namespaces / "pods").iterdir()) == []


def test_pods_outlive_a_killed_daemon_and_the_next_one_finds_them(settings: Settings) -> None:
    before = processes(settings)
    kill_daemon(settings)
    assert daemon.start(settings).started
    assert processes(settings) == before
    wait_until(lambda: ask(settings, "one", "two").get("name") == "two")  # the API answers before the DNS does
    assert [each["status"]["containerStatuses"][0]["restartCount"] for each in pods(settings)] == [0, 0]


def test_down_clears_away_what_a_killed_daemon_left(settings: Settings) -> None:
    with held(settings) as own:
        kill_daemon(settings)
        assert own <= networks()
        assert daemon.stop(settings) == []
        assert not own & networks()


def test_when_even_the_holder_was_killed_the_lab_starts_anew(settings: Settings) -> None:
    before = processes(settings)
    kill_daemon(settings)
    os.kill(json.loads((settings.namespaces / "process.json").read_text())["pid"], signal.SIGKILL)
    daemon.start(settings)
    wait_until(lambda: all(ready_again(settings)))
    assert not set(before) & set(processes(settings))
    wait_until(lambda: ask(settings, "one", "two").get("name") == "two")  # the API answers before the DNS does


def ready_again(settings: Settings) -> list[bool]:
    return [is_ready(each) and each["status"]["containerStatuses"][0]["restartCount"] > 0 for each in pods(settings)]


def kill_daemon(settings: Settings) -> None:
    pid = daemon.status(settings).pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not daemon.status(settings).running)


def test_a_lab_keeps_its_capture(settings: Settings) -> None:
    with pytest.raises(LabError, match="this lab captures by iptables, not by shim") as raised:
        daemon.start(settings, capture=Capture.SHIM)
    assert raised.value.then == "meshlab reset && meshlab up --capture shim"
    assert not daemon.start(settings).started, "as it is"


def run(home: Settings, *words: str, before: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "MESHLAB_HOME": str(home.home)}
    return subprocess.run([*before, *CLI, *words], env=environ, capture_output=True, text=True, timeout=99, check=False)


@pytest.mark.skipif(not shutil.which("setpriv"), reason="setpriv of util-linux takes the right away")
def test_who_may_not_make_networks_may_as_root_of_a_user_namespace(_possible: None, home: Settings) -> None:
    less = ("setpriv", "--bounding-set=-sys_admin,-net_admin", "--inh-caps=-all")
    done = run(home, "up", "--capture", "iptables", before=less if os.geteuid() == 0 else ())
    assert done.returncode == 0, done.stderr
    holder = json.loads((home.namespaces / "process.json").read_text())["pid"]
    assert Path(f"/proc/{holder}/ns/user").readlink() != Path("/proc/self/ns/user").readlink()
    assert run(home, "down").returncode == 0
    assert not Path(f"/proc/{holder}/ns/net").exists()


#: A shell in which network namespaces are as impossible as in most containers.
REFUSING = ("unshare", "-Ur", "sh", "-c", 'echo 0 > /proc/sys/user/max_net_namespaces && exec "$@"', "sh")


def test_where_namespaces_are_refused_the_error_says_what_why_and_what_next(_possible: None, home: Settings) -> None:
    done = run(home, "up", "--capture", "iptables", before=REFUSING)
    assert done.returncode == 1
    said = done.stderr.splitlines()
    assert said[0] == "meshlab: this machine does not let the lab have network namespaces of its own"
    assert said[1].startswith("  because: ")
    assert said[2] == "  next:    meshlab up --capture shim"
    assert not home.database.exists()


def test_where_namespaces_are_refused_auto_takes_the_shim_and_says_so(_possible: None, home: Settings) -> None:
    done = run(home, "up", "--capture", "auto", before=REFUSING)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("capture by the shim, for Python programs: this machine does not let the lab have")
    assert Settings.load({"MESHLAB_HOME": str(home.home)}).network.capture is Capture.SHIM


def test_where_they_are_possible_auto_takes_iptables(_possible: None, home: Settings) -> None:
    done = run(home, "up", "--capture", "auto")
    assert done.returncode == 0, done.stderr
    assert done.stderr == "capture by iptables, for any program\n"
    assert Settings.load({"MESHLAB_HOME": str(home.home)}).network.capture is Capture.IPTABLES


def test_a_lab_that_was_up_and_is_refused_now_is_told_the_only_way(settings: Settings) -> None:
    assert daemon.stop(settings) == []
    done = run(settings, "up", before=REFUSING)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "  next:    meshlab reset && meshlab up --capture shim"
    assert done.stderr.count("containers and hardened kernels") == 1
