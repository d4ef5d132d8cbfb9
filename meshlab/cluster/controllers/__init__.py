"""The controllers of the embedded lab: what makes wishes in the API come true."""

from meshlab.cluster.controllers.run import run_controllers

__all__ = ["run_controllers"]
