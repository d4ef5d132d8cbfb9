"""Persistent volumes: claims find one, or one is made for them on the node's disk."""

from meshlab.cluster.controllers.storage.claims import ClaimController
from meshlab.cluster.controllers.storage.volumes import VolumeController

__all__ = ["ClaimController", "VolumeController"]
