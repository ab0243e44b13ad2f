"""What the documentation tells a user to type: the tutorial runs, and every other command is understood."""

import functools
import importlib.util
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import lilliput
from classifiers import classifier
from conftest import World
from lilliput import cli
from lilliput.errors import InputError

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs").rglob("*.md"))
SMALL = {
    "finetune": ["--set=epochs=1"],
    "distill": [
        *(
            "--set=lexicon.size=300",
            "--set=student.layers=1",
            "--set=student.width=16",
            "--set=student.heads=2",
        ),
        *("--set=student.feed_forward=32", "--set=student.positions=32", "--set=finetuning.epochs=1"),
    ],
}
"""What is added to a command of the tutorial so that it takes seconds."""


def commands_of(page: Path) -> Iterator[str]:
    """Yields the commands of a page, those over several lines as one."""
    for block in re.findall(r"```(?:sh|text|bash)\n(.+?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        yield from re.findall(r"^(?:.*[|&] )?(lilliput [^|&>\n]+)", block.replace("\\\n", " "), re.MULTILINE)


COMMANDS = sorted({(page.stem, command) for page in PAGES for command in commands_of(page)})


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_every_command_of_the_pages_is_understood(
    page: str, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its options as they are; placeholders stand for numbers where one is wanted."""
    called = []

    def watched(name: str):
        @functools.wraps(cli._COMMANDS[name])
        def call(*arguments: object, **named: object) -> None:
            called.append(name)

        return call

    monkeypatch.setattr(cli, "_COMMANDS", {name: watched(name) for name in cli._COMMANDS})
    words = shlex.split(command, comments=True)
    monkeypatch.setattr(sys, "argv", words)
    if words[1] == "benchmark":  # runs while it is parsed
        with pytest.raises(InputError, match="there is no file"):
            cli.run_command()
    else:
        cli.run_command()
        assert called == [words[1]]


def test_the_tutorial_from_its_first_command_to_its_last(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the small world's teacher, and sixty sentences of each package."""
    page = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    lines = "".join(re.findall(r"```sh\n(.+?)```", page, re.DOTALL)).splitlines()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "teacher.txt").write_text(classifier(world, tmp_path / "teacher"))
    done = []
    for line in lines:
        if line.endswith("> teacher.txt"):
            continue
        words = shlex.split(line.replace("$(cat teacher.txt)", (tmp_path / "teacher.txt").read_text()))
        done.append(" ".join(words[:2]))
        if words[0] == "lilliput":
            monkeypatch.setattr(sys, "argv", [*words, *SMALL.get(words[1], [])])
            cli.main()
        elif words[1] == "-c":
            exec(words[2], {})
        else:
            spec = importlib.util.spec_from_file_location("example", ROOT / words[1])
            assert spec is not None
            assert spec.loader is not None
            example = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(example)
            example.AT_MOST = 60
            example.main(words[2])
    assert done == [
        "python examples/docstrings.py", "lilliput finetune", "lilliput distill", "lilliput run", "python -c"
    ]  # fmt: skip
    assert "Classification(label=" in capsys.readouterr().out


def test_the_example_of_the_page_is_the_tutorials_model() -> None:
    bundle = lilliput.load(ROOT / "web" / "example")
    assert bundle.bytes < 1_000_000
    assert bundle(["Compute the eigenvalues of a symmetric matrix."])[0].label == "scipy"
