"""LimitRanges and ResourceQuotas: what a namespace may use. The rules are pure; `Limits` looks into the store."""

from meshlab.cluster.api.limits.limits import Limits

__all__ = ["Limits"]
