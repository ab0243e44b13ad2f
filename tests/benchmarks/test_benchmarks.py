"""The benchmarks: what is timed is what trains, and the figures are what they say."""

import dataclasses
import inspect
import io
import itertools
import json
import multiprocessing
import re
import runpy
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from rich.console import Console

import lilliput
from benchmarks import commands, corpus, limits, training, training_report
from benchmarks.in_process import InProcess, Sample, timed
from benchmarks.lilliput_step import LilliputStep, Part, masked_lm_alone
from benchmarks.stage import BenchmarkStage, parts_of
from benchmarks.synthetic_corpus import build_synthetic_corpus, made_up_text
from benchmarks.transformers_step import TransformersStep, inputs_of
from conftest import World
from lilliput import cli
from lilliput.config import LexiconConfig, ObjectiveWeights
from lilliput.errors import ConfigError, LilliputError, StorageError
from lilliput.pieces.bert_tokenizer import load_tokenizer
from lilliput.pieces.teacher_tokenizer import teachers
from lilliput.recipes import tiny
from lilliput.run import RunDir

MEGABYTE = 1 << 20
pytestmark = pytest.mark.slow  # they measure, for a minute and a half

CHECKOUT = Path(__file__).parent.parent.parent
DOCS = (CHECKOUT / "docs" / "benchmark.md").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def _one_thread_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def stage_of(world: World, stage: str, **settings: str) -> BenchmarkStage:
    recipe = tiny().replace(settings)
    return BenchmarkStage(RunDir(world.folder), recipe, recipe.stage(stage), world.teacher)


# Processes of their own


def test_an_object_lives_in_a_process_of_its_own() -> None:
    with InProcess(list, [1, 2]) as there:
        there.call("append", 3)
        assert there.call("__len__") == 3
        with pytest.raises(ValueError, match="4 is not in list"):
            there.call("index", 4)
        assert there.call("__len__") == 3, "an error must not end the process"


def test_what_cannot_be_made_raises_and_ends_the_process() -> None:
    resource_tracker.ensure_running()  # a process that Python starts with the first one, and keeps
    before = len(psutil.Process().children())
    with pytest.raises(TypeError):
        InProcess(list, 1)
    assert len(psutil.Process().children()) == before


def test_a_killed_process_is_a_sentence() -> None:
    with (
        InProcess(psutil.Process) as there,
        pytest.raises(LilliputError, match="killed, most often as memory"),
    ):
        there.call("kill")


def test_memory_of_a_process_and_its_own_is_watched() -> None:
    script = f"import time; held = b'x' * {200 * MEGABYTE}; time.sleep(0.5)"
    with InProcess(subprocess.Popen, [sys.executable, "-c", script]) as there:
        _, together = there.watch("wait")
        code, alone = there.watch("wait")
    assert code == 0
    assert together > alone + 200 * MEGABYTE


def test_peak_memory_stays_when_memory_is_freed() -> None:
    """In a process of its own, as what others freed may be kept and taken again."""
    script = f"""
import psutil
from lilliput.common.memory import peak_memory
before = peak_memory()
held = b"x" * (before - psutil.Process().memory_info().rss + 64 * {MEGABYTE})
del held
print(peak_memory() - before)
"""
    grown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert 60 * MEGABYTE < int(grown) < 80 * MEGABYTE


def test_a_sample_has_clock_and_processor() -> None:
    sample = timed(lambda: time.sleep(0.2) or 10)
    assert sample.words == 10
    assert sample.seconds >= 0.2
    assert sample.processor_seconds < 0.1


def test_a_sample_has_the_processors_time_of_what_was_started() -> None:
    script = "import time; began = time.process_time()\nwhile time.process_time() < began + 0.5: pass"
    sample = timed(lambda: subprocess.run([sys.executable, "-c", script], check=True).returncode)
    assert 0.5 < sample.processor_seconds < sample.seconds + 0.05


# The machine's limits


def test_limits_are_operations_and_bytes_over_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    measure = limits.Measure()
    monkeypatch.setattr(time, "perf_counter", itertools.count().__next__)  # everything takes a second
    found = measure.limits()
    assert found.fp32_gflops == found.bf16_gflops == 2 * 2048**3 / 1e9
    assert found.copy_gigabytes == 2 * 2**28 / 1e9
    assert found.threads == torch.get_num_threads()


