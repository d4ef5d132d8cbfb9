"""The handlers that can refuse: denier, listchecker, memquota, with the defaults and words of 0.4.0.

A handler lives as long as its settings stay as they are: its counts and its fetched list outlive a change of
some rule.
"""

from __future__ import annotations

import ipaddress
import re
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

from meshlab.errors import MeshlabError
from meshlab.mesh.mixer.quotas import Limit, Quotas
from meshlab.mesh.mixer.status import OK, Code, Status
from meshlab.mesh.mixer.values import parse_duration

__all__ = ["Denier", "Handler", "HandlerError", "ListChecker", "MemQuota", "make_handler"]

#: Bytes of a list that are read at most, and seconds that its provider may take.
MOST_LIST, FETCH_TIMEOUT = 1 << 20, 5.0
#: Strings, strings whatever their case, addresses and networks, regular expressions.
_TYPES = ("STRINGS", "CASE_INSENSITIVE_STRINGS", "IP_ADDRESSES", "REGEX")
Settings = Mapping[str, Any]


class HandlerError(MeshlabError):
    """Settings with which a handler cannot be made."""


class Handler(Protocol):
    def check(self, instance: str, values: Mapping[str, Any]) -> Status:
        """Answers for one instance (by name) and its evaluated fields."""

    def close(self) -> None:
        """Ends what runs in the background."""


def make_handler(kind: str, settings: Settings, instances: Collection[str]) -> Handler:
    """The handler of a kind; `instances` are the names of those that it will be given. Raises HandlerError."""
    try:
        if kind == "denier":
            return Denier(settings)
        if kind == "listchecker":
            return ListChecker(settings)
        return MemQuota(settings, instances)
    except (AttributeError, TypeError, ValueError, KeyError, re.error) as error:
        raise HandlerError(f"malformed settings: {error}") from error


class Denier:
    """Refuses everything: with FAILED_PRECONDITION unless `status` says otherwise."""

    def __init__(self, settings: Settings) -> None:
        status = settings.get("status")
        if status is None:
            self._status = Status(Code.FAILED_PRECONDITION)
        else:
            self._status = Status(int(status.get("code") or 0), str(status.get("message") or ""))

    def check(self, instance: str, values: Mapping[str, Any]) -> Status:
        return self._status

    def close(self) -> None:
        pass


class ListChecker:
    """Passes what is on a white list, or what is not on a black one.

    The list is `overrides` and, line by line, what `providerUrl` gives, which is read every `refreshInterval`
    and forgotten when it has not been read for `ttl`. Without any list everything passes.
    """

    def __init__(self, settings: Settings, fetch: Callable[[str], str] | None = None) -> None:
        self._black = bool(settings.get("blacklist", False))
        self._type = _entry_type(_get(settings, "entryType", "STRINGS"))
        self._overrides = [str(each) for each in settings.get("overrides") or ()]
        self._url = str(_get(settings, "providerUrl", ""))
        self._refresh = _seconds(settings, "refreshInterval", 60.0)
        self._ttl = _seconds(settings, "ttl", 300.0)
        if self._url:
            if "://" not in self._url:
                raise HandlerError("providerUrl: URL scheme and host cannot be empty")
            if self._refresh < 1:
                raise HandlerError("refreshInterval: refresh interval must be at least 1 second")
            if self._ttl < self._refresh:
                raise HandlerError("ttl: ttl must be > refreshInterval")
        self._contains: Callable[[str], bool] | None = self._made(self._overrides)
        self._fetch = fetch or _fetch
        self._stop = threading.Event()
        if self._url:
            self._read = 0.0
            self._contains = None
            self._load()
            threading.Thread(target=self._keep, name="list", daemon=True).start()

    def check(self, instance: str, values: Mapping[str, Any]) -> Status:
        contains = self._contains
        if contains is None or "value" not in values:
            return OK
        value = str(values["value"])
        try:
            found = contains(value)
        except ValueError as error:
            return Status(Code.INVALID_ARGUMENT, str(error))
        if self._black:
            return Status(Code.PERMISSION_DENIED, f"{value} is blacklisted") if found else OK
        return OK if found else Status(Code.NOT_FOUND, f"{value} is not whitelisted")

    def close(self) -> None:
        self._stop.set()

    def _keep(self) -> None:
        while not self._stop.wait(self._refresh):
            self._load()

    def _load(self) -> None:
        try:
            text = self._fetch(self._url)
            self._contains = self._made([*self._lines(text), *self._overrides])
            self._read = time.monotonic()
        except (OSError, ValueError, MeshlabError):
            # The next reading may succeed; a list that could not be renewed in time is no longer believed.
            if time.monotonic() - self._read > self._ttl:
                self._contains = None

    def _lines(self, text: str) -> list[str]:
        """Lines; for addresses a YAML document with the list `whitelist`."""
        if self._type != "IP_ADDRESSES":
            return [line.strip() for line in text.splitlines() if line.strip()]
        import yaml

        try:
            return [str(each) for each in (yaml.safe_load(text) or {}).get("whitelist") or ()]
        except (yaml.YAMLError, AttributeError) as error:
            raise ValueError(f"could not unmarshal data from list {error}") from error

    def _made(self, entries: Sequence[str]) -> Callable[[str], bool]:
        if self._type == "STRINGS":
            return frozenset(entries).__contains__
        if self._type == "CASE_INSENSITIVE_STRINGS":
            folded = frozenset(each.upper() for each in entries)
            return lambda value: value.upper() in folded
        if self._type == "REGEX":
            patterns = [re.compile(each) for each in entries]
            return lambda value: any(pattern.search(value) for pattern in patterns)
        networks = [ipaddress.ip_network(each, strict=False) for each in entries]

        def contains(value: str) -> bool:
            try:
                address = ipaddress.ip_address(value)
            except ValueError:
                raise ValueError(f"{value} is not a valid IP address") from None
            return any(address in network for network in networks)

        return contains


