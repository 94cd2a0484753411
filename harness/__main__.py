"""`python -m harness`."""

import os
import sys

# Threads that wait for work sleep: on a shared machine, spinning ones are up to nine times slower.
# OpenMP reads this once, when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from harness.cli import main

if __name__ == "__main__":
    sys.exit(main())
