"""`kubectl logs`: a container's output from the node, as it grows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from meshlab.cluster.api.api import Api
from meshlab.cluster.api.request import Target, flag, number
from meshlab.cluster.api.status import ApiError, BadRequest, InternalError, NotFound
from meshlab.cluster.api.streams import Kubelet, KubeletError

__all__ = ["Logs"]


class Logs:
    def __init__(self, api: Api, kubelet: Kubelet | None) -> None:
        self.api, self.kubelet = api, kubelet

    async def handle(self, request: web.BaseRequest, target: Target) -> web.StreamResponse:
        """Streams as text; errors before the first byte are Statuses."""
        query = request.query
        namespace, name = target.namespace or "", target.name or ""
        pod = self.api.get(target.resource, namespace, name)
        container = choose(pod, query.get("container", ""))
        if self.kubelet is None:
            raise InternalError.because("this server runs without a node")
        if (tail := number(query, "tailLines")) is not None and tail < 0:
            raise BadRequest("tailLines must be greater than or equal to 0")
        chunks = self.kubelet.logs(
            namespace, name, container, follow=flag(query, "follow"), previous=flag(query, "previous"), tail=tail,
            since_seconds=number(query, "sinceSeconds"), since_time=query.get("sinceTime"),
            timestamps=flag(query, "timestamps"), limit_bytes=number(query, "limitBytes"),
        )
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        try:
            # The first piece decides whether there is a log at all, before the status line is sent.
            first = await anext(aiter(chunks), b"")
        except KubeletError as error:
            raise _refusal(error, target, name) from None
        response.enable_chunked_encoding()
        await response.prepare(request)
        if first:
            await response.write(first)
        async for chunk in chunks:
            await response.write(chunk)
        await response.write_eof()
        return response


def choose(pod: Mapping[str, Any], asked: str) -> str:
    """The container that is meant. BadRequest where it is not clear or not there."""
    name, spec = pod["metadata"]["name"], pod["spec"]
    names = [c["name"] for c in spec.get("containers") or ()]
    inits = [c["name"] for c in spec.get("initContainers") or ()]
    if asked:
        guests = [c["name"] for c in spec.get("ephemeralContainers") or ()]
        if asked not in (*names, *inits, *guests):
            raise BadRequest(f"container {asked} is not valid for pod {name}")
        return asked
    default = (pod["metadata"].get("annotations") or {}).get("kubectl.kubernetes.io/default-container")
    if default in names:
        return str(default)
    if len(names) == 1:
        return str(names[0])
    text = f"a container name must be specified for pod {name}, choose one of: [{' '.join(names)}]"
    if inits:
        text += f" or one of the init containers: [{' '.join(inits)}]"
    raise BadRequest(text)


def _refusal(error: KubeletError, target: Target, name: str) -> ApiError:
    return NotFound.of(target.resource, name) if error.missing else BadRequest(str(error))
