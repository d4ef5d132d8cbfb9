"""A stand-in for nginx: its welcome page on port 80, and 404 for everything else.

Examples written for a cluster begin with this image. There is nothing of nginx in it, and its configuration files
and arguments mean nothing to it; the Server header says so. One file, standard library only.

    python nginx.py
"""

from __future__ import annotations

import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PAGE = b"""<!DOCTYPE html>
<html>
<head><title>Welcome to nginx!</title></head>
<body>
<h1>Welcome to nginx!</h1>
<p>This page comes from a stand-in: the lab has no container images.</p>
</body>
</html>
"""
MISSING = b"<html>\n<head><title>404 Not Found</title></head>\n<body><h1>404 Not Found</h1></body>\n</html>\n"


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    #: Seconds until an idle connection is closed; nginx's own number.
    timeout = 75

    def version_string(self) -> str:
        return "nginx-stand-in"

    def do_GET(self) -> None:
        """Also HEAD: the same without a body."""
        found = self.path.partition("?")[0] in ("/", "/index.html")
        body = PAGE if found else MISSING
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Served-By", os.environ.get("HOSTNAME", ""))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET

    def address_string(self) -> str:
        return str(self.client_address[0])


class Server(ThreadingHTTPServer):
    """Many connections, of which none keeps the program from ending."""

    daemon_threads = True


def main() -> int:
    """Serves until it is killed."""
    with Server(("0.0.0.0", 80), Handler) as server:  # noqa: S104 - as a container does
        server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