def test_the_best_of_each_limit_counts() -> None:
    best = limits.Limits(2, 3.0, 4.0, 5.0).best(limits.Limits(2, 1.0, 6.0, 7.0))
    assert best == limits.Limits(2, 3.0, 6.0, 7.0)
    assert best.peak == 6e9


# The made-up text


def test_a_made_up_text_is_words_of_the_teacher_by_zipfs_law(world: World) -> None:
    teacher = load_tokenizer(world.teacher)
    text = made_up_text(teachers(teacher), 20_000)
    assert text == made_up_text(teachers(teacher), 20_000)
    words = re.findall(r"\w+", text)
    assert len(words) == 20_000
    pieces = [len(teacher.encode(word, add_special_tokens=False).ids) for word in words]
    assert 1.1 < sum(pieces) / len(pieces) < 1.6
    counts = sorted(map(words.count, set(words)), reverse=True)
    assert counts[0] > 5 * counts[20] > 5 * counts[200] > 0
    assert 20 < text.count("\n\n") < 200


def test_the_worlds_corpus_and_lexicon_are_there_once(world: World, tmp_path: Path) -> None:
    teacher, config = load_tokenizer(world.teacher), LexiconConfig(size=300)
    run = build_synthetic_corpus(teacher, config, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("manifest.json")}
    assert len(before) == 2
    assert build_synthetic_corpus(teacher, config, tmp_path) == run
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("manifest.json")} == before


# Steps


@pytest.fixture(scope="module")
def dual(world: World) -> LilliputStep:
    return LilliputStep(stage_of(world, "dual"))


def test_parts_make_up_the_step(dual: LilliputStep) -> None:
    parts = dual.parts(1)
    assert parts.keys() == training_report.PARTS.keys()
    inside = [part for name, part in parts.items() if name not in ("batches", "evaluation")]
    assert sum(part.operations for part in inside) == dual.operations(1)
    assert all(part.seconds > 0 for part in parts.values())
    assert parts["teacher_forward"].kept > parts["student_forward"].kept > 0
    assert parts["backward"].kept < 0, "activations are freed"


def test_parts_are_those_of_the_stage(world: World) -> None:
    teacher, student = (LilliputStep(stage_of(world, stage)).parts(1) for stage in ("teacher", "student"))
    assert teacher.keys() ^ student.keys() == {"teacher_forward", "student_forward"}
    assert "projections" not in teacher


def test_parts_take_the_time_of_the_step(dual: LilliputStep) -> None:
    """No part of a step may be missed, nor counted twice; the profiler makes small ones a little longer."""
    parts = dual.parts(1)
    inside = sum(part.seconds for name, part in parts.items() if name not in ("batches", "evaluation"))
    step = min(dual.step(1).seconds for _ in range(3))
    assert 0.5 * step < inside < 5 * step


def test_a_step_with_masked_lm_alone_leaves_the_projections(world: World) -> None:
    ours = LilliputStep(stage_of(world, "dual"))
    models = ours._stepper.models
    assert models.down is not None
    before = [matrix.clone() for matrix in models.down.parameters()]
    students = [weight.clone() for weight in models.student.parameters()]
    ours.step(1, True)
    assert all(map(torch.equal, models.down.parameters(), before))
    assert not all(map(torch.equal, models.student.parameters(), students))
    assert ours.operations(1, True) < ours.operations(1)
    ours.step(1)
    assert not all(map(torch.equal, models.down.parameters(), before))


def test_masked_lm_alone() -> None:
    assert masked_lm_alone(ObjectiveWeights(1.0, 0.5, projection_up=2.0)) == ObjectiveWeights(1.0, 0.5)
    assert masked_lm_alone(ObjectiveWeights(soft_labels=1.0)) is None


