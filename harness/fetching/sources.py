"""The table of sources: which address has which paths below a data root (format: `tasks/sources.toml`)."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from harness.errors import DataError
from harness.sinks import cell

Kind = Literal["file", "zip", "tar", "images"]
Sha256 = Annotated[str, msgspec.Meta(pattern="^([0-9a-f]{64})?$")]


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One file, archive or folder of images that addresses give; see the head of the table for the fields."""

    name: str
    kind: Kind
    urls: tuple[str, ...]
    licence: str
    tried: bool
    path: str = ""
    members: Mapping[str, str] = {}
    bytes: int | None = None
    count: int | None = None
    sha256: Sha256 = ""
    by_hand: str = ""
    place: str = ""

    @property
    def is_archive(self) -> bool:
        return self.kind in ("zip", "tar")

    def target(self, member: str) -> str:
        """The path below the root to which a member of the archive belongs; "" for none."""
        folder, _, base = member.rpartition("/")
        if "__MACOSX" in folder.split("/") or base.startswith("._") or not base:  # macOS's copies of attributes
            return ""
        for pattern, path in self.members.items():
            if pattern.endswith("/**"):
                if member.startswith(pattern[:-2]):
                    return path + member.removeprefix(pattern[:-2])
            elif pattern.startswith("**/"):
                if fnmatchcase(base, pattern[3:]):
                    return path + base if path.endswith("/") else path
            elif member == pattern:
                return path
        return ""

    def covers(self, path: str) -> bool:
        """Whether the source has a file or folder below the root, or a part of the folder."""
        targets = self.members.values() if self.is_archive else (self.path,)
        return any(
            path == target.rstrip("/") or (target.endswith("/") and f"{path}/".startswith(target)) for target in targets
        )


class _Table(msgspec.Struct, forbid_unknown_fields=True):
    source: list[dict[str, Any]]


def read(path: Path) -> tuple[Source, ...]:
    """The sources of a table in its order; DataError, naming the entry, where the table is malformed."""
    try:
        table = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), _Table)
    except FileNotFoundError as error:
        raise DataError(f"the table of sources {path} is not there") from error
    except (OSError, ValueError) as error:
        raise DataError(f"the table of sources {path} cannot be read: {error}") from error
    sources: dict[str, Source] = {}
    for number, entry in enumerate(table.source, start=1):
        where = f"{path}: source {number} ({entry.get('name', 'without a name')})"
        try:
            for source in _expanded(entry):
                _check(source)
                if sources.setdefault(source.name, source) is not source:
                    raise ValueError("two sources have this name")
        except ValueError as error:
            raise DataError(f"{where}: {error}") from error
    return tuple(sources.values())


def _expanded(entry: dict[str, Any]) -> Iterator[Source]:
    """The sources of an entry: one for each name of `each`."""
    rest = {key: value for key, value in entry.items() if key != "each"}
    for each in msgspec.convert(entry.get("each", [""]), list[str]):
        yield msgspec.convert(_filled(rest, each), Source, strict=True)


def _filled(value: Any, each: str) -> Any:
    if isinstance(value, str):
        return value.replace("{each}", each)
    if isinstance(value, list):
        return [_filled(part, each) for part in value]
    if isinstance(value, dict):
        return {_filled(key, each): _filled(part, each) for key, part in value.items()}
    return value


def _check(source: Source) -> None:
    """ValueError for fields that do not fit the kind, and for paths that lead out of the root."""
    if source.is_archive != bool(source.members) or source.is_archive == bool(source.path):
        raise ValueError(f"the kind {source.kind} has {'`members`' if source.is_archive else '`path`'} and not both")
    if bool(source.by_hand) != bool(source.place) or bool(source.by_hand) == bool(source.urls):
        raise ValueError("a source has `urls`, or `by_hand` with `place`")
    if source.by_hand and not source.is_archive:
        raise ValueError("`by_hand` is of an archive")
    if source.kind == "images" and not all("{name}" in url for url in source.urls):
        raise ValueError("an address of single images has {name}")
    for url in source.urls:
        if not url.startswith(("https://", "http://")):
            raise ValueError(f"{url!r} is not an address of http or https")
    for path in (source.path, source.place, *source.members.values()):
        if path.startswith("/") or ".." in path.split("/") or "\\" in path:
            raise ValueError(f"the path {path!r} leads out of the root")


def markdown(sources: Sequence[Source]) -> str:
    """The table as Markdown: paths, first address and number of the others, size, licence, sum, whether tried."""
    lines = ["| below ROOT | from | size | licence | sha256 | tried |", "|---|---|--:|---|---|---|"]
    for source in sources:
        paths = source.members.values() if source.is_archive else (source.path,)
        if source.by_hand:
            origin = f"{cell(source.by_hand)} as `ROOT/{source.place}`"
        else:
            origin = f"<{source.urls[0].replace(' ', '%20')}>"
            origin += f" and {len(source.urls) - 1} more" if source.urls[1:] else ""
        cells = (
            ", ".join(f"`{path}`" for path in paths),
            origin,
            size(source.bytes),
            cell(source.licence),
            "pinned" if source.sha256 else "none" if source.kind == "images" or source.by_hand else "first fetch",
            "yes" if source.tried else "no",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def size(count: int | None) -> str:
    """A number of bytes in the largest unit, such as "13.5 GB"; "?" for None."""
    if count is None:
        return "?"
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= factor:
            return f"{count / factor:,.1f} {unit}"
    return f"{count} B"
