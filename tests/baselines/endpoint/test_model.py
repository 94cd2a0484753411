"""The endpoint as a Model: questions to answers, failures, resumption, and what its record says."""

from __future__ import annotations

import base64
import json
import logging
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from baselines.endpoint.model import HOPELESS, Endpoint
from baselines.endpoint.options import Options
from baselines.entry import Setting
from harness.core import Answer, Boxes, Failure, Kind, Question, Size, Text
from harness.errors import HarnessError, ResourceError
from tests.harness.cli.calling import Outcome
from tests.loopback import Asked, serving

KEY = "sk-very-secret"
SIZE = Size(64, 48)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.jpg")
    return tmp_path


def endpoint(url: str, root: Path, **options: Any) -> Endpoint:
    settings = {"prompts": "qwen3-vl", "retries": 1, "timeout": 5.0, **options}
    model = Endpoint(Setting(root=root), Options(base_url=url, served="m", **settings))
    model.first_wait = 0.001
    return model


def question(text: str = "a dog", kind: Kind = "vqa", image: str = "x.jpg") -> Question:
    return Question(image, SIZE, kind, text=text)


def answers(model: Endpoint, *questions: Question) -> dict[int, Answer | Failure]:
    return dict(model.answer(enumerate(questions)))


def test_request_has_the_file_s_bytes_prompt_seed_and_temperature(root: Path) -> None:
    with serving(lambda asked, number: asked.reply("yes")) as server:
        model = endpoint(server.url, root)
        [answer] = answers(model, question("Is it a dog?")).values()
    [asked] = server.asked
    assert base64.b64decode(asked.image.partition(",")[2]) == (root / "x.jpg").read_bytes()
    assert asked.prompt == "Is it a dog?\nAnswer the question using a single word or phrase."
    rest = {name: value for name, value in asked.body.items() if name != "messages"}
    assert rest == {"model": "m", "temperature": 0.0, "seed": 0, "max_tokens": 32}
    assert isinstance(answer, Answer) and answer.prompts == (asked.prompt,)
    assert (answer.raw, answer.value, answer.tokens, answer.truncated) == (("yes",), Text(("yes",)), 3, False)
    assert answer.trail is not None and answer.trail.pixels.startswith("64x48:")
    assert model.provenance["images sent"]["sizes"] == ["64x48", "64x48"]


def test_extra_fields_are_sent_and_null_removes_one(root: Path) -> None:
    with serving(lambda asked, number: asked.reply("yes")) as server:
        extra = '{"max_tokens": null, "max_completion_tokens": 9, "top_k": 1}'
        answers(endpoint(server.url, root, extra=extra, logprobs=True), question())
    body = server.asked[0].body
    assert "max_tokens" not in body
    assert (body["max_completion_tokens"], body["top_k"], body["logprobs"]) == (9, 1, True)


def test_boxes_are_in_pixels_of_the_original(root: Path) -> None:
    text = '```json\n[{"bbox_2d": [250, 500, 1000, 1000], "label": "dog"}]\n```'
    with serving(lambda asked, number: asked.reply(text)) as server:
        [answer] = answers(endpoint(server.url, root), question(kind="refer")).values()
    assert isinstance(answer, Answer) and answer.value == Boxes(((16, 24, 64, 48),), ("dog",))  # of 64 x 48 pixels


def test_length_refusal_and_empty_text_are_kept_apart(root: Path) -> None:
    def respond(asked: Asked, number: int) -> None:
        if "long" in asked.prompt:
            asked.reply("a very", "length")
        elif "refuse" in asked.prompt:
            asked.reply(None, refusal="I cannot")
        elif "filter" in asked.prompt:
            asked.reply("", "content_filter")
        else:
            asked.reply(None if "none" in asked.prompt else " ")

    with serving(respond) as server:
        model = endpoint(server.url, root)
        replies = answers(model, *map(question, ("long", "refuse", "filter", "none", "empty")))
    found = [replies[place] for place in range(5)]
    assert all(isinstance(answer, Answer) for answer in found)
    assert [answer.truncated for answer in found if isinstance(answer, Answer)] == [True] + [False] * 4
    assert [answer.raw[0] for answer in found if isinstance(answer, Answer)] == [
        "a very", "[refused: I cannot]", "[refused: content filter]", "", " ",
    ]  # fmt: skip
    assert [answer.value for answer in found if isinstance(answer, Answer)] == [Text(("a very",)), *[None] * 4]
    assert (model.provenance["refused"], model.provenance["empty"]) == (2, 2)


