"""``python -m toymill`` is the command ``toymill``."""

import sys

from toymill.cli import main

if __name__ == "__main__":
    sys.exit(main())
