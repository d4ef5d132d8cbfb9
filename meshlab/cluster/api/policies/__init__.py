"""ValidatingAdmissionPolicies: rules in CEL that a write must keep, without a program that is asked.

They are looked at where validating webhooks are, and before them. A policy counts once a binding names it; what its
binding's `validationActions` say becomes of a write that breaks it: Deny refuses, Warn tells the client, Audit goes to
the lab's log.
"""

from meshlab.cluster.api.policies.policies import Policies

__all__ = ["Policies"]
