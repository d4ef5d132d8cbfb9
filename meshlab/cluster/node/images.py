"""The image catalogue: how this machine runs what a cluster would pull from a registry.

The lab has no registry. An image's name is looked up here and says which local program stands for it. The catalogue
is data; whatever is special about one image (its program, whether names are resolved for it, when it
answers) is a field of its row, so that the pod runtime has no branch on image names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

__all__ = ["CATALOGUE", "Answers", "Builtin", "Catalogue", "Command", "Image", "ReadyHint", "normalised"]


class Command(Enum):
    """What the `command` of a container means for an image."""

    #: The program is ours: `command` is left out and only `args` are passed on.
    REPLACED = "replaced"
    #: `command` is run as it stands, `python` being this interpreter; without one, the image's program if it has any.
    HONOURED = "honoured"


class Builtin(Enum):
    """Init containers that the node does itself, in its own process."""

    #: istio's proxy_init: instead of iptables rules, what should be captured is written to capture.json.
    CAPTURE = "capture"
    #: Privileged set-up of a host (sysctl …): said in the log, never done.
    EXPLAINED = "explained"


class Answers(Enum):
    """Which sign shows that a container without a readinessProbe answers."""

    RUNNING = "running"
    #: Envoy's admin socket says LIVE.
    ENVOY = "envoy"
    #: `ReadyHint.port` accepts on the address where the application listens.
    APPLICATION = "application"
    #: `ReadyHint.port` accepts on the pod's private address.
    LOCAL = "local"
    #: The first TCP port that the container declares accepts, or `GRACE` has passed.
    DECLARED = "declared"


@dataclass(frozen=True)
class ReadyHint:
    """Where to look before a container is called ready; asked until it was true once, then never again."""

    answers: Answers = Answers.RUNNING
    port: int = 0


@dataclass(frozen=True)
class Image:
    """One row: images whose normalised name matches `pattern` are run by `program` followed by the arguments.

    In `program`, `{python}` is this interpreter and `{services}` the folder of the demo services; in `environment`,
    `{external}` is the address of the host outside the mesh.
    """

    name: str
    pattern: str
    program: tuple[str, ...] = ()
    shim: bool = False
    command: Command = Command.REPLACED
    ready: ReadyHint = ReadyHint()
    builtin: Builtin | None = None
    environment: tuple[tuple[str, str], ...] = ()
    #: A command that the image has beside its program, for `kubectl exec … -- pilot-agent request GET stats`: its name,
    #: then how it is run.
    beside: tuple[str, ...] = ()


def _module(module: str) -> tuple[str, ...]:
    return ("{python}", "-m", module)


def _service(name: str) -> tuple[str, ...]:
    return ("{python}", "{services}/" + name + ".py")


def _app(port: int) -> ReadyHint:
    return ReadyHint(Answers.APPLICATION, port)


_ENVOY = ReadyHint(Answers.ENVOY)
_DECLARED = ReadyHint(Answers.DECLARED)
#: The tutorial's text leaves out where svcb sends its messages; its program knew.
_MSGSVC = ("MESHLAB_MSGSVC", "{external}:9997")

#: First match wins. `name` is what the list of known images shows.
CATALOGUE: tuple[Image, ...] = (
    Image("docker.io/istio/pilot", r"istio/pilot", _module("meshlab.mesh.pilot"),
          ready=ReadyHint(Answers.LOCAL, 8080), beside=("pilot-discovery", *_module("meshlab.mesh.pilot"))),
    Image("docker.io/istio/proxy_debug", r"istio/proxy(_debug)?", _module("meshlab.mesh.agent"), ready=_ENVOY,
          beside=("pilot-agent", *_module("meshlab.mesh.admin"))),
    Image("docker.io/istio/proxy_init", r"istio/proxy_init", builtin=Builtin.CAPTURE),
    Image("docker.io/istio/mixer", r"istio/mixer", _module("meshlab.mesh.mixer"), ready=_app(42422)),
    Image("docker.io/istio/istio-ca", r"istio/istio-ca", _module("meshlab.mesh.ca")),
    Image("prom/statsd-exporter", r"prom/statsd-exporter", _module("meshlab.addons.statsd"), shim=True,
          ready=_app(9102)),
    Image("docker.io/prom/prometheus", r"prom/prometheus", _module("meshlab.addons.prometheus"), shim=True,
          ready=_app(9090)),
    Image("docker.io/istio/grafana", r"(istio|grafana)/grafana", _module("meshlab.addons.grafana"), shim=True,
          ready=_app(3000)),
    Image("docker.io/istio/servicegraph", r"istio/servicegraph", _module("meshlab.addons.servicegraph"), shim=True,
          ready=_app(8088)),
    Image("docker.io/openzipkin/zipkin", r"openzipkin/zipkin", _module("meshlab.addons.zipkin"), shim=True,
          ready=_app(9411)),
    Image("docker.io/bigwhite/istio-demo-svca:v0.1", r"bigwhite/istio-demo-svca:v0\.1", _service("svca"), shim=True,
          ready=_app(8080), environment=(("MESHLAB_VERSION", "v0.1"),)),
    Image("docker.io/bigwhite/istio-demo-svcb:v0.1", r"bigwhite/istio-demo-svcb:v0\.1", _service("svcb"), shim=True,
          ready=_app(8080), environment=(("MESHLAB_VERSION", "v0.1"), _MSGSVC)),
    Image("docker.io/bigwhite/istio-demo-svcb:v0.2", r"bigwhite/istio-demo-svcb:v0\.2", _service("svcb"), shim=True,
          ready=_app(8080), environment=(("MESHLAB_VERSION", "v0.2"), _MSGSVC)),
    Image("docker.io/bigwhite/istio-demo-msgd", r"bigwhite/istio-demo-msgd", _service("msgd"), shim=True,
          ready=_app(9997)),
    Image("docker.io/meshlab/metrics-adapter", r"meshlab/metrics-adapter", _module("meshlab.addons.metrics_adapter"),
          shim=True, ready=_app(6443)),
    Image("docker.io/meshlab/client", r"meshlab/client", _service("client"), shim=True, ready=_app(8080)),
    # What examples for clusters begin with; its arguments are for a program that is not here.
    Image("nginx", r"nginx", _service("nginx"), shim=True, command=Command.HONOURED, ready=_DECLARED),
    Image("python", r"python", shim=True, command=Command.HONOURED, ready=_DECLARED),
    # Small images in whose place the machine's own shell and tools run, as this user and without isolation.
    Image("busybox", r"busybox", command=Command.HONOURED, ready=_DECLARED),
    Image("alpine", r"alpine", command=Command.HONOURED, ready=_DECLARED),
)


def normalised(image: str) -> str:
    """The name without a registry of Docker Hub and without a digest; a tag is kept.

    >>> normalised("docker.io/library/python:3.12-slim"), normalised("index.docker.io/istio/pilot:0.4.0")
    ('python:3.12-slim', 'istio/pilot:0.4.0')
    """
    name = image.partition("@")[0]
    name = re.sub(r"^(?:index\.|registry-1\.)?docker\.io/", "", name)
    return name.removeprefix("library/")


class Catalogue:
    """Looks images up. `rows` is the table; tests and embedders may give their own."""

    def __init__(self, rows: Iterable[Image] = CATALOGUE) -> None:
        self._rows: Sequence[tuple[re.Pattern[str], Image]] = [
            # A pattern with a tag of its own takes that tag only; any other takes every tag.
            (re.compile(row.pattern + ("$" if ":" in row.pattern else r"(:[\w.-]+)?$")), row) for row in rows
        ]

    def find(self, image: str) -> Image | None:
        """The row for an image reference as a pod names it, or None when this machine cannot run it."""
        name = normalised(image)
        return next((row for pattern, row in self._rows if pattern.match(name)), None)

    @property
    def known(self) -> list[str]:
        """Names of the images that can be run, for error messages."""
        return [row.name for _, row in self._rows]
