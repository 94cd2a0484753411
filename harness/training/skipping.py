"""Images that a training skips because they cannot be read: each is named once, kept in a file, and counted.

The file lies beside the training states, so that an interrupted run goes on counting.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path

from harness.errors import DataError
from harness.store import replace_file

log = logging.getLogger(__name__)


class SkippedImages:
    """The skipped images of one process, with the reason of each.

    `most` is the largest number of skipped images.
    """

    def __init__(self, path: Path, most: int) -> None:
        self.path, self.most = path, most
        self.reasons = read(path)

    def add(self, image: str, reason: str) -> None:
        """Adds an image; DataError, with the reason, if too many are skipped."""
        if image in self.reasons:
            return
        self.reasons[image] = reason
        if len(self.reasons) > self.most:
            raise DataError(
                f"{len(self.reasons)} training images cannot be read, and --skip-bad-images allows {self.most}; the "
                f"last: {reason}; `python -m harness data check --decode` lists them"
            )
        log.warning("skipped: %s", reason)
        replace_file(self.path, json.dumps(self.reasons, indent=1).encode())


def read(path: Path) -> dict[str, str]:
    """The reasons by image in a file of skipped images; {} for a missing or damaged file."""
    try:
        return {str(image): str(reason) for image, reason in json.loads(path.read_bytes()).items()}
    except (OSError, ValueError, AttributeError, RecursionError):
        return {}
