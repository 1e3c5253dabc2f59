"""`python -m surform`: the same command, which can import what lies in the current folder."""

import sys

from surform.cli import main

if __name__ == "__main__":
    sys.exit(main())
