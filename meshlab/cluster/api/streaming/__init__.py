"""Connections that stop being HTTP: exec, attach, port-forward, and upgrades through the proxies."""
