"""How fast the stages of a recipe train here: part by part, against the machine's limits and transformers."""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from benchmarks.in_process import InProcess, Sample
from benchmarks.lilliput_step import LilliputStep, LoopSample, Part, masked_lm_alone
from benchmarks.limits import Limits, Measure
from benchmarks.operations import REST, OperationSample
from benchmarks.stage import BenchmarkStage
from benchmarks.synthetic_corpus import build_synthetic_corpus
from benchmarks.training_report import (
    PARTS,
    LoopReport,
    OperationReport,
    PartReport,
    StageReport,
    TrainingReport,
    WayReport,
    plot,
)
from benchmarks.transformers_step import TransformersStep
from lilliput.common.files import write_json
from lilliput.common.machine import MOST_ROUNDS, describe_machine
from lilliput.common.progress import bar
from lilliput.config import Recipe, StageConfig
from lilliput.errors import bounded
from lilliput.objectives import ObjectiveWeights
from lilliput.pieces.bert_tokenizer import load_tokenizer
from lilliput.recipes import lilliput
from lilliput.run import RunDir

_OURS, _ALONE = "lilliput", "lilliput masked LM"


def benchmark_recipe() -> Recipe:
    """Returns the stages of recipe `lilliput` and, between them, dual training with projections down."""
    base = lilliput()
    teacher, student = (dataclasses.replace(stage, share=stage.share / 2) for stage in base.stages)
    dual = StageConfig(
        "dual",
        0.5,
        ObjectiveWeights(teacher_masked_lm=1.0, student_masked_lm=1.0, projection_down=1e-4),
        dataclasses.replace(student.batch, rows=32),
        teacher.optimizer,
    )
    return dataclasses.replace(base, name="benchmark", stages=(teacher, dual, student))


def benchmark_training(
    teacher: str,
    out: Path,
    recipe: Recipe | None = None,
    *,
    run: Path | None = None,
    shape: str | None = None,
    stages: Sequence[str] = (),
    rounds: int = 5,
) -> TrainingReport:
    """Measures how fast a recipe's stages train, and writes training.json, .svg and .png into `out`.

    Each stage is taken by lilliput and by transformers' own modules, step by step in turns on the same
    batches. Training is on the processor, with as many threads as torch takes by itself (OMP_NUM_THREADS).

    Args:
        teacher: Folder or hub name of the teacher; its shape and its tokenizer are used, its weights are not.
        out: Folder to write.
        recipe: What to measure; by default `benchmark_recipe`.
        run: A run's folder with the corpus and lexicon to read; by default a made-up text in `out`/world.
        shape: Name of another shape for the teacher, one of `cost.SHAPES`.
        stages: Names of the stages to measure; by default all.
        rounds: Times everything is measured.

    Raises:
        ConfigError: If a stage or a shape has no such name, or the student is larger than the teacher.
        StorageError: If the run has no corpus and lexicon, or `out` cannot be written.
    """
    rounds = bounded("rounds", rounds, 1, MOST_ROUNDS)
    recipe = benchmark_recipe() if recipe is None else recipe
    chosen = [recipe.stage(name) for name in stages] or list(recipe.stages)
    read = (
        build_synthetic_corpus(load_tokenizer(teacher), recipe.lexicon, out / "world")
        if run is None
        else RunDir(run)
    )
    to_measure = [BenchmarkStage(read, recipe, stage, teacher, shape) for stage in chosen]
    for one in to_measure:
        one.configs(one.data())  # refused here, before minutes are spent on those before
    with InProcess(Measure) as measure:
        measured = [(one.stage, _measure(one, rounds, measure)) for one in to_measure]
    limits = functools.reduce(Limits.best, (again for _, found in measured for again in found.limits))
    report = TrainingReport(
        machine=describe_machine(),
        limits=limits,
        teacher=teacher,
        shape=shape,
        recipe=recipe.to_dict(),
        stages=tuple(_stage_report(stage, found, limits) for stage, found in measured),
    )
    write_json(out / "training.json", dataclasses.asdict(report))
    plot(report, out)
    return report


@dataclass
class _Measured:
    """Everything that was measured of one stage, round by round."""

    kernels: dict[str, dict[str, str]]
    limits: list[Limits]
    steps: dict[str, list[Sample]] = field(default_factory=dict)
    operations: dict[str, list[int]] = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)
    parts: list[dict[str, Part]] = field(default_factory=list)
    operations_of_step: list[list[OperationSample]] = field(default_factory=list)
    loops: list[LoopSample] = field(default_factory=list)


