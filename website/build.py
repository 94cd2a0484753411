"""Builds the site with Sphinx, MyST (Markdown) and the theme Furo, which are maintained and have strict warnings.

The sources are copied next to the output and the generated pages are added there, so that nothing generated is in git.
Sphinx then checks every internal link and every anchor; a link to a file outside `docs/` is checked here.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from website import reference

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
OUTSIDE = re.compile(r"\[([^\]]*)\]\((\.\./[^)#]+)(#[^)]*)?\)")
OUTER = {"CONTRIBUTING.md": "contributing.md", "SECURITY.md": "security.md"}  # pages of the repository's root
# What a screen reader or a keyboard lacks in the pages of Sphinx and Furo, and what is there instead.
ACCESSIBLE = {
    '<p class="caption" role="heading">': '<p class="caption" role="heading" aria-level="2">',
    '<th class="head"><p></p></th>': "<td></td>",
    '<div class="table-wrapper': '<div tabindex="0" class="table-wrapper',
    '<aside class="sidebar-drawer">': '<aside class="sidebar-drawer" aria-label="Documentation">',
    '<aside class="toc-drawer': '<aside aria-label="This page" class="toc-drawer',
}
GENERATED = {
    "commands.md": ("Commands and options", reference.commands),
    "api.md": ("Python reference", reference.python),
    "tables.md": ("Tasks, models and metrics", reference.tables),
}


class BuildError(Exception):
    """The site has a link that leads nowhere, or Sphinx warned."""


def build(to: Path) -> Path:
    """Builds the site into `to`, in place of what is there, and returns its first page.

    BuildError for a warning of Sphinx, and for a link that leads nowhere.
    """
    source, site = to / "source", to / "html"
    for folder in (source, site):
        shutil.rmtree(folder, ignore_errors=True)
    copy(source)
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", "-c", str(ROOT / "website")]
    done = subprocess.run([*command, str(source), str(site)], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(done.stderr.strip() or done.stdout.strip())
    for page in site.glob("*.html"):
        text = page.read_text(encoding="utf-8")
        for lacking, better in ACCESSIBLE.items():
            text = text.replace(lacking, better)
        page.write_text(text, encoding="utf-8")
    return site / "index.html"


def copy(to: Path) -> None:
    """The sources of the site: the pages of `docs/`, and the generated ones."""
    shutil.copytree(DOCS, to)
    for page in to.glob("*.md"):
        page.write_text(inside(page.read_text(encoding="utf-8"), page.name), encoding="utf-8")
    for outer, name in OUTER.items():
        text = (ROOT / outer).read_text(encoding="utf-8")
        (to / name).write_text(re.sub(r"\]\(docs/", "](", text), encoding="utf-8")
    index = (to / "README.md").read_text(encoding="utf-8")
    (to / "README.md").unlink()
    for name, (title, make) in GENERATED.items():
        (to / name).write_text(f"# {title}\n\n{make()}\n", encoding="utf-8")
    (to / "index.md").write_text(contents(index), encoding="utf-8")


def inside(text: str, name: str) -> str:
    """A page whose links to files outside `docs/` are names of files; BuildError for a file that is not there."""

    def named(link: re.Match[str]) -> str:
        path = Path(os.path.normpath(DOCS / link[2]))
        if path.parent == ROOT and path.name in OUTER:
            return f"[{link[1]}]({OUTER[path.name]}{link[3] or ''})"
        if not path.exists():
            raise BuildError(f"docs/{name}: {link[2]} leads nowhere")
        return f"{link[1]} (`{path.relative_to(ROOT)}`)"

    return OUTSIDE.sub(named, text)


def contents(index: str) -> str:
    """The first page: the lists of `docs/README.md` as tables of contents; the generated pages are in the last."""
    parts = re.split(r"^## (.+)$", index, flags=re.M)[1:]
    lists = {
        title: re.findall(r"^- \[[^\]]+\]\(([\w-]+)\.md\)", part, re.M)
        for title, part in zip(parts[::2], parts[1::2], strict=True)
    }
    lists[parts[-2]] += [name.removesuffix(".md") for name in (*GENERATED, *OUTER.values())]
    tables = "\n".join(
        "\n".join(["```{toctree}", ":maxdepth: 1", f":caption: {title}", "", *pages, "```", ""])
        for title, pages in lists.items()
    )
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    about = re.split(r"^## ", readme, maxsplit=1, flags=re.M)[0].partition("\n")[2]
    about = re.sub(r"\]\(docs/", "](", re.sub(r"<[^>]+>", "", about))
    title = "# florence2-harness"
    return f"{title}\n{about.rstrip()}\n\n{tables}"
