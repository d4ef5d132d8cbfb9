"""The parts of Mixer's tests (a reporting Envoy, programs) serve the add-ons' as well."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "mesh" / "mixer"))
