"""The tutorial's manifests as a cluster can run them: stock images, scripts from ConfigMaps, today's API versions.

    images of the tutorial    python:3.12-slim with the script of meshlab/services from a ConfigMap
    extensions/v1beta1        apps/v1, with the selector that it wants
    port without a name       named `tcp`: today's Istio looks at the first bytes of an unnamed port and finds HTTP
    root                      an ordinary user without privileges, as namespaces with restricted pods demand
    msgd on its own host      a Service with a cluster address that the mesh is not told of
    127.100.35.27             that address

All but `msgd_address` are functions of documents; `write_files` writes them as a folder that has the plain one's names.
"""

from __future__ import annotations

import base64
import io
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..access import Access
from ..settings import Network
from .owned import labelled
from .rules import definitions

__all__ = [
    "IMAGE",
    "MSGD",
    "UNNAMED",
    "addon",
    "demo",
    "msgd_address",
    "msgd_service",
    "servicegraph_program",
    "write_files",
]

Object = dict[str, Any]
#: Of python:3.12-slim nothing but the interpreter is used.
IMAGE = "python:3.12-slim"
#: How a port is named that the mesh shall take for what it is told nothing about.
UNNAMED = "tcp"
#: Where msgd is reached: namespace and name of its Service.
MSGD = ("external", "msgd")
#: Image of the tutorial → its program in meshlab/services, and the version that it reports.
_PROGRAMS = (
    (r"bigwhite/istio-demo-svca:(v[\d.]+)$", "svca"),
    (r"bigwhite/istio-demo-svcb:(v[\d.]+)$", "svcb"),
    (r"bigwhite/istio-demo-msgd:(v[\d.]+)$", "msgd"),
    (r"meshlab/client:(v[\d.]+)$", "client"),
)
#: Program → what of meshlab/services it imports.
_SHARED = {"svca": ("go_server", "go_client"), "svcb": ("go_server", "go_client"), "msgd": ("go_server",)}
#: What the Pod Security Standard "restricted" demands of a container. 65534 is `nobody`; python's images say root.
_RESTRICTED: Mapping[str, Any] = {
    "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": True, "runAsUser": 65534,
    "seccompProfile": {"type": "RuntimeDefault"},
}  # fmt: skip
_PLAIN = Network(0).external
#: What ServiceGraph is made of, and the program that starts it.
_GRAPH = (
    "errors.py", "phrases.py", "addons/__init__.py", "addons/servicegraph.py", "addons/graph.py", "addons/prom.py",
    "addons/dot.py", "addons/svg.py", "addons/scale.py", "mesh/__init__.py", "mesh/web.py",
)  # fmt: skip
_RUN = "import sys\n\nfrom meshlab.addons.servicegraph import main\n\nsys.exit(main())\n"


def _package() -> Path:
    return Path(__file__).resolve().parent.parent


def demo(documents: Iterable[Mapping[str, Any]], external: str) -> list[Object]:
    """Documents of manifests/demo for a cluster on which msgd is at `external`."""
    out: list[Object] = []
    for document in documents:
        made = dict(document)
        if made["kind"] == "Deployment":
            made, programs = _deployment(made, external)
            out += [_script(name, made["metadata"].get("namespace")) for name in programs]
        elif made["kind"] == "Service":
            made = {**made, "spec": {**made["spec"], "ports": [_port(each) for each in made["spec"]["ports"]]}}
        out.append(labelled(_placed(made)))
    return out


def msgd_service() -> list[Object]:
    """msgd's namespace and Service. The mesh is not told of it, so what calls its address leaves the mesh."""
    namespace, name = MSGD
    service: Object = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace, "annotations": {"networking.istio.io/exportTo": "~"}},
        "spec": {"selector": {"app": "msgd"}, "ports": [{"name": "tcp", "port": 9997}]},
    }
    return [labelled({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}), labelled(service)]


def msgd_address(access: Access) -> str:
    """Where msgd is reached: its Service's address, the tutorial's before there is one."""
    found = access.find("v1", "Service", *MSGD)
    return str(found["spec"]["clusterIP"]) if found else _PLAIN


def addon(documents: Iterable[Mapping[str, Any]], name: str, namespace: str) -> list[Object]:
    """Documents of manifests/cluster/addons, in this namespace, with the ConfigMap that the addon's pod wants."""
    out = [_moved(document, namespace) for document in documents]
    if name == "servicegraph":
        program = {"servicegraph.pyz": base64.b64encode(servicegraph_program()).decode()}
        out.insert(0, {**_config_map("servicegraph", namespace, {}), "binaryData": program})
    if name == "grafana":
        boards = sorted((_package() / "addons" / "dashboards").glob("*.json"))
        out.insert(0, _config_map("grafana-dashboards", namespace, {each.name: each.read_text() for each in boards}))
    return [labelled(each) for each in out]


def servicegraph_program() -> bytes:
    """ServiceGraph as one file that Python runs: a zip with its modules, the same bytes for the same modules."""
    parts = {f"meshlab/{name}": (_package() / name).read_text() for name in _GRAPH}
    parts |= {"meshlab/__init__.py": "", "__main__.py": _RUN}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in sorted(parts.items()):
            archive.writestr(zipfile.ZipInfo(name), text)
    return out.getvalue()


def _config_map(name: str, namespace: str | None, data: Mapping[str, str]) -> Object:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": dict(data)}


def _script(name: str, namespace: str | None) -> Object:
    modules = (name, *_SHARED.get(name, ()))
    files = {f"{each}.py": (_package() / "services" / f"{each}.py").read_text() for each in modules}
    return labelled(_config_map(f"{name}-program", namespace or "default", files))


