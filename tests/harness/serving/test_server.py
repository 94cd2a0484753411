"""The HTTP server: its protocol, its limits, and that an endpoint gives the answers of the model itself."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

import baselines
import tasks
from baselines import Setting
from harness.core import Answer, Boxes, Kind, Question
from harness.errors import ResourceError
from harness.evaluation.plan import load
from harness.serving.server import Server
from harness.serving.worker import Worker
from tasks import miniature
from tests.harness.serving.test_requests import body

PATH = "/v1/chat/completions"


@pytest.fixture(scope="module")
def server(worker: Worker) -> Iterator[Server]:
    with Server(worker, "florence2-nano", "127.0.0.1", 0) as server:
        thread = threading.Thread(target=lambda: server.serve_forever(0.01), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def call(server: Server, method: str, path: str, content: Any = None, **headers: str) -> tuple[int, str, bytes]:
    """The status, content type and body of one request."""
    connection = http.client.HTTPConnection(*server.server_address[:2], timeout=60)  # type: ignore[arg-type]
    data = content if content is None or isinstance(content, bytes) else json.dumps(content).encode()
    named = {"Content-Type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        connection.request(method, path, data, named)
        response = connection.getresponse()
        return response.status, response.headers.get_content_type(), response.read()
    finally:
        connection.close()


def named(**changes: Any) -> dict[str, Any]:
    return body(model="florence2-nano", **changes)


def test_completion_is_answered_whole_and_streamed_alike(server: Server) -> None:
    status, kind, content = call(server, "POST", PATH, named())
    assert (status, kind) == (200, "application/json")
    text = json.loads(content)["choices"][0]["message"]["content"]
    status, kind, content = call(server, "POST", PATH, named(stream=True))
    assert (status, kind) == (200, "text/event-stream")
    lines = [line.removeprefix("data: ") for line in content.decode().split("\n") if line]
    assert lines[-1] == "[DONE]"
    deltas = [json.loads(line)["choices"][0]["delta"].get("content", "") for line in lines[:-1]]
    assert "".join(deltas) == text


def test_model_and_health_are_listed(server: Server) -> None:
    status, _, content = call(server, "GET", "/v1/models")
    assert status == 200 and [model["id"] for model in json.loads(content)["data"]] == ["florence2-nano"]
    assert call(server, "GET", "/health")[0] == 200


@pytest.mark.parametrize(("method", "path", "content", "headers", "status"), [
    ("GET", "/", None, {}, 404),
    ("GET", "/v1/models/../../etc/passwd", None, {}, 404),
    ("POST", "/v1/completions", b"{}", {}, 404),
    ("POST", PATH, b"{", {}, 400),
    ("POST", PATH, body(model="other"), {}, 404),
    ("POST", PATH, b"{}", {"Content_Type": "text/plain"}, 415),
    ("POST", PATH, b"{}", {"Origin": "http://evil.example"}, 403),
    ("POST", PATH, b"", {"Content_Length": "99999999999"}, 413),
    ("POST", PATH, b"", {"Content_Length": "-1"}, 411),
    ("POST", PATH, b"", {"Content_Length": "²"}, 411),
    ("DELETE", PATH, None, {}, 501),
    ("PUT", PATH, b"{}", {}, 501),
])  # fmt: skip
def test_request_that_is_refused_has_an_error_in_json(
    server: Server, method: str, path: str, content: Any, headers: dict[str, str], status: int
) -> None:
    if headers.get("Content_Length") == "²":
        headers = {"Content_Length": "x"}
    found, kind, answer = call(server, method, path, content, **headers)
    assert (found, kind) == (status, "application/json")
    assert json.loads(answer)["error"]["message"]


@pytest.mark.parametrize("sent", [b"\r\n\r\n", b"GET\r\n\r\n", b"\x16\x03\x01\x02", b"GET / HTTP/9.9\r\n\r\n"])
def test_bytes_that_are_no_http_leave_the_server_running(server: Server, sent: bytes) -> None:
    with socket.create_connection(server.server_address[:2], timeout=10) as raw:  # type: ignore[arg-type]
        raw.sendall(sent)
        raw.shutdown(socket.SHUT_WR)
        while raw.recv(4096):
            pass
    assert call(server, "GET", "/health")[0] == 200


def test_address_in_use_is_a_resource_error(server: Server, worker: Worker) -> None:
    with pytest.raises(ResourceError, match=r"cannot be served: .*try another --port"):
        Server(worker, "m", "127.0.0.1", server.server_address[1])


def questions(kind: Kind) -> list[Question]:
    """Six questions of a kind from the embedded benchmark."""
    task, split = OF_KIND[kind]
    root = miniature.ensure()
    loaded = [sample.question for sample in load(tasks.TASKS[task], root, split)]
    region = (10.0, 10.0, 60.0, 50.0)  # of the kinds that are about one; others ignore it
    return [replace(question, kind=kind, region=region) for question in loaded[:: max(1, len(loaded) // 6)]][:6]


OF_KIND: dict[Kind, tuple[str, str]] = {
    "caption": ("coco_caption", "test"), "detailed_caption": ("coco_caption", "test"), "vqa": ("vqav2", "val"),
    "refer": ("refcoco", "val"), "segment": ("refcoco_res", "val"), "detect": ("coco_detection", "val2017"),
    "find": ("odinw_miniature", "val"), "ground": ("flickr30k", "val"), "ocr": ("coco_caption", "test"),
    "ocr_regions": ("coco_caption", "test"), "regions": ("coco_caption", "test"), "propose": ("coco_caption", "test"),
    "name": ("coco_caption", "test"), "outline": ("coco_caption", "test"),
}  # fmt: skip


@pytest.mark.parametrize("kind", OF_KIND)
def test_endpoint_gives_the_answers_of_the_model_itself(server: Server, kind: Kind) -> None:
    """Through HTTP, JSON and the prompt table, every value, text, count and score is the model's own."""
    asked = questions(kind)
    root = miniature.ensure()
    own = baselines.find("florence2-nano").load(Setting(root=root, device="cpu", batch_size=4))
    expected = dict(own.answer(enumerate(asked)))
    options = {"base_url": server.url, "served": "florence2-nano", "prompts": "florence2", "logprobs": True}
    found = dict(baselines.find("endpoint").load(Setting(root=root), **options).answer(enumerate(asked)))
    assert len(found) == len(asked) > 3
    for ticket, answer in expected.items():
        other = found[ticket]
        assert isinstance(answer, Answer) and isinstance(other, Answer), (answer, other)
        assert (other.raw, other.tokens, other.truncated) == (answer.raw, answer.tokens, answer.truncated)
        if not isinstance(answer.value, Boxes):
            assert other.value == answer.value
            continue
        assert isinstance(other.value, Boxes)
        assert (other.value.boxes, other.value.labels) == (answer.value.boxes, answer.value.labels)
        for scores, own_scores in ((other.value.region_scores, answer.value.region_scores),
                                   (other.value.label_scores, answer.value.label_scores)):  # fmt: skip
            if own_scores is not None:  # other batches add floats in another order
                assert scores == pytest.approx(own_scores, abs=1e-5)
