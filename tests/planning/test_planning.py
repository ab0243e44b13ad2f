"""What is said of a run before it: samples, footprints and arithmetic, and that the machine is measured."""

import dataclasses
import gzip
import io
import json
import math
import os
import re
import shlex
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pyarrow
import pyarrow.parquet
import pytest
import torch
from accelerate import Accelerator
from rich.console import Console
from rich.table import Table

from conftest import STUDENT_PIECES, World, small_text
from lilliput import cli
from lilliput.cli import making
from lilliput.compression import Summary
from lilliput.config import Budget, LexiconConfig, ObjectiveWeights, Recipe
from lilliput.errors import ConfigError, InputError, StorageError
from lilliput.models.kernels import PLAIN_BOTH, DualKernels, Kernels
from lilliput.models.pretrained import load_config
from lilliput.models.shape import EncoderShape
from lilliput.pieces.lexicon import Lexicon
from lilliput.pieces.teacher_tokenizer import teachers
from lilliput.planning import expectation, plan as planning, probes, samples, scratch
from lilliput.planning.estimate import StageEstimate, estimate_stage, render
from lilliput.planning.footprint import Footprint, TextSize, run_disk_bytes, trained_parameters
from lilliput.planning.plan import expect, plan
from lilliput.planning.probes import Pace, StageProbe, measure_preparation, measure_writing
from lilliput.planning.samples import made_up_sample, sample_text, stand_in_tokenizer
from lilliput.planning.stopwatch import Stopwatch
from lilliput.planning.texts import MadeUpTexts, TimedTexts
from lilliput.recipes import sentence, tiny
from lilliput.run import RunDir
from lilliput.training.checkpoint import Progress, save_checkpoint
from lilliput.training.sentences.cut import cut_texts, sentence_ends
from lilliput.training.step import Stepper

