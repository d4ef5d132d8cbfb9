"""The gRPC side: Envoy's access log service, to which every sidecar streams its entries, and its authorization
service, which a sidecar asks before it lets a request in."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from envoy.service.accesslog.v3 import als_pb2

from meshlab.errors import Taken
from meshlab.mesh.mixer.attributes import Reporter
from meshlab.mesh.mixer.status import OK, Status

__all__ = ["AccessLogServer"]

SERVICE = "envoy.service.accesslog.v3.AccessLogService"
CHECK_SERVICE = "envoy.service.auth.v3.Authorization"
#: A sidecar holds up to three streams (HTTP in, HTTP out, TCP in), each of which keeps a thread while open.
STREAMS = 512


class AccessLogServer:
    """Receives entries and hands each batch to `observe(reporter, entries)`."""

    def __init__(
        self, addresses: Sequence[str], observe: Callable[[Reporter, Sequence[Any]], None],
        check: Callable[[Mapping[str, Any]], Status] = lambda attributes: OK,
    ) -> None:
        """Binds every `host:port` of `addresses` (port 0 = any; see `ports`). Raises Taken."""
        self._observe, self._check = observe, check
        self._lock = threading.Lock()
        #: Streams open now.
        self.streams = 0
        self._server = grpc.server(
            ThreadPoolExecutor(STREAMS, thread_name_prefix="stream"),
            # One over the room is refused, and its sidecar tries again, rather than silently waiting.
            maximum_concurrent_rpcs=STREAMS,
            options=[("grpc.so_reuseport", 0)],
        )
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {
            "StreamAccessLogs": grpc.stream_unary_rpc_method_handler(
                self._stream,
                request_deserializer=als_pb2.StreamAccessLogsMessage.FromString,
                response_serializer=als_pb2.StreamAccessLogsResponse.SerializeToString,
            )}), grpc.method_handlers_generic_handler(CHECK_SERVICE, {
            # Messages as bytes: their classes are loaded with the first check, which may never come.
            "Check": grpc.unary_unary_rpc_method_handler(self._answer)}),))
        self.ports: list[int] = []
        for address in addresses:
            try:
                self.ports.append(self._server.add_insecure_port(address))
            except RuntimeError as error:
                raise Taken(f"cannot listen on {address}", why=str(error)) from error

    def start(self) -> None:
        self._server.start()

    def stop(self) -> None:
        self._server.stop(grace=0.2).wait(2)

    def _answer(self, request: bytes, context: Any) -> bytes:
        from meshlab.mesh.mixer.authorization import answer, attributes

        return answer(self._check(attributes(request)))

    def _stream(self, messages: Iterator[Any], context: Any) -> Any:
        with self._lock:
            self.streams += 1
        node = log_name = ""
        reporters: dict[str, Reporter] = {}
        try:
            for message in messages:
                if message.HasField("identifier"):  # only in the first message of a stream
                    node, log_name = message.identifier.node.id, message.identifier.log_name
                    reporters.clear()
                which = message.WhichOneof("log_entries")
                if which is None:
                    continue
                protocol = "http" if which == "http_logs" else "tcp"
                if protocol not in reporters:
                    reporters[protocol] = Reporter.of(node, log_name, protocol)
                self._observe(reporters[protocol], getattr(message, which).log_entry)
        except grpc.RpcError:
            pass  # the sidecar is gone; what it sent has been counted
        finally:
            with self._lock:
                self.streams -= 1
        return als_pb2.StreamAccessLogsResponse()