def test_transformers_take_the_same_step(world: World) -> None:
    """From the same weights both have the same loss, and after the step nearly the same weights."""
    stage = stage_of(world, "student", **{"stages.student.optimizer.weight_decay": "0.01"})
    ours, theirs = LilliputStep(stage), TransformersStep(stage, "fp32")
    mine, other = ours._stepper.models.student, theirs._models["student"]
    assert mine is not None
    other.load_state_dict(mine.state_dict())
    (batch,) = parts_of(ours._source, 3)
    loss = other(**inputs_of(batch.student)).loss.item()
    assert ours._stepper.step([batch], 1, 0.5)["student_masked_lm"] == pytest.approx(loss, rel=1e-5)
    before = other.bert.embeddings.word_embeddings.weight.clone()
    assert theirs.step(3).words == batch.words == ours.step(3).words
    assert not torch.equal(before, other.bert.embeddings.word_embeddings.weight)


def test_transformers_teacher_reads_the_joint_pieces(world: World) -> None:
    stage = stage_of(world, "dual", **{"stages.dual.batch.accumulation": "2"})
    theirs = TransformersStep(stage, "bf16")
    assert theirs._models.keys() == {"teacher", "student"}
    table = theirs._models["teacher"].bert.embeddings.word_embeddings.weight
    assert len(table) == world.lexicon.teacher_size + world.lexicon.student_size
    for batch in parts_of(theirs._source, 1):
        given = inputs_of(batch.teacher)
        shown, labels = given["input_ids"], given["labels"]
        assert int(shown.max()) >= world.lexicon.teacher_size
        assert torch.equal(labels.flatten()[batch.teacher.positions], batch.teacher.targets)
        assert int((labels != -100).sum()) == len(batch.teacher.targets)
        assert torch.equal(given["attention_mask"] == 0, batch.teacher.padding)
    assert theirs.step(1).words == sum(batch.words for batch in parts_of(theirs._source, 1))


def test_another_shape_of_the_teacher(world: World) -> None:
    stage = dataclasses.replace(stage_of(world, "dual"), shape="minilm-6")
    teacher, student = stage.configs(stage.data())
    assert (teacher.num_hidden_layers, teacher.hidden_size) == (6, 384)
    assert (teacher.vocab_size, student.vocab_size) == (world.lexicon.teacher_size, 300)
    with pytest.raises(ConfigError, match=r"no shape is called 'bert-bas'; did you mean 'bert-base'\?"):
        dataclasses.replace(stage, shape="bert-bas").configs(stage.data())


# Reports


@pytest.mark.parametrize(("bf16", "emulated"), [(24.0, True), (26.0, False), (300.0, False)])
def test_a_precision_four_times_as_slow_is_taken_for_emulated(bf16: float, emulated: bool) -> None:
    assert limits.Limits(1, 100.0, bf16, 1.0).emulates_bf16 == emulated


def test_reports_are_medians(monkeypatch: pytest.MonkeyPatch) -> None:
    best = limits.Limits(2, 1.0, 2.0, 1.0)
    found = training._Measured("float32", [best])
    ours, alone, other = ([Sample(10, s * k, s) for s in (1.0, 2.0, 5.0)] for k in (2, 1, 3))
    found.steps = {"lilliput": ours, "lilliput masked LM": alone, "transformers bf16": other}
    found.operations = {name: [10**9] * 3 for name in found.steps}
    found.memory = {"lilliput": 5, "transformers bf16": 6}
    first, second, third = (training._way_report(name, found, best) for name in found.steps)
    assert (first.seconds, first.words_per_second, first.share_of_peak) == (4.0, 2.5, 0.125)
    assert (first.busy, first.memory, first.lilliput_times) == (0.25, 5, None)
    assert (second.memory, second.lilliput_times) == (None, None)
    assert third.lilliput_times == 3.0, "by the step with the same objectives"
    found.parts = [{"update": Part(8, s, 0, None), "heads": Part(8, s, 10**9, -3)} for s in (4.0, 1.0, 2.0)]
    update, heads = (training._part_report(name, found, best) for name in ("update", "heads"))
    assert update == training_report.PartReport("update", 2.0, 4.0, None, None)
    assert heads == training_report.PartReport("heads", 2.0, 4.0, 0.25, -3)


