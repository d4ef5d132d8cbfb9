"""Aggregated discovery over gRPC: streams in, `Connection`s out.

The service is registered by its path, with our own wire format for answers (a message of a thousand clusters is
joined from parts, never built again) and Envoy's generated class for requests.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import grpc
import grpc.aio
from envoy.service.discovery.v3 import discovery_pb2

from meshlab.errors import LabError
from meshlab.mesh.pilot.connection import Connection, Request
from meshlab.mesh.pilot.control import Control
from meshlab.mesh.pilot.proxy import InvalidNode, Proxy
from meshlab.mesh.pilot.snapshot import Kind
from meshlab.mesh.pilot.tokens import InvalidToken, Reviewer

__all__ = ["AdsServer"]

log = logging.getLogger("meshlab.pilot")

SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
_KINDS = {kind.type_url: kind for kind in Kind}
#: Messages may be large: 1,000 clusters are 200 KB, and Envoy's limit is no concern of ours.
OPTIONS = (("grpc.so_reuseport", 0), ("grpc.max_send_message_length", -1))
#: Messages waiting for a proxy that does not read.
BACKLOG = 256


class AdsServer:
    """Serves one Control's connections on `address` (`host:port`; port 0: any, see `port`).

    `reviewer` judges the tokens of streams; without one nobody is served a certificate.
    """

    def __init__(self, control: Control, address: str, reviewer: Reviewer | None = None) -> None:
        self._control, self.address, self.port, self._reviewer = control, address, 0, reviewer
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        """Raises RuntimeError when the address cannot be bound."""
        self._server = grpc.aio.server(options=OPTIONS)
        handler = grpc.stream_stream_rpc_method_handler(
            self._stream, request_deserializer=discovery_pb2.DiscoveryRequest.FromString
        )
        self._server.add_generic_rpc_handlers((
            grpc.method_handlers_generic_handler(SERVICE, {"StreamAggregatedResources": handler}),
        ))
        self.port = self._server.add_insecure_port(self.address)
        await self._server.start()

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(grace=None)

    async def _stream(
        self, requests: AsyncIterator[Any], context: grpc.aio.ServicerContext[Any, Any]
    ) -> None:
        messages: asyncio.Queue[bytes] = asyncio.Queue(BACKLOG)
        writer = asyncio.create_task(_write(messages, context))
        connection: Connection | None = None
        try:
            async for message in requests:
                if connection is None:
                    connection = await self._open(message, context, messages)
                kind = _KINDS.get(message.type_url)
                if kind is None:
                    log.warning("%s asks for %s, which is not served", connection.proxy.id, message.type_url)
                    continue
                error = message.error_detail.message if message.HasField("error_detail") else ""
                if error:
                    log.warning("%s refuses %s: %s", connection.proxy.id, kind.short, error)
                connection.receive(
                    Request(kind, frozenset(message.resource_names), message.response_nonce, error)
                )
                self._control.heard()
        finally:
            writer.cancel()
            if connection is not None:
                self._control.closed(connection)

    async def _open(
        self, message: Any, context: grpc.aio.ServicerContext[Any, Any], messages: asyncio.Queue[bytes]
    ) -> Connection:
        metadata = {
            name: value.string_value for name, value in message.node.metadata.fields.items()
        }
        try:
            proxy = Proxy.parse(message.node.id, metadata)
        except InvalidNode as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
            raise
        proxy = replace(proxy, account=await self._account(proxy, context))
        stream = asyncio.current_task()

        def send(data: bytes) -> None:
            try:
                messages.put_nowait(data)
            except asyncio.QueueFull:
                log.warning("%s does not read what it asked for: its stream is closed", proxy.id)
                if stream is not None:
                    stream.cancel()

        connection = Connection(proxy, send)
        self._control.opened(connection)
        return connection

    async def _account(self, proxy: Proxy, context: grpc.aio.ServicerContext[Any, Any]) -> str:
        """The service account that the stream's token proves, "" without a token. A bad token ends the stream."""
        said = {name: value for name, value in context.invocation_metadata() or () if isinstance(value, str)}
        scheme, _, token = said.get("authorization", "").partition(" ")
        if self._reviewer is None or not token:
            return ""
        try:
            if scheme.lower() != "bearer":
                raise InvalidToken(f"authorization {scheme!r} is not Bearer")
            account = await self._reviewer.account(token)
            if account and account.partition("/")[0] != proxy.namespace:
                raise InvalidToken(f"a token of {account} is not one of namespace {proxy.namespace}")
        except InvalidToken as error:
            log.warning("%s: %s", proxy.id, error)
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, str(error))
            raise
        except LabError as error:
            log.warning("the token of %s cannot be judged: %s", proxy.id, error)
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
            raise
        return account


async def _write(messages: asyncio.Queue[bytes], context: grpc.aio.ServicerContext[Any, Any]) -> None:
    while True:
        await context.write(await messages.get())
