"""Older run records as this version writes them: one function for each schema that a record may have.

Schema 1 (up to version 0.13) put a digest of source code into a model's fingerprint, so an edited comment made every
kept answer stale.  Schema 2 has the model's answers version there instead.  The digests of version 0.13.1 stand for
answers version 1, since its answers are the same; answers of any other digest are left as they are, and are never
reused, as nobody can say whether they are still right.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

DIGESTS = {  # of the code of version 0.13.1, by the name that stands before each in a fingerprint
    "florence2": "c0a6ba9b7829",
    "whole-image": "a960a9314157",
    "oracle": "ceed6dc79180",
    "quantised": "f8584bb5d36a",
}
EARLIER = ("5c73b9a20dd2",)  # of the oracle's codec, under which its committed records were made: the same answers
DIGEST = re.compile(r"[0-9a-f]{12}")


def current_fingerprint(fingerprint: str) -> str:
    """A fingerprint of schema 1 as it is written now; the same where its digest of code is not a known one."""
    known = {*DIGESTS.values(), *EARLIER}
    parts = ["v1" if part in known else part for part in fingerprint.split(":")]
    return ":".join(parts)


def former_fingerprint(fingerprint: str) -> str:
    """What `current_fingerprint` made this one of: answers kept by version 0.13.1 are keyed by it."""
    name, _, rest = fingerprint.partition(":")
    if name == "florence2" and rest.endswith(":v1"):
        return f"{fingerprint.removesuffix('v1')}{DIGESTS[name]}"
    return re.sub(r"(whole-image|oracle|quantised):v1", lambda found: f"{found[1]}:{DIGESTS[found[1]]}", fingerprint)


def is_of_unknown_code(fingerprint: str) -> bool:
    """Whether Florence-2's answers under this fingerprint are of code that has no answers version."""
    return fingerprint.startswith("florence2:") and DIGEST.fullmatch(fingerprint.rpartition(":")[2]) is not None


def _answers_versions(record: dict[str, Any]) -> dict[str, Any]:
    spec = {**record["spec"], "fingerprint": current_fingerprint(record["spec"]["fingerprint"])}
    return {**record, "spec": spec}


MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _answers_versions}  # a schema to the next