def test_question_that_cannot_be_asked_is_a_failure_and_others_are_answered(root: Path) -> None:
    (root / "bad.jpg").write_bytes(b"no image")
    odd = Question("x.jpg", Size(1, 1), "refer", text="dog")
    with serving(lambda asked, number: asked.reply("yes")) as server:
        replies = answers(
            endpoint(server.url, root), question(), question(image="bad.jpg"), question(image="gone.jpg"), odd,
            question(kind="segment"), question(kind="ground"),
        )  # fmt: skip
    reasons = [answer.reason if isinstance(answer, Failure) else "" for _, answer in sorted(replies.items())]
    assert reasons[0] == "" and len(server.asked) == 1
    for reason, words in zip(reasons[1:], ("bad.jpg", "is not there", "its annotation says 1x1", "asks no 'segment'",
                                           "without phrases"), strict=True):  # fmt: skip
        assert words in reason


def test_one_rejected_question_is_a_failure_with_the_server_s_words(root: Path) -> None:
    def respond(asked: Asked, number: int) -> None:
        if "bad" in asked.prompt:
            asked.send(b'{"error": {"message": "too long"}}', 400)
        else:
            asked.reply("yes")

    with serving(respond) as server:
        replies = answers(endpoint(server.url, root, concurrency=1), question(), question("bad"), question("x"))
    assert replies[1] == Failure("status 400: too long")
    assert isinstance(replies[0], Answer) and isinstance(replies[2], Answer)


@pytest.mark.parametrize(("respond", "most"), [
    (lambda asked, number: asked.send(b"<html></html>"), 14),  # 3 failures and 4 under way, with one more try each
    (lambda asked, number: asked.send(b'{"error": {"message": "bad image"}}', 400), HOPELESS + 4),
])  # fmt: skip
def test_server_that_answers_nothing_stops_the_run_early(
    root: Path, respond: Callable[[Asked, int], None], most: int
) -> None:
    with serving(respond) as server, pytest.raises(ResourceError, match="answers no request; the last failure"):
        answers(endpoint(server.url, root), *map(question, map(str, range(200))))
    assert len(server.asked) <= most


def test_server_that_dies_stops_the_run_after_the_answers_so_far(root: Path) -> None:
    """After 5 answers the port closes: the answers are yielded, then the error is raised."""
    received: list[int] = []

    def respond(asked: Asked, number: int) -> None:
        asked.reply("yes")
        asked.handler.close_connection = True

    with serving(respond) as server:
        model = endpoint(server.url, root, concurrency=1)
        stream = model.answer(enumerate(map(question, map(str, range(50)))))
        received.extend(next(stream)[0] for _ in range(5))
    with pytest.raises(HarnessError):
        received.extend(ticket for ticket, answer in stream if isinstance(answer, Answer))
    assert received[:5] == [0, 1, 2, 3, 4] and len(received) < 50


def test_first_question_that_the_server_cannot_take_does_not_stop_the_run(root: Path) -> None:
    def respond(asked: Asked, number: int) -> None:
        asked.send(b"", 500) if "bad" in asked.prompt else asked.reply("yes")

    with serving(respond) as server:
        replies = answers(endpoint(server.url, root, concurrency=1), question("bad"), question("x"), question("y"))
    assert replies[0] == Failure("status 500 (2 tries)")
    assert isinstance(replies[1], Answer) and isinstance(replies[2], Answer)


def test_seconds_of_an_answer_are_of_the_try_that_was_answered(root: Path) -> None:
    def respond(asked: Asked, number: int) -> None:
        time.sleep(0.5 if number == 0 else 0.05)
        asked.send(b"", 500) if number == 0 else asked.reply("yes")

    with serving(respond) as server:
        [answer] = answers(endpoint(server.url, root), question()).values()
    assert isinstance(answer, Answer) and 0.05 <= answer.seconds < 0.4


def test_rate_limit_lowers_the_number_of_requests_at_once(root: Path) -> None:
    """A server that takes 2 requests at once and refuses others: every question is answered in the end."""
    lock, state = threading.Lock(), {"now": 0, "refused": 0}

    def respond(asked: Asked, number: int) -> None:
        with lock:
            state["now"] += 1
            crowded = state["now"] > 2
            state["refused"] += crowded
        if not crowded:
            time.sleep(0.005)
        with lock:
            state["now"] -= 1
        if crowded:
            asked.send(b"", 429)
        else:
            asked.reply("yes")

    with serving(respond) as server:
        model = endpoint(server.url, root, concurrency=16, retries=20)
        replies = answers(model, *map(question, map(str, range(120))))
    assert all(isinstance(answer, Answer) for answer in replies.values()) and len(replies) == 120
    assert state["refused"] < 120  # without adaption, most of the first tries would be refused
    assert model.provenance["retried"] == state["refused"] == model.provenance["overloads"]


def test_questions_are_taken_from_the_stream_only_as_there_is_room(root: Path) -> None:
    taken: list[int] = []

    def stream() -> Any:
        for ticket in range(1000):
            taken.append(ticket)
            yield ticket, question()

    with serving(lambda asked, number: asked.reply("yes")) as server:
        replies = endpoint(server.url, root).answer(stream())
        next(replies)
        assert len(taken) < 16
        replies.close()  # type: ignore[attr-defined]


