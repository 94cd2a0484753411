"""Upgrades of older run records: one function for each schema, from that schema to the next.

Up to version 0.13, records had schema 1.  A model's fingerprint contained a digest of source code, so an edited comment
invalidated every stored answer.  In schema 2, the model's answers version replaces the digest.

The digests of version 0.13.1 become answers version 1, because the answers are the same.  Answers under any other
digest keep their fingerprint and are never reused, because nothing says whether they are still correct.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

DIGESTS = {  # of the code of version 0.13.1, by the part of the fingerprint before the digest
    "florence2": "c0a6ba9b7829",
    "whole-image": "a960a9314157",
    "oracle": "ceed6dc79180",
    "quantised": "f8584bb5d36a",
}
EARLIER = ("5c73b9a20dd2",)  # of the oracle's codec in older committed records; the answers are the same
DIGEST = re.compile(r"[0-9a-f]{12}")


def current_fingerprint(fingerprint: str) -> str:
    """The current form of a fingerprint of schema 1; unchanged if its digest of source code is unknown."""
    known = {*DIGESTS.values(), *EARLIER}
    parts = ["v1" if part in known else part for part in fingerprint.split(":")]
    return ":".join(parts)


def former_fingerprint(fingerprint: str) -> str:
    """The inverse of `current_fingerprint`: the fingerprint under which version 0.13.1 stored the same answers."""
    name, _, rest = fingerprint.partition(":")
    if name == "florence2" and rest.endswith(":v1"):
        return f"{fingerprint.removesuffix('v1')}{DIGESTS[name]}"
    return re.sub(r"(whole-image|oracle|quantised):v1", lambda match: f"{match[1]}:{DIGESTS[match[1]]}", fingerprint)


def is_of_unknown_code(fingerprint: str) -> bool:
    """Whether this is a fingerprint of Florence-2 that ends in a digest of source code, not in an answers version."""
    return fingerprint.startswith("florence2:") and DIGEST.fullmatch(fingerprint.rpartition(":")[2]) is not None


def _with_answers_version(record: dict[str, Any]) -> dict[str, Any]:
    spec = {**record["spec"], "fingerprint": current_fingerprint(record["spec"]["fingerprint"])}
    return {**record, "spec": spec}


MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _with_answers_version}  # by schema
