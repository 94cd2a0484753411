"""`python -m tasks.miniature` draws the world again and writes its manifest, after a change of the drawing code."""

import json
import tempfile
from pathlib import Path

from tasks.miniature import MANIFEST, manifest, write

with tempfile.TemporaryDirectory() as folder:
    write(Path(folder))
    files = manifest(Path(folder))
MANIFEST.write_text(json.dumps(files, indent=0, sort_keys=True) + "\n")
print(f"{len(files)} files in {MANIFEST}")
