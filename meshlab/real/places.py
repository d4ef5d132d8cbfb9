"""Namespaces of what meshlab installs."""

from __future__ import annotations

__all__ = ["INGRESS", "MESHLAB", "SYSTEM"]

#: Istio's, as everywhere, and that of its gateway.
SYSTEM, INGRESS = "istio-system", "istio-ingress"
#: That of the add-ons where Istio is somebody else's.
MESHLAB = "meshlab"
