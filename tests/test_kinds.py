"""A new kind of task, as one class per half, goes the whole way from a table to a line of answers."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import lilliput
from conftest import World
from lilliput.cli.running import run as run_command
from lilliput.comparison.runs import compare
from lilliput.export.bundling import bundle
from lilliput.finetuning.config import FinetuningConfig
from lilliput.finetuning.finetune import finetune
from lilliput.finetuning.heads import HEADS, Head
from lilliput.inference import kinds as answering
from lilliput.inference.format import BundleConfig
from lilliput.run import RunDir
from lilliput.tasks import kinds as tasks
from lilliput.tasks.kind import Counts, Floats, Kind
from lilliput.tasks.loading import load_task
from lilliput.tasks.preview import preview
from lilliput.tasks.tables import Table
from lilliput.tasks.task import Labels, Task

QUICK = FinetuningConfig(epochs=10, rows=8, rate=5e-3, dropout=0.0, evaluations=2)


class Flag(Kind):
    """A text is on or off, by the sign of one score."""

    name, has_label, has_tags = "flag", True, False

    def metric_names(self, tags: Sequence[str]) -> tuple[str, ...]:
        return ("right",)

    def classes_in(self, table: Table, column: str, *, mixed: bool) -> tuple[tuple[str, ...], list[str]]:
        return ("off", "on"), []

    def values_in(self, task: Task, table: Table, column: str) -> list[float]:
        return [self.value(task, label) for label in table.columns[column]]

    def label(self, task: Task, value: float) -> str:
        return task.classes[int(value)]

    def value(self, task: Task, label: Any) -> float:
        return task.classes.index(label)

    def summary(self, task: Task, labels: Labels) -> dict[str, str | Counter[str]]:
        return {"flags": f"{sum(labels.values):g} are on"}

    def array(self, task: Task, labels: Labels) -> npt.NDArray[np.float64]:
        return np.asarray(labels.values, np.float64)

    def labels(self, task: Task, scores: Floats, offsets: npt.NDArray[np.int64]) -> Labels:
        return Labels(tuple((scores[:, 0] > 0).astype(float).tolist()))

    def metrics(self, task: Task, gold: Labels, said: Labels) -> dict[str, float]:
        return {"right": float(np.mean(np.equal(gold.values, said.values)))}

    def taken_for(self, task: Task, gold: Labels, said: Labels) -> Counts:
        names = [[self.label(task, value) for value in one.values] for one in (gold, said)]
        return Counter(zip(*names, strict=True))

    def said(self, answer: Any) -> dict[str, Any]:
        return {"label": answer.label}


class FlagHead(Head):
    reads = "text"

    def columns(self, task: Task) -> tuple[str, ...]:
        return ("on",)

    def targets(self, labels: Tensor) -> Tensor:
        return labels.nan_to_num().float()

    def loss(self, scores: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(scores[:, 0], targets, weights, reduction="sum")

    def soft_loss(self, scores: Tensor, soft: Tensor, weights: Tensor, temperature: float) -> Tensor:
        return self.loss(scores / temperature, torch.sigmoid(soft[:, 0] / temperature), weights)


class FlagAnswer(NamedTuple):
    label: str | None
    cut: bool
    unknown: float


class FlagKind(answering.Kind):
    head, methods, hub, has_classes, chooses = "text", ("flag",), "text-classification", True, False
    cells = ("label",)

    def columns(self, config: BundleConfig, pieces: int) -> int:
        return 1

    def answer(
        self, output: answering.Floats, config: BundleConfig, reading: answering.Reading
    ) -> FlagAnswer:
        return FlagAnswer(config.classes[int(output[0] > 0)], reading.cut, reading.unknown)

    def empty(self, width: int) -> FlagAnswer:
        return FlagAnswer(None, cut=False, unknown=0.0)

    def fields(self, answer: FlagAnswer, top: int | None) -> list[str]:
        return [answer.label or ""]

    def gives(self, config: BundleConfig) -> str:
        return "whether a text is on"


@pytest.fixture
def flags(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Makes the kind known, and gives a table of it."""
    monkeypatch.setitem(tasks.KINDS, "flag", Flag())
    monkeypatch.setitem(HEADS, "flag", FlagHead())
    monkeypatch.setitem(answering.KINDS, "flag", FlagKind())
    nouns = ("brotent", "stocker", "plantish", "boxes")
    rows = [(f"the {word} {noun}s {more}", label) for noun in nouns for more in nouns
            for word, label in (("my", "on"), ("every", "off"))]  # fmt: skip
    path = tmp_path / "lights.csv"
    path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows))
    return path


def test_a_new_kind_goes_from_a_table_to_a_line(
    flags: Path, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: Any
) -> None:
    data = load_task("lights", train=str(flags), kind="flag")
    assert (data.task.kind, data.task.metric, data.task.classes) == ("flag", "right", ("off", "on"))
    assert "are on" in "".join(map(str, preview(data).columns[1].cells))

    teacher, student = RunDir(tmp_path / "teacher"), RunDir(tmp_path / "student")
    assert finetune(world.teacher, data, teacher, QUICK).mean == {"right": 1.0}
    finetune(world.teacher, data, student, QUICK, teacher=str(teacher.path))

    found = compare([student.path], tmp_path / "compared", teacher=teacher.path)
    entry = next(entry for entry in found.entries if entry.run == "student")
    assert (entry.metric, entry.scores, entry.retention, entry.agreement) == (
        "right",
        {"right": (1.0, 0.0)},
        1.0,
        1.0,
    )
    assert {name for row in entry.confusion.values() for name in row} <= {"on", "off"}

    made = bundle(student.path, tmp_path / "bundle", task="lights", quantization="float32")
    assert made.scores == {"right": 1.0}
    assert "whether a text is on" in (tmp_path / "bundle" / "README.md").read_text()
    assert lilliput.load(tmp_path / "bundle").config.kind == "flag"

    lines = tmp_path / "lines.txt"
    lines.write_text("the my stockers boxes\nthe every stockers boxes\n")
    capfdbinary.readouterr()
    with lines.open() as texts:
        monkeypatch.setattr("sys.stdin", texts)
        with pytest.raises(SystemExit, match="0"):
            run_command(tmp_path / "bundle")
    assert capfdbinary.readouterr().out == b"on\noff\n"


def test_every_kind_of_task_has_its_other_halves() -> None:
    assert tasks.KINDS.keys() <= HEADS.keys()
    assert {kind.runs_as for kind in tasks.KINDS.values()} <= answering.KINDS.keys()
    assert {name for kind in tasks.KINDS.values() for name in kind.taught_by} <= tasks.KINDS.keys()
