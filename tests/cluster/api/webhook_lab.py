"""A webhook in the test's own process: reviews over TLS, answered as the test says."""

from __future__ import annotations

import base64
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import trustme

__all__ = ["HOST", "Hook", "running_hook"]

Object = dict[str, Any]
#: Answers a review's request with the fields of its response.
Answer = Callable[[Object], Object]
#: The name of a service that its certificate is good for, beside the address.
HOST = "hook.hooks.svc"


class Hook:
    """A webhook that runs."""

    def __init__(self, server: ThreadingHTTPServer, ca: str) -> None:
        self.server, self.ca = server, ca
        #: Each request that came, in order.
        self.asked: list[Object] = []
        self.answer: Answer = lambda request: {"allowed": True}

    def client(self, path: str = "/") -> Object:
        """A clientConfig that leads here."""
        return {"url": f"https://127.0.0.1:{self.server.server_port}{path}", "caBundle": self.ca}


@contextmanager
def running_hook() -> Iterator[Hook]:
    """Allows everything until its `answer` is set."""
    ca = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1", HOST).configure_cert(context)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            made.asked.append(review["request"])
            response = {"uid": review["request"]["uid"], **made.answer(review["request"])}
            body = json.dumps({"kind": review["kind"], "apiVersion": review["apiVersion"], "response": response})
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    made = Hook(server, base64.b64encode(ca.cert_pem.bytes()).decode())
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
