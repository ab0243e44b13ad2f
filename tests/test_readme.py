"""What the README tells a user to type works, shrunken to the small world."""

import re
import shlex
import sys
from pathlib import Path

import pytest
from huggingface_hub import constants

from classifiers import classifier
from conftest import World, small_text
from hub_server import Hub
from lilliput import cli

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
SHELL = "".join(re.findall(r"```sh\n(.+?)```", README, re.DOTALL))
COMMANDS = re.findall(r"^lilliput .+", SHELL, re.MULTILINE) + re.findall(
    r"(?<=\| `)lilliput [^`]+(?=` \|)", README
)
SHRUNKEN = {
    "compress": ["--recipe", "tiny"],
    "build-lexicon": ["--recipe", "tiny"],
    "train": ["--recipe", "tiny"],
    "finetune": ["--set", "epochs=1"],
    "compress --recipe sentence": [
        "--words=2000",
        *(
            f"--set={setting}"
            for setting in (
                "lexicon.size=300",
                "student.layers=1",
                "student.width=16",
                "student.heads=2",
                "student.feed_forward=32",
                "student.positions=32",
                "stages.student.batch.length=32",
                "stages.student.batch.rows=8",
            )
        ),
    ],
    "distill": [
        f"--set={setting}"
        for setting in (
            "lexicon.size=300",
            "student.layers=1",
            "student.width=16",
            "student.heads=2",
            "student.feed_forward=32",
            "student.positions=32",
            "finetuning.epochs=1",
        )
    ],
}
"""What is added so that a command takes seconds."""


def typed(monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    """Runs a command as the terminal would; an error exits."""
    name = shlex.split(command)[1] + " --recipe sentence" * ("--recipe sentence" in command)
    monkeypatch.setattr(sys, "argv", [*shlex.split(command), *SHRUNKEN.get(name, [])])
    cli.main()


def test_the_readme_has_commands() -> None:
    assert {command.split()[1] for command in COMMANDS} == {
        "compress", "build-corpus", "vocabulary", "build-lexicon", "train", "finetune", "distill", "evaluate",
        "bundle", "push", "run", "settings", "recipes", "report"
    }  # fmt: skip


def test_every_command_and_the_code_of_the_readme(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [f"the {kind} boxes {index},{kind}" for index in range(20) for kind in ("my", "every")]
    for name in ("toy_train.csv", "data/mine_train.csv", "data/mine_dev.csv"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join(["text,label", *rows]) + "\n")
    lines = small_text(5, 40, odd=True).replace(". ", ".\n").split("\n")
    (tmp_path / "pile.txt").write_text("\n".join(filter(None, lines)) + "\n")
    real = {
        "my-org/my-classifier": classifier(world, tmp_path / "classifier"),
        "CLASSIFIER": str(tmp_path / "classifier"),
        "--texts TEXT --out RUN": "--texts pile.txt --minutes 15 --out runs/mine",
        "TEACHER": world.teacher,
        "bert-base-uncased": world.teacher,
        "sentence-transformers/all-MiniLM-L6-v2": world.headless,
        "wikimedia/wikipedia:20231101.en": str(world.text),
        "TEXT": str(world.text),
        "BUNDLE --task FILE": "runs/toy --task toy_train.csv",
        "TASK": str(tmp_path / "toy"),
        "1000,5000": "300,320",
        "OWNER/NAME": "me/films",
    }
    # `compress` comes first, so the commands of single stages find their work done, as for a user.
    with Hub().serving() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_TOKEN", "hf_me")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        for command in COMMANDS:
            meant = re.sub("|".join(real), lambda found: real[found[0]], command)
            if "--task toy_train.csv" in meant:
                typed(monkeypatch, "lilliput bundle RUN --task toy --out runs/toy")
            typed(monkeypatch, meant)
    assert "model.onnx" in hub.repositories["me/films"].files
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for run in ("RUN", "runs/x", "runs/mine"):  # of compress and finetune, compress, distill
        page = Path(run, "report.html").read_text(encoding="utf-8")
        assert "<h2>To make it again</h2>" in page
    assert "<h2>Task toy</h2>" in Path("RUN/report.html").read_text(encoding="utf-8")
    said = capsys.readouterr().out
    assert "all of it on a page: runs/mine/report.html" in said
    assert "no page about the run was written" not in said
    making, filling = re.findall(r"```python\n(.+?)```", README, re.DOTALL)
    making = re.sub("|".join(real), lambda found: real[found[0]], making).replace(
        '"runs/x")  # ->', '"runs/x", "tiny")  # ->'
    )
    assert '"tiny"' in making
    exec(compile(making, "README.md", "exec"), {})
    assert "Classification(label=" in capsys.readouterr().out
    exec(compile(filling, "README.md", "exec"), {})
    assert "score" in capsys.readouterr().out


def test_make_targets_of_the_readme_exist() -> None:
    makefile = (Path(__file__).parent.parent / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^make (\w+)", README, re.MULTILINE))
    assert targets == {"demo", "fuzz", "test"}
    assert targets <= set(re.findall(r"^(\w+):", makefile, re.MULTILINE))
