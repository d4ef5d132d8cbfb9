"""`istioctl explain URL`: ours, there is none in the original. One request, hop by hop."""

from __future__ import annotations

from typing import TextIO

from meshlab.errors import MeshlabError
from meshlab.istioctl.flags import Flag, Parsed
from meshlab.kube import Kube

__all__ = ["FLAGS", "explain"]

FLAGS = (
    Flag(
        "from", "client/client", "Service whose pods send, NAME or NAMESPACE/NAME: the client, or pods of its program"
    ),
    Flag("header", "", "A header of the request, as 'name: value'; may be repeated", "H", repeated=True),
    Flag("request", "GET", "The request's method", "X"),
    Flag("output", "text", "Output format: text, or html for the picture", "o"),
)


def explain(flags: Parsed, stdout: TextIO) -> int:
    """Makes the request. 0 whatever came of it: a refusal is what is to be explained."""
    from meshlab.sidecars.explain import explain as follow
    from meshlab.sidecars.order import Order
    from meshlab.sidecars.sidecars import Sidecars

    if len(flags.args) != 1:
        raise MeshlabError("explain takes one URL", then="istioctl explain http://svca/pay")
    if flags.text("output") not in ("text", "html"):
        raise MeshlabError(f'output format "{flags.text("output")}" not supported', why="there are text and html")
    headers = {}
    for each in flags.lists.get("header", ()):
        name, colon, value = each.partition(":")
        if not colon:
            raise MeshlabError(f"header {each!r} has no colon", then="istioctl explain -H 'x-case: fault' URL")
        headers[name.strip()] = value.strip()
    source = flags.text("from")
    order = Order(flags.args[0], flags.text("request"), headers, source if "/" in source else f"default/{source}")
    found = follow(Sidecars(Kube.from_kubeconfig(flags.text("kubeconfig") or None)), order)
    stdout.write(found._repr_html_() if flags.text("output") == "html" else f"{found}\n")
    return 0
