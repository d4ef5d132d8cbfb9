"""matchConditions of webhooks: expressions that say which requests a webhook wants to see."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from meshlab.cluster.api.status import Forbidden, InternalError
from meshlab.cluster.api.webhooks.matching import Hook
from meshlab.cluster.api.webhooks.messages import question
from meshlab.cluster.api.webhooks.review import Attributes

if TYPE_CHECKING:
    from meshlab.cluster.api.cel.expressions import Expression

__all__ = ["Conditions"]

NAMES = ("object", "oldObject", "request")


#: Compiled expressions to keep; configurations have a handful.
KEPT = 64


class Conditions:
    """Evaluates conditions, and keeps what it compiled."""

    def __init__(self) -> None:
        self._kept: dict[str, Expression] = {}

    def meets(self, hook: Hook, attributes: Attributes, user: Mapping[str, Any]) -> bool:
        """Whether all conditions of the hook hold. One that fails to say is a failure of the hook. Raises ApiError."""
        conditions = hook.spec.get("matchConditions") or ()
        if not conditions:
            return True
        from meshlab.cluster.api.cel.expressions import CompileError, EvaluationError

        resource = attributes.resource
        asked = question(attributes, "", "v1", resource, attributes.new, attributes.old, user, {})["request"]
        variables = {"object": attributes.new, "oldObject": attributes.old, "request": asked}
        errors = []
        for condition in conditions:
            try:
                if self._compiled(condition["expression"])(variables) is not True:
                    return False
            except (CompileError, EvaluationError) as error:
                errors.append(f"expression '{condition['expression']}' resulted in error: {error}")
        if not errors:
            return True
        if hook.ignores_failures:
            return False
        if attributes.name:
            raise Forbidden.of(resource, attributes.name, "; ".join(errors))
        raise InternalError.because(json.dumps(errors))

    def _compiled(self, text: str) -> Expression:
        if text not in self._kept:
            from meshlab.cluster.api.cel.expressions import Expressions

            if len(self._kept) >= KEPT:
                self._kept.clear()
            self._kept[text] = Expressions(NAMES).compile(text)
        return self._kept[text]
