"""Exit statuses and error lines of every command: one line on stderr, and no traceback."""

from __future__ import annotations

import logging

import pytest

from harness import cli
from harness.cli import options
from harness.errors import (
    CheckpointError,
    DataError,
    HarnessError,
    ResourceError,
    UsageError,
)


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

    monkeypatch.setattr(cli, "application", lambda entry=None: raising)
    assert cli.main(["models"]) == status
    streams = capsys.readouterr()
    assert (streams.out, streams.err.strip()) == ("", line)


def test_error_of_the_program_itself_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def raising(*arguments: object, **more: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(cli, "application", lambda entry=None: raising)
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


def test_model_options_are_for_the_commands_that_load_a_model() -> None:
    assert cli._model_of(["run", "--model", "oracle"]) is options.model_named(["--model", "oracle"])
    assert cli._model_of(["score", "--model", "oracle"]) is None


def test_help_paragraphs_are_single_lines_that_the_terminal_wraps() -> None:
    app = cli.application()
    for name in ("run", "bench", "gate", "finetune", "data"):
        for paragraph in (app[name].help or "").split("\n\n"):
            assert "\n" not in paragraph or paragraph.startswith(cli.EXAMPLES), paragraph
    pack = app["data"]["pack"].help
    assert pack is not None and "are reported and left out; the exit status is then 3." in pack
