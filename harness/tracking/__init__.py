"""Events of runs and trainings, for experiment trackers: TensorBoard, W&B, MLflow and Trackio.

    with to(["wandb"]):                         # the command line's --log-to
        with run("refcoco val", facts):         # a run starts; it finishes at the end of the block
            log({"loss": 0.5}, step=20)         # numbers at a step
            artifact(Path("run.json"))          # a file

Without a surrounding `to`, every function does nothing.
"""

from harness.tracking.events import TRACKERS as TRACKERS
from harness.tracking.events import Tracker as Tracker
from harness.tracking.session import artifact as artifact
from harness.tracking.session import log as log
from harness.tracking.session import run as run
from harness.tracking.session import sent as sent
from harness.tracking.session import to as to
from harness.tracking.session import used as used
