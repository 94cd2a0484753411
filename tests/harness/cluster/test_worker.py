"""What runs on a worker, here in this process."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import __version__, images
from harness.cluster.worker import Lacking, Worker
from harness.core import Answer, Failure, Question, Text, Ticket
from harness.errors import DataError, ModelError
from tests.packed import write_images


class Hungry:
    """A model whose memory is enough for `room` questions at once; `batches` are the sizes that it answered."""

    fingerprint = "hungry"

    def __init__(self, room: int, root: Path = Path()) -> None:
        self.room, self.root = room, root
        self.batches: list[int] = []
        self.provenance: dict[str, Any] = {"device": "toy", "batch size": 16}

    def answer(self, questions: Iterable[tuple[Ticket, Question]]) -> Iterator[tuple[Ticket, Answer | Failure]]:
        asked = list(questions)
        if len(asked) > self.room:
            raise MemoryError
        self.batches.append(len(asked))
        for ticket, question in asked:
            size = images.size_of(self.root, question.image_name) if self.root != Path() else (0, 0)
            yield ticket, Answer((str(size),), Text((str(size),)))


def asked(count: int) -> list[tuple[Ticket, Question]]:
    return [(ticket, Question(f"{ticket}.jpg", None, "caption")) for ticket in range(count)]


def test_chunk_too_large_for_memory_is_halved_on_this_worker_from_then_on() -> None:
    """Room for 3: 10 fail, 5 fail, 3 fit."""
    model = Hungry(3)
    worker = Worker(lambda root: model)
    assert [ticket for ticket, _ in worker.answer(asked(10), {})] == list(range(10))
    assert model.batches == [3, 3, 3, 1]
    assert [ticket for ticket, _ in worker.answer(asked(4), {})] == list(range(4))
    assert model.batches[4:] == [3, 1]


def test_question_too_large_for_memory_alone_is_raised() -> None:
    with pytest.raises(MemoryError):
        Worker(lambda root: Hungry(0)).answer(asked(2), {})


def test_facts_name_versions_fingerprint_device_and_batch_size() -> None:
    facts = Worker(lambda root: Hungry(1)).ready()
    assert (facts.device, facts.batch_size) == ("toy", 16)
    assert facts.must_agree["fingerprint"] == "hungry"
    assert facts.must_agree["harness"] == __version__
    assert set(facts.must_agree) == {"harness", "torch", "transformers", "fingerprint"}


def test_shipped_images_are_read_from_the_workers_folder_and_removed(tmp_path: Path) -> None:
    write_images(tmp_path)
    [name, *_] = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.jpg"))
    roots: list[Path] = []

    def factory(root: Path | None) -> Hungry:
        assert root is not None
        roots.append(root)
        return Hungry(1, root)

    worker = Worker(factory, ships_images=True)
    question = Question(name, None, "caption")
    [(_, answer)] = worker.answer([(0, question)], {name: (tmp_path / name).read_bytes()})
    assert isinstance(answer, Answer)
    assert answer.raw == (str(images.size_of(tmp_path, name)),)
    assert not [path for path in roots[0].rglob("*") if path.is_file()]
    worker.close()
    assert not roots[0].exists()


def test_image_with_the_right_hash_is_read_on_this_machine_and_others_are_lacking(tmp_path: Path) -> None:
    """One is equal, one has other bytes, one is missing; a process started in between copies the equal one again."""
    write_images(tmp_path / "driver")
    names = sorted(str(path.relative_to(tmp_path / "driver")) for path in (tmp_path / "driver").rglob("*.jpg"))[:3]
    data = {name: (tmp_path / "driver" / name).read_bytes() for name in names}
    same, other, missing = names
    for name, content in ((same, data[same]), (other, data[other] + b"\0")):
        (tmp_path / "node" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "node" / name).write_bytes(content)
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in data.items()}
    asked_about = [(ticket, Question(name, None, "caption")) for ticket, name in enumerate(names)]
    right = [str(images.size_of(tmp_path / "driver", name)) for name in names]

    def start() -> Worker:
        return Worker(lambda root: Hungry(9, root or Path()), ships_images=True, own=lambda: tmp_path / "node")

    first, second = start(), start()
    lacking = first.lacking(hashes)
    assert lacking == Lacking((other, missing), {same: hashes[same]})
    for worker in (first, second):
        replies = worker.answer(asked_about, {name: data[name] for name in lacking.names}, lacking.own)
        assert [answer.raw[0] for _, answer in replies if isinstance(answer, Answer)] == right
    (tmp_path / "node" / same).unlink()
    with pytest.raises(ModelError, match=rf"{re.escape(same)} was on .*, and is not any more"):
        second.answer(asked_about, {}, lacking.own)
    assert start().lacking(hashes).names == (same, other, missing)
    for worker in (first, second):
        worker.close()


def test_worker_without_a_data_root_lacks_every_image() -> None:
    def no_root() -> Path:
        raise DataError("no data here")

    for own in (None, no_root):
        worker = Worker(lambda root: Hungry(1), ships_images=True, own=own)
        assert worker.lacking({"a.jpg": "0"}) == Lacking(("a.jpg",), {})
        worker.close()


@pytest.mark.parametrize("name", ["../outside.jpg", "/outside.jpg"])
def test_shipped_image_outside_the_folder_is_refused(name: str) -> None:
    worker = Worker(lambda root: Hungry(1), ships_images=True)
    with pytest.raises(images.MissingImage):
        worker.answer(asked(1), {name: b"x"})
    worker.close()
