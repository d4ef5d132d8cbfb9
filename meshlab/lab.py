"""`Lab`: everything that a notebook does with a mesh.

    notebook → Lab → a kubeconfig → the embedded lab, or a cluster

A Lab holds no state of its own: whatever it says comes from the cluster, so a kernel that died and came back
finds everything as it was.
"""

from __future__ import annotations

import html
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import checkpoint as checkpoints
from . import starts, tutorial
from .engine import Embedded, Engine
from .errors import LabError, ManifestError
from .explaining import explained
from .inforce import InForce
from .observe.graph import Graph, servicegraph
from .observe.prometheus import Prometheus
from .observe.traces import Traces, services, traces
from .phrases import current, tr
from .renew import renew
from .settings import Settings
from .sidecars.explanation import Explanation
from .states import COMING, Deployment, coming, wait_ready
from .traffic import Answers, Load, Traffic

if TYPE_CHECKING:
    from .real.preflight import Preflight

__all__ = ["Lab", "Output", "connect"]


class Output(str):
    """What a command printed; shows as it would in a terminal."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"


def connect(
    *,
    context: str | None = None,
    kubeconfig: str | Path | None = None,
    confirm: bool | str = False,
    ask: Callable[[str], str] | None = None,
    report: Callable[[str], None] = print,
) -> Lab:
    """The lab of this machine: starts it, or re-attaches to the one that runs. With `context`, a cluster.

    `context` (else $MESHLAB_CONTEXT; "" is the embedded lab whatever that says) is one of the user's kubeconfig
    (`kubeconfig`, else $KUBECONFIG). One that looks
    like production must be confirmed: `confirm=True`, or the context's name ($MESHLAB_CONFIRM), or typed when `ask`
    asks for it. Nothing is asked of the cluster before.

    Puts kubectl, istioctl and meshlab on PATH and the lab's kubeconfig into the environment of this process,
    so that `!kubectl …` and `%%bash` cells work. Raises `LabError` with the cause if the lab cannot start.
    """
    if current() != "en":  # a lesson leaves the folder that tells its language
        os.environ["MESHLAB_LANGUAGE"] = current()
    if wanted := os.environ.get("MESHLAB_CONTEXT") if context is None else context:
        from .real.connection import cluster

        engine = cluster(wanted, kubeconfig, confirm or os.environ.get("MESHLAB_CONFIRM", ""), ask)
        report(f"using {engine}")
        os.environ.update(engine.environment(os.environ))
        return Lab(engine.settings, engine=engine, report=report)
    from .cluster.daemon import start

    os.environ.pop("MESHLAB_CONTEXT", None)
    running = start(Settings.load())
    settings = Settings.load()  # a first start chose the slot
    link_commands(settings)
    report(tr("lab started: {url}" if running.started else "lab found running: {url}", url=running.server))
    os.environ.update(environment(settings, os.environ))
    return Lab(settings, report=report)


def environment(settings: Settings, base: Mapping[str, str]) -> dict[str, str]:
    """Variables with which kubectl and istioctl find the embedded lab."""
    return Embedded(settings).environment(base)


def link_commands(settings: Settings) -> None:
    """Makes `home/bin`: this environment's kubectl, istioctl and meshlab."""
    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    settings.bin.mkdir(mode=0o700, exist_ok=True)
    for name in ("kubectl", "istioctl", "meshlab"):
        link, target = settings.bin / name, Path(sys.prefix) / "bin" / name
        if not link.is_symlink() or link.readlink() != target:
            link.unlink(missing_ok=True)
            link.symlink_to(target)


