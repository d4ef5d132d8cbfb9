"""What Envoy's response flags and details mean, in a sentence each.

From Envoy's documentation of access logs (%RESPONSE_FLAGS%, %RESPONSE_CODE_DETAILS%), in our words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from meshlab.phrases import later, tr

__all__ = ["detail_meaning", "flag_meanings"]

FLAGS: Mapping[str, str] = {
    "DC": later("the caller went away before the answer was complete"),
    "DF": later("the name of the upstream host could not be resolved"),
    "DI": later("a fault rule delayed the request"),
    "DO": later("an overload manager dropped the request"),
    "DPE": later("what the caller sent is no HTTP that Envoy reads"),
    "DT": later("the request took longer than a connection or stream may"),
    "FI": later("a fault rule answered in the service's place"),
    "IH": later("a header that must be strict was wrong"),
    "LH": later("a health check of this proxy failed"),
    "LR": later("the connection was reset from this side"),
    "NC": later("the route names a cluster that does not exist"),
    "NFCF": later("an extension that the filters need was not there"),
    "NR": later("no route (or, for a connection, no filter chain) fits"),
    "OM": later("the overload manager ended the request"),
    "RFCF": later("the rate limit service failed"),
    "RL": later("a rate limit was reached"),
    "RLSE": later("the rate limit service failed"),
    "SI": later("a stream was idle for too long"),
    "UAEX": later("an external check (Mixer's, or an authorization service) said no"),
    "UC": later("the upstream closed the connection in the middle"),
    "UF": later("the connection to the endpoint could not be made, or was refused there"),
    "UH": later("the cluster has no healthy endpoint"),
    "UMSDR": later("the upstream took longer than the stream may last"),
    "UO": later("the circuit breaker is open: too much is under way to this cluster"),
    "UPE": later("what the upstream sent is no HTTP that Envoy reads"),
    "UR": later("the upstream reset the stream"),
    "URX": later("as many retries or connection attempts as are allowed did not help"),
    "UT": later("the route's timeout was over before the upstream had answered"),
}
UNKNOWN = later("a flag that is not known here: see Envoy's documentation")
_DETAILS: tuple[tuple[str, str], ...] = (
    (r"via_upstream$", later("the answer is the upstream's own")),
    (r"route_not_found$", later("no route of the table fits the Host and path")),
    (r"cluster_not_found$", later("the route's cluster does not exist")),
    (r"no_healthy_upstream$", later("no endpoint was left to choose")),
    (r"direct_response$", later("the route itself answers")),
    (r"fault_filter_abort$", later("the fault filter answered")),
    (r"fault_filter_delay$", later("the fault filter delayed")),
    (r"(upstream_)?response_timeout$", later("the route's timeout was over")),
    (r"upstream_per_try_timeout$", later("the timeout of each attempt was over")),
    (r"rbac_access_denied_matched_policy\[none\]", later("no rule of the ALLOW policies for this workload allows it")),
    (r"rbac_access_denied_matched_policy\[(?P<what>.+)\]", later("the DENY policy {what} matched")),
    (r"jwt_authn_access_denied\{(?P<what>.+)\}", later("the token was refused: {what}")),
    (r"ext_authz_denied$", later("the external check said no")),
    (r"(local_)?rate_limited$", later("a rate limit was reached")),
    (r"upstream_reset_before_response_started\{overflow.*\}", later("the circuit breaker let nothing more through")),
    (
        r"upstream_reset_before_response_started\{.*TLS_error.*(WRONG_VERSION_NUMBER|HTTP_REQUEST)",
        later("the sidecar began TLS, and the other side speaks plain text"),
    ),
    (
        r"upstream_reset_before_response_started\{.*TLS_error.*CERTIFICATE_VERIFY_FAILED",
        later("the sidecar does not believe the other side's certificate"),
    ),
    (
        r"upstream_reset_before_response_started\{(?P<what>[^}]*)\}",
        later("no answer had begun when the upstream went: {what}"),
    ),
    (r"upstream_reset_after_response_started\{(?P<what>[^}]*)\}", later("the answer broke off: {what}")),
    (r"upgrade_failed$", later("the request asks for another protocol (Upgrade), which its route does not allow")),
    (r"downstream_remote_disconnect$", later("the caller went away")),
    (r"filter_chain_not_found$", later("no filter chain of the port takes such a connection")),
    (r"maintenance_mode|overload", later("the proxy or the upstream is overloaded")),
)


def flag_meanings(flags: str) -> list[tuple[str, str]]:
    """(flag, meaning) of each of `UH`, `UF,URX`, …; a flag that is not known says so.

    >>> flag_meanings("UH")
    [('UH', 'the cluster has no healthy endpoint')]
    """
    names = [each for each in flags.split(",") if each and each != "-"]
    return [(each, tr(FLAGS.get(each, UNKNOWN))) for each in names]


def detail_meaning(details: str) -> str:
    """Of %RESPONSE_CODE_DETAILS%; "" for what has no entry here."""
    for pattern, meaning in _DETAILS:
        if found := re.match(pattern, details):
            what = found.groupdict().get("what")
            if what:
                return tr(meaning, what=what.replace("_", " ") if "timeout" in what else what)
            return tr(meaning)
    return ""