def _measure(benchmarked: BenchmarkStage, rounds: int, measure: InProcess) -> _Measured:
    """Takes a stage's steps in turns, each way in a process of its own."""
    weights = benchmarked.stage.objectives
    first: Limits = measure.call("limits")
    with ExitStack() as stack, bar(f"Measuring {benchmarked.stage.name}", rounds) as progress:
        ours = stack.enter_context(InProcess(LilliputStep, benchmarked))
        ways: dict[str, tuple[InProcess, tuple[object, ...]]] = {_OURS: (ours, ())}
        alone = masked_lm_alone(weights)
        if alone is not None:
            if alone != weights:
                ways[_ALONE] = (ours, (True,))
            for precision in ("fp32",) if first.emulates_bf16 else ("bf16", "fp32"):
                theirs = stack.enter_context(InProcess(TransformersStep, benchmarked, precision))
                ways[f"transformers {precision}"] = (theirs, ())
        for process, options in ways.values():
            process.call("step", 0, *options)  # what is allocated and chosen once
        found = _Measured(ours.call("kernels"), [first])
        for index in range(1, rounds + 1):
            found.limits.append(measure.call("limits"))
            for name, (process, options) in ways.items():
                found.steps.setdefault(name, []).append(process.call("step", index, *options))
                counted = ours.call("operations", index, name != _OURS and alone != weights)
                found.operations.setdefault(name, []).append(counted)
            found.parts.append(ours.call("parts", index))
            found.operations_of_step.append(ours.call("by_operation", index))
            found.loops.append(ours.call("loop"))
            progress.update(index)
        found.memory = {
            name: process.call("peak_memory") for name, (process, _) in ways.items() if name != _ALONE
        }
    return found


def _stage_report(stage: StageConfig, found: _Measured, limits: Limits) -> StageReport:
    """Returns the medians of what was measured."""
    return StageReport(
        name=stage.name,
        rows=stage.batch.rows,
        length=stage.batch.length,
        words=median(sample.words for sample in found.steps[_OURS]),
        operations=median(found.operations[_OURS]),
        kernels=found.kernels,
        parts=tuple(_part_report(name, found, limits) for name in PARTS if name in found.parts[0]),
        torch_operations=tuple(_operation_reports(found, limits)),
        ways=tuple(_way_report(name, found, limits) for name in found.steps),
        loop=LoopReport(
            words_per_second=median(loop.words / loop.seconds for loop in found.loops),
            waiting=median(loop.waited_seconds / loop.seconds for loop in found.loops),
        ),
    )


def _part_report(name: str, found: _Measured, limits: Limits) -> PartReport:
    parts = [parts[name] for parts in found.parts]
    has_products, is_known = parts[0].operations > 0, parts[0].kept is not None
    return PartReport(
        name=name,
        seconds=median(part.seconds for part in parts),
        words_per_second=median(part.words / part.seconds for part in parts),
        share_of_peak=median(part.operations / part.seconds for part in parts) / limits.peak
        if has_products
        else None,
        kept=median(part.kept or 0 for part in parts) if is_known else None,
    )


def _operation_reports(found: _Measured, limits: Limits) -> Iterator[OperationReport]:
    """Yields the operations of a step, the slowest first, and the rest of the step at the end."""
    rounds = [{one.name: one for one in samples} for samples in found.operations_of_step]
    totals = [sum(one.seconds for one in samples.values()) for samples in rounds]
    names = {name for samples in rounds for name in samples}
    reports = []
    for name in names:
        samples = [(one[name], total) for one, total in zip(rounds, totals, strict=True) if name in one]
        at_limits = [
            max(sample.operations / limits.peak, sample.moved / limits.copy_gigabytes / 1e9)
            for sample, _ in samples
        ]
        seconds = median(sample.seconds for sample, _ in samples)
        share = median(sample.seconds / total for sample, total in samples)
        calls = int(median(sample.calls for sample, _ in samples))
        reports.append(OperationReport(name, calls, seconds, share, median(at_limits) or None))
    yield from sorted(reports, key=lambda one: (one.name == REST, -one.seconds))


def _way_report(name: str, found: _Measured, limits: Limits) -> WayReport:
    samples = found.steps[name]
    ours = found.steps.get(_ALONE, found.steps[_OURS])
    rates = (count / sample.seconds for count, sample in zip(found.operations[name], samples, strict=True))
    ratios = (other.seconds / mine.seconds for other, mine in zip(samples, ours, strict=True))
    return WayReport(
        name=name,
        seconds=median(sample.seconds for sample in samples),
        words_per_second=median(sample.words / sample.seconds for sample in samples),
        share_of_peak=median(rates) / limits.peak,
        busy=median(sample.processor_seconds / sample.seconds for sample in samples) / limits.threads,
        memory=found.memory.get(name),
        lilliput_times=None if name in (_OURS, _ALONE) else median(ratios),
        samples=tuple(sample.seconds for sample in samples),
    )


if __name__ == "__main__":
    from benchmarks.commands import main, training

    main(training)
