"""Checks the results in `tidecv.json` against tidecv.

pip install tidecv==1.0.1                            # not a dependency
python tests/harness/metrics/data/tidecv_again.py    # status 0: the file has tidecv's results
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ORDER = ("classification", "localisation", "both", "duplicate", "background", "missed")


def results_of(case: dict[str, Any]) -> dict[str, Any]:
    """AP50, counts and costs of one set, in tidecv's percent."""
    from tidecv import TIDE, Data
    from tidecv.errors.main_errors import BackgroundError, BoxError, ClassError, DuplicateError, MissedError, OtherError

    truth, found = Data("truth"), Data("found")
    for category in range(3):
        truth.add_class(category, str(category))
    for image in range(12):  # otherwise tidecv leaves out images without truths, with their detections
        truth.add_image(image, str(image))
    for image, category, box in zip(case["ti"], case["tc"], case["tb"], strict=True):
        truth.add_ground_truth(image, category, box)
    for image, category, box, score in zip(case["di"], case["dc"], case["db"], case["ds"], strict=True):
        found.add_detection(image, category, score, box)
    tide = TIDE()
    run = tide.evaluate(truth, found, mode=TIDE.BOX, name="one")
    costs = tide.get_main_errors()["one"]
    errors = ClassError, BoxError, OtherError, DuplicateError, BackgroundError, MissedError
    kinds = dict(zip(ORDER, errors, strict=True))
    return {
        "ap": run.ap,
        "counts": {name: len(run.error_dict[kind]) for name, kind in kinds.items()},
        "costs": {name: costs[kind.short_name] for name, kind in kinds.items()},
    }


if __name__ == "__main__":
    cases = json.loads((HERE / "tidecv.json").read_text())
    wrong = [place for place, case in enumerate(cases) if results_of(case) != case["tide"]]
    sys.exit(f"tidecv gives other results for the sets {wrong}" if wrong else 0)