@pytest.fixture(scope="module")
def measured(world: World, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    out = tmp_path_factory.mktemp("speed")
    imported_once = multiprocessing.get_context("forkserver")  # else each process imports torch anew
    imported_once.set_forkserver_preload(["benchmarks.lilliput_step", "benchmarks.transformers_step"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setattr(multiprocessing, "get_context", lambda method: imported_once)
        report = training.benchmark_training(
            world.teacher, out, tiny(), run=world.folder, stages=["dual"], rounds=2
        )
    return out, report


def test_training_is_measured_and_written(measured: tuple[Path, Any]) -> None:
    out, report = measured
    (stage,) = report.stages
    precisions = ["fp32"] if report.limits.emulates_bf16 else ["bf16", "fp32"]
    names = ["lilliput", "lilliput masked LM", *(f"transformers {precision}" for precision in precisions)]
    assert [way.name for way in stage.ways] == names
    assert [part.name for part in stage.parts] == list(training_report.PARTS)
    assert all(len(way.samples) == 2 for way in stage.ways)
    assert all(0 < way.share_of_peak < 1 for way in stage.ways)
    assert 0 <= stage.loop.waiting < 1
    assert report.limits.threads == 1
    assert json.loads((out / "training.json").read_text()) == json.loads(
        json.dumps(dataclasses.asdict(report))
    )
    assert (out / "training.png").read_bytes().startswith(b"\x89PNG")
    before = (out / "training.svg").read_bytes()
    training_report.plot(report, out)
    assert (out / "training.svg").read_bytes() == before


def test_tables_have_a_line_for_each_part_and_way(measured: tuple[Path, Any]) -> None:
    written = io.StringIO()
    Console(width=110, file=written).print(training_report.render(measured[1]))
    lines = written.getvalue()
    (stage,) = measured[1].stages
    for name in (*training_report.PARTS.values(), *(way.name for way in stage.ways)):
        assert name in lines
    assert f"{stage.ways[2].lilliput_times:.2f} x" in lines
    assert f"{stage.loop.waiting:.1%} of the time waiting for batches" in lines


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"rounds": 0}, "rounds must be a whole number from 1 to 1,000, found 0"),
        ({"stages": ["dul"]}, "has no stage 'dul'; did you mean 'dual'"),
        ({"recipe": tiny().replace({"student.width": "64"})}, "student is larger than its teacher"),
    ],
)
def test_what_cannot_be_measured_is_a_sentence_before_anything_is(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], sentence: str
) -> None:
    monkeypatch.delattr(training, "InProcess")  # no process may be started
    with pytest.raises(ConfigError, match=sentence):
        training.benchmark_training(
            world.teacher, tmp_path, **{"recipe": tiny(), "run": world.folder, **options}
        )


def test_a_run_without_corpus_is_a_sentence(world: World, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="holds no finished lexicon"):
        training.benchmark_training(world.teacher, tmp_path, tiny(), run=tmp_path)


def test_dual_training_is_measured_by_default() -> None:
    recipe = training.benchmark_recipe()
    assert [stage.name for stage in recipe.stages] == ["teacher", "dual", "student"]
    assert recipe.stage("dual").objectives == ObjectiveWeights(1.0, 1.0, projection_down=1e-4)


# Corpora


def test_a_corpus_is_measured_and_removed(world: World, tmp_path: Path) -> None:
    report = corpus.benchmark_corpus(world.teacher, [str(world.text)], tmp_path, workers=[2, 1], rounds=1)
    assert report.words == world.corpus.words
    assert report.bytes == pytest.approx(world.text.stat().st_size, rel=0.01)
    assert [one.workers for one in report.workers] == [1, 2]
    assert report.workers[0].speed_up == 1
    for one in report.workers:
        assert one.words_per_second == report.words / one.seconds
        assert one.bytes_per_second == report.bytes / one.seconds < report.reading_bytes_per_second
        assert 0 < one.words_per_core_second < 1e8
        assert one.memory > 20 * MEGABYTE
    assert {path.name for path in tmp_path.iterdir()} == {"corpus.json", "corpus.svg", "corpus.png"}
    assert json.loads((tmp_path / "corpus.json").read_text())["words"] == report.words
    written = io.StringIO()
    Console(width=110, file=written).print(corpus.render(report))
    assert f"{report.workers[1].words_per_second:,.0f}" in written.getvalue()


