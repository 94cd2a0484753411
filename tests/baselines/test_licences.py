"""Licences of weights: every listed repository is that of a model, and models say what is listed."""

from __future__ import annotations

import baselines
from baselines.licences import BY_REPOSITORY, PROJECT, licence_of


def test_every_repository_with_a_licence_is_that_of_a_model_that_says_it() -> None:
    of = {entry.repo: entry.licence for entry in baselines.every().values()}
    assert {repository: of.get(repository) for repository in BY_REPOSITORY} == dict(BY_REPOSITORY)


def test_unlisted_repository_has_no_established_licence() -> None:
    assert licence_of("someone/something") == ""
    assert {baselines.find(name).licence for name in ("florence2-nano", "clip-nano")} == {PROJECT}
    assert baselines.find("whole-image").licence == ""
