"""A stand-in for istiod on the embedded lab: what meshlab's own Pilot does, in the words of istiod's debug pages.

/debug/syncz     Pilot's own page as istiod writes it: a nonce is the push's time and number, and a UUID
/debug/configz   the stored objects of Istio's groups, once Pilot has seen them; /debug/registryz the same of Services
/metrics         how many proxies are connected, for Prometheus

Debug pages are for the pod itself: whoever asks its address, as the API server's proxy does, gets istiod's 401.
"""

import http.client
import json
import os
import ssl
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

TYPES = {"cds": "cluster", "lds": "listener", "rds": "route", "eds": "endpoint"}
KINDS = {
    "networking.istio.io": (
        *("virtualservices", "destinationrules", "serviceentries", "gateways", "sidecars", "workloadentries"),
    ),
    "security.istio.io": ("peerauthentications", "authorizationpolicies", "requestauthentications"),
    "telemetry.istio.io": ("telemetries",),
}
KUBECONFIG = json.loads(Path(os.environ["KUBECONFIG"]).read_text())
CLUSTER, USER = KUBECONFIG["clusters"][0]["cluster"], KUBECONFIG["users"][0]["user"]
LOCK = threading.Lock()
#: proxy and type → (version that Pilot sent, nonce that it gets here)
NONCES: dict = {}
PUSHES = [0]
#: page → what it said when Pilot had last seen all of it: istiod does not show what it has not seen either
SEEN: dict = {}


TRUSTED = ssl.create_default_context(cafile=CLUSTER["certificate-authority"])
KEPT = threading.local()


def api(path):
    if getattr(KEPT, "connection", None) is None:
        KEPT.connection = http.client.HTTPSConnection(urlsplit(CLUSTER["server"]).netloc, context=TRUSTED, timeout=30)
    KEPT.connection.request("GET", path, headers={"Authorization": f"Bearer {USER['token']}"})
    return json.loads(KEPT.connection.getresponse().read())


def syncz():
    pods = api("/api/v1/namespaces/istio-system/pods?labelSelector=istio%3Dpilot")["items"]
    pilot = api(f"/api/v1/namespaces/istio-system/pods/{pods[0]['metadata']['name']}:15014/proxy/debug/syncz")
    out = []
    with LOCK:
        seen = {
            (node, short): str(status[short].get("sent") or "")
            for node, status in pilot["proxies"].items()
            for short in TYPES
            if short in status and status[short].get("sent")
        }
        if any(NONCES.get(key, ("",))[0] != sent for key, sent in seen.items()):
            PUSHES[0] += 1
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        for key, sent in seen.items():
            if NONCES.get(key, ("",))[0] != sent:
                NONCES[key] = (sent, f"{stamp}/{PUSHES[0]}{uuid.uuid4()}")
        for node, status in pilot["proxies"].items():
            entry = {"proxy": node.split("~")[2], "istio_version": "1.30.3", "resources": {}}
            for short, name in TYPES.items():
                if (node, short) not in seen:
                    continue
                nonce = NONCES[node, short][1]
                acked = nonce if status[short].get("acked") == seen[node, short] else ""
                kind = {"cluster": "Cluster", "listener": "Listener", "route": "RouteConfiguration"}
                url = f"type.googleapis.com/envoy.config.v3.{kind.get(name, 'ClusterLoadAssignment')}"
                entry[f"{name}_sent"], entry[f"{name}_acked"] = nonce, acked
                entry["resources"][url] = {"sent": nonce, "acked": acked}
                if status[short].get("nack"):
                    entry["resources"][url]["lastError"] = status[short]["nack"]
            out.append(entry)
    return out


def seen_by_pilot(changes):
    pods = api("/api/v1/namespaces/istio-system/pods?labelSelector=istio%3Dpilot")["items"]
    where = f"/api/v1/namespaces/istio-system/pods/{pods[0]['metadata']['name']}:15014/proxy"
    wanted = ",".join(f"{plural}@{number}" for plural, number in changes)
    said = api(f"{where}/debug/inforce?timeout=4&changes={wanted}")
    return said["inForce"] or said["rejected"]


def configz():
    found, changes = [], []
    for group, plurals in KINDS.items():
        for plural in plurals:
            listed = api(f"/apis/{group}/v1/{plural}")
            changes.append((plural, listed["metadata"]["resourceVersion"]))
            kind = listed["kind"].removesuffix("List")
            found += [{"apiVersion": f"{group}/v1", "kind": kind, **each} for each in listed["items"]]
    if seen_by_pilot(changes):
        SEEN["configz"] = found
    return SEEN.get("configz", [])


def registryz():
    listed = api("/api/v1/services")
    if seen_by_pilot([("services", listed["metadata"]["resourceVersion"])]):
        SEEN["registryz"] = [
            {
                "Attributes": {"Name": each["metadata"]["name"], "Namespace": each["metadata"]["namespace"]},
                "ResourceVersion": each["metadata"]["resourceVersion"],
            }
            for each in listed["items"]
        ]
    return SEEN.get("registryz", [])


def metrics():
    return f'# TYPE pilot_xds gauge\npilot_xds{{version="1.30.3"}} {len(syncz())}\n'


PAGES = {
    "/ready": dict,
    "/metrics": metrics,
    "/debug/syncz": syncz,
    "/debug/configz": configz,
    "/debug/registryz": registryz,
}


class Pages(BaseHTTPRequestHandler):
    def do_GET(self):
        page = PAGES.get(self.path)
        outside = self.path.startswith("/debug/") and self.connection.getsockname()[0] == os.environ["POD_IP"]
        try:
            status, body = (401, "") if outside else (200, page()) if page else (404, {})
        except (OSError, KeyError, IndexError) as error:
            status, body = 500, {"error": repr(error)}
        text = isinstance(body, str)
        data = (body if text else json.dumps(body)).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; version=0.0.4" if text else "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *words):
        pass


INSIDE = ThreadingHTTPServer((os.environ["LOCAL_IP"], 15014), Pages)
threading.Thread(target=INSIDE.serve_forever, daemon=True).start()
ThreadingHTTPServer((os.environ["POD_IP"], 15014), Pages).serve_forever()
