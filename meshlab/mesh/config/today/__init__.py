"""Today's API: networking.istio.io, security.istio.io, telemetry.istio.io and gateway.networking.k8s.io.

schema.py        the little language in which schemas are written; check and OpenAPI
networking.py, destinations.py, security.py, telemetry.py, gateway_api.py    the schemas
kinds.py         kinds, groups, served versions
crds.py          the schemas as CustomResourceDefinitions (manifests/istio-today/crds.yaml)
rules_*.py       what istiod refuses or warns of beyond schemas
validate.py      both, for one object
virtual_services.py, traffic_rules.py, … to the model
"""
