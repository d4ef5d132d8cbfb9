"""Which tests stay together when there are several workers: those of a lab, whatever files they are in, and those of
every other file. So each lab is made once, and each fixture of a module.
"""

from __future__ import annotations

import re
from typing import Any

from xdist.scheduler import LoadScopeScheduling

__all__ = ["Together"]


class Together(LoadScopeScheduling):
    """Gives workers such groups, in the order in which they were collected."""

    def __init__(self, config: Any, log: Any) -> None:
        super().__init__(config, log)
        config.option.loadscopereorder = False

    def _split_scope(self, nodeid: str) -> str:
        # A scheduler knows of tests their names only: fixture `capture` writes the lab into them.
        lab = re.search(r"[\[-](lab=\w+)[\]-]", nodeid)
        return lab[1] if lab else nodeid.partition("::")[0]
