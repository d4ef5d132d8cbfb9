"""Names of fields as istioctl's JSON and YAML have them: `virtualHosts` for what Envoy's admin interface calls
`virtual_hosts`. Names that are data (filters, labels, metadata) stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

__all__ = ["camel"]

#: Fields whose keys are names and whose values are messages.
_MAPS = frozenset((
    "typed_per_filter_config", "typed_extension_protocol_options", "typed_filter_metadata", "policies", "providers",
    "requirement_map",
))  # fmt: skip
#: Fields that hold anything at all.
_FREE = frozenset(("filter_metadata", "static_layer", "json_format", "struct_value", "labels"))
#: The only fields of what is called `metadata` and is not free.
_METADATA = frozenset(("filter_metadata", "typed_filter_metadata"))


def camel(value: Any) -> Any:
    """A message of a config dump, renamed throughout.

    >>> camel({"virtual_hosts": [{"typed_per_filter_config": {"a_b": {"c_d": 1}}}]})
    {'virtualHosts': [{'typedPerFilterConfig': {'a_b': {'cD': 1}}}]}
    """
    if isinstance(value, list):
        return [camel(each) for each in value]
    if not isinstance(value, Mapping):
        return value
    found = {}
    for key, each in value.items():
        name = re.sub("_(.)", lambda match: match[1].upper(), key)
        free = key == "metadata" and isinstance(each, Mapping) and not each.keys() <= _METADATA
        if free or key in _FREE:
            found[name] = each
        elif key in _MAPS and isinstance(each, Mapping):
            found[name] = {inner: camel(one) for inner, one in each.items()}
        else:
            found[name] = camel(each)
    return found
