"""Admission webhooks: programs that are asked before an object is stored, and may change or refuse it.

The write path of `Api` is synchronous and asks other programs nothing. So a write that a webhook wants to see is run
until it comes to the question (`Pending`), the question is put without holding up anybody, and the write is run again
with the answer: on what is stored by then. An answer counts only for the very object that was asked about, which
keeps optimistic concurrency as it is without webhooks.
"""

from meshlab.cluster.api.webhooks.admitted import admitted
from meshlab.cluster.api.webhooks.review import Attributes, Pending, Review, Unreviewed
from meshlab.cluster.api.webhooks.webhooks import Webhooks

__all__ = ["Attributes", "Pending", "Review", "Unreviewed", "Webhooks", "admitted"]
