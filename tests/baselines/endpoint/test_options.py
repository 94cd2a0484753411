"""The options of an endpoint: from TOML, from the command line, and what is refused before anything is sent."""

from __future__ import annotations

from pathlib import Path

import pytest

from baselines.endpoint.options import Options, address, extra_of, key_of, kinds_of, refuse, resolved
from baselines.entry import Setting
from harness.errors import UsageError

URL = "http://127.0.0.1:1/v1"


def options(**changes: object) -> Options:
    return Options(**{"base_url": URL, "served": "m", **changes})  # type: ignore[arg-type]


def test_file_gives_what_the_command_line_leaves_at_its_default(tmp_path: Path) -> None:
    path = tmp_path / "server.toml"
    path.write_text(
        f'base_url = "{URL}"\nserved = "m"\nprompts = "qwen3-vl"\nretries = 2\nlogprobs = true\ntimeout = 7\n'
        "[extra]\ntop_k = 1\n"
    )
    chosen = resolved(Options(endpoint=str(path), served="other"))
    assert (chosen.base_url, chosen.served, chosen.prompts) == (URL, "other", "qwen3-vl")
    assert (chosen.retries, chosen.logprobs, chosen.timeout, extra_of(chosen)) == (2, True, 7.0, {"top_k": 1})
    refuse(Setting(), Options(endpoint=str(path)))
    assert "refer" in kinds_of(Options(endpoint=str(path)))


def test_table_of_a_file_is_found_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "table.toml").write_text('[vqa]\nask = "{}"\nread = "text"\n')
    (tmp_path / "server.toml").write_text(f'base_url = "{URL}"\nserved = "m"\nprompts = "table.toml"\n')
    assert kinds_of(Options(endpoint=str(tmp_path / "server.toml"))) == {"vqa"}


@pytest.mark.parametrize(("content", "message"), [
    ("served = 1", "Expected `str | null`"),
    ("colour = 1", "unknown key 'colour'; known: base_url"),
    ('api_key = "sk-1"', "unknown key 'api_key'; the API key comes from the environment only"),
    ("served = ", "is not as expected"),
    ("endpoint = 'x.toml'", "unknown key 'endpoint'"),
])  # fmt: skip
def test_malformed_file_is_a_usage_error(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "server.toml"
    path.write_text(content)
    with pytest.raises(UsageError) as raised:
        resolved(Options(endpoint=str(path)))
    assert message in str(raised.value) and "sk-1" not in str(raised.value)


def test_missing_file_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        resolved(Options(endpoint=str(tmp_path / "none.toml")))


@pytest.mark.parametrize(("changes", "message"), [
    ({"base_url": None}, "needs --base-url"),
    ({"served": None}, "needs --base-url"),
    ({"base_url": "127.0.0.1:8000"}, "is no address of the form"),
    ({"base_url": "ftp://x/v1"}, "is no address of the form"),
    ({"base_url": "http://"}, "is no address of the form"),
    ({"base_url": "http://x:99999/v1"}, "is no address of the form"),
    ({"base_url": "http://x/v1\n"}, "is no address of the form"),
    ({"base_url": "http://user:secret@x/v1"}, "would be in records"),
    ({"base_url": "http://x/v1?key=secret"}, "would be in records"),
    ({"base_url": "http://x/v1/chat/completions"}, "without /chat/completions"),
    ({"space": "percent"}, "--space percent"),
    ({"prompts": "nothing"}, "--prompts nothing"),
    ({"extra": "{"}, "--extra is not JSON"),
    ({"extra": "[1]"}, "--extra is no JSON object"),
    ({"extra": '{"stream": true}'}, "--extra sets 'stream'"),
    ({"concurrency": 0}, "--concurrency 0: at least 1"),
    ({"concurrency": 5000}, "--concurrency 5000: at most 1024"),
    ({"timeout": 0.0}, "--timeout 0.0"),
    ({"timeout": float("inf")}, "--timeout inf"),
    ({"retries": -1}, "--retries -1"),
    ({"temperature": -1.0}, "--temperature -1.0"),
    ({"max_new_tokens": 0}, "--max-new-tokens 0"),
])  # fmt: skip
def test_option_that_cannot_work_is_refused_before_anything_is_sent(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError) as raised:
        refuse(Setting(), options(**changes))
    assert message in str(raised.value) and "secret" not in str(raised.value)


def test_address_loses_the_slash_at_its_end() -> None:
    assert address("https://host/v1/") == "https://host/v1"


@pytest.mark.parametrize("key", ["schlüssel", "a\nb", "a b", "a\x7fb"])
def test_key_that_no_header_can_hold_is_refused_without_showing_it(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", key)
    with pytest.raises(UsageError, match="the key in MY_KEY has characters") as raised:
        refuse(Setting(), options(key_variable="MY_KEY"))
    assert key not in str(raised.value)


def test_key_is_of_the_named_variable_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    monkeypatch.setenv("OTHER", " sk-2\n")
    assert [key_of(options(key_variable=name)) for name in ("OPENAI_API_KEY", "OTHER", "", "NOT_SET")] == [
        "sk-1", "sk-2", "", "",
    ]  # fmt: skip
