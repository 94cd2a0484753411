"""One request against a server that behaves well, slowly, wrongly, cut off, rate-limited, hostile, or is down."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator

import pytest

from baselines.endpoint.client import MOST_BYTES, Client, Unanswered
from baselines.endpoint.pace import Pace
from harness.errors import HarnessError, ResourceError, UsageError
from tests.loopback import Asked, Loopback, serving

KEY = "sk-very-secret"


_clients: list[Client] = []


@pytest.fixture(autouse=True)
def closed_clients() -> Iterator[None]:
    """Closes the clients of a test."""
    yield
    while _clients:
        _clients.pop().close()


def client(url: str, *, key: str = KEY, timeout: float = 5, retries: int = 2) -> Client:
    _clients.append(Client(url, key, timeout=timeout, retries=retries, pace=Pace(4), first_wait=0.001))
    return _clients[-1]


def first_then_well(first: Callable[[Asked], None]) -> Callable[[Asked, int], None]:
    """A server whose first response is `first`, and which then behaves well."""
    return lambda asked, number: first(asked) if number == 0 else asked.reply("a cat")


def test_request_carries_key_and_body_and_gives_the_reply() -> None:
    with serving(lambda asked, number: asked.reply("a cat")) as server:
        reply = client(server.url).complete({"model": "m"})
    assert (reply.text, reply.generated) == ("a cat", 3)
    [asked] = server.asked
    assert (asked.path, asked.body) == ("/v1/chat/completions", {"model": "m"})
    assert asked.headers["Authorization"] == f"Bearer {KEY}"


def test_server_of_this_machine_is_reached_without_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with serving(lambda asked, number: asked.reply("a cat")) as server:
        assert client(server.url).complete({}).text == "a cat"


def test_no_header_is_sent_without_a_key() -> None:
    with serving(lambda asked, number: asked.reply("a cat")) as server:
        client(server.url, key="").complete({})
    assert "Authorization" not in server.asked[0].headers


@pytest.mark.parametrize("first", [
    lambda asked: asked.send(b"<html>Bad gateway</html>"),
    lambda asked: asked.send(b'{"choices": [{"mess'),
    lambda asked: asked.send(b'{"choices": []}'),
    lambda asked: asked.send(b"{}"),
    lambda asked: asked.send(b'{"choices"', length=5000) or asked.handler.connection.shutdown(socket.SHUT_RDWR),
    lambda asked: asked.handler.connection.shutdown(socket.SHUT_RDWR),
    lambda asked: asked.handler.wfile.write(b"not even HTTP\r\n\r\n") and asked.handler.connection.close(),
    lambda asked: asked.send(b"", 503),
    lambda asked: asked.send(b"<html></html>", 502),
    lambda asked: asked.send(b"", 429, Retry_After="0"),
    lambda asked: asked.send(b"", 429, Retry_After="nonsense"),
    lambda asked: asked.send(b"{}", Content_Encoding="gzip"),
    lambda asked: asked.send(b" " * (MOST_BYTES + 1)),
], ids=[
    "html", "bad json", "no choices", "empty object", "cut off", "closed", "no http", "503", "502", "429", "429 odd",
    "compressed", "huge",
])  # fmt: skip
def test_passing_fault_is_tried_again(first: Callable[[Asked], None]) -> None:
    with serving(first_then_well(first)) as server:
        asking = client(server.url)
        assert asking.complete({}).text == "a cat"
    assert (len(server.asked), asking.retried) == (2, 1)


@pytest.mark.parametrize(("respond", "reason"), [
    (lambda asked, number: asked.send(b"<html>Hello</html>"), "is not JSON; it begins with '<html>Hello</html>'"),
    (lambda asked, number: asked.send(b'{"error": {"message": "busy"}}', 503), "status 503: busy"),
    (lambda asked, number: asked.send(b"{}"), "has no choices"),
])  # fmt: skip
def test_lasting_fault_says_its_reason_after_all_tries(respond: Callable[[Asked, int], None], reason: str) -> None:
    with serving(respond) as server, pytest.raises(Unanswered) as raised:
        client(server.url).complete({})
    assert reason in str(raised.value) and "(3 tries)" in str(raised.value) and raised.value.lasting
    assert len(server.asked) == 3


def test_request_that_the_server_finds_wrong_is_not_tried_again() -> None:
    said = b'{"error": {"message": "image too large"}}'
    with (
        serving(lambda asked, number: asked.send(said, 400)) as server,
        pytest.raises(Unanswered, match="status 400: image too large") as raised,
    ):
        client(server.url).complete({})
    assert len(server.asked) == 1 and not raised.value.lasting


def test_retry_after_is_waited_for_and_halves_the_pace() -> None:
    with serving(first_then_well(lambda asked: asked.send(b"", 429, Retry_After="1"))) as server:
        asking, start = client(server.url), time.monotonic()
        assert asking.complete({}).text == "a cat"
        assert time.monotonic() - start >= 1
    assert asking.pace.overloads == 1 and asking.pace.room == 2


def test_slow_server_is_given_up_after_the_timeout() -> None:
    with serving(first_then_well(lambda asked: time.sleep(1.5))) as server:
        asking, start = client(server.url, timeout=0.3), time.monotonic()
        assert asking.complete({}).text == "a cat"
        assert time.monotonic() - start < 1.4
    assert asking.pace.overloads == 1


def trickle(asked: Asked) -> None:
    """An endless response, of which a byte comes before each read times out."""
    asked.send(b"", length=1 << 40)
    for _ in range(200):
        asked.handler.wfile.write(b" ")
        time.sleep(0.05)


def test_endless_trickle_ends_at_the_timeout() -> None:
    with serving(first_then_well(trickle)) as server:
        start = time.monotonic()
        assert client(server.url, timeout=0.4).complete({}).text == "a cat"
        assert time.monotonic() - start < 4


def flood(asked: Asked) -> None:
    """An endless response, as fast as it goes."""
    asked.send(b"", length=1 << 40)
    for _ in range(2000):
        asked.handler.wfile.write(b"x" * 65536)


def test_endless_flood_ends_at_the_limit_of_bytes() -> None:
    with serving(first_then_well(flood)) as server:
        assert client(server.url).complete({}).text == "a cat"


def test_server_that_is_down_is_named() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}/v1"
        with pytest.raises(ResourceError, match=r"cannot be reached .*3 tries.*is the server running\?"):
            client(url).complete({})
    with pytest.raises(ResourceError, match="cannot be reached"):
        client("http://host.invalid/v1", retries=0).complete({})


@pytest.mark.parametrize(("status", "kind", "message"), [
    (401, ResourceError, "refuses the key (status 401: bad key ***)"),
    (403, ResourceError, "refuses the key (status 403: bad key ***)"),
    (404, UsageError, "does not know the address or the model --served (status 404: bad key ***)"),
])  # fmt: skip
def test_status_that_no_other_request_can_pass_stops_at_once_and_hides_the_key(
    status: int, kind: type[HarnessError], message: str
) -> None:
    said = json.dumps({"error": {"message": f"bad key {KEY}"}}).encode()
    with serving(lambda asked, number: asked.send(said, status)) as server, pytest.raises(kind) as raised:
        client(server.url).complete({})
    assert message in str(raised.value) and KEY not in str(raised.value)
    assert len(server.asked) == 1


def test_status_401_without_a_key_says_how_to_give_one() -> None:
    with (
        serving(lambda asked, number: asked.send(b"", 401)) as server,
        pytest.raises(ResourceError, match="no key was sent: set the environment variable"),
    ):
        client(server.url, key="").complete({})


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_is_not_followed_so_another_host_gets_no_key(status: int) -> None:
    with serving(lambda asked, number: asked.reply("stolen")) as other:

        def respond(asked: Asked, number: int) -> None:
            asked.send(b"", status, Location=f"{other.url}/chat/completions")

        with serving(respond) as server, pytest.raises(UsageError, match=f"redirects to {other.url}"):
            client(server.url).complete({})
    assert not other.asked


@pytest.mark.parametrize("respond", [
    lambda asked, number: asked.send(f"<html>{asked.headers['Authorization']}</html>".encode()),
    lambda asked, number: asked.send(asked.headers["Authorization"].encode(), 500),
    lambda asked, number: asked.send(asked.headers["Authorization"].encode(), 400),
    lambda asked, number: asked.send(b"", 302, Location=f"http://x/{KEY}"),
    lambda asked, number: asked.handler.wfile.write(f"{KEY}\r\n\r\n".encode()) and asked.handler.connection.close(),
], ids=["html", "500", "400", "location", "no http"])  # fmt: skip
def test_key_that_the_server_repeats_is_in_no_error(respond: Callable[[Asked, int], None]) -> None:
    with serving(respond) as server, pytest.raises((HarnessError, Unanswered)) as raised:
        client(server.url, retries=0).complete({})
    error: BaseException | None = raised.value
    while error is not None:
        assert KEY not in f"{error!r} {error}"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def test_key_that_the_server_repeats_is_in_no_answer_and_in_no_repr() -> None:
    with serving(lambda asked, number: asked.reply(f"I saw {KEY}", refusal=KEY)) as server:
        asking = client(server.url)
        reply = asking.complete({})
    assert (reply.text, reply.refusal) == ("I saw ***", "***")
    assert KEY not in f"{asking!r} {vars(asking)['_http']!r}"


def test_message_of_a_server_is_short_and_printable() -> None:
    said = b"\x1b[31m" + b"x" * 5000
    with serving(lambda asked, number: asked.send(said, 400)) as server, pytest.raises(Unanswered) as raised:
        client(server.url).complete({})
    assert str(raised.value).isprintable() and len(str(raised.value)) < 400


def test_streamed_reply_times_its_first_text() -> None:
    def respond(asked: Asked, number: int) -> None:
        assert asked.body["stream"] is True
        events = b'data: {"choices": [{"delta": {"content": "a "}, "finish_reason": null}]}\n\n'
        rest = b'data: {"choices": [{"delta": {"content": "cat"}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
        asked.send(events, length=len(events + rest))
        asked.handler.wfile.flush()
        time.sleep(0.3)
        asked.handler.wfile.write(rest)

    with serving(respond) as server:
        reply = client(server.url).complete({}, stream=True)
    assert reply.text == "a cat" and reply.first < 0.25 and reply.seconds >= 0.3


def test_closed_client_gives_up_waiting() -> None:
    def respond(asked: Asked, number: int) -> None:
        asking.stop.set()
        asked.send(b"", 503, Retry_After="60")

    with serving(respond) as server:
        asking, start = client(server.url), time.monotonic()
        with pytest.raises(Unanswered, match="interrupted"):
            asking.complete({})
        assert time.monotonic() - start < 5
    assert isinstance(server, Loopback) and len(server.asked) == 1
