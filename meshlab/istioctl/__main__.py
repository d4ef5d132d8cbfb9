"""`python -m meshlab.istioctl`."""

import sys

from meshlab.istioctl.main import main

if __name__ == "__main__":
    sys.exit(main())
