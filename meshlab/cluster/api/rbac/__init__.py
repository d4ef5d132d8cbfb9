"""Who may do what: RBAC (rbac.authorization.k8s.io), stored like everything else and enforced on requests over HTTP.

The lab's owner is in `system:masters`, which may do everything. Programs in pods are service accounts, and may do what
bindings grant them. What runs inside the server (controllers, the node) is not asked.
"""

from meshlab.cluster.api.rbac.access import Access, Decision
from meshlab.cluster.api.rbac.attributes import Attributes
from meshlab.cluster.api.rbac.guard import Guard

__all__ = ["Access", "Attributes", "Decision", "Guard"]
