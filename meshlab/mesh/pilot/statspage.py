"""The page of metrics on port 15090, /stats/prometheus, as today's sidecars show it.

Envoy counts (`stats`); what it cannot do without Istio's own filter is to show its counts under Istio's names: it puts
`envoy_` before each, and knows no service by name but a cluster's. A few lines of Lua on this one listener, which no
request of an application passes, put that right as the page goes out. Names, labels and what they say where nothing is
known are those of https://istio.io/latest/docs/reference/config/metrics/.
"""

from __future__ import annotations

from meshlab.mesh.peer import STATS_PORT
from meshlab.mesh.pilot.encode import Fields, pack

__all__ = ["STATS_CLUSTER", "page"]

#: A cluster of the bootstrap: Envoy's admin interface.
STATS_CLUSTER = "prometheus_stats"
#: Bytes that a page may have: 30 kB for each pair of services and answer, most of it buckets.
_LONGEST = 64 << 20
#: What is shown to whoever does not filter: Istio's own metrics and what its sidecars keep of Envoy's by default
#: (`proxyStatsMatcher` of https://istio.io/latest/docs/ops/configuration/telemetry/envoy-stats/).
_SHOWN = "usedonly&filter=^(istio|cluster_manager|listener_manager|server)"
_PAGE = r"""
local unknown = {
  "source_workload", "source_workload_namespace", "source_app", "source_version", "source_principal",
  "destination_workload", "destination_workload_namespace", "destination_app", "destination_version",
  "destination_principal", "destination_service",
}

-- Labels as Envoy writes them, to labels as Istio does. A label that Telemetry took off stays off.
local function named(text)
  local order, value = {}, {}
  text = text:gsub("\\\\", "\1"):gsub('\\"', "\2")
  for key, said in text:gmatch('([%w_]+)="([^"]*)"') do
    order[#order + 1], value[key] = key, said
  end
  local function add(key, said)
    if said and not value[key] then order[#order + 1], value[key] = key, said end
  end
  for _, key in ipairs(unknown) do
    if value[key] == "" then value[key] = "unknown" end
  end
  local service = value.destination_service
  if service then
    -- The caller knows the cluster, out.<service>|<port>|<version>; the called one app and namespace.
    service = service:match("^out%.([^|]+)") or service
    if value.reporter == "destination" then service = service .. ".svc.cluster.local" end
    local name, namespace = service:match("^([^.]+)%.([^.]+)%.svc%.cluster%.local$")
    value.destination_service = service
    add("destination_service_name", name or service)
    add("destination_service_namespace", namespace or "unknown")
  end
  for _, own in ipairs({"source", "destination"}) do
    add(own .. "_canonical_service", value[own .. "_app"])
    add(own .. "_canonical_revision", value[own .. "_version"])
  end
  -- How a connection was secured is known to the one that was called.
  local policy = value.connection_security_policy
  if policy and value.reporter == "destination" then
    value.connection_security_policy = policy == "" and "none" or policy:gsub("^TLS.*", "mutual_tls")
  end
  for place, key in ipairs(order) do
    order[place] = key .. '="' .. value[key] .. '"'
  end
  return (table.concat(order, ","):gsub("\2", '\\"'):gsub("\1", "\\\\"))
end

function envoy_on_request(request)
  local headers = request:headers()
  if headers:get(":path"):find("^/stats/prometheus$") then
    headers:replace(":path", "/stats/prometheus?SHOWN")
  end
  headers:remove("accept")
  headers:remove("accept-encoding")
end

function envoy_on_response(response)
  local body = response:body(true)
  local known = {}
  -- Lines of a histogram differ in `le` alone, which is the last label.
  local function line(name, labels, value)
    local bare, bound = labels:match('^(.*),(le="[^"]*")$')
    bare = bare or labels
    known[bare] = known[bare] or named(bare)
    return "istio_" .. name .. "{" .. known[bare] .. (bound and "," .. bound or "") .. "} " .. value
  end
  local text = body:getBytes(0, body:length())
  text = text:gsub("# TYPE envoy_istio_", "# TYPE istio_")
  text = text:gsub("envoy_istio_([%w_]+){([^\n]*)} ([^\n]+)", line)
  response:headers():replace("content-length", tostring(body:setBytes(text)))
end
""".replace("SHOWN", _SHOWN)


def page(ip: str) -> Fields:
    """The listener on which Prometheus finds the metrics."""
    manager: Fields = {
        "stat_prefix": "stats",
        "route_config": {"virtual_hosts": [{"name": "stats", "domains": ["*"], "routes": [
            {"match": {"prefix": "/stats/prometheus"}, "route": {"cluster": STATS_CLUSTER}},
        ]}]},
        "http_filters": [
            {"name": "envoy.filters.http.lua", "typed_config": pack("Lua", {
                "default_source_code": {"inline_string": _PAGE}})},
            {"name": "envoy.filters.http.router", "typed_config": pack("Router", {})},
        ],
    }
    return {
        "name": f"stats_{ip}_{STATS_PORT}",
        "address": {"socket_address": {"address": ip, "port_value": STATS_PORT}},
        "enable_reuse_port": {"value": False},
        "per_connection_buffer_limit_bytes": {"value": _LONGEST},
        "filter_chains": [{"filters": [{
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": pack("HttpConnectionManager", manager),
        }]}],
    }
