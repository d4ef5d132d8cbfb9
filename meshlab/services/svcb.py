"""svcb: the notify service of the tutorial. GET /notify?msg=… passes a message on to the external service.

Standard library only: it runs as the tutorial's image in the embedded lab, and on a real cluster in `python:3.12-slim`
from a ConfigMap that also holds what it imports. v0.1 and v0.2 differ by the version that they log. The original is a
Go program; this one logs its lines and fails in its words: without an EgressRule the reader of its log sees
`send msg error: Get http://…/send?msg=…: EOF`, and the caller a 500 with the same text.

The original did not say which pod answered. Here each answer carries `X-Served-By: <pod>;<version>`.

    python svcb.py -msgsvc 127.100.35.27:9997 [-listen 0.0.0.0:8080]        MESHLAB_VERSION=v0.1

Without -msgsvc it takes MESHLAB_MSGSVC: the tutorial's own text leaves the flag out of its manifest.
"""

from __future__ import annotations

import os
import sys
from urllib.parse import parse_qsl, quote

from meshlab.services.go_client import Client, GetError
from meshlab.services.go_server import VERSION, Answer, Handler, Request, failure, flags, say, serve


def notify_handler(client: Client, messages: str) -> Handler:
    """The handler of /notify, which sends its message to /send of the service at `messages`."""
    name = f"service_b:{VERSION}"

    def notify(request: Request) -> Answer:
        say(request)
        say(f"{name} is serving the request...")
        message = dict(parse_qsl(request.query)).get("msg", "")
        # The original put the message into the address as it was; what would break the request is escaped here.
        escaped = quote(message, safe="!$&'()*+,/:;=?@[]~-._%\"<>{}|\\^`")
        try:
            client.get(f"http://{messages}/send?msg={escaped}")
        except GetError as error:
            say(f"{name} send msg error:", error)
            return failure(500, str(error))
        say(f"{name} send msg ok, msg=", message)
        return Answer()

    return notify


def main(argv: list[str]) -> None:
    given = flags(argv, msgsvc=os.environ.get("MESHLAB_MSGSVC", ""), listen="0.0.0.0:8080")
    serve(given["listen"], {"/notify": notify_handler(Client(), given["msgsvc"])})


if __name__ == "__main__":
    main(sys.argv[1:])
