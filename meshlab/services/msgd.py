"""msgd: the message service of the tutorial, a host outside the mesh. GET /send?msg=… receives a message.

Standard library only. It logs the request as Go prints it, so that the reader sees which headers a
sidecar added on the way, and prefixes each line with date and time like Go's log package, on standard error.

    python msgd.py [-listen 0.0.0.0:9997]
"""

from __future__ import annotations

import os
import sys
import time
from urllib.parse import parse_qsl

from meshlab.services.go_server import Answer, Request, flags, serve


def log(*words: object) -> None:
    """Go's log.Println: date, time and one line on standard error, whole even where threads write at once."""
    stamp = time.strftime("%Y/%m/%d %H:%M:%S ")
    os.write(2, (stamp + " ".join(map(str, words)) + "\n").encode())


def send(request: Request) -> Answer:
    """The handler of /send."""
    log(request)
    log("Msgd is serving the request...")
    log("Msgd recv msg ok, msg=", dict(parse_qsl(request.query)).get("msg", ""))
    return Answer()


def main(argv: list[str]) -> None:
    given = flags(argv, listen="0.0.0.0:9997")
    serve(given["listen"], {"/send": send})


if __name__ == "__main__":
    main(sys.argv[1:])
