"""Rules in CEL (`x-kubernetes-validations`) of custom resources.

The language is Google's own implementation, through its package `cel-expr-python`: 2 ms and 20 MB, spent when the
first definition with rules is stored, and by nobody else.
"""

from meshlab.cluster.api.cel.rules import Rules, definition_causes, has_rules

__all__ = ["Rules", "definition_causes", "has_rules"]
