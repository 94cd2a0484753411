"""`python -m website.versions FOLDER`: joins the sites of several versions, each in a folder of its name, as one site.

FOLDER/0.17.0/index.html        a site as `python -m website` builds it
FOLDER/versions.json            written: the versions, newest first, which each page offers (static/versions.js)
FOLDER/index.html               written: leads to the newest, and lists all
"""

from __future__ import annotations

import html
import json
import re
import sys
from pathlib import Path

VERSION = re.compile(r"\d+\.\d+\.\d+")
PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="refresh" content="0; url={newest}/index.html">
<title>florence2-harness</title>
<p>Documentation of florence2-harness:</p>
<ul>
{links}
</ul>
</html>
"""


def join(folder: Path) -> list[str]:
    """Writes the list and the first page of the versions in `folder`; returns the versions, newest first.

    ValueError for a folder without a version.
    """
    found = [path.name for path in folder.iterdir() if VERSION.fullmatch(path.name) and (path / "index.html").is_file()]
    if not found:
        raise ValueError(f"{folder} has no site in a folder such as 0.17.0")
    versions = sorted(found, key=lambda name: [int(part) for part in name.split(".")], reverse=True)
    links = "\n".join(f'<li><a href="{name}/index.html">{html.escape(name)}</a></li>' for name in versions)
    (folder / "versions.json").write_text(json.dumps({"newest": versions[0], "versions": versions}))
    (folder / "index.html").write_text(PAGE.format(newest=versions[0], links=links))
    return versions


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m website.versions FOLDER")
    try:
        sys.stdout.write(f"versions: {', '.join(join(Path(sys.argv[1])))}\n")
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