Shrink = Callable[..., Recipe]
SHORT = tiny().replace({"budget.words": "300"})
STOPWATCH = Stopwatch(torch.device("cpu"))
DOCS = (Path(__file__).parent.parent.parent / "docs" / "how-to" / "plan.md").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def _few_measurements(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is timed, but not so often that a median says much."""
    for name in ("_STEPS_AT_LEAST", "PROBE_STEPS", "_READINGS_AT_LEAST", "_READINGS_AT_MOST"):
        monkeypatch.setattr(probes, name, 1)


def shown(table: Table) -> str:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(table)
    return console.export_text()


def shape_of(world: World) -> EncoderShape:
    return EncoderShape.of_config(load_config(world.teacher))


@pytest.fixture
def run(world: World, tmp_path: Path) -> RunDir:
    """A run with corpus and lexicon of the small world, and nothing else."""
    for part in ("corpus", "lexicon"):
        shutil.copytree(world.folder / part, tmp_path / "run" / part)
    return RunDir(tmp_path / "run")


# Samples


@pytest.fixture(scope="module")
def text() -> str:
    return small_text(5, 9_000, odd=True)


def as_plain(text: str, path: Path) -> None:
    path.write_text(text, encoding="utf-8")


def as_gzip(text: str, path: Path) -> None:
    with gzip.open(path, "wt", encoding="utf-8", compresslevel=1) as file:
        file.write(text)


def as_json_lines(text: str, path: Path) -> None:
    path.write_text(
        "".join(json.dumps({"text": part}) + "\n" for part in text.split("\n\n")), encoding="utf-8"
    )


def as_parquet(text: str, path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.table({"text": text.split("\n\n")}), path)


@pytest.mark.parametrize(
    ("write", "name"),
    [(as_plain, "a.txt"), (as_gzip, "a.txt.gz"), (as_json_lines, "a.jsonl"), (as_parquet, "a.parquet")],
)
def test_a_sample_knows_its_share_of_a_file(
    text: str, write: Callable[[str, Path], None], name: str, tmp_path: Path
) -> None:
    write(text, tmp_path / name)
    share = sample_text([str(tmp_path / name)], "text", 300_000, tmp_path / "sample.jsonl")
    lines = (tmp_path / "sample.jsonl").read_text(encoding="utf-8").splitlines()
    documents = [json.loads(line)["text"] for line in lines]
    words = sum(len(document.split()) for document in documents)
    assert share < 0.95
    assert words / share == pytest.approx(len(text.split()), rel=0.05)
    assert documents[0].split() == text.split("\n\n", maxsplit=1)[0].split()


def test_a_sample_of_several_files_is_of_all_of_them(text: str, tmp_path: Path) -> None:
    for index in range(20):
        as_plain(text[: 400_000 if index % 2 else 200_000], tmp_path / f"{index:02d}.txt")
    share = sample_text([str(tmp_path)], "text", 40_000, tmp_path / "sample.jsonl")
    words = len((tmp_path / "sample.jsonl").read_text(encoding="utf-8").split())
    there = sum(len(path.read_text(encoding="utf-8").split()) for path in tmp_path.glob("*.txt"))
    assert words / share == pytest.approx(there, rel=0.1)


def test_a_small_text_is_its_own_sample(world: World, tmp_path: Path) -> None:
    assert sample_text([str(world.text)], "text", 10**9, tmp_path / "sample.jsonl") == 1.0


def test_a_data_set_has_no_size(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"owner/name:train is not known.* give the number of its words"):
        sample_text(["owner/name"], "text", 1000, tmp_path / "sample.jsonl")


def test_a_stand_in_cuts_words_like_english(tmp_path: Path) -> None:
    tokenizer = stand_in_tokenizer(30_522)
    assert tokenizer.get_vocab_size() == 30_522
    made_up, run = made_up_sample(teachers(tokenizer), tmp_path), RunDir(tmp_path / "run")
    corpus, preparation = measure_preparation(made_up, teachers(tokenizer), LexiconConfig(), run)
    report = Lexicon.open(run.lexicon).report
    assert report.student_size == 4928
    assert 1.25 < report.student_fertility < 1.45
    assert 1.05 < report.teacher_fertility < 1.25
    assert all(seconds > 0 for seconds in dataclasses.astuple(preparation))
    assert corpus.words > 400_000


def test_a_larger_text_takes_longer_to_prepare() -> None:
    preparation = probes.Preparation(word_seconds=2e-6, learnt_seconds=1e-6, type_seconds=1e-5)
    assert preparation.seconds(10**6, 10**5, 1) == pytest.approx(2 + 1 + 1)
    assert preparation.seconds(10**6, 10**5, 2) == pytest.approx(1 + 1 + 1)
    assert preparation.seconds(10**9, 10**6, 2) == pytest.approx(1000 + 20 + 10), "20 M words are learnt from"


def test_word_types_grow_as_in_the_sample(world: World) -> None:
    whole = planning._whole(world.corpus, 1.0)
    assert whole == TextSize(world.corpus.words, len(world.corpus.counts) - 2)
    tenfold = planning._whole(world.corpus, 0.1)
    assert tenfold.words == 10 * whole.words
    assert whole.types < tenfold.types < 4 * whole.types


# Memory and disk


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("stage", ["teacher", "dual", "student"])
def test_files_are_as_large_as_counted(
    world: World, run: RunDir, stage: str, affine: bool, optimizer: str
) -> None:
    settings = {"start.second_table": "affine"} if affine else {}
    recipe = tiny().replace(settings | {f"stages.{stage}.optimizer.name": optimizer})
    config, shape = recipe.stage(stage), shape_of(world)
    probe = StageProbe(run, recipe, config, shape)
    stepper = Stepper(probe._models, config.optimizer, Accelerator())
    stepper.step([probe._source(4).batch(0)], 1, 0.5)
    save_checkpoint(run.path / "saved", probe._models, stepper.optimizer, Progress(1))
    found = sum(path.stat().st_size for path in (run.path / "saved").rglob("*.safetensors"))
    student = EncoderShape.of_student(recipe.student, STUDENT_PIECES)
    counted = Footprint(config, shape, student, affine).checkpoint_bytes
    assert 0 <= found - counted < 40_000, "names of tensors"


def compressed(world: World, out: Path, recipe: Recipe) -> Summary:
    """Compresses as the command line does, which puts the estimate beside it; returns the summary on disk."""
    out.parent.mkdir(exist_ok=True)
    file = out.with_name("recipe.json")
    file.write_text(json.dumps(recipe.to_dict()), encoding="utf-8")
    making.compress(world.teacher, (str(world.text),), out, recipe=str(file), workers=1)
    return Summary(**json.loads((out / "summary.json").read_text()))


@pytest.mark.slow
def test_the_disk_holds_what_a_run_leaves(world: World, tmp_path: Path) -> None:
    out = tmp_path / "run"
    summary = compressed(world, out, tiny())
    recipe, shape = tiny(), shape_of(world)
    student = EncoderShape.of_student(recipe.student, STUDENT_PIECES)
    stages = [Footprint(stage, shape, student, False) for stage in recipe.stages]
    text = TextSize(world.corpus.words, len(world.corpus.counts) - 2)
    models = sum(path.stat().st_size for path in (out / "training").rglob("*.safetensors"))
    assert models == pytest.approx(sum(stage.model_bytes for stage in stages), rel=0.05)
    corpus = sum(path.stat().st_size for path in (out / "corpus").rglob("*") if path.suffix != ".json")
    arrays = sum(path.stat().st_size for path in (out / "lexicon").glob("*.npy"))
    assert corpus + arrays == pytest.approx(text.disk_bytes, rel=0.15)
    assert summary.estimate is not None
    assert summary.estimate["disk_bytes"] == run_disk_bytes(text, stages)
    assert run_disk_bytes(text, stages) > corpus + arrays + models


def test_memory_grows_with_everything_in_it(world: World) -> None:
    recipe, shape = tiny(), shape_of(world)
    student = EncoderShape.of_student(recipe.student, STUDENT_PIECES)
    teacher, dual, alone = (Footprint(stage, shape, student, False) for stage in recipe.stages)
    text = TextSize(1000, 100)
    assert dual.trained > teacher.trained + alone.trained, "the projections too"
    assert alone.parameters == alone.trained == student.parameters
    none = teacher.process_bytes(0, text, 0, 64)
    assert teacher.process_bytes(0, text, 1e6, 64) - none == pytest.approx(2_280_000), "measured"
    assert teacher.process_bytes(0, text, 1e6, 128) - none == pytest.approx(2_560_000)
    assert teacher.process_bytes(0, text, 1e6, 10**9) == teacher.process_bytes(0, text, 1e6, 10**4)
    assert teacher.process_bytes(0, text, 1e6, 0) < teacher.process_bytes(0, text, 1e6, 64)
    assert teacher.process_bytes(10, text, 0, 64) - none == 10
    tables = 4 * shape.vocabulary * shape.width
    assert none == teacher.gpu_bytes(0) + text.memory_bytes + tables, "a gradient from the input, and one"
    assert dual.process_bytes(0, text, 0, 1, True) > dual.process_bytes(0, text, 0, 1), "the warm start"
    assert dual.process_bytes(0, text, 1e9, 1, True) == dual.process_bytes(0, text, 1e9, 1), "is less"
    more = TextSize(2000, 100)
    assert teacher.process_bytes(0, more, 0, 64) - none >= 4 * 1000
    assert teacher.gpu_bytes(0) == 16 * teacher.trained
    frozen = dataclasses.replace(recipe.stages[0], objectives=ObjectiveWeights(soft_labels=1.0))
    reading = Footprint(frozen, shape, student, False)
    assert reading.gpu_bytes(0) == 16 * alone.trained + 4 * teacher.trained


# Arithmetic of a stage

PACE = Pace(step_seconds=0.5, row_seconds={"teacher": 0.01, "student": 0.001})


def estimated(
    budget: Budget,
    stage: str = "student",
    checkpoint_seconds: float = 0.0,
    reading_seconds: float = 0.0,
) -> StageEstimate:
    recipe = dataclasses.replace(tiny(), budget=budget)
    return estimate_stage(
        recipe,
        recipe.stage(stage),
        step_words=100.0,
        pace=PACE,
        checkpoint_seconds=checkpoint_seconds,
        checkpoint_minutes=5.0,
        memory_bytes=lambda steps: 7 * steps,
        reading_seconds=reading_seconds,
    )


def test_words_take_time() -> None:
    """Recipe tiny gives its last stage three tenths: 300 steps of 100 words and half a second."""
    found = estimated(Budget(words=100_000))
    assert found.words == 30_000
    assert found.words_per_second == 200
    assert found.seconds == pytest.approx(150 + 512 * 0.001 + 9 * 128 * 0.001)
    assert found.other_seconds == pytest.approx(512 * 0.001)
    assert found.memory_bytes == 7 * 300


def test_time_takes_words() -> None:
    """Three tenths of an hour are 1,080 s, of which evaluations take 1.664 s."""
    found = estimated(Budget(minutes=60))
    assert found.seconds == 1080
    assert found.words == 100 * math.ceil((1080 - 1.664) / 0.5)
    assert estimated(Budget(minutes=1e-6)).words == 100, "one step is taken in any case"


def test_a_teacher_is_evaluated_twice_and_a_warm_start_comes_first() -> None:
    teacher = estimated(Budget(words=100_000), "teacher")
    assert teacher.seconds == pytest.approx(150 + 512 * 0.01)
    assert teacher.other_seconds == pytest.approx(512 * 0.01)
    dual = estimated(Budget(words=100_000), "dual")
    assert dual.other_seconds == pytest.approx(512 * 0.011 + probes.WARM_START_ROWS * 0.01)


@pytest.mark.parametrize("budget", [Budget(words=1_000_000), Budget(minutes=60)])
def test_checkpoints_take_their_time(budget: Budget) -> None:
    free, dear = (estimated(budget, checkpoint_seconds=seconds) for seconds in (0.0, 15.0))
    checkpoints = free.seconds // 300
    assert dear.other_seconds == free.other_seconds + 15
    if budget.words is not None:
        assert dear.words == free.words
        assert dear.seconds == free.seconds + checkpoints * 15
    else:
        assert dear.seconds == free.seconds
        assert free.words - dear.words == pytest.approx(0.05 * 1080 / 0.5 * 100, abs=100)


# Probes


def test_a_probe_keeps_what_torch_keeps(world: World, run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    """From one and four rows to sixteen."""
    monkeypatch.setattr(probes, "fastest_kernels", lambda *_: PLAIN_BOTH)
    recipe = tiny().replace({"stages.dual.batch.rows": "16"})
    probe = StageProbe(run, recipe, recipe.stage("dual"), shape_of(world))
    load = probe.load()
    assert load.kept_bytes == pytest.approx(probe._kept(16), rel=0.1)
    halved = recipe.replace({"stages.dual.batch.accumulation": "2"})
    parts = StageProbe(run, halved, halved.stage("dual"), shape_of(world)).load()
    assert load.kept_bytes / 2 < parts.kept_bytes < 0.7 * load.kept_bytes, "projections are kept once"
    assert parts.words == pytest.approx(load.words, rel=0.2)
    assert parts.rows == 8
    probe._kernels = DualKernels(Kernels("bfloat16"), Kernels("bfloat16"))
    assert probe.load().kept_bytes < 0.8 * load.kept_bytes


@pytest.mark.parametrize(("accumulation", "measured"), [(1, 80), (2, 80), (8, 32)])
def test_a_long_step_is_extrapolated_from_a_shorter_one(
    world: World, run: RunDir, monkeypatch: pytest.MonkeyPatch, accumulation: int, measured: int
) -> None:
    """A tenth of a second and as much per row would be 26 s for 256 rows."""
    recipe = tiny().replace(
        {"stages.student.batch": json.dumps({"rows": 256, "length": 32, "accumulation": accumulation})}
    )
    probe = StageProbe(run, recipe, recipe.stage("student"), shape_of(world))
    asked: list[int] = []
    delays: list[float] = []

    def step(self: StageProbe, stepper: Stepper, rows: int, watch: Stopwatch) -> float:
        asked.append(rows)
        return 0.05 + 0.05 * rows + (delays.pop() if delays else 0.0)

    monkeypatch.setattr(StageProbe, "_step_seconds", step)
    assert probe.pace(STOPWATCH).step_seconds == pytest.approx(0.05 + 0.05 * 256)
    assert asked == [1, measured]
    asked.clear()
    assert probe.pace(STOPWATCH, most_rows=5).step_seconds == pytest.approx(0.05 + 0.05 * 256)
    assert asked == [1, 5], "as many as there is memory for"
    asked.clear()
    delays.append(9.0)
    probe.pace(STOPWATCH)
    assert asked == [1, 2, min(106, 256 // accumulation)], "one row took long, two did not"


def test_a_probe_times_real_steps(world: World, run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of every stage, with its rows, and leaves randomness as it was."""
    rows = []
    step = Stepper.step

    def remember(self: Stepper, batches: list, number: int, done: float) -> dict[str, float]:
        rows.append(len(batches[0].student.pieces) or len(batches[0].teacher.pieces))
        return step(self, batches, number, done)

    monkeypatch.setattr(Stepper, "step", remember)
    before = torch.get_rng_state()
    for stage in tiny().stages:
        pace = StageProbe(run, tiny(), stage, shape_of(world)).pace(STOPWATCH)
        assert 0 < pace.step_seconds < 30
        readers = {"teacher": {"teacher"}, "dual": {"teacher", "student"}, "student": {"student"}}
        assert pace.row_seconds.keys() == readers[stage.name]
    assert set(rows) == {1, 8}
    assert torch.equal(torch.get_rng_state(), before)


def test_a_trial_checkpoint_is_no_larger_than_the_runs_and_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []

    def remember(folder: Path, *arguments: object) -> None:
        save_checkpoint(folder, *arguments)
        written.append(sum(path.stat().st_size for path in folder.rglob("*.safetensors")))

    monkeypatch.setattr(probes, "save_checkpoint", remember)
    (tmp_path / "trial" / "left by a kill").mkdir(parents=True)
    assert 1e5 < measure_writing(tmp_path / "trial", 10**12) < 1e12
    assert 1e3 < measure_writing(tmp_path / "trial", 100_000) < 1e12
    assert 16_000_000 < written[0] < 16_001_000
    assert 100_000 <= written[1] < 101_000
    assert not list(tmp_path.iterdir())


def test_time_that_others_have_is_told_apart() -> None:
    def work() -> None:
        sum(range(1_000_000))

    def wait() -> None:
        time.sleep(0.2)

    watch = Stopwatch(torch.device("cpu"))
    assert watch.taken == 0
    watch.time(wait, counted=False)
    assert watch.taken == 0
    worked = watch.time(work)
    assert 0.005 < worked < 1
    assert watch.time(wait) < 0.1
    assert watch.taken > 0.2 / (0.2 + 10 * worked + 1)
    on_gpu = Stopwatch(torch.device("cuda"))
    assert on_gpu.time(wait) >= 0.2
    assert on_gpu.taken < 0.01


def test_what_others_take_makes_everything_longer() -> None:
    stretched = PACE.stretched(2.0)
    assert stretched == Pace(1.0, {"teacher": 0.02, "student": 0.002})


# Plans


def test_a_plan_of_a_text(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(scratch.tempfile, "tempdir", None)
    found = plan(world.teacher, [str(world.text)], tiny(), workers=1)
    assert found.text == TextSize(world.corpus.words, len(world.corpus.counts) - 2)
    assert [stage.name for stage in found.stages] == ["teacher", "dual", "student"]
    assert 6000 <= sum(stage.words for stage in found.stages) < 8000
    assert found.seconds > found.preparation_seconds > 0
    assert found.memory_bytes > 2e8, "torch alone takes as much"
    assert found.notes == ()
    assert found.machine == f"this machine, {torch.get_num_threads()} threads"
    assert not list(tmp_path.iterdir()), "nothing is kept"
    table = shown(render(found))
    for stage in found.stages:
        assert f"{stage.words_per_second:,.0f}" in table
    assert "preparation" in table
    assert "19,088 words is read" in table


def test_a_plan_of_texts_that_the_teacher_reads(world: World, run: RunDir, shrunken: Shrink) -> None:
    """All texts that the corpus has, or as many as are wanted; the words of a batch are those of texts."""
    recipe = shrunken("sentence", {"budget.words": "6000", "stages.student.batch.rows": "8"})
    every = expect(run, recipe, world.teacher, 5.0)
    assert every is not None
    cut = cut_texts(world.train_rows, sentence_ends(world.corpus), 10**6, (0,))
    held_out = min(1000, recipe.sentences.count)
    assert every.texts == pytest.approx(len(cut) + held_out, rel=0.1)
    assert every.reading_seconds > 0
    assert f"the teacher reads {every.texts:,} texts" in shown(render(every))
    assert 6000 <= every.stages[0].words < 6500
    some = expect(run, recipe.replace({"sentences.count": "100"}), world.teacher, 5.0)
    assert some is not None
    assert some.texts == 200
    assert some.disk_bytes < every.disk_bytes
    probe, lexicon = StageProbe(run, recipe, recipe.stages[0], shape_of(world)), world.lexicon
    student = EncoderShape.of_student(recipe.student, lexicon.student_size)
    counted = trained_parameters(recipe.stages[0].objectives, shape_of(world), student)
    assert sum(counted.values()) == sum(one.numel() for one in probe._models.parameters())


def test_reading_takes_its_share_of_the_minutes(world: World) -> None:
    """Of 60 minutes 21 at most, in whole files of 8,192 texts; the rest is the student's."""
    texts = MadeUpTexts.of(world.train_rows, world.corpus, 32, 0)
    timed = TimedTexts(texts, world.train_rows, seconds=0.1)
    recipe = sentence().replace({"budget.minutes": "60"})
    reading = timed.expected(recipe, TextSize(50_000_000, 10**5), stretch=1.0)
    assert reading.texts == 2 * 8192 + 1000
    assert timed.expected(recipe, TextSize(50_000_000, 10**5), stretch=2.0).texts == 8192 + 1000
    found = estimated(Budget(minutes=60), reading_seconds=600)
    assert found.seconds == 60 * (60 - 10) * 0.3


@pytest.fixture
def _large_teacher(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves out what takes seconds with such a teacher: its steps, and most of a made-up text."""
    monkeypatch.setattr(StageProbe, "pace", lambda *_: PACE)
    monkeypatch.setattr(samples, "_MADE_UP_WORDS", 20_000)


@pytest.mark.usefixtures("_large_teacher")
def test_a_plan_of_a_number_of_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning.psutil, "virtual_memory", lambda: SimpleNamespace(available=0))
    found = plan("minilm-6", 2_000_000, tiny())
    assert found.text.words == 2_000_000
    assert 60_000 < found.text.types < 90_000
    table = " ".join(shown(render(found)).split())
    assert "made-up text" in table
    assert re.search(r"stage 'teacher' needs .+ of memory but there are .+; raise batch.accumulation", table)


@pytest.mark.usefixtures("_large_teacher")
def test_a_plan_of_a_shape_counts_the_words_of_a_text(world: World) -> None:
    found = plan("minilm-6", [str(world.text)], tiny())
    assert found.text.words == world.corpus.words
    assert "made-up" in found.notes[0]


def test_a_plan_refuses_what_a_run_would(world: World) -> None:
    with pytest.raises(ConfigError, match="larger than its teacher"):
        plan(world.teacher, 10**6, tiny().replace({"student.width": "64"}))
    with pytest.raises(ConfigError, match=r"words must be a whole number from 1 to .*, found 0"):
        plan(world.teacher, 0, tiny())


# Expectations of a run


def test_a_run_is_measured_once(world: World, run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    first = expect(run, tiny(), world.teacher, 5.0)
    assert first.preparation_seconds == 0
    assert first.text == TextSize(world.corpus.words, len(world.corpus.counts) - 2)
    changed = tiny().replace({"budget.words": "12000"})
    assert expect(run, changed, world.teacher, 5.0).stages[0].words > first.stages[0].words
    monkeypatch.setattr(planning, "StageProbe", None)
    assert expect(run, changed, world.teacher, 5.0).stages[0].words > first.stages[0].words
    with pytest.raises(TypeError):
        expect(run, tiny(), world.teacher, 5.0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("setting", "open_end"),
    [("budget.words=900", "minutes of training"), ("budget.minutes=0.02", "words read")],
)
def test_compress_says_what_it_expects_and_how_far_that_was_off(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str], setting: str, open_end: str
) -> None:
    key, value = setting.split("=")
    recipe = tiny().replace({key: value})
    summary = compressed(world, tmp_path / "run", recipe)
    printed = capsys.readouterr()
    assert printed.err.index("Expected on this machine") < printed.err.index("teacher: ")
    lines = {line.split("│")[1].strip(): line for line in printed.out.splitlines() if line.count("│") == 5}
    assert summary.estimate is not None
    stages = summary.estimate["stages"]
    if open_end == "words read":
        expected = sum(stage["words"] for stage in stages)
        assert f"{expected:,} ({expected / summary.words - 1:+.0%})" in lines["words read, expected"]
    else:
        expected = sum(stage["seconds"] for stage in stages)
        off = expected / summary.training_seconds - 1
        assert f"{expected / 60:.1f} ({off:+.0%})" in lines["minutes of training, expected"]
    memory = max(stage["memory_bytes"] for stage in stages)
    assert f"{memory / summary.memory_bytes - 1:+.0%}" in lines["memory, expected"]
    assert 2e8 < summary.memory_bytes < 2e10


def test_a_run_that_has_begun_is_not_measured_again(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    first = compressed(world, out, SHORT)
    assert "Expected on" in capsys.readouterr().err
    monkeypatch.setattr(planning, "StageProbe", None)
    (out / "summary.json").unlink()
    again = compressed(world, out, SHORT)
    said = capsys.readouterr().err
    recorded = json.loads((out / "summary.json").read_text())["estimate"]
    assert json.loads(json.dumps([again.estimate, first.estimate])) == [recorded, recorded]
    assert "Expected on" not in said
    assert "not known" not in said
    shutil.rmtree(out / "estimate")
    (out / "summary.json").unlink()
    assert compressed(world, out, SHORT).estimate is None
    assert not (out / "estimate").exists()


def test_a_run_that_is_to_be_trained_anew_is_measured(world: World, run: RunDir) -> None:
    (run.training("teacher")).mkdir(parents=True)
    begun = {"format": 1, "digest": "of something else", "made_from": {}}
    (run.training("teacher") / "begun.json").write_text(json.dumps(begun), encoding="utf-8")
    assert expectation.announce(run, tiny(), world.teacher, 5.0) is not None


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (StorageError("the disk is full\nand more"), "the disk is full"),
        (MemoryError(), "MemoryError"),
        (RuntimeError("can't allocate memory"), "can't allocate memory"),
        (ValueError("[/b] is no markup"), "[/b] is no markup"),
    ],
)
def test_where_nothing_can_be_measured_there_is_no_estimate(
    world: World,
    run: RunDir,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    said: str,
) -> None:
    def fail(*arguments: object) -> None:
        raise error

    monkeypatch.setattr(planning, "StageProbe", fail)
    assert expectation.announce(run, tiny(), world.teacher, 5.0) is None
    found = " ".join(capsys.readouterr().err.split())
    assert f"no estimate of the training ({said}" in found
    assert "it starts without one" in found


def test_a_run_trains_where_nothing_can_be_measured(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "StageProbe", None)
    summary = compressed(world, tmp_path / "run", SHORT)
    assert summary.estimate is None
    assert summary.words >= 300


def test_a_full_disk_leaves_the_time_for_checkpoints_out(
    world: World, run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise StorageError("estimate/trial cannot be written: No space left on device")

    monkeypatch.setattr(probes, "save_checkpoint", full)
    found = expectation.announce(run, tiny(), world.teacher, 5.0)
    assert found is not None
    assert "checkpoints is left out: estimate/trial cannot be written: No space left" in found.notes[0]
    assert [path.name for path in run.estimate.iterdir()] == ["manifest.json"]


def test_what_a_killed_estimate_left_is_removed_by_the_next(world: World, run: RunDir) -> None:
    """A kill came while the disk was measured."""
    (run.estimate / "trial" / ".step-00000000.partial").mkdir(parents=True)
    (run.estimate / "trial" / ".step-00000000.partial" / ".weights.safetensors.1.partial").write_bytes(b"x")
    before = {path.name for path in run.path.iterdir()}
    assert expectation.announce(run, tiny(), world.teacher, 5.0) is not None
    assert [path.name for path in run.estimate.iterdir()] == ["manifest.json"]
    assert {path.name for path in run.path.iterdir()} == before


@pytest.mark.parametrize(
    ("taken", "said"),
    [
        (
            0.45,
            "took 45% of the processor while this was measured; without them it is 1.8 times",
        ),
        (0.01, "no other program took the processor while this was measured"),
    ],
)
def test_the_estimate_says_how_busy_the_machine_was(
    world: World, run: RunDir, taken: float, said: str
) -> None:
    found = expect(run, tiny(), world.teacher, 5.0)
    assert found is not None
    assert found.taken is not None
    assert 0 <= found.taken < 1
    table = " ".join(shown(render(dataclasses.replace(found, taken=taken))).split())
    assert said in table
    assert "processor" not in shown(render(dataclasses.replace(found, taken=None)))


# Temporary folders


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The system's folder for temporary files."""
    monkeypatch.setattr(scratch.tempfile, "tempdir", str(tmp_path))
    return tmp_path


def left_behind(folder: Path, minutes: int) -> Path:
    left = folder / f"kind-{minutes}"
    (left / "corpus").mkdir(parents=True)
    (left / "lock").touch()
    then = time.time() - 60 * minutes
    os.utime(left, (then, then))
    return left


def test_a_temporary_folder_that_a_kill_left_is_removed_by_the_next(temporary: Path) -> None:
    old, new, other = left_behind(temporary, 10), left_behind(temporary, 0), temporary / "another-kind"
    other.mkdir()
    with scratch.scratch_folder("kind") as folder:
        assert folder.is_dir()
        assert not old.exists()
        assert new.exists(), "its process may be about to lock it"
    assert not folder.exists()
    assert other.exists()


def test_a_temporary_folder_in_use_is_left(temporary: Path) -> None:
    with scratch.scratch_folder("kind") as first:
        os.utime(first, (0, 0))
        with scratch.scratch_folder("kind"):
            assert first.is_dir()


def test_a_temporary_folder_that_cannot_be_made_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scratch.tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(StorageError, match=r"no temporary folder can be made: No such file.*set TMPDIR"):
        scratch.scratch_folder("kind").__enter__()


# The how-to


@pytest.mark.slow
def test_the_commands_of_the_how_to(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(samples, "_MADE_UP_WORDS", 20_000)
    shutil.copy(world.text, "text.txt")
    commands = re.findall(r"^lilliput .+", DOCS, re.MULTILINE)
    assert len(commands) >= 3
    for command in commands:
        meant = re.sub(r"--recipe \S+", "", command).replace("TEACHER", world.teacher)
        meant = meant.replace("student.width=96", "student.width=8")
        monkeypatch.setattr(sys, "argv", [*shlex.split(meant), "--recipe", "tiny"])
        cli.main()
        assert "in all" in capsys.readouterr().out
    (code,) = re.findall(r"```python\n(.+?)```", DOCS, re.DOTALL)
    exec(compile(code, "plan.md", "exec"), {})
    assert float(capsys.readouterr().out) > 0
