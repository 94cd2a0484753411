"""Downloads checkpoint files from the Hugging Face hub: once, with resumption, and without a network where cached."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from harness.errors import CheckpointError, ResourceError

# Revisions for which this process found the hub unreachable: an attempt takes 24 seconds without a network.
_UNREACHABLE: set[tuple[str, str, str]] = set()
log = logging.getLogger(__name__)


class Unreachable(CheckpointError):
    """A file that is not cached, while the hub cannot be reached: whether the repository has it is unknown."""


def cached(repo: str, revision: str, one_of: Sequence[str]) -> str:
    """The folder in the hub's cache that has one of these files; '' where there is none."""
    from huggingface_hub import try_to_load_from_cache

    for name in one_of:
        path = try_to_load_from_cache(repo, name, revision=revision)
        if isinstance(path, str):
            return str(Path(path).parent)
    return ""


def fetch(
    repo: str, revision: str, *, needed: Sequence[str], optional: Sequence[str], one_of: Sequence[str], why: str
) -> Path:
    """The folder of a revision with all `needed` files, the `optional` files that exist, and the first of `one_of`.

    Cached files are used without a request, so a later commit of a branch is not noticed; a commit as revision avoids
    this.  An optional file that is not cached is left out, with a warning, where the hub cannot be reached.  `why` is
    the start of error messages.  CheckpointError where another file is neither cached nor on the hub; ResourceError
    where the network or the disk fails during a download.
    """
    missing = f"{why} {repo} at revision {revision}"
    folder = Path()
    for name in needed:
        path = _file(repo, name, revision, missing)
        if path is None:
            raise CheckpointError(f"{missing}, which has no {name}: it is not a checkpoint of this kind")
        folder = path.parent
    known_before = _key(repo, revision) in _UNREACHABLE
    unknown = [name for name in optional if not _is_known(repo, name, revision, missing)]
    if unknown and not known_before:
        log.warning("%s: the hub cannot be reached; not known to have %s", missing, ", ".join(unknown))
    for name in one_of:
        if _file(repo, name, revision, missing) is not None:
            return folder
    if not one_of:
        return folder
    raise CheckpointError(f"{missing}, which has none of {', '.join(one_of)}")


def has(repo: str, name: str, revision: str, why: str) -> bool:
    """Whether a revision has a file, which is fetched then; False too where the hub cannot be reached to know."""
    missing = f"{why} {repo} at revision {revision}"
    return _is_known(repo, name, revision, missing) and _file(repo, name, revision, missing) is not None


def _is_known(repo: str, name: str, revision: str, missing: str) -> bool:
    """Whether the cache or the hub says if a revision has a file; an unreachable hub is asked once for a revision."""
    try:
        _file(repo, name, revision, missing, ask=_key(repo, revision) not in _UNREACHABLE)
    except Unreachable:
        _UNREACHABLE.add(_key(repo, revision))
        return False
    return True


def _key(repo: str, revision: str) -> tuple[str, str, str]:
    from huggingface_hub import constants

    return constants.ENDPOINT, repo, revision


def _file(repo: str, name: str, revision: str, missing: str, *, ask: bool = True) -> Path | None:
    """One file from the cache, else from the hub; None where the repository has no such file.

    Unreachable without a network, and without a request if not `ask`.
    """
    from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import (  # type: ignore[attr-defined]
        EntryNotFoundError,
        GatedRepoError,
        HTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    known = try_to_load_from_cache(repo, name, revision=revision)
    if known is not None:  # a path, or the cache's marker for a file that the repository does not have
        return Path(known) if isinstance(known, str) else None
    remedy = "give --weights FOLDER, or run once with a network"
    if not ask:
        raise Unreachable(missing)
    try:
        return Path(hf_hub_download(repo, name, revision=revision))
    except LocalEntryNotFoundError as error:
        raise Unreachable(f"{missing}: not on this machine, and the hub cannot be reached; {remedy}") from error
    except EntryNotFoundError:
        return None
    except RevisionNotFoundError as error:
        raise CheckpointError(f"{missing}: the hub has no such revision; {remedy}") from error
    except GatedRepoError as error:
        agree = f"accept its licence at {constants.ENDPOINT}/{repo}, then log in with `hf auth login` or set HF_TOKEN"
        raise CheckpointError(f"{missing}, for which the hub wants an agreement: {agree}") from error
    except RepositoryNotFoundError as error:
        raise CheckpointError(f"{missing}: the hub has no such repository, or it is private; {remedy}") from error
    except (HTTPError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ResourceError(f"{missing}: fetching {name} broke off ({reason}); the same command resumes it") from error
