"""Mixer's answer to "may this request pass?".

All check instances of the rules that match are asked, then, if none refused, the first quota. What several
refuse has the code of the first and the words of all. What cannot be evaluated (an instance whose attribute is
absent, a handler that could not be made) refuses nothing: as in 0.4.0 a check fails open.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from meshlab.mesh.mixer.config import Action, Configuration, Instance, Rule
from meshlab.mesh.mixer.dispatch import applies
from meshlab.mesh.mixer.expressions import Absent, Attributes
from meshlab.mesh.mixer.handlers import Handler, HandlerError, make_handler
from meshlab.mesh.mixer.status import OK, Code, Status
from meshlab.mesh.mixer.workloads import Workloads, derive

__all__ = ["CHECKING", "Checker"]

#: Kinds of handlers that can refuse.
CHECKING = ("denier", "listchecker", "memquota")
#: Under this name every sidecar of 0.4 asked for a quota, whatever the instance is called.
QUOTA = "RequestCount"


class Checker:
    """Thread-safe. `report` takes a line about a handler that cannot be made."""

    def __init__(self, workloads: Workloads, report: Callable[[str], None] = lambda line: None) -> None:
        self._workloads, self._report = workloads, report
        self._lock = threading.Lock()
        self._rules: tuple[Rule, ...] = ()
        self._handlers: dict[str, Handler] = {}
        #: What each handler was made from.
        self._made: dict[str, tuple[str, Mapping[str, Any], frozenset[str]]] = {}
        #: Name of the status → answers.
        self.answers: dict[str, int] = {}
        self.problems: tuple[str, ...] = ()

    def configure(self, configuration: Configuration) -> None:
        """Takes a new configuration. A handler whose settings are as before keeps its counts."""
        wanted: dict[str, tuple[str, Mapping[str, Any], set[str]]] = {}
        for rule in configuration.rules:
            for action in rule.actions:
                if action.handler_kind in CHECKING:
                    names = wanted.setdefault(action.handler, (action.handler_kind, action.settings, set()))[2]
                    names.update(each.name for each in action.instances)
        handlers: dict[str, Handler] = {}
        made: dict[str, tuple[str, Mapping[str, Any], frozenset[str]]] = {}
        problems = []
        for name, (kind, settings, names) in wanted.items():
            plan = (kind, settings, frozenset(names))
            try:
                kept = name in self._handlers and self._made[name] == plan
                handlers[name] = self._handlers[name] if kept else make_handler(kind, settings, names)
                made[name] = plan
            except HandlerError as error:
                problems.append(f"{name}: {error.seen}")
        old = [handler for name, handler in self._handlers.items() if handlers.get(name) is not handler]
        self._handlers, self._made, self._rules = handlers, made, configuration.rules
        for handler in old:
            handler.close()
        for problem in problems:
            if problem not in self.problems:
                self._report(f"configuration: {problem}")
        self.problems = tuple(problems)

    def check(self, attributes: Mapping[str, Any]) -> Status:
        """Whether what these attributes describe may pass."""
        status = self._check(attributes)
        with self._lock:
            self.answers[status.name] = self.answers.get(status.name, 0) + 1
        return status

    def _check(self, attributes: Mapping[str, Any]) -> Status:
        rules = self._rules
        bag = Attributes(attributes)
        bag |= self._derived(rules, bag)
        code, words = int(Code.OK), list[str]()
        quotas: list[tuple[Action, Instance]] = []
        for action, instance in _matching(rules, bag):
            if instance.kind == "quota":
                quotas.append((action, instance))
                continue
            status = self._ask(action, instance, bag)
            if not status.ok:
                code = code or status.code
                words.append(f"{action.handler}:{status.message}")
        if words:
            return Status(code, ", ".join(words))
        if quotas and not self._ask(*quotas[0], bag).ok:
            return Status(Code.RESOURCE_EXHAUSTED, f"Quota is exhausted for: {QUOTA}")
        return OK

    def _derived(self, rules: tuple[Rule, ...], bag: Mapping[str, Any]) -> dict[str, Any]:
        """The attributes that kubernetesenv adds."""
        found: dict[str, Any] = {}
        for rule in rules:
            for action in rule.actions:
                if action.handler_kind == "kubernetesenv" and applies(rule, bag):
                    for instance in action.instances:
                        inputs = {name: each.get(bag) for name, each in instance.fields.items()}
                        found.update(derive(self._workloads, inputs, look_up_ingress_source=bool(
                            action.settings.get("lookupIngressSourceAndOriginValues"))))
        return found

    def _ask(self, action: Action, instance: Instance, bag: Mapping[str, Any]) -> Status:
        handler = self._handlers.get(action.handler)
        if handler is None:
            return OK
        try:
            values = {name: expression.evaluate(bag) for name, expression in instance.fields.items()}
        except Absent:
            return OK
        return handler.check(instance.name, values)


def _matching(rules: tuple[Rule, ...], bag: Mapping[str, Any]) -> Iterator[tuple[Action, Instance]]:
    for rule in rules:
        actions = [action for action in rule.actions if action.handler_kind in CHECKING]
        if actions and applies(rule, bag):
            for action in actions:
                yield from ((action, instance) for instance in action.instances)
