"""One stage of training: to the same bits however often it is interrupted, and never over something else."""

import contextlib
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from transformers import BertForMaskedLM

from conftest import LENGTH, STUDENT_PIECES, World, full_disk
from lilliput import cli
from lilliput.common.metrics_log import MetricsLog
from lilliput.config import (
    BatchConfig,
    Budget,
    LexiconConfig,
    ObjectiveWeights,
    OptimizerConfig,
    Recipe,
    StageConfig,
    StudentConfig,
)
from lilliput.errors import ConfigError, Interrupted, StorageError, TrainingError
from lilliput.models.teacher import Teacher
from lilliput.run import RunDir
from lilliput.training import checkpoint, loop as training
from lilliput.training.batches import Batch, BatchSource
from lilliput.training.data import Data
from lilliput.training.loop import train
from lilliput.training.step import Stepper

EVERYTHING = ObjectiveWeights(
    teacher_masked_lm=1.0, student_masked_lm=0.5, soft_labels=0.5, projection_down=1e-3, projection_up=1e-3
)


def recipe_of(weights: ObjectiveWeights = EVERYTHING, optimizer: str = "adamw") -> Recipe:
    """Returns one stage of some 13 steps in which everything happens."""
    batch = BatchConfig(rows=8, length=LENGTH, accumulation=2)
    return Recipe(
        name="everything",
        budget=Budget(words=2000),
        stages=(StageConfig("dual", 1.0, weights, batch, OptimizerConfig(optimizer)),),
        lexicon=LexiconConfig(size=STUDENT_PIECES),
        student=StudentConfig(layers=2, width=16, heads=2, feed_forward=32, positions=LENGTH),
    )


def new_run(world: World, folder: Path) -> RunDir:
    """Returns a run with the world's corpus and lexicon."""
    run = RunDir(folder)
    shutil.copytree(world.corpus.path, run.corpus)
    shutil.copytree(world.lexicon.path, run.lexicon)
    return run


def weights_in(run: RunDir) -> dict[str, bytes]:
    files = sorted(run.training("dual").glob("*/*.safetensors"))
    return {f"{path.parent.name}/{path.name}": path.read_bytes() for path in files}


def metrics_in(run: RunDir) -> list[dict[str, Any]]:
    """Returns the metrics without what the clock says."""
    lines = MetricsLog(run.training("dual") / "metrics.jsonl").read()
    return [{k: v for k, v in line.items() if k not in ("seconds", "words_per_second")} for line in lines]


