"""Sending a question to a webhook: by address, or through its service to a ready endpoint."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import ssl
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit, urlunsplit

from meshlab.cluster.api.status import ApiError
from meshlab.settings import bound_port

if TYPE_CHECKING:
    import aiohttp

__all__ = ["CallFailed", "Caller", "Endpoint"]

#: (namespace, service, port) → an address that answers for it. Raises ApiError.
Endpoint = Callable[[str, str, str], tuple[str, int]]
#: Bytes of an answer; a real server takes 3 MB as well.
LARGEST = 3 * 1024 * 1024
#: Trusted bundles to keep; each webhook has one, and a rotation brings another.
BUNDLES = 32


class CallFailed(Exception):
    """No answer came; the text says why, as Go's HTTP client does."""


class Caller:
    """Keeps connections to webhooks open."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._session: aiohttp.ClientSession | None = None
        self._contexts: dict[str, ssl.SSLContext] = {}

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def post(self, client: Mapping[str, Any], body: bytes, seconds: int) -> bytes:
        """The body of the answer to one POST. `client` is the webhook's clientConfig. Raises CallFailed."""
        import aiohttp
        from yarl import URL

        shown = _url(client, seconds)
        url, name = URL(shown, encoded=True), urlsplit(shown).hostname or ""
        headers = {"Content-Type": "application/json", "Accept": "application/json, */*",
                   "User-Agent": "kube-apiserver-admission"}  # fmt: skip
        try:
            if service := client.get("service"):
                port = int(service.get("port") or 443)
                host, number = self._endpoint(service["namespace"], service["name"], str(port))
                headers["Host"] = f"{name}:{port}"
                url = url.with_host(host).with_port(bound_port(number))
            context = self._context(client.get("caBundle") or "")
            async with (
                asyncio.timeout(seconds),
                self._connected().post(
                    url, data=body, headers=headers, ssl=context, server_hostname=name, allow_redirects=False
                ) as answer,
            ):
                data = await answer.content.read(LARGEST + 1)
                while len(data) <= LARGEST and not answer.content.at_eof():
                    data += await answer.content.read(LARGEST + 1 - len(data))
                status = answer.status
        except TimeoutError:
            raise CallFailed(f'failed to call webhook: Post "{shown}": context deadline exceeded') from None
        except ApiError as error:
            raise CallFailed(f'failed to call webhook: Post "{shown}": {error}') from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise CallFailed(f'failed to call webhook: Post "{shown}": {_why(error)}') from None
        if len(data) > LARGEST:
            raise CallFailed("failed to call webhook: the answer is larger than 3 MB")
        if status == 404:
            raise CallFailed("failed to call webhook: the server could not find the requested resource")
        if not 200 <= status < 300:
            raise CallFailed(
                f"failed to call webhook: an error on the server ({data[:200].decode('utf-8', 'replace')!r}) has "
                f"prevented the request from succeeding: {status}"
            )
        return data

    def _connected(self) -> aiohttp.ClientSession:
        import aiohttp

        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=None),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                connector=aiohttp.TCPConnector(limit=100),
            )
        return self._session

    def _context(self, bundle: str) -> ssl.SSLContext:
        key = hashlib.sha256(bundle.encode()).hexdigest()
        if key not in self._contexts:
            if len(self._contexts) >= BUNDLES:
                self._contexts.clear()
            try:
                pem = base64.b64decode(bundle, validate=True).decode() if bundle else None
                self._contexts[key] = ssl.create_default_context(cadata=pem)
            except (binascii.Error, UnicodeDecodeError, ssl.SSLError) as error:
                raise ValueError(f"unable to load root certificates: {error}") from None
        return self._contexts[key]


def _url(client: Mapping[str, Any], seconds: int) -> str:
    """The address as errors show it: a service is named by its name in the cluster."""
    query = urlencode({"timeout": f"{seconds}s"})
    if service := client.get("service"):
        host = f"{service['name']}.{service['namespace']}.svc:{service.get('port') or 443}"
        return urlunsplit(("https", host, "/" + (service.get("path") or "").lstrip("/"), query, ""))
    given = urlsplit(client.get("url") or "")
    return urlunsplit((given.scheme, given.netloc, given.path or "/", query, ""))


def _why(error: Exception) -> str:
    text = str(error)
    if isinstance(getattr(error, "certificate_error", None), ssl.SSLCertVerificationError):
        return f"tls: failed to verify certificate: x509: {text}"
    if "Connect call failed" in text or isinstance(error, ConnectionRefusedError):
        return "connect: connection refused"
    return text or type(error).__name__
