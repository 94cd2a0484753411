"""Result files of embeddings: round trip, files of other programs, and what does not fit."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.core import Answer, Embedding, Question, Row, Sample, Score, Text
from harness.data import embeddings
from harness.data.embeddings import NPZ, answer_of
from harness.errors import DataError

SAMPLES = [
    Sample("image/42", Question("42.jpg", None, "embed"), Text(("a", "b")), "42.jpg"),
    Sample("caption/1", Question("", None, "embed", text="a"), Text(("a", "b")), "42.jpg"),
    Sample("caption/2", Question("", None, "embed", text="b"), Text(("a", "b")), "42.jpg"),
]


def arrays(**changed: Any) -> dict[str, Any]:
    """What another program would save, in float32 and not of unit length."""
    images, captions = np.array([[3.0, 4.0]], np.float32), np.array([[0.0, 2.0], [-5.0, 0.0]], np.float32)
    return {"image_ids": [42], "images": images, "caption_ids": [1, 2], "captions": captions, **changed}


def test_file_of_another_program_has_the_direction_of_each_vector(tmp_path: Path) -> None:
    np.savez(tmp_path / "clip.npz", **arrays(caption_ids=[2, 1]))
    answers = NPZ.read(tmp_path / "clip.npz", SAMPLES)
    assert {name: answer.value for name, answer in answers.items()} == {
        "image/42": Embedding.of([0.6, 0.8]), "caption/2": Embedding.of([0, 1]), "caption/1": Embedding.of([-1, 0]),
    }  # fmt: skip


@pytest.mark.parametrize("vectors", [1, 3])
def test_written_file_reads_back_with_missing_embeddings(vectors: int, tmp_path: Path) -> None:
    answers = [
        answer_of(Embedding.of(np.eye(4)[:vectors])),
        answer_of(Embedding.of([1.0, 2, 3, 4])),
        Answer(("",), None),
    ]
    rows = [Row(sample, answer, Score({})) for sample, answer in zip(SAMPLES, answers, strict=True)]
    NPZ.write(tmp_path / "x.npz", rows)
    read = NPZ.read(tmp_path / "x.npz", SAMPLES)
    assert [read[sample.id].value for sample in SAMPLES] == [answer.value for answer in answers]


def test_file_without_any_embedding_reads_back(tmp_path: Path) -> None:
    NPZ.write(tmp_path / "x.npz", [Row(sample, Answer(("",), None), Score({})) for sample in SAMPLES])
    assert {answer.value for answer in NPZ.read(tmp_path / "x.npz", SAMPLES).values()} == {None}


@pytest.mark.parametrize(("changed", "problem"), [
    ({"caption_ids": [1]}, "1 caption_ids for 2 captions"),
    ({"caption_ids": [1, 3]}, r"1 ids are not in this split \(first: caption/3\)"),
    ({"caption_ids": [1, 1]}, "are answered more than once"),
    ({"image_ids": [], "images": np.zeros((0, 2), np.float32)}, "not a list of numbers|1 ids have no answer"),
    ({"captions": np.ones((2, 3), np.float32)}, "images have 2 and captions 3 dimensions"),
    ({"captions": np.zeros((2, 2), np.float32)}, "caption/1: a vector of an embedding has length 0"),
    ({"captions": np.array([[1.0, np.inf], [1, 1]])}, "caption/1: .* not finite"),
    ({"captions": np.ones(2, np.float32)}, "captions is not of shape"),
    ({"captions": np.array([["a", "b"]] * 2)}, "captions is not of shape .* floats"),
    ({"image_ids": np.array([4.2])}, "image_ids is not a list of numbers or strings"),
])  # fmt: skip
def test_arrays_that_do_not_fit_the_samples_are_a_data_error(
    changed: dict[str, Any], problem: str, tmp_path: Path
) -> None:
    np.savez(tmp_path / "x.npz", **arrays(**changed))
    with pytest.raises(DataError, match=problem):
        NPZ.read(tmp_path / "x.npz", SAMPLES)


def test_file_that_is_no_npz_is_a_data_error(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    with pytest.raises(DataError, match=r"not an npz file that can be read: .*No such file"):
        NPZ.read(path, SAMPLES)
    path.write_bytes(b"{}")
    with pytest.raises(DataError, match="not an npz file that can be read"):
        NPZ.read(path, SAMPLES)
    np.savez(path, images=[[1.0]])
    with pytest.raises(DataError, match="have no array 'image_ids'; they need image_ids, images, caption_ids"):
        NPZ.read(path, SAMPLES)


def test_pickled_objects_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", **arrays(image_ids=np.array([object()])))
    with pytest.raises(DataError, match=r"not an npz file that can be read: .*[Pp]ickle"):
        NPZ.read(tmp_path / "x.npz", SAMPLES)


def test_file_that_unpacks_to_more_than_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embeddings, "MOST", 1 << 10)
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", bytes(1 << 16))
    with pytest.raises(DataError, match="65,536 bytes when unpacked; at most 1,024"):
        NPZ.read(tmp_path / "x.npz", SAMPLES)
