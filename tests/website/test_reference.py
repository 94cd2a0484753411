"""Reference pages against the program itself."""

from __future__ import annotations

import baselines
import harness
import tasks
from harness.cli import application
from website import reference


def test_commands_have_every_option_with_a_meaning() -> None:
    page = reference.commands()
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert rows and not [row for row in rows if row.rstrip("|").rstrip().endswith("|")]  # an empty meaning
    for name, command in reference._commands(application(), ""):
        section = page.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
        for argument in command.assemble_argument_collection():
            if argument.show and argument.names != ("*",):
                assert f"`{argument.names[0]}`" in section, (name, argument.names)


def test_commands_have_the_options_of_models() -> None:
    page = reference.commands()
    assert "`--beams`" in page and "`--shots`" in page


def test_python_has_every_public_name_with_its_docstring() -> None:
    page = reference.python()
    for name in harness.__all__:
        if name != "__version__":
            assert f"### harness.{name}\n" in page
            first = (getattr(harness, name).__doc__ or "").strip().splitlines()[0]
            assert first.replace("<", "\\<") in page


def test_tables_have_every_task_metric_and_model() -> None:
    page = reference.tables()
    for task in tasks.every().values():
        [row] = [line for line in page.splitlines() if line.startswith(f"| `{task.name}` |")]
        assert task.headline in row.replace("\\", "")
        [metrics] = [line for line in page.partition("## Metrics")[2].splitlines() if f"`{task.name}`" in line][:1]
        assert ", ".join(task.metrics) in metrics.replace("\\", "")
    assert all(f"| `{name}` |" in page for name in baselines.every())
