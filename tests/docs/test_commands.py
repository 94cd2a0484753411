"""Every command on every page: it runs on the embedded data with declared substitutes, or is listed with its reason.

On pages of `WALKED`, all commands run one after another, as a newcomer types them.  A block of output, and one of a
file's content, has a language (`text`).

All commands of the program are parsed by the program as they are written, those that are not run too.
"""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from harness.cli import _model_of, application, main

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *(ROOT / "docs").glob("*.md")])
PROGRAM = re.compile(r"^(python -m harness|torchrun .*-m harness|florence2-harness)\s+")
WALKED = ("start", "compare")
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.S | re.M)

# Commands that run: the words that are replaced, and by what.  "@" is a run that the test makes first.
RUN = {
    "python -m harness recipes": {},
    "python -m harness ls 'refcoco*' --model mine": {},
    "python -m harness show 3f2a": {"3f2a": "@"},
    "python -m harness rm 3f2a": {"3f2a": "@"},
    "python -m harness export --jsonl runs.jsonl": {},
    "python -m harness run --task refcoco --model florence2-nano --data miniature --log-to tensorboard": {
        "florence2-nano": "whole-image"
    },
    "python -m harness data fetch --task refcoco_res,vqav2 --data ROOT --dry-run": {"ROOT": "empty"},
    "python -m harness data check --task coco_detection --annotations mine.json --images photos/": {},
    "python -m harness run --task coco_detection --model florence2-b --annotations mine.json --images photos/": {
        "florence2-b": "whole-image"
    },
    "florence2-harness run --task refcoco_res --model florence2-nano": {"florence2-nano": "whole-image"},
    "python -m harness run --task refcoco --model whole-image,centre-box,random,oracle-quantised --data miniature "
    "--limit 20": {"20": "2"},
}
LIMITED = ("run",)  # commands that get --limit 2 as well
# Lines that are no commands of the program, by their beginning: what runs them, or why nothing does.
OTHER = {
    "make demo": "CI runs it after each change",
    "make test": "CI",
    "pip install": "the network; `tests/test_package.py` compares the names of extras",
    "pipx install": "the network",
    "uv tool install": "the network",
    "sh packaging/install.sh": "`make package` runs it; `tests/test_package.py`",
    "docker build": "Docker; `make package` runs the script of the image",
    "git tag": "a release; `tests/test_release.py`",
    "sbatch": "Slurm",
    "job=$(sbatch": "Slurm",
    "wait": "the shell's own",
    ". .venv/bin/activate": "the shell's own",
    "#": "a comment",
}
# Commands that do not run, by their beginning, and why.  The first that fits counts.
NOT_RUN = {
    "florence2-harness --version": "prints a line and ends the process; `test_package` compares the versions",
    "torchrun": "several processes; `tests/harness/training/test_parallel.py` starts them",
    "python -m harness run --task strict:STRICT": "`tests/docs/test_examples.py` runs it with the file of its page",
    "python -m harness data fetch": "the network; `tests/harness/cli/test_data.py` fetches from a server of the test",
    "python -m harness data new": "the user's own files; `tests/harness/evaluation/test_making.py`",
    "python -m harness finetune": "minutes; `tests/harness/cli/test_finetune.py` trains two steps",
    "python -m harness train": "hours; `tests/harness/training/test_scenes.py`",
    "python -m harness ablate": "minutes; `tests/harness/cli/test_ablate.py`",
    "python -m harness bench": "30 s a point; `tests/harness/cli/test_bench.py`",
    "python -m harness serve": "runs until Ctrl-C; `tests/harness/cli/test_serve.py`",
    "python -m harness gate": "a file of promises; `tests/harness/cli/test_gate.py`",
    "python -m harness merge": "shards of a run; `tests/harness/cli/test_merge.py`",
    "python -m harness compare": "two runs; `tests/harness/cli/test_compare.py`",
    "python -m harness report": "a page of pictures; `tests/harness/cli/test_report.py`",
    "python -m harness score": "a file of predictions; `tests/harness/cli/test_store.py`",
    "python -m harness export": "files for other tools; `tests/harness/evaluation/test_exporting.py`",
    "python -m harness push": "a repository on the hub; `tests/harness/cli/test_push.py` pushes to one on this machine",
    "python -m harness data check": "data that is not here; `tests/harness/cli/test_data.py`",
    "python -m harness view": "serves until Ctrl-C; `tests/harness/cli/test_view.py`",
    "python -m harness engine": "models and a folder of an engine; `tests/harness/cli/test_engine.py`",
    "python -m harness run": "weights or data that are not here; `tests/harness/cli/test_run.py`",
}


