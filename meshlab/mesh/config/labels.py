"""Labels: an immutable, hashable mapping of strings.

Pods, subsets of a service and clusters are all told apart by labels, so they serve as keys of dictionaries
and as parts of cluster names. A plain dict can be neither.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

__all__ = ["NO_LABELS", "Labels"]


class Labels(Mapping[str, str]):
    """Labels, in sorted order whatever the order they came in.

    >>> str(Labels({"version": "v0.2", "app": "svcb", "canary": ""}))
    'app=svcb,canary,version=v0.2'
    """

    __slots__ = ("_dict", "_hash")

    def __init__(self, labels: Mapping[str, str] | None = None, /, **more: str) -> None:
        self._dict: dict[str, str] = dict(sorted({**(labels or {}), **more}.items()))
        self._hash: int = hash(tuple(self._dict.items()))

    def __getitem__(self, key: str) -> str:
        return self._dict[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._dict)

    def __len__(self) -> int:
        return len(self._dict)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Labels):
            return self._dict == other._dict
        return isinstance(other, Mapping) and self._dict == dict(other)

    def __repr__(self) -> str:
        return f"Labels({self._dict!r})"

    def __str__(self) -> str:
        """`k=v,k=v` sorted by text; a label without a value is its key alone."""
        return ",".join(sorted(f"{k}={v}" if v else k for k, v in self._dict.items()))

    @classmethod
    def parse(cls, text: str) -> Labels:
        """The inverse of `str`. What follows a second `=` in a pair is dropped, as Pilot 0.4.0 drops it."""
        if not text:
            return cls()
        pairs = (pair.split("=") for pair in text.split(","))
        return cls({pair[0]: pair[1] if len(pair) > 1 else "" for pair in pairs})

    def subset_of(self, other: Mapping[str, str]) -> bool:
        """Whether every label here has the same value there.

        A label with an empty value also matches a missing one: Go reads a missing key as the empty string.
        """
        return all(other.get(key, "") == value for key, value in self._dict.items())


#: The default of every field that holds labels; immutable, so it can be shared.
NO_LABELS = Labels()
