"""Amounts of CPU and memory as Kubernetes writes them."""

from __future__ import annotations

__all__ = ["amount", "cpu", "memory"]


def amount(text: object) -> float:
    """The plain number of cores, bytes or pods; 0.0 for nothing.

    >>> amount("500m"), amount("2Gi"), amount(4), amount(None)
    (0.5, 2147483648.0, 4.0, 0.0)
    """
    from kubernetes.utils import parse_quantity

    return float(parse_quantity(str(text or 0)))


def cpu(cores: float) -> str:
    """Cores as Kubernetes writes them: `0.5` as `500m`."""
    return f"{cores:g}" if cores == int(cores) else f"{round(cores * 1000)}m"


def memory(size: float) -> str:
    """Bytes in Mi, or in Gi from 1 Gi on."""
    return f"{size / 2**30:.1f}Gi" if size >= 2**30 else f"{size / 2**20:.0f}Mi"
