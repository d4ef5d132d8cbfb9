"""From an image's name to how this machine runs it, with the words of a kubelet that cannot pull it."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

from meshlab.cluster.node.images import Image

if TYPE_CHECKING:
    from meshlab.cluster.node.container import ContainerRunner

__all__ = ["pull"]

#: Seconds for which a container shows ErrImagePull before it shows ImagePullBackOff, as the two take turns on a node.
PULL_ERROR = 2.0
#: A reference: registry and path in lower case, then a tag, a digest or both.
_REFERENCE = re.compile(
    r"(?:[\w.-]+(?::\d+)?/)?[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*"
    r"(?::[\w][\w.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)


async def pull(container: ContainerRunner) -> Image:
    """The row of the catalogue, as soon as there is one: the container's image may be corrected meanwhile."""
    host = container.pod.host
    while True:
        name = str(container.spec["image"])
        container.state.image = name
        image = host.catalogue.find(name)
        if image is not None:
            container.event("Pulled", f'Container image "{name}" already present on machine')
            return image
        container.respecified.clear()
        if not _REFERENCE.fullmatch(name):
            why = f'Failed to apply default image tag "{name}": couldn\'t parse image name "{name}": ' \
                  "invalid reference format"
            container.event("InspectFailed", why, warning=True)
            container.event("Failed", "Error: InvalidImageName", warning=True)
            container.wait_because("InvalidImageName", why)
            await container.respecified.wait()
            continue
        known = ", ".join(host.catalogue.known)
        why = f'failed to pull image "{name}": this lab has no registry; it knows: {known}'
        container.event("Pulling", f'Pulling image "{name}"')
        container.event("Failed", f'Failed to pull image "{name}": not in the lab\'s catalogue, which has {known}',
                        warning=True)
        container.event("Failed", "Error: ErrImagePull", warning=True)
        container.wait_because("ErrImagePull", why)
        try:
            await asyncio.wait_for(container.respecified.wait(), PULL_ERROR)
        except TimeoutError:
            container.wait_because("ImagePullBackOff", f'Back-off pulling image "{name}": ErrImagePull: {why}')
            container.event("BackOff", f'Back-off pulling image "{name}"', warning=True)
            container.event("Failed", "Error: ImagePullBackOff", warning=True)
            await container.respecified.wait()