def test_fingerprint_names_what_decides_an_answer_and_nothing_else(root: Path, tmp_path: Path) -> None:
    base = endpoint("http://h/v1", root).fingerprint
    same = [{"timeout": 9.0}, {"concurrency": 3}, {"retries": 0}, {"key_variable": "OTHER"}]
    for options in same:
        assert endpoint("http://h/v1/", root, **options).fingerprint == base
    table = tmp_path / "t.toml"
    table.write_text('[vqa]\nask = "{}"\nread = "text"\n')
    other: list[dict[str, Any]] = [
        {"space": "unit"}, {"prompts": "plain"}, {"prompts": str(table)}, {"temperature": 0.5}, {"sampling_seed": 1},
        {"max_new_tokens": 5}, {"logprobs": True}, {"extra": '{"top_k": 1}'},
    ]  # fmt: skip
    prints = [endpoint("http://h/v1", root, **options).fingerprint for options in other]
    prints.append(endpoint("http://other/v1", root).fingerprint)
    assert len({base, *prints}) == len(prints) + 1


def test_key_over_plain_http_to_another_machine_is_said(
    root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with caplog.at_level(logging.WARNING):
        for url in ("https://h/v1", "http://127.0.0.1:1/v1", "http://localhost/v1"):
            endpoint(url, root)
        assert not caplog.records
        endpoint("http://h/v1", root)
    assert "without encryption" in caplog.text and KEY not in caplog.text


# ---------------------------------------------------------------------------- through the command line


def call(here: Any, url: str, *more: str) -> Outcome:
    outcome: Outcome = here(
        "run", "--task", "coco_caption", "--model", "endpoint", "--base-url", url, "--served", "m", "--data",
        "miniature", "--limit", "4", "--out", "results", "--json", *more,
    )  # fmt: skip
    return outcome


@pytest.fixture
def here(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    from harness.cli import main

    monkeypatch.chdir(tmp_path)

    def call_here(*arguments: str) -> Outcome:
        status = main(list(arguments))
        outcome = capsys.readouterr()
        return Outcome(status, outcome.out, outcome.err)

    return call_here


def test_run_keeps_no_key_in_any_file_and_resumes_without_a_request(
    here: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    escape = "a cat \x1b[2J on " + KEY
    with serving(lambda asked, number: asked.reply(escape)) as server:
        first = call(here, server.url)
        assert first.status == 0, first.err
        count = len(server.asked)
        again = call(here, server.url)
        assert len(server.asked) == count == 4
    assert all(asked.headers["Authorization"] == f"Bearer {KEY}" for asked in server.asked)
    record = json.loads(first.out)
    assert record["counts"]["answered"] == 4 and record["provenance"]["model"]["served"] == "m"
    assert json.loads(again.out)["id"] == record["id"]
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert KEY.encode() not in written and KEY not in first.out + first.err + again.out + again.err
    assert "\x1b[2J" not in first.out + first.err


def test_run_that_lost_its_server_is_resumed_with_the_missing_answers_only(here: Any) -> None:
    """One port: first a server that answers two questions and then refuses, then one that answers all."""
    answered: list[str] = []

    def respond(asked: Asked, number: int) -> None:
        if broken and len(answered) >= 2:
            asked.send(b'{"error": {"message": "quota"}}', 401)
        else:
            answered.append(asked.image)
            asked.reply("a cat")

    with serving(respond) as server:
        broken = True
        stopped = call(here, server.url, "--concurrency", "1")
        assert (stopped.status, len(answered)) == (6, 2)
        assert "refuses the key (status 401: quota)" in stopped.complaint
        broken = False
        done = call(here, server.url, "--concurrency", "1")
    assert done.status == 0, done.err
    assert len(answered) == len(set(answered)) == 4


def test_server_that_is_down_is_one_line(here: Any) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        outcome = call(here, f"http://127.0.0.1:{bound.getsockname()[1]}/v1", "--retries", "0")
    assert outcome.status == 6 and "is the server running?" in outcome.complaint and "Traceback" not in outcome.err


def test_task_that_the_table_does_not_ask_is_left_out_with_its_reason(here: Any) -> None:
    with serving(lambda asked, number: asked.reply("a cat")) as server:
        named = here("run", "--task", "refcoco", "--model", "endpoint", "--base-url", server.url, "--served", "m",
                     "--data", "miniature", "--limit", "1")  # fmt: skip
        assert named.status == 2 and not server.asked
        assert "answers no refer questions, only caption, ocr, vqa" in named.complaint
        both = here("run", "--task", "*coco*", "--model", "endpoint", "--base-url", server.url, "--served", "m",
                    "--data", "miniature", "--limit", "1")  # fmt: skip
    assert both.status == 0, both.err
    assert "left out: refcoco, since endpoint answers no refer questions" in both.err
