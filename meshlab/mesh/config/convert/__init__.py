"""config.istio.io/v1alpha2 to networking.istio.io/v1, by way of the model.

    rules ──legacy.py──→ model ──render.py──→ documents ──today/──→ the same model

What the second half of the way cannot bring back is a loss, and `Note`s name it.
"""
