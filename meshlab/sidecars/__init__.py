"""What sidecars have, do and did, asked of themselves: any Envoy of a mesh, ours or a real Istio's.

Everything goes through the API server (exec of `pilot-agent request`, logs of the proxy's container), so that the same
code works on every engine.
"""