def lines(page: Path) -> list[str]:
    """The lines of a page's plain blocks, with continued lines joined and comments after them left out."""
    found = []
    for language, block in FENCE.findall(page.read_text()):
        if language in ("", "sh", "bash", "console") and " · " not in block.partition("\n")[0]:  # a result of a run
            joined = block.replace("\\\n", " ").splitlines()
            found += [re.sub(r"\s+#.*$|\s+&$", "", " ".join(line.split())) for line in joined if line.strip()]
    return found


def commands(page: Path) -> list[str]:
    """The commands of the program on a page."""
    return [line for line in lines(page) if PROGRAM.match(line)]


FIRST = {command for page in WALKED for command in commands(ROOT / f"docs/{page}.md")}
EVERY = sorted({command for page in PAGES for command in commands(page)})


def parsed(words: list[str]) -> None:
    """Parses the words as the program does; an unknown option or a missing argument raises."""
    application(_model_of(words)).parse_args(words, exit_on_error=False, print_error=False)


@pytest.mark.parametrize("command", EVERY)
def test_command_is_known_to_the_program_with_all_its_options(command: str) -> None:
    words = shlex.split(PROGRAM.sub("", command))
    if words != ["--version"]:
        parsed(words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_line_that_is_no_command_of_the_program_has_a_reason(page: Path) -> None:
    for line in lines(page):
        if not PROGRAM.match(line):
            reasons = [why for start, why in OTHER.items() if line.startswith(start)]
            assert reasons, line
            for named in re.findall(r"`(tests/[\w/.]+)`", reasons[0]):
                assert (ROOT / named).is_file(), named


@pytest.mark.parametrize("page", WALKED)
def test_page_runs_from_its_first_command_to_its_last(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, miniature: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In order and in one folder; --limit 2 in place of 20, and RUN is the floor's run."""
    monkeypatch.chdir(tmp_path)
    for command in commands(ROOT / f"docs/{page}.md"):
        words = ["2" if word == "20" else word for word in shlex.split(PROGRAM.sub("", command))]
        [run] = [path.parent.name for path in tmp_path.rglob("whole-image/*/*/run.json")] or ["RUN"]
        words = [run if word == "RUN" else word for word in words]
        capsys.readouterr()
        assert main(words) == 0, (command, capsys.readouterr().err)
    made = {"start": ("first-report/index.html", "tasks.json"), "compare": ("changes/compare.html",)}
    assert all((tmp_path / name).is_file() for name in made[page])


@pytest.mark.parametrize("command", EVERY)
def test_command_runs_or_has_a_reason(command: str) -> None:
    reason = next((why for start, why in NOT_RUN.items() if command.startswith(start)), "")
    assert command in RUN or command in FIRST or reason, command
    for named in re.findall(r"`(tests/[\w/.]+)`", reason):
        assert (ROOT / named).is_file(), named


@pytest.mark.parametrize("command", [command for command in EVERY if command in RUN])
def test_command_runs_with_its_substitutes(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, miniature: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    shutil.copy(miniature / "coco/annotations/instances_val2017.json", "mine.json")
    (tmp_path / "photos").symlink_to(miniature / "coco/val2017")
    assert main(["run", "--task", "refcoco", "--model", "whole-image", "--data", "miniature", "--limit", "2"]) == 0
    [record] = (tmp_path / "results").rglob("run.json")
    substitutes = {word: record.parent.name if by == "@" else by for word, by in RUN[command].items()}
    words = [substitutes.get(word, word) for word in shlex.split(PROGRAM.sub("", command))]
    if words[0] in LIMITED and "--limit" not in words:
        words += ["--limit", "2"]
        words += [] if "--data" in words or "--annotations" in words else ["--data", "miniature"]
    capsys.readouterr()
    status = main(words)
    assert status == 0, capsys.readouterr().err


def test_substitutes_are_of_commands_that_a_page_has() -> None:
    assert set(RUN) <= set(EVERY)
