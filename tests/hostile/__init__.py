"""Long proofs: damaged inputs for every parser, kills of every command, hostile names, simulated audits.

`make test` runs a short form of each; `make hostile` sets HOSTILE_INPUTS, HOSTILE_KILLS, HOSTILE_DEATHS,
HOSTILE_AUDITS, HOSTILE_DRAWS and HOSTILE_SEED.
"""

import os

INPUTS = int(os.environ.get("HOSTILE_INPUTS", "3000"))  # of all parsers together
KILLS = int(os.environ.get("HOSTILE_KILLS", "1"))  # of each command
DEATHS = int(os.environ.get("HOSTILE_DEATHS", "1"))  # of each kind, in runs on a cluster
AUDITS = int(os.environ.get("HOSTILE_AUDITS", "0"))  # simulated; their short form is a test of the estimates
DRAWS = int(os.environ.get("HOSTILE_DRAWS", "300"))  # benchmarks, for the coverage of intervals
SEED = int(os.environ.get("HOSTILE_SEED", "0"))