@pytest.fixture(scope="module")
def whole(world: World, tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """A run that was never interrupted."""
    run = new_run(world, tmp_path_factory.mktemp("whole") / "run")
    train(run, recipe_of(), "dual", world.teacher)
    return run


@pytest.fixture
def run(world: World, tmp_path: Path) -> RunDir:
    return new_run(world, tmp_path / "run")


def assert_same(run: RunDir, whole: RunDir) -> None:
    assert weights_in(run).keys() == {
        "teacher/model.safetensors",
        "teacher/second_vocabulary.safetensors",
        "student/model.safetensors",
    }
    assert weights_in(run) == weights_in(whole)
    assert metrics_in(run) == metrics_in(whole)


# What a stage leaves


def test_results_say_what_was_done(whole: RunDir, world: World) -> None:
    results = json.loads((whole.training("dual") / "manifest.json").read_text())["results"]
    assert 2000 <= results["words"] < 2000 + 8 * LENGTH
    assert results["step"] == len(metrics_in(whole)) - 2
    assert results["seconds"] > 0
    for when in ("before", "after"):
        assert results[when].keys() == {
            f"{model}/{key}"
            for model in ("teacher", "student")
            for key in ("bits_per_character", "accuracy", "loss", "pieces", "words")
        }
        assert results[when]["teacher/words"] == results[when]["student/words"] > 50
    assert results["before"] != results["after"]
    assert not (whole.training("dual") / "checkpoints").exists()
    assert not (whole.training("dual") / "begun.json").exists()
    assert list((whole.training("dual") / "tensorboard").glob("events*"))


def test_rows_that_pad_the_teachers_table_are_no_pieces(
    world: World, run: RunDir, whole: RunDir, tmp_path: Path
) -> None:
    model = BertForMaskedLM.from_pretrained(world.teacher)
    model.resize_token_embeddings(model.config.vocab_size + 7)
    shutil.copytree(world.teacher, tmp_path / "padded")
    model.save_pretrained(tmp_path / "padded")
    train(run, recipe_of(), "dual", str(tmp_path / "padded"))
    assert_same(run, whole)


def test_metrics_hold_every_step_and_are_finite(whole: RunDir) -> None:
    first, *steps, last = MetricsLog(whole.training("dual") / "metrics.jsonl").read()
    assert first["step"] == 0
    assert [line["step"] for line in steps] == list(range(1, len(steps) + 1))
    assert last["step"] == len(steps)
    objectives = {"teacher_masked_lm", "student_masked_lm", "soft_labels", "projection_down", "projection_up"}
    for line in steps:
        assert objectives | {"words_per_second", "seconds", "words"} <= line.keys()
    assert all(math.isfinite(value) for line in (first, *steps, last) for value in line.values())
    assert sum("probe/student/accuracy" in line for line in steps) >= 8
    words = [line["words"] for line in steps]
    assert words == sorted(set(words))


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_finished_stage_is_skipped(
    whole: RunDir, world: World, monkeypatch: pytest.MonkeyPatch, overwrite: bool
) -> None:
    files = {path: path.stat().st_mtime_ns for path in whole.path.rglob("*")}
    monkeypatch.setattr(training, "Stepper", None)
    results = train(whole, recipe_of(), "dual", world.teacher, overwrite=overwrite)
    assert results["step"] > 5
    assert {path: path.stat().st_mtime_ns for path in whole.path.rglob("*")} == files


def test_another_seed_gives_another_student(run: RunDir, whole: RunDir, world: World) -> None:
    train(run, recipe_of().replace({"seed": "1"}), "dual", world.teacher)
    assert weights_in(run)["student/model.safetensors"] != weights_in(whole)["student/model.safetensors"]


def test_a_stage_without_student_saves_the_teacher_alone(run: RunDir, world: World) -> None:
    recipe = recipe_of(ObjectiveWeights(teacher_masked_lm=1.0)).replace({"budget.words": "300"})
    results = train(run, recipe, "dual", world.headless)
    assert not (run.training("dual") / "student").exists()
    assert (run.training("dual") / "teacher" / "model.safetensors").exists()
    assert not any(key.startswith("student/") for key in results["after"])


def test_a_frozen_teacher_is_not_saved(run: RunDir, world: World) -> None:
    recipe = recipe_of(ObjectiveWeights(soft_labels=1.0)).replace({"budget.words": "300"})
    results = train(run, recipe, "dual", world.teacher)
    assert weights_in(run).keys() == {"student/model.safetensors"}
    assert not any(key.startswith("teacher/") for key in results["after"])


@pytest.mark.parametrize(
    ("objective", "readers"),
    [
        ("teacher_masked_lm", {"teacher"}),
        ("student_masked_lm", {"student"}),
        ("soft_labels", {"teacher", "student"}),
    ],
)
def test_batches_are_made_for_the_models_that_read(world: World, objective: str, readers: set[str]) -> None:
    (stage,) = recipe_of(ObjectiveWeights(**{objective: 1.0})).stages
    data = Data(world.lexicon, world.train_rows, world.lexicon, world.held_out_rows)
    batch = data.source(stage, (0,)).batch(0)
    assert {name for name in ("teacher", "student") if len(getattr(batch, name).pieces)} == readers


# Interruptions

KILLED = """
import os, signal, sys
from pathlib import Path

import torch

from lilliput.training import checkpoint
from lilliput.training import loop as training
from lilliput.config import Recipe
from lilliput.run import RunDir

torch.set_num_threads(1)
save = training.save_checkpoint

def save_or_die(folder, models, optimizer, position):
    if position.step == 10:  # weights and optimiser are written, the state is not
        checkpoint.write_json = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    if position.step in (3, 6, 10):
        save(folder, models, optimizer, position)

training.save_checkpoint = save_or_die
run, recipe, teacher = RunDir(Path(sys.argv[1])), Recipe.load(Path(sys.argv[2])), sys.argv[3]
training.train(run, recipe, "dual", teacher, checkpoint_minutes=1e-9)
"""


def test_a_killed_run_ends_with_the_same_bits(run: RunDir, whole: RunDir, world: World) -> None:
    path = run.path / "recipe.json"
    path.write_text(json.dumps(recipe_of().to_dict()))
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(run.path), str(path), world.teacher],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    folder = run.training("dual")
    assert [path.name for path in checkpoint.checkpoints(folder / "checkpoints")] == [
        "step-00000003",
        "step-00000006",
    ]
    assert metrics_in(run)[-1]["step"] == 10, "four steps are lost with their metrics logged"
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 11, "wor')  # as a kill in mid-line leaves it
    train(run, recipe_of(), "dual", world.teacher)
    assert_same(run, whole)


