"""`istioctl kube-inject`: reads a file, asks the cluster for the mesh's configuration, writes the injected file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from meshlab.errors import ManifestError, MeshlabError
from meshlab.istioctl.flags import Parsed
from meshlab.istioctl.inject import KINDS, SidecarParams, inject_stream
from meshlab.istioctl.version import VERSION, version_line
from meshlab.mesh.config.goyaml import YamlError
from meshlab.mesh.config.meshconfig import MeshConfig, parse_mesh_config

__all__ = ["inject_text", "mesh_config_from_cluster", "params_from_flags", "run"]


def params_from_flags(flags: Parsed, mesh: MeshConfig) -> SidecarParams:
    hub, tag, debug = flags.text("hub"), flags.text("tag"), flags.on("debug")
    return SidecarParams(
        init_image=f"{hub}/proxy_init:{tag}",
        proxy_image=f"{hub}/proxy{'_debug' if debug else ''}:{tag}",
        version=flags.text("setVersionString") or version_line(),
        mesh=mesh,
        verbosity=flags.number("verbosity"),
        proxy_uid=flags.number("sidecarProxyUID"),
        pull_policy=flags.text("imagePullPolicy"),
        core_dump=flags.on("coreDump"),
        debug=debug,
        include_ranges=flags.text("includeIPRanges"),
    )


def mesh_config_from_cluster(kubeconfig: str, namespace: str, name: str) -> MeshConfig:
    """Raises ManifestError with 0.4.0's text; LabError where there is no cluster."""
    from meshlab.errors import Rejected
    from meshlab.kube import Kube

    try:
        found = Kube.from_kubeconfig(kubeconfig or None).get(("v1", "configmaps", namespace, name))
        data: Mapping[str, str] = found.get("data") or {}
        if "mesh" not in data:
            raise ManifestError('missing configuration map key "mesh"')
        return parse_mesh_config(data["mesh"])
    except (Rejected, ManifestError) as error:
        raise ManifestError(
            f'could not read valid configmap "{name}" from namespace  "{namespace}": {error} - '
            "Re-run kube-inject with `-i <istioSystemNamespace> and ensure valid MeshConfig exists",
            then="kubectl apply -f install/kubernetes/istio.yaml",
        ) from None


def inject_text(text: str, params: SidecarParams, stderr: TextIO) -> str:
    """The injected stream; each document is followed by `---`. Raises ManifestError.

    A workload of a version that 0.4.0 does not know passes through, which the original did in silence.
    """
    out = []
    try:
        for document, obj in inject_stream(text, params):
            out.append(f"{document}---\n")
            if obj is not None and _overlooked(obj):
                meta = obj.get("metadata")
                name = meta.get("name", "") if isinstance(meta, Mapping) else ""
                version, kind = obj.get("apiVersion", "no version"), str(obj["kind"])
                stderr.write(
                    f"Warning: {kind} {name} of {version} gets no sidecar: Istio {VERSION} knows {_known(kind)}\n"
                )
    except YamlError as error:
        raise ManifestError(f"error converting YAML to JSON: {error}") from None
    except TypeError as error:
        raise ManifestError(f"error unmarshaling JSON: {error}") from None
    return "".join(out)


def _overlooked(obj: Mapping[str, Any]) -> bool:
    pair = (str(obj.get("apiVersion")), str(obj.get("kind")))
    return pair not in KINDS and pair[1] in {kind for _, kind in KINDS}


def _known(kind: str) -> str:
    return " and ".join(version for version, known in KINDS if known == kind)


def run(flags: Parsed, stdin: TextIO, stdout: TextIO, stderr: TextIO) -> None:
    """The command. Raises MeshlabError, OSError."""
    if not flags.text("filename"):
        raise MeshlabError("filename not specified (see --filename or -f)")
    name = flags.text("filename")
    # Read first: `-f` is often a pipe, whose writer must not wait for the cluster.
    text = stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
    mesh = mesh_config_from_cluster(
        flags.text("kubeconfig"), flags.text("istioNamespace"), flags.text("meshConfigMapName")
    )
    injected = inject_text(text, params_from_flags(flags, mesh), stderr)
    if flags.text("output"):
        Path(flags.text("output")).write_text(injected, encoding="utf-8")
    else:
        stdout.write(injected)
