"""Rules of a clientConfig: how a webhook is reached."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from meshlab.cluster.api import formats
from meshlab.cluster.api.causes import Cause, invalid, required

__all__ = ["client_config"]

FORM = "; desired format: https://host[/path]"


def client_config(path: str, config: Mapping[str, Any]) -> list[Cause]:
    """By a URL, or through a service."""
    if ("url" in config) == ("service" in config):
        return [required(path, "exactly one of url or service is required")]
    if "url" in config:
        return _url(f"{path}.url", str(config["url"]))
    return _service(f"{path}.service", config["service"])


def _url(path: str, text: str) -> list[Cause]:
    try:
        found = urlsplit(text)
        host = found.netloc.rpartition("@")[2]
    except ValueError as error:
        return [required(path, f"url must be a valid URL: {error}{FORM}")]
    causes = []
    if found.scheme != "https":
        causes.append(invalid(path, found.scheme, f"'https' is the only allowed URL scheme{FORM}"))
    if not host:
        causes.append(invalid(path, host, f"host must be specified{FORM}"))
    if "@" in found.netloc:
        causes.append(invalid(path, found.netloc.rpartition("@")[0], "user information is not permitted in the URL"))
    if found.fragment:
        causes.append(invalid(path, found.fragment, "fragments are not permitted in the URL"))
    if found.query:
        causes.append(invalid(path, found.query, "query parameters are not permitted in the URL"))
    return causes


def _service(path: str, service: Mapping[str, Any]) -> list[Cause]:
    causes = [required(f"{path}.{key}") for key in ("name", "namespace") if not service.get(key)]
    port, below = service.get("port", 443), str(service.get("path") or "/")
    if not 1 <= port <= 65535:
        causes.append(invalid(f"{path}.port", port, "port is not valid: must be between 1 and 65535, inclusive"))
    if not below.startswith("/"):
        causes.append(invalid(f"{path}.path", below, "must start with a '/'"))
    if below == "/":
        return causes
    for i, segment in enumerate(below[1:].removesuffix("/").split("/")):
        if not segment:
            causes.append(invalid(f"{path}.path", below, f"segment[{i}] may not be empty"))
        else:
            reasons = formats.dns_subdomain(segment)
            causes += [invalid(f"{path}.path", below, f"segment[{i}]: {why}") for why in reasons]
    return causes
