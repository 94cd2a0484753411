"""Everything raised on purpose: one root, one exit status each.

    HarnessError
      UsageError       2   a name, flag or combination that cannot be meant
      DataError        3   a data set that is missing, malformed or not what it says
      CheckpointError  4   weights that are missing, truncated or of another network
      ModelError       4   a model that breaks the contract of `core.Model`
      GateError        5   a promise broken, or one that cannot be decided
      ResourceError    6   disk, memory, device or network
      IncompleteError  7   a run some of whose questions failed; no headline is given

Each message is one line that says what was wrong, what there is, and what to do.  Anything else that is
raised is a bug and keeps its traceback (exit status 1).
"""


class HarnessError(Exception):
    """The caller can mend this; `exit_status` is what the command line returns."""

    exit_status = 1


class UsageError(HarnessError):
    """A name, flag or combination that cannot be meant."""

    exit_status = 2


class DataError(HarnessError):
    """A data set that is missing, malformed or not what it says."""

    exit_status = 3


class CheckpointError(HarnessError):
    """Weights that are missing, truncated or of another network."""

    exit_status = 4


class ModelError(HarnessError):
    """A model that breaks the contract of `core.Model`."""

    exit_status = 4


class GateError(HarnessError):
    """A promise broken, or one that cannot be decided."""

    exit_status = 5


class ResourceError(HarnessError):
    """Disk, memory, device or network."""

    exit_status = 6


class IncompleteError(HarnessError):
    """A run some of whose questions failed."""

    exit_status = 7
