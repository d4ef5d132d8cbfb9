"""What differs between engines, in the words of the lessons."""

from __future__ import annotations

from enum import Enum

__all__ = ["Capability"]


class Capability(Enum):
    """Something that an engine can do, and another may not: `lab.engine.can(Capability.MIXER)`."""

    #: The tutorial's addresses are known before anything runs (127.105.38.238 is svca).
    TUTORIAL_ADDRESSES = "the tutorial's own addresses"
    #: istio-pilot, istio-mixer, istio-ingress and istio-ca are there by name, with the ports of 2018.
    LEGACY_CONTROL_PLANE = "the control plane of 0.4"
    #: config.istio.io/v1alpha2 is what the mesh itself acts on; without it such rules are translated.
    LEGACY_RULES = "rules of v1alpha2 as they are"
    #: Mixer's refusals, lists, quotas and access log.
    MIXER = "Mixer"
    #: A port that says nothing of its protocol is TCP to the mesh. Today's Istio looks at a connection's first bytes
    #: there and finds HTTP, unless `appProtocol` or the port's name says otherwise, or it is 25, 53, 3306 or 27017
    #: (pkg/config/kube/conversion.go of 1.30.3): the anomalies need the name `Engine.unnamed_port`.
    UNNAMED_IS_TCP = "TCP on a port without a name"
    #: Real proxies of today's Istio, istiod, webhooks that inject.
    ISTIOD = "istiod"
