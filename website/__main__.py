"""`python -m website FOLDER` builds the site into a folder; a warning is an error."""

import sys
from pathlib import Path

from website.build import BuildError, build

if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m website FOLDER")
    try:
        sys.stdout.write(f"site: {build(Path(sys.argv[1]))}\n")
    except BuildError as error:
        sys.exit(f"error: the site was not built:\n{error}")
