"""The steps of repo2docker's own Dockerfile, in a clean copy of the checkout, as an ordinary user, on one CPU.

What Docker would add is a file system of its own; packages come from this environment instead of the network's.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin

import pytest
from ports import free_port

from meshlab.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.prefix) / "bin"
#: The user of an image, as repo2docker numbers it.
JOVYAN = 1000
PREFIX = "/user/ada/"
#: What a place on mybinder.org is sure of, bytes.
ROOM = 2**30
#: What a learner's kernel does first, and what it prints.
KERNEL = """
import json, meshlab
from meshlab.notebook import LoadSwitch
from meshlab.notebook.pages import pages
lab = meshlab.connect(report=lambda line: None)
lab.require("control-plane", "demo", "prometheus", "grafana", "servicegraph", "zipkin")
print(json.dumps({"pages": dict(pages(lab).links), "running": LoadSwitch(lab).load is not None,
                  "streams": lab.traffic.order("DELETE", "/load")["stopped"]}))
"""


@dataclass(frozen=True)
class Container:
    """Where the copy is, what its processes have in their environment, and what makes them an ordinary user's."""

    home: Path
    checkout: Path
    environ: dict[str, str]
    user: list[str]

    def start(self, *words: str, log: Path | None = None) -> subprocess.Popen[str]:
        """A process of the container, on one CPU."""
        command = [*self.user, "taskset", "--cpu-list", str(min(os.sched_getaffinity(0))), *words]
        with log.open("w") if log else contextlib.nullcontext(subprocess.PIPE) as out:
            return subprocess.Popen(
                command,
                cwd=self.checkout,
                env=self.environ,
                text=True,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def run(self, *words: str) -> str:
        with self.start(*words) as process:
            out, _ = process.communicate(timeout=600)
        assert process.returncode == 0, out
        return str(out)

    def memory(self) -> int:
        """What all its processes take, shared pages counted once (PSS), bytes."""
        total = 0
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if str(self.home).encode() in (process / "environ").read_bytes():
                    found = re.search(r"^Pss:\s+(\d+) kB", (process / "smaps_rollup").read_text(), re.M)
                    total += 1024 * int(found[1]) if found else 0
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue  # gone, or somebody else's
        return total


def ordinary_user() -> list[str]:
    """Who is root becomes the user of the image, in a user namespace, in which root's files are that user's."""
    words = ["unshare", "--user", f"--map-user={JOVYAN}", f"--map-group={JOVYAN}"]
    needed = os.geteuid() == 0 and subprocess.run([*words, "true"], capture_output=True, check=False).returncode == 0
    return words if needed else []


def copy(folder: Path) -> Path:
    """The files that git knows, as they are now."""
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split("\0")  # fmt: skip
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def dockerfile(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What repo2docker makes of the checkout."""
    checkout = copy(tmp_path_factory.mktemp("repository"))
    user = ["--user-id", str(JOVYAN), "--user-name", "jovyan"]
    done = subprocess.run(
        [BIN / "jupyter-repo2docker", "--no-build", "--debug", *user, checkout],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def container() -> Iterator[Container]:
    """A user with an environment that holds our packages and the copy; everything of it is gone afterwards."""
    home = Path(tempfile.mkdtemp(prefix="meshlab-binder-"))
    checkout = copy(home / "checkout")
    environ = {
        "HOME": str(home), "USER": "jovyan", "LANG": "C.UTF-8", "TMPDIR": str(home), "PYTHONUNBUFFERED": "1",
        "JUPYTERHUB_SERVICE_PREFIX": PREFIX,
        "PATH": os.pathsep.join([f"{home}/env/bin", "/usr/bin", "/bin"]),
    }  # fmt: skip
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home / "env"], check=True)
    # Prometheus and iptables are there already: the fetching of them is not what is tried here.
    if (tools := Settings.load().tools).exists():
        unwanted = shutil.ignore_patterns("chromium")
        shutil.copytree(tools, home / "env/share/meshlab/tools", ignore=unwanted, symlinks=True)
    uv = [BIN / "uv", "pip", "install", "-q", "--no-deps", "--python", home / "env/bin/python"]
    frozen = subprocess.run(
        [BIN / "uv", "pip", "freeze", "-q", "--python", sys.executable, "--exclude-editable"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    packages = home / "packages.txt"
    packages.write_text("".join(line for line in frozen.splitlines(True) if not line.startswith("uv==")))
    for what in (["-r", packages], ["-e", checkout]):
        # This environment was made by uv, so that all of it is in uv's cache, unless somebody has emptied that.
        if subprocess.run([*uv, "--offline", *what], stderr=subprocess.DEVNULL, check=False).returncode:
            subprocess.run([*uv, *what], check=True)
    it = Container(home, checkout, environ, ordinary_user())
    try:
        yield it
    finally:
        it.run(f"{home}/env/bin/meshlab", "down")
        shutil.rmtree(home)


def test_repo2docker_takes_up_everything_in_binder(dockerfile: str) -> None:
    steps = dockerfile[dockerfile.index("COPY --chown=1000:1000 src/") :]
    order = [
        "apt-get install --yes --no-install-recommends graphviz",
        'pip install --no-cache-dir -r "binder/requirements.txt"',
        "RUN ./binder/postBuild",
        'R2D_ENTRYPOINT="${REPO_DIR}/binder/start"',
    ]
    assert [step for step in order if step not in steps] == []
    assert sorted(order, key=steps.index) == order
    assert "py-3.11" in dockerfile.replace("-2e", ".").replace("-2d", "-")


def test_a_learner_behind_a_hub_has_the_lab_and_its_pages_within_a_gigabyte(container: Container) -> None:
    container.run("./binder/postBuild")
    port = free_port()
    token = secrets.token_hex(16)
    # What BinderHub appends to the image's entry point, but for the address.
    server = container.start(
        "./binder/start", "jupyter", "lab", "--no-browser", "--ip=127.0.0.1", f"--port={port}",
        f"--ServerApp.base_url={PREFIX}", f"--IdentityProvider.token={token}", log=container.home / "server.log",
    )  # fmt: skip
    try:
        site = f"http://127.0.0.1:{port}"
        kernel = json.loads(container.run("python", "-c", KERNEL).splitlines()[-1])
        assert (kernel["running"], kernel["streams"]) == (False, 0)  # load is off until somebody switches it on
        links = kernel["pages"]
        assert set(links) == {"prometheus", "grafana", "servicegraph", "zipkin"}
        for name, link in links.items():
            assert link.startswith(f"{PREFIX}proxy/127."), name
            page = get(site, link, token)
            parts = re.findall(r"<(?:script|link|img)\b[^>]*?(?:src|href)=\"([^\"#]+)\"", page)
            for part in parts:
                assert get(site, urljoin(link, part), token)
        parts = re.findall(r"href=\"(/[^\"]+)\"", get(site, links["prometheus"], token))
        assert len(parts) > 3 and [part for part in parts if not part.startswith(PREFIX)] == []
        assert '"result"' in get(site, urljoin(links["prometheus"], "../api/v1/query?query=up"), token)
        stored = json.loads(get(site, f"{PREFIX}lab/api/workspaces/default", token))
        assert "notebook:notebooks/board.ipynb" in stored["data"]
        with pytest.raises(urllib.error.HTTPError, match="403"):
            get(site, f"{PREFIX}proxy/192.0.2.1:80/", token)
        assert container.memory() < ROOM
        print(f"{container.memory() / 2**20:.0f} MB for the lab with all add-ons and the notebook server")
    finally:
        server.terminate()
        server.wait(timeout=120)


def get(site: str, path: str, token: str) -> str:
    request = urllib.request.Request(site + path, headers={"Authorization": f"token {token}"})  # noqa: S310 - ours
    try:
        with urllib.request.urlopen(request, timeout=120) as reply:  # noqa: S310
            return str(reply.read().decode("utf-8", "replace"))
    except urllib.error.HTTPError as error:
        error.add_note(f"{path}: {error.read()[:300]!r}")
        raise
