"""What is stored on a cluster, to be compared before and after."""

from __future__ import annotations

from meshlab.lab import Lab

__all__ = ["inventory"]

#: Kinds whose objects come and go by themselves.
PASSING = ("Event", "Lease", "EndpointSlice", "Endpoints", "ReplicaSet", "ControllerRevision", "Pod")


def inventory(lab: Lab) -> set[str]:
    """Everything that is stored, by kind and name."""
    found = set()
    listed = lab.access.request("GET", "/apis").json()["groups"]
    versions = ["v1", *(group["preferredVersion"]["groupVersion"] for group in listed)]
    for version in versions:
        base = f"/api/{version}" if version == "v1" else f"/apis/{version}"
        for resource in lab.access.request("GET", base).json()["resources"]:
            if "/" in resource["name"] or "list" not in resource["verbs"] or resource["kind"] in PASSING:
                continue
            reply = lab.access.request("GET", f"{base}/{resource['name']}", check=False)
            for each in (reply.json().get("items") or []) if reply.status == 200 else []:
                metadata = each["metadata"]
                found.add(f"{resource['kind']} {metadata.get('namespace', '')}/{metadata['name']}")
    return found
