"""Every error that the project raises on purpose; each class has one exit status.

    HarnessError
      UsageError       2   an unknown name, an invalid option, or an impossible combination
      DataError        3   a data set, result or record that is missing, malformed or contradictory
      CheckpointError  4   weights that are missing, truncated, or of another network
      ModelError       4   a model that breaks the contract of `core.Model`
      GateError        5   a promise that is broken or cannot be decided
      ResourceError    6   no disk space, memory, device or network
      IncompleteError  7   a run with failed questions; it has no headline

A message is one line: what was wrong, what there is, and what to do.  Any other exception is a bug; the command line
shows its traceback and exits with status 1.
"""


class HarnessError(Exception):
    """An error that the caller can correct; the command line exits with `exit_status`."""

    exit_status = 1


class UsageError(HarnessError):
    """An unknown name, an invalid option, or an impossible combination."""

    exit_status = 2


class DataError(HarnessError):
    """A data set, result or record that is missing, malformed or contradictory."""

    exit_status = 3


class CheckpointError(HarnessError):
    """Weights that are missing, truncated, or of another network."""

    exit_status = 4


class ModelError(HarnessError):
    """A model that breaks the contract of `core.Model`."""

    exit_status = 4


class GateError(HarnessError):
    """A promise that is broken or cannot be decided."""

    exit_status = 5


class ResourceError(HarnessError):
    """No disk space, memory, device or network."""

    exit_status = 6


class IncompleteError(HarnessError):
    """A run with failed questions; it has no headline."""

    exit_status = 7
