"""Kubernetes' channels in a WebSocket: each message starts with the number of the channel that it belongs to.

v5.channel.k8s.io adds the end of a channel: a message of channel 255 whose only byte is the channel's number.
The base64 forms are for browsers: the number is a digit, and the rest is base64.
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Sequence

from aiohttp import WSMsgType, web

from meshlab.cluster.api.status import BadRequest

__all__ = ["Channels", "offered"]

V5 = "v5.channel.k8s.io"
CLOSE = 255


def offered(request: web.BaseRequest) -> list[str] | None:
    """The subprotocols that a request for a WebSocket offers; None if it asks for none."""
    if request.headers.get("Upgrade", "").lower() != "websocket":
        return None
    lines = request.headers.getall("Sec-WebSocket-Protocol", [])
    return [name.strip() for line in lines for name in line.split(",") if name.strip()]


class Channels:
    """One WebSocket; `known` are the subprotocols, of which the client's first that is known is spoken."""

    def __init__(self, request: web.BaseRequest, known: Sequence[str]) -> None:
        names = offered(request) or []
        if names and not any(name in known for name in names):
            raise BadRequest(f"unable to negotiate protocol: client supports {names}, server accepts {list(known)}")
        self._request = request
        self._socket = web.WebSocketResponse(protocols=known, max_msg_size=0, compress=False, timeout=1.0)
        self.protocol = ""
        self._open = False

    async def open(self) -> None:
        """Upgrades the connection. BadRequest where the handshake is wrong."""
        try:
            await self._socket.prepare(self._request)
        except web.HTTPException as error:
            raise BadRequest(error.text or "this is no WebSocket handshake") from None
        self._open = True
        self.protocol = self._socket.ws_protocol or ""

    @property
    def response(self) -> web.StreamResponse:
        return self._socket

    @property
    def structured(self) -> bool:
        """Whether errors are Statuses (since v4), not just texts."""
        return self.protocol.startswith(("v4.", "v5."))

    @property
    def _text(self) -> bool:
        return "base64" in self.protocol

    async def send(self, channel: int, data: bytes) -> None:
        """One message. ConnectionError if the client has gone."""
        if self._text:
            await self._socket.send_str(str(channel) + b64encode(data).decode())
        else:
            await self._socket.send_bytes(bytes([channel]) + data)

    async def messages(self) -> AsyncIterator[tuple[int, bytes | None]]:
        """(channel, data) as they come, (channel, None) for a channel's end; until the client closes the socket."""
        async for message in self._socket:
            if message.type is WSMsgType.TEXT:
                data = message.data.encode()
            elif message.type is WSMsgType.BINARY:
                data = message.data
            else:
                return
            if not data:
                continue
            if self._text:
                try:
                    yield data[0] - ord("0"), b64decode(data[1:])
                except binascii.Error:
                    return
            elif data[0] == CLOSE and self.protocol == V5:
                if len(data) > 1:
                    yield data[1], None
            else:
                yield data[0], data[1:]

    async def close(self) -> None:
        """Nothing if it was never open."""
        if self._open:
            await self._socket.close()
