"""Which cluster is meant, whether it may be touched, and who logs in there."""

from __future__ import annotations

import json
import stat
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from faulty_server import FaultyServer

from meshlab.access import Access
from meshlab.cluster import Cluster
from meshlab.errors import LabError, Rejected
from meshlab.kube import Kube
from meshlab.lab import connect
from meshlab.real.contexts import Context, choose, contexts, copy
from meshlab.real.guard import Unconfirmed, guard, worry
from meshlab.real.home import environment, settings_for, users_kubeconfig
from meshlab.settings import Settings
from meshlab.sidecars.remote import upgrade
from meshlab.tunnel import Tunnel


def context(name: str = "kind-lab", cluster: str = "kind-lab", server: str = "https://127.0.0.1:6443") -> Context:
    return Context(name, cluster, server)


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (context(), ""),
        (context("k3d-mine", server="https://0.0.0.0:41231"), ""),
        (context("minikube", server="https://192.168.49.2:8443"), ""),
        (context("docker-desktop", server="https://kubernetes.docker.internal:6443"), ""),
        (context("reproduction", server="https://10.1.2.3:6443"), ""),
        (context("prod"), "'prod' is part of it"),
        (context("acme-production-eu"), "'production' is part of it"),
        (context("PROD2"), "'prod' is part of it"),
        (context("shop", cluster="live"), "the cluster is called live"),
        (context("x", server="https://api.prod.example.com"), "'prod' is part of it"),
        (context("x", server="https://ABC.gr7.eu-west-1.eks.amazonaws.com"), "belongs to a cloud"),
        (context("x", server="https://x.hcp.westeurope.azmk8s.io:443"), "belongs to a cloud"),
        (context("x", server="https://k8s.example.com"), "not on this machine"),
        (context("x", server="https://34.77.1.2"), "public address"),
        (context("x", server="https://[2a00:1450::1]:6443"), "public address"),
        (context("x", server="https://[fd00::1]:6443"), ""),
    ],
    ids=lambda each: each.name + " " + each.server if isinstance(each, Context) else "",
)
def test_what_looks_like_production_is_told_by_names_and_addresses(found: Context, reason: str) -> None:
    said = worry(found)
    assert reason in said if reason else said == ""


def test_whoever_means_it_confirms_by_name_by_a_flag_or_by_typing() -> None:
    found = context("prod")
    guard(found, confirm=True)
    guard(found, confirm="prod")
    guard(found, ask=lambda question: "prod")
    for confirm, ask in ((False, None), ("other", None), (False, lambda question: "yes"), ("", lambda question: "")):
        with pytest.raises(Unconfirmed) as caught:
            guard(found, confirm, ask)
        assert "confirm='prod'" in caught.value.then


@pytest.fixture(scope="module")
def kubernetes() -> Any:
    with Cluster() as running:
        yield running


