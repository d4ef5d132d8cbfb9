"""`python3 -m meshlab`: works from a bare checkout, before anything is installed."""

import sys

from .bootstrap import main

sys.exit(main())
