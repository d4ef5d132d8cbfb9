"""The program of the pods from which the behaviour of the network is seen: it runs what a test sends.

POST /      {"code": Python}; what it leaves in `found` is the answer, as JSON
GET  /      who asks, with which headers
UDP         the same, as a datagram
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PORT = 8080


def ask(host: str, port: int = 80, name: str = "", path: str = "/") -> dict[str, Any]:
    """One GET; `name` is the Host header, if it is not `host`. What broke is in `error`, in one word."""
    connection = http.client.HTTPConnection(host, port, timeout=60)
    try:
        connection.request("GET", path, headers={"Host": name} if name else {})
        answer = connection.getresponse()
        return {
            "status": answer.status,
            "body": answer.read().decode(),
            "headers": {key.lower(): value for key, value in answer.getheaders()},
        }
    except ConnectionRefusedError:
        return {"error": "refused"}
    except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
        return {"error": "closed"}
    except socket.gaierror:
        return {"error": "unknown"}
    except TimeoutError:
        return {"error": "silent"}
    finally:
        connection.close()


def ask_datagram(host: str, port: int) -> str:
    """Who I am to a server that answers datagrams by the sender's address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.settimeout(60)
        sender.sendto(b"who am I?", (host, port))
        return sender.recvfrom(1000)[0].decode()


def bare(code: str) -> str:
    """What a program prints that knows nothing of its surroundings: no variable, no start-up file."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], env={}, capture_output=True, text=True, timeout=60, check=False
    )
    return (done.stdout + done.stderr).strip()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self._say(
            {
                "peer": self.client_address[0],
                "pod": os.environ["HOSTNAME"],
                "headers": {key.lower(): value for key, value in self.headers.items()},
            }
        )

    def do_POST(self) -> None:
        code = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["code"]
        names: dict[str, Any] = {**globals(), "found": None}
        try:
            exec(code, names)  # noqa: S102 - its purpose
            self._say(names["found"])
        except Exception as error:  # for the test to show
            self._say({"failed": repr(error)}, 500)

    def _say(self, what: object, status: int = 200) -> None:
        body = json.dumps(what).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def datagrams() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("0.0.0.0", PORT))  # noqa: S104 - in its pod
        while True:
            _, peer = server.recvfrom(1000)
            server.sendto(peer[0].encode(), peer)


class Server(ThreadingHTTPServer):
    daemon_threads = True


if __name__ == "__main__":
    threading.Thread(target=datagrams, daemon=True).start()
    Server(("0.0.0.0", PORT), Handler).serve_forever()  # noqa: S104 - in its pod
