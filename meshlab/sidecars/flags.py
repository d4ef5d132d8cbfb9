"""What Envoy's response flags and details mean, in a sentence each.

From Envoy's documentation of access logs (%RESPONSE_FLAGS%, %RESPONSE_CODE_DETAILS%), in our words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["detail_meaning", "flag_meanings"]

FLAGS: Mapping[str, str] = {
    "DC": "the caller went away before the answer was complete",
    "DF": "the name of the upstream host could not be resolved",
    "DI": "a fault rule delayed the request",
    "DO": "an overload manager dropped the request",
    "DPE": "what the caller sent is no HTTP that Envoy reads",
    "DT": "the request took longer than a connection or stream may",
    "FI": "a fault rule answered in the service's place",
    "IH": "a header that must be strict was wrong",
    "LH": "a health check of this proxy failed",
    "LR": "the connection was reset from this side",
    "NC": "the route names a cluster that does not exist",
    "NFCF": "an extension that the filters need was not there",
    "NR": "no route (or, for a connection, no filter chain) fits",
    "OM": "the overload manager ended the request",
    "RFCF": "the rate limit service failed",
    "RL": "a rate limit was reached",
    "RLSE": "the rate limit service failed",
    "SI": "a stream was idle for too long",
    "UAEX": "an external check (Mixer's, or an authorization service) said no",
    "UC": "the upstream closed the connection in the middle",
    "UF": "the connection to the endpoint could not be made, or was refused there",
    "UH": "the cluster has no healthy endpoint",
    "UMSDR": "the upstream took longer than the stream may last",
    "UO": "the circuit breaker is open: too much is under way to this cluster",
    "UPE": "what the upstream sent is no HTTP that Envoy reads",
    "UR": "the upstream reset the stream",
    "URX": "as many retries or connection attempts as are allowed did not help",
    "UT": "the route's timeout was over before the upstream had answered",
}
_DETAILS: tuple[tuple[str, str], ...] = (
    (r"via_upstream$", "the answer is the upstream's own"),
    (r"route_not_found$", "no route of the table fits the Host and path"),
    (r"cluster_not_found$", "the route's cluster does not exist"),
    (r"no_healthy_upstream$", "no endpoint was left to choose"),
    (r"direct_response$", "the route itself answers"),
    (r"fault_filter_abort$", "the fault filter answered"),
    (r"fault_filter_delay$", "the fault filter delayed"),
    (r"(upstream_)?response_timeout$", "the route's timeout was over"),
    (r"upstream_per_try_timeout$", "the timeout of each attempt was over"),
    (r"rbac_access_denied_matched_policy\[none\]", "no rule of the ALLOW policies for this workload allows it"),
    (r"rbac_access_denied_matched_policy\[(?P<what>.+)\]", "the DENY policy {what} matched"),
    (r"jwt_authn_access_denied\{(?P<what>.+)\}", "the token was refused: {what}"),
    (r"ext_authz_denied$", "the external check said no"),
    (r"(local_)?rate_limited$", "a rate limit was reached"),
    (r"upstream_reset_before_response_started\{overflow.*\}", "the circuit breaker let nothing more through"),
    (
        r"upstream_reset_before_response_started\{.*TLS_error.*(WRONG_VERSION_NUMBER|HTTP_REQUEST)",
        "the sidecar began TLS, and the other side speaks plain text",
    ),
    (
        r"upstream_reset_before_response_started\{.*TLS_error.*CERTIFICATE_VERIFY_FAILED",
        "the sidecar does not believe the other side's certificate",
    ),
    (
        r"upstream_reset_before_response_started\{(?P<what>[^}]*)\}",
        "no answer had begun when the upstream went: {what}",
    ),
    (r"upstream_reset_after_response_started\{(?P<what>[^}]*)\}", "the answer broke off: {what}"),
    (r"upgrade_failed$", "the request asks for another protocol (Upgrade), which its route does not allow"),
    (r"downstream_remote_disconnect$", "the caller went away"),
    (r"filter_chain_not_found$", "no filter chain of the port takes such a connection"),
    (r"maintenance_mode|overload", "the proxy or the upstream is overloaded"),
)


def flag_meanings(flags: str) -> list[tuple[str, str]]:
    """(flag, meaning) of each of `UH`, `UF,URX`, …; a flag that is not known says so.

    >>> flag_meanings("UH")
    [('UH', 'the cluster has no healthy endpoint')]
    """
    names = [each for each in flags.split(",") if each and each != "-"]
    return [(each, FLAGS.get(each, "a flag that is not known here: see Envoy's documentation")) for each in names]


def detail_meaning(details: str) -> str:
    """Of %RESPONSE_CODE_DETAILS%; "" for what has no entry here."""
    for pattern, meaning in _DETAILS:
        if found := re.match(pattern, details):
            what = found.groupdict().get("what")
            return meaning.format(what=what.replace("_", " ") if "timeout" in what else what) if what else meaning
    return ""
