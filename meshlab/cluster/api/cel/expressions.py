"""Compiling and evaluating expressions over `self` and `oldSelf`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from meshlab.cluster.api.cel.functions import MISSING, TABLE, TWO_VARIABLES

__all__ = ["CompileError", "EvaluationError", "Expression", "Expressions", "UnknownFunctionError"]

#: Names of ours for types, in `functions.TABLE`.
TYPES = {"s": "STRING", "b": "BOOL", "i": "INT", "f": "DOUBLE", "d": "DYN"}
#: How the messages of a real server's implementation differ from those of this one.
WORDS = (
    (re.compile(r'^NOT_FOUND: Key not found in map : "(.*)"$'), r"no such key: \1"),
    (re.compile(r"^INVALID_ARGUMENT: divide by zero$"), "division by zero"),
    (re.compile(r"^UNKNOWN: No matching overloads found : .*$"), "no such overload"),
    (re.compile(r"^[A-Z_]+: "), ""),
)
UNDECLARED = re.compile(r"undeclared reference to '(\w+)'")


class CompileError(ValueError):
    """An expression that is none; the message says where."""


class UnknownFunctionError(CompileError):
    """An expression that a real server understands, and we do not."""


class EvaluationError(ValueError):
    """An expression that has no value for these objects."""


class Expression:
    """One compiled expression."""

    def __init__(self, program: Any, error: Any) -> None:
        self._program, self._error = program, error

    def __call__(self, variables: Mapping[str, Any]) -> Any:
        """Its value, as plain JSON. Raises EvaluationError."""
        try:
            found = self._program.eval(data=variables)
        except RuntimeError as error:
            raise EvaluationError(_worded(str(error))) from None
        if found.type() == self._error:
            raise EvaluationError(_worded(str(found.value())))
        return found.plain_value()


class Expressions:
    """The language with Kubernetes' functions. Made when it is first needed: it is what costs memory.

    `names` are the variables that expressions may speak of.
    """

    def __init__(self, names: Iterable[str] = ("self", "oldSelf")) -> None:
        from cel_expr_python import cel
        from cel_expr_python.ext import ext_bindings, ext_optional, ext_strings

        self._cel = cel
        kinds: dict[str, Any] = {letter: getattr(cel.Type, name) for letter, name in TYPES.items()}
        kinds["l"] = cel.Type.List(cel.Type.DYN)
        kinds["m"] = cel.Type.Map(cel.Type.DYN, cel.Type.DYN)
        functions = [
            cel.FunctionDecl(name, [cel.Overload(
                f"kubernetes_{name}_{arguments}", return_type=kinds[answer], is_member=member,
                parameters=[kinds[letter] for letter in arguments], impl=function,
            )])
            for name, member, arguments, answer, function in TABLE
        ]  # fmt: skip
        self._environment = cel.NewEnv(
            variables=dict.fromkeys(names, cel.Type.DYN), functions=functions,
            extensions=[ext_strings.ExtStrings(), ext_optional.ExtOptional(), ext_bindings.ExtBindings()],
        )
        # Declarations are looked at with the first expression: a mistake in ours must not look like one in a rule.
        self._environment.compile("true")

    def compile(self, text: str) -> Expression:
        """Raises CompileError."""
        try:
            program = self._environment.compile(text)
        except RuntimeError as error:
            message = _worded(str(error)).removesuffix(" [INVALID_ARGUMENT]")
            unknown = UNDECLARED.search(message)
            if TWO_VARIABLES.search(text) or (unknown and unknown[1] in MISSING):
                raise UnknownFunctionError(message) from None
            raise CompileError(message) from None
        return Expression(program, self._cel.Type.ERROR)


def _worded(message: str) -> str:
    for pattern, text in WORDS:
        message = pattern.sub(text, message)
    return message