def kubeconfig(folder: Path, *named: tuple[str, str], user: dict[str, Any] | None = None, ca: str = "") -> Path:
    """Contexts by name and server."""
    file = folder / "config"
    clusters = [
        {"name": name, "cluster": {"server": server, **({"certificate-authority": ca} if ca else {})}}
        for name, server in named
    ]
    found = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": named[0][0],
        "clusters": clusters,
        "users": [{"name": "me", "user": user or {"token": "secret"}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": "me"}} for name, _ in named],
    }
    file.write_text(json.dumps(found))
    return file


def test_nothing_is_asked_of_a_cluster_that_nobody_confirmed(
    kubernetes: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MESHLAB_HOME", str(tmp_path / "home"))
    with FaultyServer(kubernetes.server, kubernetes.token, tmp_path) as server:
        users = kubeconfig(tmp_path, ("prod", f"https://127.0.0.1:{server.port}"))
        with pytest.raises(Unconfirmed, match="nothing was asked of it"):
            connect(context="prod", kubeconfig=users)
        assert server.seen == []
    assert not (tmp_path / "home").exists()


def test_contexts_are_listed_and_one_that_is_not_there_is_named(tmp_path: Path) -> None:
    users = kubeconfig(tmp_path, ("a", "https://127.0.0.1:1"), ("b", "https://127.0.0.1:2"))
    assert [(each.name, each.server) for each in contexts(str(users))] == [
        ("a", "https://127.0.0.1:1"),
        ("b", "https://127.0.0.1:2"),
    ]
    with pytest.raises(LabError, match="no context 'c'") as caught:
        choose("c", str(users))
    assert caught.value.why == "there are a, b"


def test_the_copy_holds_one_context_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    users = kubeconfig(tmp_path, ("a", "https://127.0.0.1:1"), ("b", "https://127.0.0.1:2"))
    file = tmp_path / "home" / "kubeconfig"
    copy(choose("b", str(users)), file, str(users))
    assert [each.name for each in contexts(str(file))] == ["b"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert Access(file).client.configuration.host == "https://127.0.0.1:2"


def test_a_plug_in_logs_in_and_logs_in_again_when_its_token_has_run_out(kubernetes: Cluster, tmp_path: Path) -> None:
    program = tmp_path / "login.py"
    program.write_text(
        "import json, pathlib, sys\n"
        "count = pathlib.Path(sys.argv[0]).with_suffix('.count')\n"
        "n = int(count.read_text()) + 1 if count.exists() else 1\n"
        "count.write_text(str(n))\n"
        f"token = 'stale' if n == 1 else {kubernetes.token!r}\n"
        "print(json.dumps({'apiVersion': 'client.authentication.k8s.io/v1', 'kind': 'ExecCredential',\n"
        "                  'status': {'token': token}}))\n"
    )
    login = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": sys.executable,
        "args": [str(program)],
        "interactiveMode": "Never",
    }
    ca = authority(kubernetes, tmp_path)
    file = kubeconfig(tmp_path, ("plugged", kubernetes.server), user={"exec": login}, ca=ca)
    access = Access(file, patience=1.0)
    assert access.request("GET", "/api/v1/namespaces").status == 200
    assert (tmp_path / "login.count").read_text() == "2"
    # The small client of tools and sidecars' commands comes in, too.
    assert Kube.from_kubeconfig(file).list(("v1", "namespaces"))["items"]


def authority(kubernetes: Cluster, folder: Path) -> str:
    """The CA of the cluster's own kubeconfig, as a file."""
    import base64

    found = json.loads(kubernetes.kubeconfig.read_text())["clusters"][0]["cluster"]
    if named := found.get("certificate-authority"):
        return str(named)
    file = folder / "ca.pem"
    file.write_bytes(base64.b64decode(found["certificate-authority-data"]))
    return str(file)


def test_a_server_that_its_certificate_calls_otherwise_is_reached_by_either_client(
    kubernetes: Cluster, tmp_path: Path
) -> None:
    with FaultyServer(kubernetes.server, kubernetes.token, tmp_path) as server:
        # Its certificate is for 127.0.0.1.
        file = kubeconfig(
            tmp_path, ("far", f"https://localhost:{server.port}"), user={"token": kubernetes.token},
            ca=str(tmp_path / "ca.pem"),
        )  # fmt: skip
        found = json.loads(file.read_text())
        with pytest.raises(LabError, match="cannot reach the API server"):
            Kube.from_kubeconfig(file).list(("v1", "namespaces"))
        found["clusters"][0]["cluster"]["tls-server-name"] = "127.0.0.1"
        file.write_text(json.dumps(found))
        assert Access(file).request("GET", "/api/v1/namespaces").status == 200
        kube = Kube.from_kubeconfig(file)
        assert kube.list(("v1", "namespaces"))["items"]
        for to in (Access(file).upgrade, upgrade(kube)):
            with pytest.raises(Rejected, match='pods "none" not found'):
                Tunnel.open(to, "default", "none", 80)


def test_a_proxy_of_the_kubeconfig_is_gone_through_by_either_client(kubernetes: Cluster, tmp_path: Path) -> None:
    asked: list[str] = []

    class Proxy(BaseHTTPRequestHandler):
        def do_CONNECT(self) -> None:
            asked.append(self.path)
            self.send_error(403)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as proxy:
        threading.Thread(target=proxy.serve_forever, args=(0.05,), daemon=True).start()
        file = kubeconfig(tmp_path, ("far", "https://kubernetes.test:6443"), ca=authority(kubernetes, tmp_path))
        found = json.loads(file.read_text())
        found["clusters"][0]["cluster"]["proxy-url"] = f"http://127.0.0.1:{proxy.server_port}"
        file.write_text(json.dumps(found))
        access, kube = Access(file), Kube.from_kubeconfig(file)
        for ask in (
            lambda: access.request("GET", "/version"),
            lambda: Tunnel.open(access.upgrade, "default", "none", 80),
            lambda: kube.get("/version"),
            lambda: Tunnel.open(upgrade(kube), "default", "none", 80),
        ):
            before = len(asked)
            with pytest.raises(LabError):
                ask()
            assert set(asked[before:]) == {"kubernetes.test:6443"}
        kube.close()
        proxy.shutdown()


def test_two_contexts_never_share_a_folder_and_the_users_kubeconfig_is_remembered(tmp_path: Path) -> None:
    base = Settings(tmp_path)
    one, two = settings_for(base, context("a/b")), settings_for(base, context("a b"))
    assert one.home != two.home and one.home.parent == two.home.parent == tmp_path / "contexts"
    found = environment(one, context("a/b"), {"PATH": "/bin"}, "/users/config")
    assert found["MESHLAB_CONTEXT"] == "a/b" and found["PATH"] == f"{one.bin}:/bin"
    assert users_kubeconfig(found, base) == "/users/config"
    assert users_kubeconfig({"KUBECONFIG": str(one.kubeconfig)}, base) == str(Path.home() / ".kube" / "config")
    assert users_kubeconfig({}, base) is None
