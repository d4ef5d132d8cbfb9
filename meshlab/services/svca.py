"""svca: the pay service of the tutorial. GET /pay takes a payment and asks svcb to notify the customer.

Standard library only: it runs as the tutorial's image in the embedded lab, and on a real cluster in `python:3.12-slim`
from a ConfigMap that also holds what it imports. The original is a Go program; this one logs its lines and keeps its
connections as Go does, because the lesson on shifting traffic depends on it: one client for the whole process,
connections kept alive, and a status other than 200 of svcb is no error to it.

The original did not say which pod answered. Here each answer carries `X-Served-By: <pod>;<version>`, and svca
passes svcb's on as `X-Upstream-Served-By`, so that one request shows its way.

    python svca.py [-listen 0.0.0.0:8080] [-notifysvc svcb]        MESHLAB_VERSION=v0.1
"""

from __future__ import annotations

import sys

from meshlab.services.go_client import Client, GetError
from meshlab.services.go_server import VERSION, Answer, Handler, Request, failure, first, flags, say, serve


def pay_handler(client: Client, notify: str) -> Handler:
    """The handler of /pay, which sends its message to /notify of the service `notify`."""
    name = f"service_a:{VERSION}"

    def pay(request: Request) -> Answer:
        say(f"{name} is serving the request...")
        say(f"{name} pays ok")
        try:
            response = client.get(f"http://{notify}/notify?msg={name}-pays-ok")
        except GetError as error:
            say(f"{name} notify error:", error)
            return failure(500, str(error))
        say(response)
        say(f"{name} notify customer ok")
        upstream = first(response.headers, "X-Served-By")
        return Answer(headers={"X-Upstream-Served-By": upstream} if upstream else None)

    return pay


def main(argv: list[str]) -> None:
    given = flags(argv, listen="0.0.0.0:8080", notifysvc="svcb")
    serve(given["listen"], {"/pay": pay_handler(Client(), given["notifysvc"])})


if __name__ == "__main__":
    main(sys.argv[1:])
