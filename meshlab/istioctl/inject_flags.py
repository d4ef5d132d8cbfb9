"""Flags of `kube-inject`, apart from the command so that the others need not load it."""

from __future__ import annotations

from meshlab.istioctl.flags import Flag
from meshlab.istioctl.version import VERSION

__all__ = ["FLAGS"]

FLAGS = (
    Flag("filename", "", "Input Kubernetes resource filename", "f"),
    Flag("output", "", "Modified output Kubernetes resource filename", "o"),
    Flag("hub", "docker.io/istio", "Docker hub"),
    Flag("tag", VERSION, "Docker tag"),
    Flag("debug", True, "Use debug images and settings for the sidecar"),
    Flag("coreDump", True, "Enable/Disable core dumps in injected Envoy sidecar"),
    Flag("verbosity", 2, "Runtime verbosity"),
    Flag("sidecarProxyUID", 1337, "Envoy sidecar UID"),
    Flag("imagePullPolicy", "IfNotPresent", "Always, IfNotPresent or Never"),
    Flag("includeIPRanges", "", "Comma separated CIDRs: redirect outbound traffic to these only"),
    Flag("meshConfigMapName", "istio", 'ConfigMap of the mesh configuration, key "mesh"'),
    Flag("setVersionString", "", "Override version info injected into resource"),
)
