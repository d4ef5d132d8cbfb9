"""Horizontal autoscaling: what pods use, how many there should be for that, and how fast to get there."""

from meshlab.cluster.controllers.autoscaling.horizontal import HorizontalController

__all__ = ["HorizontalController"]