class MemQuota:
    """Limits how many pass in a time, per combination of a quota's dimensions.

    The first override all of whose dimensions fit gives the limit, else the quota's own.
    """

    def __init__(self, settings: Settings, instances: Collection[str]) -> None:
        self._limits: dict[str, tuple[Limit, list[tuple[Mapping[str, str], Limit]]]] = {}
        for quota in settings.get("quotas") or ():
            overrides: list[tuple[Mapping[str, str], Limit]] = [
                ({str(k): str(v) for k, v in (each.get("dimensions") or {}).items()}, _limit(each))
                for each in quota.get("overrides") or ()
            ]
            self._limits[str(quota["name"])] = (_limit(quota), overrides)
        for name in sorted(instances):
            if name not in self._limits:
                raise HandlerError(f"did not find limit defined for quota {name}")
        self._quotas = Quotas()

    def check(self, instance: str, values: Mapping[str, Any]) -> Status:
        limit, overrides = self._limits[instance]
        for dimensions, other in overrides:
            if all(str(values.get(name, "")) == wanted for name, wanted in dimensions.items()):
                limit = other
                break
        key = (instance, *sorted((name, str(value)) for name, value in values.items()))
        return OK if self._quotas.take(key, limit) else Status(Code.RESOURCE_EXHAUSTED)

    def close(self) -> None:
        pass


def _limit(settings: Settings) -> Limit:
    return Limit(int(_get(settings, "maxAmount", 0)), _seconds(settings, "validDuration", 0.0))


def _entry_type(value: Any) -> str:
    name = _TYPES[value] if isinstance(value, int) and 0 <= value < len(_TYPES) else str(value)
    if name not in _TYPES:
        raise HandlerError(f"unknown entryType {value!r}")
    return name


def _seconds(settings: Settings, name: str, default: float) -> float:
    text = _get(settings, name, None)
    if text is None:
        return default
    found = parse_duration(str(text))
    if found is None:
        raise HandlerError(f"{name}: {text!r} is no duration")
    return float(found)


def _get(settings: Settings, camel: str, default: Any) -> Any:
    """A setting by its name or in snake case."""
    snake = "".join("_" + c.lower() if c.isupper() else c for c in camel)
    return settings[camel] if camel in settings else settings.get(snake, default)


def _fetch(url: str) -> str:
    from meshlab.mesh.web import fetch

    status, body = fetch(url, timeout=FETCH_TIMEOUT)[:2]
    if status != 200:
        raise OSError(f"could not fetch list from {url}: {status}")
    return body[:MOST_LIST].decode()
