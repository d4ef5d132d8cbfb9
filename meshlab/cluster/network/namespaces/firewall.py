"""Puts iptables rules in force in the network namespace of the caller."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from meshlab.doctor import find_iptables
from meshlab.errors import LabError
from meshlab.settings import Settings

__all__ = ["find_iptables", "load"]

#: Seconds; it takes 5 ms, and a machine under load takes longer.
PATIENCE = 10.0


def load(settings: Settings, table: str, wait: float = PATIENCE) -> None:
    """Replace the table that `table` (text for iptables-restore) describes, as a whole. Raises LabError."""
    program = find_iptables(settings)
    # The older of the two implementations locks a file that only root may write, and that is the machine's.
    environ = {**os.environ, "XTABLES_LOCKFILE": str(settings.home / "xtables.lock")}
    try:
        done = subprocess.run(
            [program], input=table, capture_output=True, text=True, check=False, timeout=wait, env=environ
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LabError(f"{program} did not run: {error}") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()
        raise LabError(f"{Path(program).name} refused the rules of the lab", why=said or f"status {done.returncode}")