def _script_volume(name: str) -> Object:
    """The program, and what it shares with others where `import` finds it."""
    items = [{"key": f"{each}.py", "path": f"meshlab/services/{each}.py"} for each in _SHARED.get(name, ())]
    items.insert(0, {"key": f"{name}.py", "path": f"{name}.py"})
    return {"name": f"{name}-program", "configMap": {"name": f"{name}-program", "items": items}}


def _placed(document: Object) -> Object:
    if document["kind"] == "Namespace":
        return document
    metadata = document["metadata"]
    return {**document, "metadata": {**metadata, "namespace": metadata.get("namespace") or "default"}}


def _moved(document: Mapping[str, Any], namespace: str) -> Object:
    text = _text(document)
    import yaml

    found: Object = yaml.safe_load(re.sub(r"(?m)^(\s*(?:- )?namespace): istio-system$", rf"\1: {namespace}", text))
    return found


def _text(document: Mapping[str, Any]) -> str:
    import yaml

    return str(yaml.safe_dump(dict(document), sort_keys=False))


def _port(port: Mapping[str, Any]) -> Object:
    return dict(port) if port.get("name") else {"name": UNNAMED, **port}


def _deployment(document: Mapping[str, Any], external: str) -> tuple[Object, list[str]]:
    """The Deployment, and the programs whose ConfigMaps it mounts."""
    spec = dict(document["spec"])
    template = spec["template"]
    labels = template["metadata"]["labels"]
    # What extensions/v1beta1 took from the labels of the pods has to be said.
    spec.setdefault("selector", {"matchLabels": dict(labels)})
    pod, programs = dict(template["spec"]), list[str]()
    containers = []
    for container in pod["containers"]:
        program, version = _program(str(container["image"]))
        if program:
            programs.append(program)
            container = _container(container, program, version, external)
        containers.append(container)
    pod["containers"] = containers
    if programs:
        pod["volumes"] = [
            *(pod.get("volumes") or []),
            *map(_script_volume, programs),
        ]
        # Go's programs went at once on SIGTERM; nobody waits for these either.
        pod.setdefault("terminationGracePeriodSeconds", 2)
    annotations = {k: v for k, v in (template["metadata"].get("annotations") or {}).items() if "meshlab.io" not in k}
    metadata = {"labels": {**labels, "app.kubernetes.io/part-of": "meshlab"}}
    if annotations:
        metadata["annotations"] = annotations
    spec["template"] = {"metadata": metadata, "spec": pod}
    return {**document, "apiVersion": "apps/v1", "spec": spec}, programs


def _program(image: str) -> tuple[str, str]:
    name = re.sub(r"^docker\.io/", "", image)
    for pattern, program in _PROGRAMS:
        if found := re.match(pattern, name):
            return program, found[1]
    return "", ""


def _container(container: Mapping[str, Any], program: str, version: str, external: str) -> Object:
    env = [each for each in container.get("env") or () if each["name"] == "MESHLAB_VERSION"]
    env = env or [{"name": "MESHLAB_VERSION", "value": version}]
    made: Object = {
        "name": container["name"],
        "image": IMAGE,
        "command": ["python", "-u", f"/srv/{program}.py"],
        "env": env,
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}},
        # Of the container, not of the pod: Istio's own beside it run as somebody else.
        "securityContext": dict(_RESTRICTED),
        "volumeMounts": [{"name": f"{program}-program", "mountPath": "/srv"}],
    }
    if program == "svcb":
        given = [str(each).replace(_PLAIN, external) for each in container.get("args") or ()]
        made["args"] = given or ["-msgsvc", f"{external}:9997"]
    ports = container.get("ports") or [{"containerPort": 8080}]
    made["ports"] = ports
    made["readinessProbe"] = {"tcpSocket": {"port": ports[0]["containerPort"]}, "periodSeconds": 2}
    return made


def write_files(plain: Path, target: Path, external: str, addons: str) -> None:
    """Writes the folder of manifests for a cluster, with the names of the plain one.

    `external` is msgd's address, `addons` the namespace of the addons. Of Istio 0.4.0's own files a cluster gets
    istio.VERSION, to be read, and as istio.yaml the kinds of 2018 that are translated there.
    """
    import yaml

    for path, made in _files(plain, external, addons):
        place = target / path
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        text = made if isinstance(made, str) else yaml.safe_dump_all(made, sort_keys=False, width=110)
        if not place.exists() or place.read_text() != text:
            place.write_text(text)


def _files(plain: Path, external: str, addons: str) -> Iterator[tuple[Path, str | list[Object]]]:
    import yaml

    box = Path("istio-0.4.0")
    yield box / "istio.VERSION", (plain / box / "istio.VERSION").read_text()  # to be read, as in lesson 01
    yield box / "install" / "kubernetes" / "istio.yaml", definitions()
    for path in sorted((plain / "demo").glob("*.yaml")):
        documents = [d for d in yaml.safe_load_all(path.read_text()) if d]
        more = msgd_service() if path.stem == "msgd" else []
        made = [each for each in demo(documents, external) if not (more and each["kind"] == "Namespace")]
        yield Path("demo") / path.name, [*more, *made]
    for path in sorted((plain / "demo").glob("*/*.yaml")):
        yield path.relative_to(plain), path.read_text().replace(_PLAIN, external)
    for path in sorted((plain / "cluster" / "addons").glob("*.yaml")):
        documents = [d for d in yaml.safe_load_all(path.read_text()) if d]
        made = addon(documents, path.stem, addons)
        # Where lessons look for them, beside their own place.
        yield box / "install" / "kubernetes" / "addons" / path.name, made
