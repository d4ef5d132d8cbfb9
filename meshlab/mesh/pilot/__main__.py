"""`python -m meshlab.mesh.pilot discovery …`"""

from __future__ import annotations

import sys

from meshlab.mesh.pilot.main import main

sys.exit(main())
