"""The parquet files of one split of a data set: in a folder, in the hub's cache, or downloaded from the hub.

A data set is named `hf://OWNER/NAME` or `hf://OWNER/NAME@REVISION`.  Only the files of the asked split are downloaded:

    [data/]<split>-00000-of-00004[-<digest>].parquet    as `datasets` uploads them
    [default/]<split>/0000.parquet                      as the hub converts them

A split whose files are all in the hub's cache is used without a request, so a later commit of a branch is not noticed;
a commit as revision avoids this.  A split with a part missing is refused.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import DataError, ResourceError, UsageError

SCHEME = "hf://"
BRANCH = "main"
MOST_ENTRIES = 5_000  # that are looked at in one folder
_PART = re.compile(r"-(\d{5})-of-(\d{5})(?:-\w+)?$")
_NAME = re.compile(r"(?:datasets/)?([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")


@dataclass(frozen=True, slots=True)
class Repository:
    """A data set on the hub, at a branch, a tag or a commit."""

    name: str  # owner/name
    revision: str = BRANCH

    def __str__(self) -> str:
        return f"{SCHEME}{self.name}" + (f"@{self.revision}" if self.revision != BRANCH else "")


@dataclass(frozen=True, slots=True)
class Files:
    """The parquet files of a split by name; `origin` is where they come from, with the commit of a repository."""

    origin: str
    paths: tuple[Path, ...]


def repository(data: str) -> Repository | None:
    """The data set that `hf://OWNER/NAME[@REVISION]` names; None for other text, UsageError for another form."""
    if not data.startswith(SCHEME):
        return None
    matched = _NAME.fullmatch(data.removeprefix(SCHEME))
    if matched is None or ".." in data:
        raise UsageError(f"--data {data}: expected hf://OWNER/NAME or hf://OWNER/NAME@REVISION")
    return Repository(matched[1], matched[2] or BRANCH)


def is_split_files(folder: Path) -> bool:
    """Whether a folder holds parquet files that are named by split, and so is no data root of official files."""
    names = _listed(folder)
    return any(_PART.search(Path(name).stem) or name.startswith("default/") for name in names)


def in_folder(folder: Path, split: str) -> Files:
    """The files of a split in a folder; DataError if there are none, or a part is missing."""
    names = of_split(_listed(folder), split, str(folder))
    return Files(str(folder.absolute()), tuple(folder / name for name in names))


def fetch(repo: Repository, split: str) -> Files:
    """The files of a split of a data set on the hub, downloaded where the cache lacks them.

    DataError if there is no such data set, revision or split, or the hub wants an agreement; ResourceError if the hub
    cannot be reached, or a download breaks off.
    """
    return _cached(repo, split) or _downloaded(repo, split)


def of_split(names: Iterable[str], split: str, where: str) -> list[str]:
    """The names of a split's parquet files, sorted; DataError if there are none, or a part is missing."""
    every = sorted(names)
    chosen = [name for name in every if _is_of(Path(name), split)]
    if not chosen:
        there = ", ".join(every[:3]) + (", ..." if every[3:] else "")
        raise DataError(
            f"{where} has no parquet file of split {split!r}; it has {there or 'no parquet files'}.  The files of a "
            f"split are named {split}-00000-of-00001.parquet, or lie in a folder {split}"
        )
    if len({Path(name).parent for name in chosen}) > 1:
        raise DataError(f"{where} has files of split {split!r} in several folders: {', '.join(chosen[:3])}")
    parts = [matched for name in chosen if (matched := _PART.search(Path(name).stem))]
    total = int(parts[0][2]) if parts else 0
    numbers = sorted(int(part[1]) for part in parts)
    if parts and (numbers != list(range(total)) or any(int(part[2]) != total for part in parts)):
        lacking = sorted(set(range(total)) - set(numbers))
        what = f"lacks {len(lacking)} of the {total} files" if lacking else "mixes the files of two versions"
        first = f" (first: {split}-{lacking[0]:05d}-of-{total:05d})" if lacking else ""
        raise DataError(f"{where} {what} of split {split!r}{first}; obtain them again")
    return chosen


def _is_of(path: Path, split: str) -> bool:
    return path.suffix == ".parquet" and (
        path.stem == split or path.stem.startswith(f"{split}-") or path.parent.name == split
    )


def _listed(folder: Path) -> list[str]:
    """The parquet files in a folder, in its folders, and in those below `default`, by relative path."""

    def below(prefix: str) -> Iterator[str]:
        try:
            entries = list(itertools.islice((folder / prefix).iterdir(), MOST_ENTRIES))
        except OSError:
            return
        for entry in entries:
            name = f"{prefix}{entry.name}"
            if entry.suffix == ".parquet":
                yield name
            elif (not prefix or prefix == "default/") and entry.is_dir():
                yield from below(f"{name}/")

    return sorted(below(""))


# ---------------------------------------------------------------------------- the hub


def _cached(repo: Repository, split: str) -> Files | None:
    """The files of a split in the hub's cache; None where they are not all there, as far as their names say.

    `datasets`, with which lmms-eval downloads, caches a commit without noting its branch.  Where no branch is noted,
    the only commit in the cache stands for the default branch.
    """
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE) / f"datasets--{repo.name.replace('/', '--')}"
    ref = folder / "refs" / repo.revision
    commit = ref.read_text().strip() if ref.is_file() else repo.revision
    commits = [path.name for path in folder.glob("snapshots/*")]
    if repo.revision == BRANCH and not ref.is_file() and len(commits) == 1:
        commit = commits[0]
    snapshot = folder / "snapshots" / commit
    names = [name for name in _listed(snapshot) if _PART.search(Path(name).stem)]
    try:
        chosen = of_split(names, split, str(repo))
    except DataError:
        return None
    return _files(repo, commit, [snapshot / name for name in chosen])


def _files(repo: Repository, commit: str, paths: Sequence[Path]) -> Files:
    return Files(f"{SCHEME}{repo.name}@{commit}", tuple(paths))


def _downloaded(repo: Repository, split: str) -> Files:
    from huggingface_hub import HfApi, constants, hf_hub_download
    from huggingface_hub.errors import (  # type: ignore[attr-defined]
        GatedRepoError,
        HTTPError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    doing = "listing its files"
    try:
        about = HfApi(endpoint=constants.ENDPOINT).dataset_info(repo.name, revision=repo.revision)
        names = [sibling.rfilename for sibling in about.siblings or ()]
        commit = str(about.sha)
        paths = []
        safe = [name for name in names if name.endswith(".parquet") and ".." not in Path(name).parts]
        for name in of_split(safe, split, str(repo)):
            doing = f"fetching {name}"
            paths.append(Path(hf_hub_download(repo.name, name, repo_type="dataset", revision=repo.revision)))
    except RevisionNotFoundError as error:
        raise DataError(f"{repo}: the hub has no revision {repo.revision!r} of this data set") from error
    except GatedRepoError as error:
        agree = f"accept its terms at {constants.ENDPOINT}/datasets/{repo.name}, then `hf auth login` or set HF_TOKEN"
        raise DataError(f"{repo}: the hub wants an agreement; {agree}") from error
    except RepositoryNotFoundError as error:
        raise DataError(f"{repo}: the hub has no such data set, or it is private") from error
    except (HTTPError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ResourceError(
            f"{repo}: {doing} failed ({reason}); split {split!r} is not wholly on this machine, and the same command "
            "resumes; or give --data FOLDER with its parquet files"
        ) from error
    if any(commit not in path.parts for path in paths):
        raise DataError(f"{repo} changed while it was downloaded; run the same command again, or name a commit")
    return _files(repo, commit, paths)
