"""A run's card section and leaderboard entry, pushed to a model's repository on the Hugging Face hub.

The files are those of `harness.exports.hub`, made from what the repository holds now.  The commit names its parent, so
the hub refuses it where the repository has changed in the meantime.  The token is that of `hf auth login` or HF_TOKEN;
it goes to the hub alone, and no message has it.
"""

from __future__ import annotations

import difflib
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.core import Run
from harness.errors import DataError, ResourceError, UsageError
from harness.exports import hub

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class File:
    """A file that a push changes: its name in the repository and its text before ("" for no file) and after."""

    name: str
    before: str
    after: str

    def diff(self) -> str:
        """The change as a unified diff."""
        old = f"a/{self.name}" if self.before else "/dev/null"
        lines = difflib.unified_diff(self.before.splitlines(), self.after.splitlines(), old, f"b/{self.name}", n=2)
        return "\n".join(line.rstrip("\n") for line in lines)


@dataclass(frozen=True, slots=True)
class Push:
    """What a push changes: the files whose text becomes another, in a repository at a commit."""

    repository: str
    parent: str
    message: str
    files: tuple[File, ...]


def plan(run: Run, about: str, repository: str, benchmark: str | None = None) -> Push:
    """The change that pushes a run to `repository` (OWNER/NAME); nothing is sent.

    UsageError for a run that is not for a card (see `hub.write`) and for a repository of another form; DataError for a
    repository that the hub does not show and for a card that cannot be read; ResourceError without the hub.
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise UsageError(f"{repository}: OWNER/NAME of a model's repository on the hub")
    hub.files(run, about, lambda _: b"", benchmark)  # refuses the run before the hub is asked
    found: dict[str, str] = {}
    with _hub_errors(repository, "reading the repository"):
        client = _client()
        info = client.model_info(repository)
        commit, names = str(info.sha), {each.rfilename for each in info.siblings or ()}

    def before(name: str) -> bytes:
        with _hub_errors(repository, f"reading {name}"):
            file = name in names and Path(client.hf_hub_download(repository, name, revision=commit))
        content = file.read_bytes() if file else b""
        found[name] = hub.decoded(content, name)
        return content

    texts = hub.files(run, about, before, benchmark)
    changed = tuple(File(name, found[name], text) for name, text in texts.items() if text != found[name])
    message = f"Add {run.headline} of {run.spec.task} {run.spec.split} by florence2-harness"
    return Push(repository, commit, message, changed)


def commit(push: Push, pull_request: bool = False) -> str:
    """Sends a change as a commit or as a pull request, and returns its address.

    UsageError without a token; DataError where the hub refuses the change; ResourceError without the hub.
    """
    from huggingface_hub import CommitOperationAdd

    if _token() is None:
        raise UsageError("push needs a token with write access: `hf auth login`, or the variable HF_TOKEN")
    operations = [CommitOperationAdd(file.name, file.after.encode()) for file in push.files]
    with _hub_errors(push.repository, "the commit"), warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        sent = _client().create_commit(
            push.repository, operations, commit_message=push.message, parent_commit=push.parent,
            create_pr=pull_request,
        )  # fmt: skip
    for warning in warned:
        log.warning("%s: %s", push.repository, " ".join(str(warning.message).split()))
    return str(sent.pr_url or sent.commit_url)


def _token() -> str | None:
    """The user's token; UsageError for one that no header can hold, whose error of the client would show it."""
    from huggingface_hub import get_token

    token = get_token()
    if token is not None and not re.fullmatch(r"[!-~]+", token):
        raise UsageError("the token of the hub has a space or a character that is not ASCII; log in again")
    return token


def _client() -> Any:
    from huggingface_hub import HfApi, constants

    return HfApi(endpoint=constants.ENDPOINT, token=_token() or False)


@contextmanager
def _hub_errors(repository: str, doing: str) -> Iterator[None]:
    """What an answer of the hub, or its silence, means for the user."""
    from huggingface_hub.errors import HfHubHTTPError, HTTPError, RevisionNotFoundError  # type: ignore[attr-defined]

    try:
        yield
    except RevisionNotFoundError as error:
        raise DataError(f"{repository}: the repository has no branch main yet; make a first commit") from error
    except (HTTPError, OSError) as error:
        reply = next((each for each in (error, error.__cause__) if isinstance(each, HfHubHTTPError)), None)
        if reply is None:
            raise ResourceError(f"{repository}: {doing} failed, the hub cannot be reached: {_reason(error)}") from error
        status = reply.response.status_code
        if status in REFUSALS:
            raise DataError(f"{repository}: {doing}: {REFUSALS[status]} (status {status})") from error
        raise ResourceError(f"{repository}: {doing} failed: {_reason(reply)}") from error
    except (ValueError, KeyError, TypeError) as error:  # of a reply, or of the hub's check of the metadata
        raise DataError(f"{repository}: {doing} failed: {_reason(error)}") from error


REFUSALS = {
    401: "the hub does not take the token, or there is none and the repository is private or missing; `hf auth login`",
    403: "the token may not do this; use a token with write access, or --pull-request",
    404: "the hub has no such repository, or it is private and the token may not see it",
    409: "the repository changed in the meantime; run the same command again",
    412: "the repository changed in the meantime; run the same command again",
}


def _reason(error: Exception) -> str:
    """The first line of an error, without the token."""
    text = " ".join(str(error).split())[:300] or type(error).__name__
    token = _token()
    return text.replace(token, "***") if token else text
