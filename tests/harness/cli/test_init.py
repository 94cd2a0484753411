"""Exit statuses and error lines of every command: one line on stderr, and no traceback."""

from __future__ import annotations

import json
import logging
import subprocess
import sys

import pytest

from harness import cli
from harness.cli import model_options
from harness.errors import (
    CheckpointError,
    DataError,
    HarnessError,
    ResourceError,
    UsageError,
)
from tests.harness.cli.calling import ROOT


@pytest.mark.parametrize(("error", "status", "line"), [
    (UsageError("no such\n  option"), UsageError.exit_status, "error: no such option"),
    (DataError("no data"), DataError.exit_status, "error: no data"),
    (CheckpointError("no weights"), CheckpointError.exit_status, "error: no weights"),
    (ResourceError("no memory"), ResourceError.exit_status, "error: no memory"),
    (OSError(28, "No space left", "/full/x"), ResourceError.exit_status, "error: /full/x: No space left"),
    (KeyboardInterrupt(), 130, "error: interrupted; finished work is kept; run the same command again to resume"),
    (KeyboardInterrupt("run X again"), 130, "error: interrupted; run X again"),
])  # fmt: skip
def test_error_of_a_command_is_one_line_and_its_status(
    error: BaseException, status: int, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def raising(*arguments: object, **more: object) -> None:
        raise error

    monkeypatch.setattr(cli, "application", lambda entry, only: raising)
    assert cli.main(["models"]) == status
    streams = capsys.readouterr()
    assert (streams.out, streams.err.strip()) == ("", line)


def test_error_of_the_program_itself_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def raising(*arguments: object, **more: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(cli, "application", lambda entry, only: raising)
    with pytest.raises(ZeroDivisionError):
        cli.main(["models"])


def test_statuses_of_errors_are_those_of_neither_success_nor_python() -> None:
    """0 is success, 1 is an error of the program itself, 130 is an interruption."""
    assert all(error.exit_status in range(2, 8) for error in HarnessError.__subclasses__())


@pytest.mark.parametrize(("words", "message"), [
    (["runn"], "runn"),
    (["run", "--tusk", "refcoco"], "--tusk"),
    (["run", "--task", "refcoco", "--model", "oracle", "--beems", "3"], "`--model NAME --help` lists"),
])  # fmt: skip
def test_unknown_word_is_a_usage_error(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == UsageError.exit_status
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and message in error


def test_log_messages_go_to_stderr_within_a_command_only(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["tasks"]) == 0
    assert not any(logging.getLogger(name).handlers for name in cli.LOGGERS)


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    listed = capsys.readouterr().out
    for command in ("run", "bench", "score", "compare", "gate", "train", "finetune", "ablate", "engine", "tasks",
                    "models", "data", "ls", "show", "rm", "export", "push", "report"):  # fmt: skip
        assert f"{command}  " in listed, command


def test_help_of_commands_that_are_not_imported_is_that_of_imported_ones(capsys: pytest.CaptureFixture[str]) -> None:
    cli.application()(["--help"])
    imported = capsys.readouterr().out
    cli.application(only="")(["--help"])
    assert capsys.readouterr().out == imported


@pytest.mark.parametrize(("words", "command"), [
    (["ls", "refcoco"], "ls"), (["--help", "tasks"], "tasks"), (["runn"], ""), (["--version"], ""), ([], ""),
    (["data", "list"], "data"),
])  # fmt: skip
def test_only_the_command_of_the_first_word_is_imported(words: list[str], command: str) -> None:
    assert cli._command_of(words) == command


LISTS = {"harness.cli", "harness.cluster", "harness.core", "harness.data", "harness.errors", "harness.migrations",
         "harness.report", "harness.shards", "harness.sinks", "harness.store"}  # fmt: skip
SCORERS = {"harness.geometry", "harness.memo", "harness.metrics", "harness.outside", "harness.statistics", "tasks"}


@pytest.mark.parametrize(("command", "rooms", "packages"), [
    ("--help", {"harness.cli", "harness.errors", "harness.sinks"}, {"rich"}),
    ("ls", LISTS, {"msgspec"}),
    ("tasks", LISTS | SCORERS, {"msgspec", "numpy", "pycocotools"}),
])  # fmt: skip
def test_listing_command_imports_no_model_and_no_large_package(
    command: str, rooms: set[str], packages: set[str]
) -> None:
    """Rooms of this project that may be loaded, and which of the large packages."""
    code = f"""if True:
        import json, sys
        from harness.cli import main
        main([{command!r}])
        print(json.dumps(sorted(sys.modules)))"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = json.loads(done.stdout.splitlines()[-1])
    ours = {".".join(name.split(".")[:2]) for name in loaded if name.startswith(("harness.", "baselines."))}
    ours |= {"tasks"} & set(loaded)
    assert ours <= rooms
    large = {"numpy", "PIL", "torch", "transformers", "pandas", "matplotlib", "scipy", "tqdm", "ray", "tokenizers",
             "pycocotools", "hotcoco", "rich", "msgspec", "lmdb", "safetensors"}  # fmt: skip
    assert large & set(loaded) <= packages


def test_model_options_are_for_the_commands_that_load_a_model() -> None:
    assert cli._model_of(["run", "--model", "oracle"]) is model_options.model_named(["--model", "oracle"])
    assert cli._model_of(["score", "--model", "oracle"]) is None


def test_help_paragraphs_are_single_lines_that_the_terminal_wraps() -> None:
    app = cli.application()
    for name in ("run", "bench", "gate", "finetune", "data"):
        for paragraph in (app[name].help or "").split("\n\n"):
            assert "\n" not in paragraph or paragraph.startswith(cli.EXAMPLES), paragraph
    pack = app["data"]["pack"].help
    assert pack is not None and "are reported and left out; the exit status is then 3." in pack
