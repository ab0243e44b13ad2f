"""A stage keeps the kernels that it began with, so that a resumed run ends with the same bits."""

import dataclasses
import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import LENGTH, STUDENT_PIECES, World
from lilliput.config import (
    BatchConfig,
    Budget,
    LexiconConfig,
    ObjectiveWeights,
    Recipe,
    StageConfig,
    StudentConfig,
)
from lilliput.errors import Interrupted, StorageError
from lilliput.models import autotune
from lilliput.models.kernels import PLAIN_BOTH, DualKernels, Kernels
from lilliput.models.student import random_student, student_config
from lilliput.run import RunDir
from lilliput.training import loop
from lilliput.training.kernels import fastest_kernels, stage_kernels
from lilliput.training.loop import train
from lilliput.training.step import DualModel, Stepper

SHORT = Kernels("bfloat16", "products", "bfloat16", "bfloat16", "bfloat16")
SHAPE = StudentConfig(layers=1, width=16, heads=2, feed_forward=32, positions=LENGTH)
ONLY = ObjectiveWeights(student_masked_lm=1.0)


def recipe() -> Recipe:
    stage = StageConfig("only", 1.0, ONLY, BatchConfig(rows=8, length=LENGTH))
    lexicon = LexiconConfig(size=STUDENT_PIECES)
    return Recipe("toy", budget=Budget(words=1500), stages=(stage,), lexicon=lexicon, student=SHAPE)


def trained(world: World, folder: Path, monkeypatch: pytest.MonkeyPatch, stop: int | None = None) -> RunDir:
    """Trains where bfloat16 is fastest; where it is stopped, it goes on where float32 is."""
    run = RunDir(folder)
    shutil.copytree(world.corpus.path, run.corpus)
    shutil.copytree(world.lexicon.path, run.lexicon)
    usual = Stepper.step

    def step(stepper: Stepper, batches: Any, number: int, done: float) -> dict[str, float]:
        if number == stop:
            os.kill(os.getpid(), signal.SIGTERM)
        return usual(stepper, batches, number, done)

    with monkeypatch.context() as patch:
        patch.setattr(Stepper, "step", step)
        patch.setattr(loop, "fastest_kernels", lambda *_: DualKernels(student=SHORT))
        if stop is None:
            train(run, recipe(), "only", world.teacher)
            return run
        with pytest.raises(Interrupted):
            train(run, recipe(), "only", world.teacher)
        patch.setattr(loop, "fastest_kernels", lambda *_: PLAIN_BOTH)
        train(run, recipe(), "only", world.teacher)
    return run


def test_a_resumed_stage_computes_as_it_began(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, stopped = (
        trained(world, tmp_path / name, monkeypatch, stop) for name, stop in (("whole", None), ("stopped", 2))
    )
    weights = [run.training("only") / "student" / "model.safetensors" for run in (whole, stopped)]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    for run in (whole, stopped):
        results = json.loads((run.training("only") / "manifest.json").read_text())["results"]
        assert results["kernels"]["student"] == dataclasses.asdict(SHORT)


def test_damage_is_a_sentence(tmp_path: Path) -> None:
    kept = tmp_path / "kernels.json"
    assert stage_kernels(kept, DualKernels(SHORT)) == DualKernels(SHORT)
    assert stage_kernels(kept, PLAIN_BOTH) == DualKernels(SHORT)
    kept.write_text('{"teacher": 1}')
    with pytest.raises(StorageError, match=r"kernels\.json is damaged .*remove the folder of its check"):
        stage_kernels(kept, PLAIN_BOTH)


def test_what_is_read_alone_is_chosen_for_reading(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def choose(*_: object, goes_backward: bool) -> Kernels:
        asked.append(goes_backward)
        return SHORT

    monkeypatch.setattr("lilliput.training.kernels.choose", choose)
    student = random_student(student_config(SHAPE, STUDENT_PIECES, world.lexicon.student_special), 0)
    models = DualModel(None, student, ONLY)
    assert fastest_kernels(models, LENGTH, torch.device("cpu")) == DualKernels(student=SHORT)
    assert asked == [True]
    assert autotune.choose is not choose
