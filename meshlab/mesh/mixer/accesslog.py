"""The JSON lines of the `stdio` handler, as 0.4.0's logger writes them.

    {"level":"info","ts":"2018-01-02T15:41:50.000Z","instance":"accesslog.logentry.istio-system",…}

after which come the variables in sorted order.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from meshlab.mesh.mixer.attributes import EXTRACTORS, Bag
from meshlab.mesh.mixer.config import Instance
from meshlab.mesh.mixer.expressions import Absent, Expression
from meshlab.mesh.mixer.values import Timestamp, to_json_text

__all__ = ["LogWriter", "level_of"]

#: Names of the levels, and the numbers of 0.4's enumeration.
_LEVELS = {"info": "info", "warn": "warn", "warning": "warn", "error": "error", "0": "info", "1": "warn", "2": "error"}


def level_of(severity: object, mapping: Mapping[str, Any]) -> str:
    """The log's level: by the handler's `severity_levels`, else info (as for "Default", which nothing maps)."""
    named = str(mapping.get(str(severity), "info")).lower()
    return _LEVELS.get(named, "info")


class LogWriter:
    """Writes the lines of one instance. The text between the values is made once."""

    def __init__(self, instance: Instance, settings: Mapping[str, Any]) -> None:
        self._instance = instance
        levels = settings.get("severity_levels") or settings.get("severityLevels")
        self._levels: Mapping[str, Any] = levels if isinstance(levels, Mapping) else {}
        self._json = bool(settings.get("outputAsJson", settings.get("output_as_json", False)))
        self._head = json.dumps(instance.name)
        self._parts = [(f"{json.dumps(name)}:", _reader(instance.fields[name]))
                       for name in sorted(instance.fields)]

    def line(self, bag: Bag) -> str:
        """One line, ended. A variable whose attribute is absent is left out."""
        severity = self._instance.severity.get(bag, "") if self._instance.severity else ""
        moment = self._instance.timestamp.get(bag) if self._instance.timestamp else None
        if not isinstance(moment, Timestamp):
            # 0.4's timestamp is request.time, which a TCP report has not: then when it came.
            moment = bag.get("context.time", "0001-01-01T00:00:00.000Z")
        ts = str(moment)
        level = level_of(severity, self._levels)
        out = []
        if self._instance.value is not None:
            out.append(f'"value":{to_json_text(self._instance.value.get(bag))}')
        for name, read in self._parts:
            text = read(bag)
            if text is not None:
                out.append(name + text)
        if self._json:
            tail = "," + ",".join(out) if out else ""
            return f'{{"level":"{level}","ts":"{ts}","instance":{self._head}{tail}}}\n'
        return f"{ts}\t{level}\t{self._instance.name}\t{{{', '.join(out)}}}\n"


def _reader(expression: Expression) -> Callable[[Bag], str | None]:
    """The JSON text of an expression's value, None where it is absent.

    Most are `attribute | constant`: those skip the expression and ask the log entry.
    """
    if expression.simple is not None and expression.simple[0] in EXTRACTORS:
        name, default = str(expression.simple[0]), expression.simple[1]
        extract = EXTRACTORS[name]
        fallback = None if default is None else to_json_text(default)

        def quick(bag: Bag) -> str | None:
            value = bag.derived.get(name)
            if value is None:
                value = extract(bag.entry, bag.reporter)
            if value is None or value == "":
                return fallback
            return str(value) if type(value) is int else to_json_text(value)

        return quick

    def slow(bag: Bag) -> str | None:
        try:
            return to_json_text(expression.evaluate(bag))
        except Absent:
            return None

    return slow
