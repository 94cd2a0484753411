"""The options of the model `endpoint`, from the command line and from a TOML file, and their checks."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from baselines.endpoint import prompts, spaces
from baselines.entry import Setting
from harness.core import Kind
from harness.errors import UsageError

MOST_BYTES = 1 << 20  # in a TOML file
RESERVED = ("model", "messages", "stream", "n", "stream_options")  # fields of a request that --extra cannot set


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of an endpoint."""

    base_url: str | None = None
    "Address of an OpenAI-compatible server, such as http://127.0.0.1:8000/v1"
    served: str | None = None
    "Name of the model on the server"
    prompts: str = "plain"
    "Prompt table: plain, qwen2.5-vl, qwen3-vl, internvl3, florence2, or a TOML file (docs/endpoint.md)"
    space: str | None = None
    "Coordinates that the model writes: pixels, thousand, unit or none [default: the table's]"
    endpoint: str | None = None
    'TOML file with these options, for example base_url = "http://127.0.0.1:8000/v1"'
    key_variable: str = "OPENAI_API_KEY"
    "Environment variable with the API key; empty sends no key"
    temperature: float = 0.0
    "Sampling temperature; 0 is the most probable token"
    sampling_seed: int = 0
    "Seed that is sent with each request"
    max_new_tokens: int | None = None
    "Longest answer in tokens; a longer answer is cut and counts as truncated [default: the table's for each kind]"
    logprobs: bool = False
    "Log-probabilities of tokens, where the server offers them; boxes then have scores"
    extra: str = ""
    "More fields of each request as JSON, such as '{\"top_k\": 1}'; null removes a field"
    concurrency: int = 32
    "Largest number of requests under way, unless --batch-size is given; fewer while the server is overloaded"
    timeout: float = 120.0
    "Longest time of one try in seconds"
    retries: int = 5
    "Further tries of a request that failed for a passing reason"


def resolved(options: Options) -> Options:
    """The options with those of their TOML file, which count where the command line leaves the default.

    UsageError for a file that cannot be read, and for an unknown key.
    """
    if options.endpoint is None:
        return options
    path = Path(options.endpoint).expanduser()
    known = {field.name: field for field in fields(Options) if field.name != "endpoint"}
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UsageError(f"--endpoint {path} has more than {MOST_BYTES:,} bytes")
        content = msgspec.toml.decode(path.read_bytes(), type=dict[str, Any])
        for name in content:
            if name not in known:
                key = "; the API key comes from the environment only" if "key" in name or "token" in name else ""
                raise UsageError(f"--endpoint {path} has the unknown key {name!r}{key}; known: {', '.join(known)}")
        if isinstance(content.get("extra"), dict):
            content["extra"] = json.dumps(content["extra"])
        stated = msgspec.convert(content, Options)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"--endpoint {path} is not as expected: {error}") from error
    except OSError as error:
        raise UsageError(f"--endpoint {path} cannot be read: {error.strerror}") from error
    changed = {name: getattr(stated, name) for name in content if getattr(options, name) == known[name].default}
    if "prompts" in changed and not Path(changed["prompts"]).is_absolute() and changed["prompts"] not in prompts.TABLES:
        changed["prompts"] = str(path.parent / changed["prompts"])  # a table beside the file
    return replace(options, **changed)


def refuse(setting: Setting, options: Options) -> None:
    """UsageError for options that cannot work; nothing is sent."""
    chosen = resolved(options)
    if not chosen.base_url or not chosen.served:
        raise UsageError(
            "model endpoint needs --base-url (such as http://127.0.0.1:8000/v1) and --served, or --endpoint FILE"
        )
    address(chosen.base_url)
    table = prompts.find(chosen.prompts)
    if not table.kinds(space_of(chosen)):
        raise UsageError(f"--space {chosen.space}: the table {table.name} has no kind that needs no coordinates")
    extra_of(chosen)
    key_of(chosen)
    for name, value, least in (
        ("concurrency", chosen.concurrency, 1), ("timeout", chosen.timeout, 0.001), ("retries", chosen.retries, 0),
        ("temperature", chosen.temperature, 0), ("max-new-tokens", chosen.max_new_tokens, 1),
        ("batch-size", setting.batch_size, 1),
    ):  # fmt: skip
        if value is not None and not least <= value < float("inf"):
            raise UsageError(f"--{name} {value}: at least {least}")
    for name, most in (("concurrency", chosen.concurrency), ("batch-size", setting.batch_size or 0)):
        if most > 1024:
            raise UsageError(f"--{name} {most}: at most 1024")


def address(base_url: str) -> str:
    """The address without a slash at its end; UsageError for another form, and for one that holds a secret.

    The whole address is in records, so a password or a query (`?key=...`) in it is refused.
    """
    try:
        parts = urlsplit(base_url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        valid = False
    if not valid or not base_url.isprintable() or " " in base_url:
        raise UsageError(f"--base-url is no address of the form http://HOST:PORT/v1: {base_url.split('@')[-1]!r}")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise UsageError(
            "--base-url holds a user, a password, a query or a fragment, which would be in records; give the key in "
            "the environment variable that --key-variable names"
        )
    if parts.path.rstrip("/").endswith("/chat/completions"):
        raise UsageError(f"--base-url {base_url}: without /chat/completions at its end")
    return base_url.rstrip("/")


def is_local(base_url: str) -> bool:
    """Whether an address is of this machine."""
    host = urlsplit(base_url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")


def key_of(options: Options) -> str:
    """The API key from the environment; "" where there is none.  UsageError for one that no header can hold."""
    key = os.environ.get(options.key_variable, "").strip() if options.key_variable else ""
    if key and not (key.isascii() and key.isprintable() and " " not in key):
        raise UsageError(f"the key in {options.key_variable} has characters that no header can hold; set it again")
    return key


def space_of(options: Options) -> spaces.Space:
    """The chosen space, or the table's; UsageError for an unknown one."""
    table = prompts.find(options.prompts)
    return table.space if options.space is None else spaces.space(options.space, table.space.resize)


def kinds_of(options: Options) -> frozenset[Kind]:
    """The kinds of question that the table of these options asks, in the chosen space."""
    chosen = resolved(options)
    return prompts.find(chosen.prompts).kinds(space_of(chosen))


def extra_of(options: Options) -> dict[str, Any]:
    """The fields of `--extra`; UsageError if it is no JSON object, or sets a field that the harness sets."""
    try:
        extra = json.loads(options.extra or "{}")
    except (ValueError, RecursionError) as error:
        raise UsageError(f"--extra is not JSON: {error}") from error
    if not isinstance(extra, dict):
        raise UsageError("--extra is no JSON object, such as '{\"top_k\": 1}'")
    for name in RESERVED:
        if name in extra:
            raise UsageError(f"--extra sets {name!r}, which the harness sets itself")
    return extra
