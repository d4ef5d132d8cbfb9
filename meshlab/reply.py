"""What comes back for a request."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

__all__ = ["Reply"]


class Reply:
    """An answer of the API server or of a service behind it: status, headers, body (bytes)."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")
