"""Today's API: networking.istio.io, security.istio.io, telemetry.istio.io and gateway.networking.k8s.io.

schema.py        the little language in which schemas are written; check and OpenAPI
networking.py, destinations.py, security.py, gateway_api.py    the schemas
kinds.py         kinds, groups, served versions
crds.py          the schemas as CustomResourceDefinitions (manifests/istio-today/crds.yaml)
rules_*.py       what istiod refuses beyond schemas, with checks.py
validate.py      both, for one object (../admission.py: the same as a webhook's answer)
stored.py        one stored object
virtual_services.py, destination_rules.py, outside_rules.py, kubernetes_routes.py, protection.py
                 to the model, by kind; translate.py finds the right one
"""
