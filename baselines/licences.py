"""Licences of published weights, as the repositories themselves state them.

A repository is listed only where its model card or licence file was seen.  "Not established" is shown for any other;
that is no statement about it.
"""

from __future__ import annotations

from collections.abc import Mapping

PROJECT = "Apache-2.0"  # of the weights that this project trained
NOT_ESTABLISHED = "not established"
BY_REPOSITORY: Mapping[str, str] = {
    "microsoft/Florence-2-base": "MIT",
    "microsoft/Florence-2-base-ft": "MIT",
    "microsoft/Florence-2-large": "MIT",
    "microsoft/Florence-2-large-ft": "MIT",
    "IDEA-Research/grounding-dino-base": "Apache-2.0",
    "google/owlv2-base-patch16-ensemble": "Apache-2.0",
    "google/owlv2-large-patch14-ensemble": "Apache-2.0",
    "Qwen/Qwen2.5-VL-3B-Instruct": "Qwen research licence",
    "Qwen/Qwen2.5-VL-7B-Instruct": "Apache-2.0",
    "Qwen/Qwen2.5-VL-72B-Instruct": "Qwen licence",
    "Qwen/Qwen3-VL-2B-Instruct": "Apache-2.0",
    "Qwen/Qwen3-VL-4B-Instruct": "Apache-2.0",
    "Qwen/Qwen3-VL-8B-Instruct": "Apache-2.0",
    "Qwen/Qwen3-VL-32B-Instruct": "Apache-2.0",
}


def licence_of(repository: str) -> str:
    """The licence of a repository's weights; "" where it is not established."""
    return BY_REPOSITORY.get(repository, "")
