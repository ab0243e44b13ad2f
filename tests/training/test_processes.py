"""Several processes train what one trains, to rounding, and end together with a sentence.

Two processes are started once for all that can be tried in one launch: `LAUNCHED` goes through a list of
trials and notes what came of each. What ends a process has a launch of its own.
"""

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForMaskedLM

from conftest import LENGTH, STUDENT_PIECES, World
from lilliput import cli
from lilliput.cli import options
from lilliput.common.ending import ended as exit_code_of
from lilliput.common.metrics_log import MetricsLog
from lilliput.compression import compress
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
from lilliput.errors import Interrupted, LaunchError, PeerFailed, TrainingError
from lilliput.models.kernels import PLAIN_BOTH
from lilliput.recipes import tiny
from lilliput.run import RunDir
from lilliput.training import loop
from lilliput.training.checkpoint import checkpoints
from lilliput.training.loop import train
from lilliput.training.processes import ALONE, connected
from lilliput.training.step import Stepper

EVERYTHING = ObjectiveWeights(
    teacher_masked_lm=1.0, student_masked_lm=0.5, soft_labels=0.5, projection_down=1e-3, projection_up=1e-3
)
TOLERANCE = 1e-5
"""How far losses, and by its norm each tensor of weights, may be off after 13 steps (seen: 7e-7)."""


def recipe_of(
    weights: ObjectiveWeights,
    accumulation: int,
    *,
    optimizer: str = "adamw",
    clip: float = 2.0,
    **budget: float,
) -> Recipe:
    """Returns one stage of rows that two processes cannot halve; in some parts no word is masked.

    At `clip` some gradients are clipped and some are not, as only then Adam tells a gradient from its double.
    """
    batch = BatchConfig(rows=9, length=LENGTH, masked=0.05, accumulation=accumulation)
    config = OptimizerConfig(optimizer, clip=clip)
    return Recipe(
        name="shared",
        budget=Budget(**(budget or {"words": 2000})),
        stages=(StageConfig("dual", 1.0, weights, batch, config),),
        lexicon=LexiconConfig(size=STUDENT_PIECES),
        student=StudentConfig(layers=2, width=16, heads=2, feed_forward=32, positions=LENGTH),
    )


RECIPES = {
    "teacher": recipe_of(ObjectiveWeights(teacher_masked_lm=1.0), 1, clip=5.0),
    "dual": recipe_of(EVERYTHING, 3),
    "dual in one part": recipe_of(EVERYTHING, 1, optimizer="lamb"),
    "student": recipe_of(ObjectiveWeights(student_masked_lm=1.0), 9),
    "projections": recipe_of(ObjectiveWeights(projection_down=1.0), 3),
}