@pytest.fixture
def signal_at(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Sends this process a signal in the midst of a step; nothing happens if the run does not catch it."""
    usual, numbers = Stepper.step, (signal.SIGTERM, signal.SIGINT)
    before = [signal.getsignal(number) for number in numbers]

    def refuse(number: int, _: object) -> None:
        raise AssertionError(f"nobody caught signal {number}")

    def send(at: int, number: signal.Signals) -> None:
        def step(stepper: Stepper, batches: Any, step: int, done: float) -> dict[str, float]:
            if step == at:
                os.kill(os.getpid(), number)
            return usual(stepper, batches, step, done)

        monkeypatch.setattr(Stepper, "step", step)

    for number in numbers:
        signal.signal(number, refuse)
    yield send
    handlers = [signal.getsignal(number) for number in numbers]
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)
    assert handlers == [refuse, refuse], "the run must put back what handled signals before"


@pytest.mark.slow
@pytest.mark.parametrize(("number", "overwrite"), [(signal.SIGTERM, False), (signal.SIGINT, True)])
def test_a_signal_saves_and_the_run_goes_on(
    run: RunDir, whole: RunDir, world: World, signal_at: Any, number: signal.Signals, overwrite: bool
) -> None:
    """Also where other things might be overwritten."""
    signal_at(5, number)
    with pytest.raises(
        Interrupted, match=rf"{number.name} stopped stage 'dual' after step 5; its state is saved"
    ):
        train(run, recipe_of(), "dual", world.teacher)
    assert metrics_in(run)[-1]["step"] == 5
    signal_at(3, number)  # a step that is not taken again
    train(run, recipe_of(), "dual", world.teacher, overwrite=overwrite)
    assert_same(run, whole)


def command(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Runs the command line in this process and returns its exit code."""
    monkeypatch.setattr(sys, "argv", ["lilliput", *map(str, arguments)])
    try:
        cli.main()
    except SystemExit as error:
        return int(error.code or 0)
    return 0


def test_the_command_line_exits_with_130(
    world: World, tmp_path: Path, signal_at: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """With LAMB, whose state is another."""
    runs = [new_run(world, tmp_path / name) for name in ("interrupted", "whole")]
    recipe, path = recipe_of(optimizer="lamb"), tmp_path / "recipe.json"
    path.write_text(json.dumps(recipe.to_dict()))
    options = (world.teacher, "--stage", "dual", "--recipe", path, "--out")
    signal_at(4, signal.SIGTERM)
    assert command(monkeypatch, "train", *options, runs[0].path) == 130
    assert "SIGTERM stopped stage 'dual' after step 4" in " ".join(capsys.readouterr().err.split())
    signal_at(-1, signal.SIGTERM)
    assert command(monkeypatch, "train", *options, runs[0].path) == 0
    assert json.loads(capsys.readouterr().out)["step"] > 5
    train(runs[1], recipe, "dual", world.teacher)
    assert_same(*runs)


def test_an_error_in_making_a_batch_stops_the_run_where_it_is_read(
    run: RunDir, whole: RunDir, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = BatchSource.batch

    def batch(source: BatchSource, step: int, part: int = 0, parts: int = 1) -> Batch:
        if step == 5 and threading.current_thread() is not threading.main_thread():
            raise OSError("the disk is gone")
        return usual(source, step, part, parts)

    monkeypatch.setattr(BatchSource, "batch", batch)
    with pytest.raises(OSError, match="the disk is gone"):
        train(run, recipe_of(), "dual", world.teacher)
    assert metrics_in(run)[-1]["step"] == 5, "what was made before is used"
    monkeypatch.undo()
    train(run, recipe_of(), "dual", world.teacher)
    assert_same(run, whole)


def test_a_first_checkpoint_cut_short_does_not_spoil_the_start(
    run: RunDir, whole: RunDir, world: World
) -> None:
    (run.training("dual") / "checkpoints" / ".step-00000001.partial").mkdir(parents=True)
    train(run, recipe_of(), "dual", world.teacher)
    assert_same(run, whole)


# Full disks and damage


def test_a_full_disk_at_a_checkpoint_loses_nothing(
    run: RunDir, whole: RunDir, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = training.save_checkpoint

    def save_until_full(folder: Path, models: Any, optimizer: Any, position: Any) -> None:
        with full_disk(20_000) if position.step == 4 else contextlib.nullcontext():
            save(folder, models, optimizer, position)

    monkeypatch.setattr(training, "save_checkpoint", save_until_full)
    with pytest.raises(StorageError, match=r"cannot be written.*make room"):
        train(run, recipe_of(), "dual", world.teacher, checkpoint_minutes=1e-9)
    monkeypatch.setattr(training, "save_checkpoint", save)
    train(run, recipe_of(), "dual", world.teacher)
    assert_same(run, whole)


@pytest.mark.slow
@pytest.mark.parametrize(("owner", "method"), [(Teacher, "save"), (MetricsLog, "append")], ids=str)
def test_a_full_disk_at_the_end_loses_nothing(
    run: RunDir, whole: RunDir, world: World, monkeypatch: pytest.MonkeyPatch, owner: Any, method: str
) -> None:
    usual = getattr(owner, method)

    def save(*arguments: Any) -> None:
        with full_disk(100):
            usual(*arguments)

    monkeypatch.setattr(owner, method, save)
    with pytest.raises(StorageError, match="cannot be"):
        train(run, recipe_of(), "dual", world.teacher)
    assert not (run.training("dual") / "manifest.json").exists()
    monkeypatch.setattr(owner, method, usual)
    train(run, recipe_of(), "dual", world.teacher)
    assert_same(run, whole)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("owner", "method"),
    [(training._Loop, "_evaluate"), (training, "save_student")],
    ids=["evaluation", "save_student"],
)
def test_a_failure_after_the_last_step_repeats_no_step(
    run: RunDir, whole: RunDir, world: World, monkeypatch: pytest.MonkeyPatch, owner: Any, method: str
) -> None:
    usual, step = getattr(owner, method), Stepper.step
    steps: list[int] = []

    def note(stepper: Stepper, batches: Any, number: int, done: float) -> dict[str, float]:
        steps.append(number)
        return step(stepper, batches, number, done)

    def fail(*arguments: Any) -> Any:
        if len(steps) == last and "probe" not in arguments:
            raise OSError("as it comes")
        return usual(*arguments)

    last = metrics_in(whole)[-1]["step"]
    monkeypatch.setattr(Stepper, "step", note)
    monkeypatch.setattr(owner, method, fail)
    with pytest.raises((OSError, StorageError), match="as it comes"):
        train(run, recipe_of(), "dual", world.teacher)
    assert checkpoint.checkpoints(run.training("dual") / "checkpoints")[-1].name == f"step-{last:08d}"
    monkeypatch.setattr(owner, method, usual)
    train(run, recipe_of(), "dual", world.teacher)
    assert steps == list(range(1, last + 1))
    assert_same(run, whole)


def test_a_damaged_checkpoint_is_refused_and_the_one_before_serves(
    run: RunDir, whole: RunDir, world: World, signal_at: Any
) -> None:
    signal_at(5, signal.SIGTERM)
    with pytest.raises(Interrupted):
        train(run, recipe_of(), "dual", world.teacher, checkpoint_minutes=1e-9)
    newest = run.training("dual") / "checkpoints" / "step-00000005"
    (newest / "weights.safetensors").write_bytes(b"no weights")
    signal_at(-1, signal.SIGTERM)
    with pytest.raises(StorageError, match=r"cut short or altered; remove .*step-00000005"):
        train(run, recipe_of(), "dual", world.teacher)
    shutil.rmtree(newest)
    train(run, recipe_of(), "dual", world.teacher)
    assert_same(run, whole)


# Refusals


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("student.width", "8", "student.width: 16 there, 8 now"),
        ("seed", "3", "seed: 0 there, 3 now"),
        ("stages.dual.objectives.soft_labels", "0.25", "stage.objectives.soft_labels: 0.5 there, 0.25 now"),
        ("stages.dual.optimizer.name", "lamb", "stage.optimizer.name: adamw there, lamb now"),
        ("budget.words", "3000", "budget.words: 2000.0 there, 3000.0 now"),
        ("start.student", "random", "start: teacher there, random now"),
    ],
)
def test_another_recipe_is_refused_by_name(
    whole: RunDir, world: World, key: str, value: str, named: str
) -> None:
    with pytest.raises(StorageError, match="was made from something else") as caught:
        train(whole, recipe_of().replace({key: value}), "dual", world.teacher)
    assert named in str(caught.value)
    assert "--overwrite" in str(caught.value)
    assert weights_in(whole)


def test_another_recipe_does_not_resume_a_half_done_run(run: RunDir, world: World, signal_at: Any) -> None:
    signal_at(3, signal.SIGTERM)
    with pytest.raises(Interrupted):
        train(run, recipe_of(), "dual", world.teacher)
    signal_at(-1, signal.SIGTERM)
    other = recipe_of().replace({"student.layers": "1", "budget.words": "200"})
    with pytest.raises(StorageError, match=r"student\.layers: 2 there, 1 now"):
        train(run, other, "dual", world.teacher)
    assert checkpoint.checkpoints(run.training("dual") / "checkpoints")
    assert train(run, other, "dual", world.teacher, overwrite=True)["words"] < 500


def test_another_teacher_is_refused(whole: RunDir, world: World) -> None:
    with pytest.raises(StorageError, match="teacher: "):
        train(whole, recipe_of(), "dual", world.headless)


def test_stages_have_their_order(run: RunDir, world: World) -> None:
    first, second = recipe_of().stages[0], recipe_of(ObjectiveWeights(student_masked_lm=1.0)).stages[0]
    values = recipe_of().to_dict()
    values["stages"] = [
        {**recipe_of().to_dict()["stages"][0], "share": 0.5},
        {**recipe_of().to_dict()["stages"][0], "name": "later", "share": 0.5},
    ]
    assert first.name == second.name
    with pytest.raises(StorageError, match=r"stage 'dual' comes before 'later' and is not finished"):
        train(run, Recipe.from_dict(values), "later", world.teacher)
    with pytest.raises(ConfigError, match="no stage 'dul'; did you mean 'dual'"):
        train(run, recipe_of(), "dul", world.teacher)


def test_what_is_refused_for_its_inputs_leaves_nothing_behind(world: World, tmp_path: Path) -> None:
    """Else the same stage would be refused as made from something else when its inputs are there."""
    run = RunDir(tmp_path / "run")
    recipe = recipe_of(ObjectiveWeights(student_masked_lm=1.0)).replace({"budget.words": "300"})
    with pytest.raises(StorageError, match="lexicon"):
        train(run, recipe, "dual", world.teacher)
    run = new_run(world, tmp_path / "run")
    assert train(run, recipe, "dual", world.teacher)["words"] >= 300


def test_a_teacher_without_head_has_to_be_trained_first(run: RunDir, world: World) -> None:
    recipe = recipe_of(ObjectiveWeights(soft_labels=1.0)).replace({"budget.words": "300"})
    with pytest.raises(ConfigError, match=r"has no masked-LM head.*teacher_masked_lm"):
        train(run, recipe, "dual", world.headless)
    assert not run.training("dual").exists()


def test_a_student_that_starts_without_a_teacher_asks_nothing_of_its_head(run: RunDir, world: World) -> None:
    settings = {"budget.words": "300", "start.student": "random"}
    recipe = recipe_of(ObjectiveWeights(student_masked_lm=1.0)).replace(settings)
    assert train(run, recipe, "dual", world.headless)["words"] >= 300


@pytest.mark.parametrize(
    ("key", "value", "limit"),
    [("width", 64, 32), ("layers", 4, 3), ("feed_forward", 65, 64), ("positions", 49, 48)],
)
def test_a_student_larger_than_its_teacher_is_refused(
    run: RunDir, world: World, key: str, value: int, limit: int
) -> None:
    recipe = recipe_of().replace({f"student.{key}": str(value)})
    with pytest.raises(ConfigError, match=rf"student.{key} is {value}, the teacher has {limit}"):
        train(run, recipe, "dual", world.teacher)


def test_a_loss_that_is_not_finite_stops_the_run(run: RunDir, world: World) -> None:
    changes = {"student_rate": "10", "weight_decay": "100", "warm_up": "0"}
    recipe = recipe_of().replace({f"stages.dual.optimizer.{name}": value for name, value in changes.items()})
    with pytest.raises(TrainingError, match=r"(is|gradients of .*) (nan|inf) at step \d"):
        train(run, recipe, "dual", world.teacher)
    assert not (run.training("dual") / "manifest.json").exists()


# Time


def test_a_time_budget_is_kept(run: RunDir, world: World) -> None:
    recipe = recipe_of().replace({"budget.minutes": "0.02"})
    started = time.monotonic()
    results = train(run, recipe, "dual", world.teacher)
    assert 1.2 <= results["seconds"] < 2.5
    assert time.monotonic() - started < 10
    assert results["step"] > 3


def test_a_resumed_run_has_only_the_time_left(run: RunDir, world: World, signal_at: Any) -> None:
    recipe = recipe_of().replace({"budget.minutes": "0.04"})
    signal_at(8, signal.SIGTERM)
    with pytest.raises(Interrupted):
        train(run, recipe, "dual", world.teacher)
    signal_at(-1, signal.SIGTERM)
    results = train(run, recipe, "dual", world.teacher)
    seconds = [line["seconds"] for line in MetricsLog(run.training("dual") / "metrics.jsonl").read()]
    assert seconds == sorted(seconds), "the clock must go on from where it stood"
    assert 2.4 <= results["seconds"] < 4
