"""The only room that writes results.

    results/<data>/<task>/<split>/<model>/<protocol>/<id>/
        run.json        the record; a new file replaces the old one
        answers.jsonl   one line for each answer, appended and flushed when the answer arrives
        scores.jsonl    one line for each sample, written by scoring
        lock            held by the process that queries the model; a second process of the same run is refused
    results/<data>/.../<id>/shards/<number>-of-<count>/
        shard.json      the record of a part of the run; answers.jsonl and lock as above
    results/speed/<device>/<name>.json
                        the records of `bench`

`answers.jsonl.gz` and `scores.jsonl.gz` are packed forms for committing.  They are read before the plain files.

    files.py      files that are written whole or not at all, and lines that survive an interruption
    records.py    run.json: reading, writing, upgrading
    lines.py      answers and scores as lines of JSON
    lock.py       the lock of a run's folder
    folder.py     one run's folder, which joins the four above
    search.py     all runs under a folder of results, and one of them by its name
    speed.py      the records of `bench`
"""

from pathlib import Path

from harness.store.files import replace_file
from harness.store.folder import RunFolder, pack, run_folder
from harness.store.lines import Appender, Kept, encoded
from harness.store.records import SCHEMA, as_json, edited, run_id, sealed, with_status
from harness.store.search import find, runs, sharded, shards
from harness.store.speed import keep_speed, read_speed, speeds

RESULTS = Path("results")  # the default folder

__all__ = [
    "RESULTS", "SCHEMA", "Appender", "Kept", "RunFolder", "as_json", "edited", "encoded", "find", "keep_speed", "pack",
    "read_speed", "replace_file", "run_folder", "run_id", "runs", "sealed", "sharded", "shards", "speeds",
    "with_status",
]  # fmt: skip
