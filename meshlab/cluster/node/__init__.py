"""The node of the embedded lab: pods as groups of processes."""

from meshlab.cluster.node.node import Node

__all__ = ["Node"]