class Lab:
    """One mesh on one cluster. `report` gets a line for whatever takes longer than a moment."""

    def __init__(
        self, settings: Settings, *, engine: Engine | None = None, report: Callable[[str], None] = print
    ) -> None:
        self.settings, self.report = settings, report
        self.engine: Engine = engine or Embedded(settings)
        self.access = self.engine.access
        self.writer = self.engine.writer
        self.traffic = Traffic(self.access)
        self.prometheus = Prometheus(self.access, lambda: self.engine.addons_namespace)

    @property
    def network(self) -> Any:
        """Addresses: `external` on every engine, `pods`, `services` and `node` where they are known beforehand."""
        return self.engine.network

    @property
    def files(self) -> Path:
        """The manifests: `files / "demo" / "svca-v0.1.yaml"`, `files / "istio-0.4.0" / "install" / …`."""
        return self.engine.files

    # -- commands -----------------------------------------------------------------------------------------

    def kubectl(self, command: str, *, stdin: str | None = None, check: bool = True) -> Output:
        """Runs kubectl with these words: `lab.kubectl("get pods -o wide")`."""
        return self._run("kubectl", command, stdin, check)

    def istioctl(self, command: str, *, stdin: str | None = None, check: bool = True) -> Output:
        """Runs istioctl with these words: `lab.istioctl("get routerules")`."""
        return self._run("istioctl", command, stdin, check)

    def _run(self, program: str, command: str, stdin: str | None, check: bool) -> Output:
        words = [str(self.settings.bin / program), *shlex.split(command)]
        env = {**os.environ, **self.engine.environment(os.environ)}
        done = subprocess.run(
            words,
            input=stdin,
            capture_output=True,
            text=True,
            env=env,
            cwd=self.files,
            check=False,
            timeout=300,
        )
        if check and done.returncode:
            raise LabError(f"{program} {command}: exit status {done.returncode}", why=done.stderr.strip())
        for line in done.stderr.splitlines():
            self.report(line)  # a warning has no place in YAML that goes on to another command
        return Output(done.stdout)

    # -- bringing up --------------------------------------------------------------------------------------

    @property
    def installed(self) -> bool:
        """Is the control plane there and ready?"""
        return self.engine.installed()

    def preflight(self) -> Preflight:
        """What is there and what is missing; changes nothing."""
        return self.engine.preflight()

    def install(self, *, timeout: float = 120.0, **options: Any) -> float:
        """Installs the control plane and waits; returns the seconds until it was ready.

        In the embedded lab as `kubectl apply -f istio.yaml` does; `auth=True`: istio-auth.yaml, mutual TLS in the whole
        mesh; `today=True`: also what today's Istio brings along, the files in `files / "istio-today"`: its kinds,
        injection by namespace label, validation on write, its settings. On a cluster by Istio's Helm charts, with
        the options of `RealCluster.install`; an Istio that is there is used and not changed.
        """
        return self.engine.install(self, timeout=timeout * self.engine.slowness, **options)

    def uninstall(self, *, timeout: float = 120.0) -> list[str]:
        """Removes from a cluster exactly what meshlab made there; a line for each thing."""
        return self.engine.uninstall(self, timeout=timeout * self.engine.slowness)

    def addons(self, *names: str, timeout: float = 120.0) -> float:
        """Installs addons (prometheus, grafana, servicegraph, zipkin) and waits; returns the seconds."""
        return self.engine.addons(self, names, timeout=timeout * self.engine.slowness)

    def deploy(self, *names: str, timeout: float = 120.0) -> float:
        """Deploys demo services (svca-v0.1, svcb-v0.1, svcb-v0.2, msgd, client) and waits; returns the seconds.

        Those of the mesh get a sidecar.
        """
        return self.engine.deploy(self, names, timeout=timeout * self.engine.slowness)

    def remove(self, *names: str) -> None:
        """Deletes what `deploy` made and waits until its pods are gone."""
        self.engine.remove(self, names)

    def require(self, *needs: str) -> None:
        """Brings up whatever of these is not there: `control-plane`, an addon's or a demo service's name, `demo`.

        `demo` is svca-v0.1, svcb-v0.1, msgd and client. Says what it repaired; what holds costs one request.
        """
        wanted: list[str] = []
        for need in needs:
            wanted += ["svca-v0.1", "svcb-v0.1", "msgd", "client"] if need == "demo" else [need]
        known = {"control-plane": self.engine.control_plane}
        known |= {name: (self.engine.addon(name),) for name in tutorial.ADDONS}
        known |= {name: (deployment,) for name, (deployment, _) in tutorial.DEMO.items()}
        if strange := [need for need in wanted if need not in known]:
            raise ManifestError(f"nothing is called {strange[0]!r}", why=f"there are demo, {', '.join(known)}")
        deployments = [d for need in wanted for d in known[need]]
        lacking = coming(self.access, deployments, timeout=COMING * self.engine.slowness)
        missing = [need for need in wanted if any(d in lacking for d in known[need])]
        if "control-plane" in wanted and "control-plane" not in missing and not self.engine.installed():
            missing.insert(0, "control-plane")
        if missing:
            self.report(tr("not there yet: {names}; bringing it up", names=", ".join(missing)))
        if "control-plane" in missing:
            self.install()
        if found := [need for need in missing if need in tutorial.ADDONS]:
            self.addons(*found)
        if found := [need for need in missing if need in tutorial.DEMO]:
            self.deploy(*found)

    def wait(self, *deployments: str, timeout: float = 120.0) -> float:
        """Waits until Deployments, `name` or `namespace/name`, are rolled out; returns the seconds."""
        pairs = (d.rpartition("/") for d in deployments)
        wanted = [Deployment(namespace or "default", name) for namespace, _, name in pairs]
        return wait_ready(self.access, wanted, timeout=timeout, report=lambda line: None)

    def scale(self, deployment: str, replicas: int, *, timeout: float = 120.0) -> float:
        """Sets the number of pods of a Deployment in `default` and waits; returns the seconds."""
        path = f"/apis/apps/v1/namespaces/default/deployments/{deployment}/scale"
        headers = {"Content-Type": "application/merge-patch+json"}
        self.access.request("PATCH", path, body={"spec": {"replicas": replicas}}, headers=headers)
        return self.wait(deployment, timeout=timeout)

    def renew(self, deployment: str, *, timeout: float = 120.0) -> float:
        """New pods in place of those of a Deployment in `default`; returns the seconds until they are Ready."""
        return renew(self.access, Deployment("default", deployment), timeout=timeout)

    # -- rules --------------------------------------------------------------------------------------------

    def apply(self, *what: str | Path | Mapping[str, Any], timeout: float = 30.0) -> InForce:
        """Stores files', texts' or dicts' objects and waits, once, until every sidecar concerned acknowledged them.

        Raises `RuleError` for an invalid rule, `NotInForce` if a sidecar rejects it or does not answer.
        """
        return self.writer.apply([o for each in what for o in self.documents(each)], timeout=timeout)

    def delete(self, *what: str | Path | Mapping[str, Any], timeout: float = 30.0) -> InForce:
        """Deletes these objects and waits until no sidecar acts on them any more."""
        return self.writer.delete([o for each in what for o in self.documents(each)], timeout=timeout)

    def settled(self, *, timeout: float = 30.0) -> InForce:
        """Waits until every sidecar acts on all that is stored by now: after a kubectl or istioctl of one's own."""
        return self.writer.settled(timeout=timeout)

    def documents(self, what: str | Path | Mapping[str, Any]) -> list[dict[str, Any]]:
        """The YAML documents of a dict, a text or a file; relative files are looked for in `files` too."""
        if isinstance(what, Mapping):
            return [dict(what)]
        text, place = (what, "the text") if isinstance(what, str) and "\n" in what else self._read(Path(what))
        import yaml

        try:
            found = [d for d in yaml.safe_load_all(text) if d is not None]
        except yaml.YAMLError as error:
            raise ManifestError(f"{place} does not parse as YAML", why=str(error).replace("\n", " ")) from error
        if strange := [d for d in found if not isinstance(d, dict)]:
            raise ManifestError(f"{place} holds a document that is no object: {str(strange[0])[:60]!r}")
        return found

    def _read(self, path: Path) -> tuple[str, str]:
        for place in (
            path,
            self.files / path,
            self.files / "demo" / path,
            self.files / "demo" / "rules" / path,
        ):
            if place.is_file():
                return place.read_text(), str(path)
        raise ManifestError(f"no file {path}", why=f"not found from here, nor in {self.files}")

    def translate(self, what: str | Path | Mapping[str, Any]) -> str:
        """What rules of v1alpha2 are in today's kinds, as YAML with notes; nothing is stored."""
        from .real.rules import translate

        return str(translate(self.documents(what), self.access.items("v1", "Service")))

    def rules(self) -> list[dict[str, Any]]:
        """All rules of the mesh that are stored."""
        return checkpoints.mesh_rules(self.access)

    def checkpoint(self) -> checkpoints.Checkpoint:
        """Rules, Services and Deployments as they are now."""
        return checkpoints.take(self.access, self.engine.selector)

    def restore(self, checkpoint: checkpoints.Checkpoint, *, timeout: float = 120.0) -> list[str]:
        """Puts them back and waits until pods and sidecars have followed; returns what it changed, a line each."""
        return starts.restore(self, checkpoint, timeout=timeout)

    def put_back(self, checkpoint: checkpoints.Checkpoint) -> list[str]:
        """As `restore`, without waiting: pods and sidecars follow within a second or two."""
        return starts.put_back(self, checkpoint)

    @contextmanager
    def leave_as_found(self) -> Iterator[None]:
        """Whatever happens inside, rules, Services and Deployments are afterwards as before."""
        found = self.checkpoint()
        try:
            yield
        finally:
            self.restore(found)

    def reset(self, lesson: str | None = None) -> float:
        """Back to where a lesson starts ("04"; the one under way), harmless at any time; returns the seconds."""
        return starts.reset(self, lesson)

    # -- traffic and what it shows ------------------------------------------------------------------------

    def curl(
        self,
        url: str,
        n: int = 1,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        timeout: float = 10.0,
        concurrency: int = 1,
    ) -> Answers:
        """Sends n requests from the client outside the mesh, one after the other unless `concurrency` says how many."""
        return self.traffic.curl(url, n, method=method, headers=headers, timeout=timeout, concurrency=concurrency)

    def load(
        self,
        url: str,
        *,
        rps: float = 20.0,
        seconds: float = 60.0,
        concurrency: int = 1,
        headers: Mapping[str, str] | None = None,
        alone: bool = False,
    ) -> Load:
        """Sends traffic in the background for at most `seconds`. `alone`: other streams end, so that there is one."""
        return self.traffic.load(url, rps, seconds, concurrency, headers, alone)

    def logs(self, app: str, *, container: str | None = None, tail: int = 20, namespace: str = "default") -> Output:
        """The last lines of each pod with label app=`app`, with the pod's name above them."""
        pods = self.access.items("v1", "Pod", namespace, labelSelector=f"app={app}")
        parts = []
        for pod in sorted(pods, key=lambda p: str(p["metadata"]["name"])):
            name = pod["metadata"]["name"]
            # Injected proxies may come first.
            own = [each["name"] for each in pod["spec"]["containers"] if each["name"] != "istio-proxy"]
            which = container or own[0]
            path = f"/api/v1/namespaces/{namespace}/pods/{name}/log"
            reply = self.access.request("GET", path, query={"container": which, "tailLines": tail})
            parts.append(f"--- {name} ({which})\n{reply.text}")
        return Output("".join(parts) or f"no pod with app={app} in {namespace}\n")

    def explain(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        source: str = "client/client",
        timeout: float = 30.0,
    ) -> Explanation:
        """Makes one request and says hop by hop what became of it, from what the sidecars wrote down.

        `source` is the service whose pods send it, `namespace/name` (or a name in `default`); they run the client's
        program. A refusal is an answer, no exception.
        """
        return explained(self.access, url, method=method, headers=headers, source=source, timeout=timeout)

    def servicegraph(self, horizon: str = "5m", *, filter_empty: bool = True) -> Graph:
        """Who called whom in the last `horizon`, as ServiceGraph draws it."""
        return servicegraph(self.access, horizon, filter_empty=filter_empty, namespace=self.engine.addons_namespace)

    def traces(self, service: str | None = None, *, limit: int = 10, minutes: float = 60.0) -> Traces:
        """Zipkin's traces in which `service` has a span (None: any)."""
        return traces(self.access, service, limit=limit, minutes=minutes, namespace=self.engine.addons_namespace)

    def traced_services(self) -> list[str]:
        """The names in Zipkin's drop-down list."""
        return services(self.access, self.engine.addons_namespace)

    def close(self) -> None:
        """Ends what this process holds open into a cluster, its port-forwards. Whatever runs there goes on."""
        self.engine.close()

    def __repr__(self) -> str:
        """Where it is, for who looks at it in a notebook."""
        return f"Lab({self.engine.name} at {self.access.client.configuration.host})"