def test_what_a_killed_benchmark_left_is_not_taken_for_a_build(world: World, tmp_path: Path) -> None:
    text = corpus._Text(world.teacher, [str(world.text)], "text", tmp_path)
    corpus.build_corpus(
        [str(world.text)], load_tokenizer(world.teacher), tmp_path / "benchmark_corpus.building", workers=1
    )
    started = time.perf_counter()
    built = text.build(1)
    assert built.words == world.corpus.words
    assert 0.005 < built.seconds < time.perf_counter() - started
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("options", [{"workers": [0]}, {"rounds": 0}])
def test_numbers_that_mean_nothing_are_refused(world: World, tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"(workers|rounds) must be a whole number from 1 to"):
        corpus.benchmark_corpus(world.teacher, [str(world.text)], tmp_path, **options)


# What the page tells a user to type


COMMANDS = re.findall(r"^(?:OMP_NUM_THREADS=1 )?python -m benchmarks.+", DOCS, re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_of_the_page_arrives(
    command: str, world: World, monkeypatch: pytest.MonkeyPatch, measured: tuple[Path, Any]
) -> None:
    given: dict[str, Any] = {}

    def remember(function: Callable[..., object], result: object) -> Callable[..., object]:
        def call(*arguments: object, **options: object) -> object:
            given.update(inspect.signature(function).bind(*arguments, **options).arguments)
            return result

        return call

    report = corpus.CorpusReport({"processor": "some"}, 1, 1, 1.0, ())
    monkeypatch.setattr(training, "benchmark_training", remember(training.benchmark_training, measured[1]))
    monkeypatch.setattr(corpus, "benchmark_corpus", remember(corpus.benchmark_corpus, report))
    _, _, module, *arguments = shlex.split(command.removeprefix("OMP_NUM_THREADS=1 "))
    monkeypatch.setattr(sys, "argv", [module, *arguments])
    commands.main(getattr(commands, module.removeprefix("benchmarks.")))
    assert (given["teacher"], given["out"]) == ("TEACHER", Path("runs/speed"))
    for option, name in (("--rounds", "rounds"), ("--shape", "shape")):
        if option in arguments:
            assert str(given[name]) == arguments[arguments.index(option) + 1]
    if "paper96" in command:
        assert given["recipe"].name == "paper96"
        assert given["run"] == Path("runs/x")
    if "--set" in command:
        assert given["recipe"].student.heads == 4
        assert given["recipe"].stage("student").batch.rows == 32
        assert given["recipe"].name == "benchmark"
    if "--workers" in command:
        assert given["workers"] == (1, 2, 4)
    if "--stages" in command:
        assert given["stages"] == ("dual",)


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("training", "teacher out run recipe set_ shape stages rounds"),
        ("corpus", "teacher corpus out text_column workers rounds"),
    ],
)
@pytest.mark.filterwarnings("ignore:'benchmarks:RuntimeWarning")  # is imported already
def test_the_surface_is_pinned_and_explained(
    command: str, options: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert " ".join(inspect.signature(getattr(commands, command)).parameters) == options
    monkeypatch.setattr(sys, "argv", [f"{command}.py", "--help"])
    runpy.run_module(f"benchmarks.{command}", run_name="__main__")  # as `python -m` does
    shown = capsys.readouterr().out
    assert f"python -m benchmarks.{command} " in shown
    for name in options.split()[1:]:
        assert f"--{name.strip('_').replace('_', '-')} " in shown


def test_the_page_has_commands_for_both() -> None:
    assert {command.split("benchmarks.")[1].split()[0] for command in COMMANDS} == {"training", "corpus"}


@pytest.mark.parametrize("name", ["training", "corpus"])
def test_who_types_the_old_command_or_name_is_told_the_new_one(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["lilliput", "benchmark", name, "TEACHER", "--out", "x"])
    with pytest.raises(SystemExit):
        cli.main()
    assert f"is now `python -m benchmarks.{name}`" in " ".join(capsys.readouterr().err.split())
    with pytest.raises(AttributeError, match=f"left the package: type `python -m benchmarks.{name}`"):
        getattr(lilliput, f"benchmark_{name}")