LAUNCHED = """
import contextlib, gc, json, os, signal, sys
from pathlib import Path

import torch

from lilliput.models import kernels
from lilliput.training import processes
from lilliput.training import step
from lilliput.training import loop as training
from lilliput.config import Recipe
from lilliput.errors import LilliputError, StorageError
from lilliput.run import RunDir

gc.freeze()  # as conftest.py does
torch.set_num_threads(1)
index, folder, teacher = int(os.environ["RANK"]), Path(sys.argv[1]), sys.argv[2]
short = kernels.Kernels("bfloat16")
fastest = kernels.PLAIN_BOTH if index else kernels.DualKernels(short, short)  # one has no bfloat16
training.fastest_kernels = lambda *_: fastest
usual_step, usual_save, usual_versions = step.Stepper.step, training.save_checkpoint, processes.versions

def attempt(trial):
    def step_of(stepper, batches, number, done):
        if trial.get("signal") == [index, number]:
            os.kill(os.getpid(), signal.SIGTERM)
        if trial.get("killed") == [index, number]:
            stepper._go_backward = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        if trial.get("spoilt") == [index, number]:
            with torch.no_grad():
                stepper.models.student.cls.predictions.bias[7] = float("nan")
        return usual_step(stepper, batches, number, done)

    def save(*arguments):
        if trial.get("full disk"):
            raise StorageError("no room")
        usual_save(*arguments)

    step.Stepper.step, training.save_checkpoint = step_of, save
    try:
        if "versions" in trial:
            processes.versions = lambda: usual_versions() | ({"torch": "0.1"} if index else {})
            processes.launch.__wrapped__()
        run, recipe = RunDir(folder / trial["runs"][index]), Recipe.from_dict(trial["recipes"][index])
        return training.train(run, recipe, "dual", teacher, checkpoint_minutes=trial.get("minutes", 5))
    except LilliputError as error:
        return f"{type(error).__name__}: {error}"
    finally:
        processes.versions = usual_versions

found = {}
for name, trial in json.loads((folder / "trials.json").read_text()).items():
    found[name] = attempt(trial)
    (folder / f"found-{index}.json").write_text(json.dumps(found))
"""


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def start(program: Sequence[str], count: int = 2) -> list[subprocess.Popen[str]]:
    """Starts processes as a launcher does."""
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "OMP_NUM_THREADS": "1"}
    return [
        subprocess.Popen(
            [sys.executable, *program],
            env=os.environ
            | shared
            | {"RANK": str(index), "LOCAL_RANK": str(index), "WORLD_SIZE": str(count)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(count)
    ]


def ended(started: list[subprocess.Popen[str]], seconds: float = 120) -> list[tuple[int, str]]:
    """Returns how each process ended, and what it said on one line; none outlives the test."""
    try:
        said = [" ".join(process.communicate(timeout=seconds)[1].split()) for process in started]
    finally:
        for process in started:
            process.kill()
    return [(process.returncode, text) for process, text in zip(started, said, strict=True)]


def new_run(world: World, folder: Path) -> RunDir:
    run = RunDir(folder)
    shutil.copytree(world.corpus.path, run.corpus)
    shutil.copytree(world.lexicon.path, run.lexicon)
    return run


def stop_at(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Lets SIGTERM come in the midst of a step."""
    usual = Stepper.step

    def step(stepper: Stepper, batches: Any, step: int, done: float) -> dict[str, float]:
        if step == number:
            os.kill(os.getpid(), signal.SIGTERM)
        return usual(stepper, batches, step, done)

    monkeypatch.setattr(Stepper, "step", step)


@pytest.fixture(scope="module")
def exact() -> Iterator[None]:
    """Alone, too, everything is computed in float32."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "fastest_kernels", lambda *_: PLAIN_BOTH)
        yield


@pytest.fixture(scope="module")
def alone(world: World, tmp_path_factory: pytest.TempPathFactory, exact: None) -> dict[str, RunDir]:
    """Every recipe, trained by one process that nothing interrupted."""
    folder = tmp_path_factory.mktemp("alone")
    runs = {name: new_run(world, folder / name) for name in RECIPES}
    for name, run in runs.items():
        train(run, RECIPES[name], "dual", world.teacher)
    return runs


@pytest.fixture(scope="module")
def shared(world: World, tmp_path_factory: pytest.TempPathFactory, exact: None) -> Path:
    """Where two processes went through all trials."""
    folder = tmp_path_factory.mktemp("shared")
    trials: dict[str, Any] = {name: {} for name in RECIPES}
    one_row = {"stages.dual.batch": json.dumps({"rows": 1, "length": LENGTH})}
    trials |= {
        "resumed by two": {"of": "dual"},
        "stopped": {"of": "dual", "signal": [1, 5]},
        "minutes": {"recipe": recipe_of(RECIPES["student"].stages[0].objectives, 1, minutes=0.01).to_dict()},
        "versions": {"of": "student", "versions": True},
        "spoilt": {"of": "student", "spoilt": [1, 3]},
        "full disk": {"of": "student", "full disk": True},
        "few rows": {"recipe": RECIPES["student"].replace(one_row).to_dict()},
        "another recipe": {"of": "student"},
        "a shard is missing": {"of": "student"},
        "a checkpoint is missing": {"of": "dual"},
        "killed": {"of": "dual", "killed": [1, 6], "minutes": 1e-9},
    }
    for name, trial in trials.items():
        recipe = trial.get("recipe") or RECIPES[trial.get("of", name)].to_dict()
        trial |= {"recipes": [recipe, recipe], "runs": [name, name]}
        new_run(world, folder / name)
    with pytest.MonkeyPatch.context() as patch:
        stop_at(patch, 5)
        with pytest.raises(Interrupted):
            train(RunDir(folder / "resumed by two"), RECIPES["dual"], "dual", world.teacher)
    other = RECIPES["student"].replace({"seed": "3"})
    trials["another recipe"]["recipes"][1] = other.to_dict()
    for name in ("a shard is missing", "a checkpoint is missing"):
        trials[name]["runs"][1] = f"{name} there"
        new_run(world, folder / f"{name} there")
    next((folder / "a shard is missing there").glob("corpus/shards/*.npy")).unlink()
    shutil.copytree(
        RunDir(folder / "resumed by two").training("dual"),
        RunDir(folder / "a checkpoint is missing").training("dual"),
    )
    (folder / "trials.json").write_text(json.dumps(trials))
    (code, said), (other_code, other_said) = ended(start(["-c", LAUNCHED, str(folder), world.teacher]))
    assert code == 0, said
    assert other_code == -signal.SIGKILL, other_said  # in the last trial
    return folder


def found_by(shared: Path, index: int, trial: str) -> Any:
    return json.loads((shared / f"found-{index}.json").read_text())[trial]


def metrics(run: RunDir) -> list[dict[str, Any]]:
    return MetricsLog(run.training("dual") / "metrics.jsonl").read()


def assert_close(run: RunDir, alone: RunDir) -> None:
    """The same words and losses in every step, and the same weights, to the stated tolerance."""
    for line, expected in zip(metrics(run), metrics(alone), strict=True):
        assert line.keys() == expected.keys()
        for name in line.keys() - {"seconds", "words_per_second"}:
            assert line[name] == pytest.approx(expected[name], rel=TOLERANCE), (name, line["step"])
    files = sorted(path.relative_to(alone.path) for path in alone.path.glob("training/dual/*/*.safetensors"))
    assert files
    for file in files:
        tensors = load_file(run.path / file)
        for name, tensor in load_file(alone.path / file).items():
            # A key's bias shifts all scores of a query alike: its gradient is rounding, which Adam enlarges.
            if not name.endswith("key.bias"):
                assert torch.dist(tensors[name], tensor) <= TOLERANCE * tensor.norm(), name


# The same as one process


@pytest.mark.parametrize("name", RECIPES)
def test_two_processes_train_what_one_trains(shared: Path, alone: dict[str, RunDir], name: str) -> None:
    assert_close(RunDir(shared / name), alone[name])
    mine, theirs = (found_by(shared, index, name) for index in (0, 1))
    assert mine == theirs
    assert mine["step"] > 8


def test_some_part_has_no_masked_word(world: World) -> None:
    """Else the trials would not show that counts are those of all processes."""
    source = world.source(RECIPES["dual"].stages[0].batch)
    parts = [source.batch(step, part, 4) for step in range(8) for part in range(4)]
    masked = [len(part.student.targets) for part in parts]
    assert 0 in masked
    assert max(masked) > 3
    assert len({len(part.student.pieces) for part in parts}) == 2


def test_one_log_and_one_checkpoint_are_written(shared: Path) -> None:
    folder = RunDir(shared / "stopped").training("dual")
    kept = sorted(path.name for path in (folder / "checkpoints").iterdir())
    assert kept == ["kernels.json", "step-00000005"]
    assert len(list((shared / "teacher").glob("training/dual/tensorboard/events*"))) == 1
    assert [line["step"] for line in metrics(RunDir(shared / "stopped"))] == list(range(6))


def test_a_signal_to_one_stops_both_and_one_process_goes_on(
    shared: Path, alone: dict[str, RunDir], world: World, tmp_path: Path
) -> None:
    for index, name in enumerate(("a signal to another process", "SIGTERM")):
        found = found_by(shared, index, "stopped")
        assert found.startswith(f"Interrupted: {name} stopped stage 'dual' after step 5; its state is saved")
    run = RunDir(Path(shutil.copytree(shared / "stopped", tmp_path / "run")))
    train(run, RECIPES["dual"], "dual", world.teacher)
    assert_close(run, alone["dual"])


def test_two_processes_go_on_where_one_stopped(shared: Path, alone: dict[str, RunDir]) -> None:
    assert_close(RunDir(shared / "resumed by two"), alone["dual"])


def test_the_clock_of_the_main_process_is_that_of_all(shared: Path) -> None:
    mine, theirs = (found_by(shared, index, "minutes") for index in (0, 1))
    assert mine == theirs
    assert 0.6 <= mine["seconds"] < 2


# What one process finds wrong ends all


@pytest.mark.parametrize(
    ("trial", "by_main", "by_other"),
    [
        (
            "versions",
            r"LaunchError: process 1 on \S+ does not have what the main process has \(torch: 0\.1 there, "
            r"\S+ now\); install the same on all machines",
            "PeerFailed: process 0 on .*torch",
        ),
        (
            "another recipe",
            r"LaunchError: process 1 on \S+ does not have .*\(seed: 3 there, 0 now\); give every process the",
            "PeerFailed: process 0 on .*seed",
        ),
        (
            "a shard is missing",
            r"PeerFailed: process 1 on \S+: .*a shard is missing there/corpus/shards/\S+ is missing",
            "StorageError: .*is missing; remove .* and build the corpus again",
        ),
        (
            "a checkpoint is missing",
            r"LaunchError: process 1 on \S+ does not .*step: 0 there, 5 now.*share the run's folder",
            "PeerFailed: process 0 on ",
        ),
        ("full disk", "StorageError: no room", r"PeerFailed: process 0 on \S+: no room"),
        (
            "few rows",
            "ConfigError: 2 processes cannot share 1 rows; raise batch.rows",
            "PeerFailed: process 0",
        ),
        (
            "spoilt",
            "TrainingError: the objective student_masked_lm is nan at step 3",
            "TrainingError: the obj",
        ),
    ],
)
def test_what_one_finds_wrong_ends_both(shared: Path, trial: str, by_main: str, by_other: str) -> None:
    assert re.match(by_main, found_by(shared, 0, trial)), found_by(shared, 0, trial)
    assert re.match(by_other, found_by(shared, 1, trial)), found_by(shared, 1, trial)
    assert not (RunDir(shared / trial).training("dual") / "manifest.json").exists()


def test_a_killed_process_ends_the_other(
    shared: Path, alone: dict[str, RunDir], world: World, tmp_path: Path
) -> None:
    """The last trial, in which the second process kills itself in the midst of a step."""
    assert found_by(shared, 0, "killed").startswith("LaunchError: another process of this launch ended")
    run = RunDir(Path(shutil.copytree(shared / "killed", tmp_path / "run")))
    assert checkpoints(run.training("dual") / "checkpoints")[-1].name == "step-00000005"
    train(run, RECIPES["dual"], "dual", world.teacher)
    assert_close(run, alone["dual"])


BEHIND = """
import sys, time
from dataclasses import replace
from datetime import timedelta
from torch import distributed
from lilliput.models import kernels
from lilliput.training import processes
from lilliput.errors import LaunchError

both = processes.launch()
steps = distributed.new_group(backend="gloo", timeout=timedelta(seconds=1.5))  # else it takes ten minutes
both = replace(both, groups=replace(both.groups, steps=steps))
both.on_main(time.sleep, 3)  # is waited for, though longer than a step may take
if both.index:
    time.sleep(60)
started = time.monotonic()
try:
    both.add_up({"words": 1})
except LaunchError as error:
    sys.exit(f"{error} after {time.monotonic() - started:.0f} seconds")
"""


def test_a_process_far_behind_ends_the_other() -> None:
    """Which has to end then, not only to say so."""
    started = start(["-c", BEHIND])
    ((code, said),) = ended(started[:1], 50)
    started[1].kill()
    assert code == 1
    assert re.search("another process of this launch .* stands still .* after [12] seconds", said)


# The command line under torchrun, as the how-to says it

HOW_TO = (Path(__file__).parent.parent.parent / "docs" / "how-to" / "eight-gpus.md").read_text(
    encoding="utf-8"
)
(TORCHRUN,) = re.findall(r"^torchrun .+", HOW_TO, re.MULTILINE)


@pytest.mark.slow
def test_the_how_tos_command_stops_and_goes_on(world: World, tmp_path: Path) -> None:
    real = {
        "nproc_per_node 8": "nproc_per_node 2",
        "bert-base-uncased": world.teacher,
        "wikimedia/wikipedia:20231101.en": str(world.text),
        "runs/x": str(tmp_path / "run"),
    }
    command = TORCHRUN
    for there, here in real.items():
        assert there in command
        command = command.replace(there, here)
    program = [sys.executable, "-m", "torch.distributed.run", *shlex.split(command)[1:]]
    settings = ["--recipe", "tiny", "--words", "20000", "--workers", "1"]
    launcher = subprocess.Popen(
        [*program, *settings], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    log = MetricsLog(tmp_path / "run" / "training" / "teacher" / "metrics.jsonl")
    try:
        while len(log.read()) < 4 and launcher.poll() is None:
            time.sleep(0.02)
        launcher.send_signal(signal.SIGTERM)
        out, said = launcher.communicate(timeout=60)
    finally:
        launcher.kill()
    said = " ".join(said.split())
    assert said.count("stopped stage 'teacher' after step") == 1, said
    assert "compressed by recipe" not in out
    recipe = tiny().replace({"budget.words": "20000"})
    stopped_at = log.read()[-1]["step"]
    compress(world.teacher, [str(world.text)], tmp_path / "run", recipe, workers=1)
    assert [line["step"] for line in log.read()][: stopped_at + 1] == list(range(stopped_at + 1))
    assert AutoModelForMaskedLM.from_pretrained(tmp_path / "run" / "student").config.hidden_size == 16


def raised(error: Exception) -> None:
    raise error


def test_of_several_processes_one_speaks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Unless another knows what the main one does not."""
    monkeypatch.setattr(cli, "is_main", False)
    monkeypatch.setattr(options, "is_main", False)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setattr(sys, "argv", ["lilliput", "recipes"])
    cli.main()
    options.show("a result")
    for said_by_main in (Interrupted("stopped"), TrainingError("nan"), PeerFailed("no room")):
        assert exit_code_of(partial(raised, said_by_main)) != 0
    assert capsys.readouterr() == ("", "")
    assert exit_code_of(partial(raised, LaunchError("another process ended"))) != 0
    assert capsys.readouterr().err == "lilliput, process 3: another process ended\n"


# Alone


def test_alone_nothing_is_exchanged() -> None:
    assert ALONE.add_up({"words": 3, "asked": False}) == {"words": 3, "asked": False}
    assert ALONE.on_main(lambda: ("not", "JSON")) == ("not", "JSON")
    assert ALONE.any(True)
    assert not ALONE.any(False)
    with pytest.raises(KeyError), ALONE.together():
        raise KeyError("as it is")


def test_only_a_broken_connection_is_taken_for_one() -> None:
    with pytest.raises(RuntimeError, match="out of memory"), connected():
        raise RuntimeError("out of memory")
    with pytest.raises(LaunchError, match="another process of this launch ended"), connected():
        raise torch.distributed.DistBackendError("NCCL")
