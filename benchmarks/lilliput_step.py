"""The steps of a stage as lilliput takes them, by the classes that train, and what their parts take."""

import dataclasses
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from accelerate import Accelerator
from torch.profiler import ProfilerActivity, profile

from benchmarks.in_process import Sample, timed
from benchmarks.operations import OperationSample, operations_of
from benchmarks.stage import BenchmarkStage, parts_of, words_of
from lilliput.common.memory import peak_memory
from lilliput.common.workers import keep_freed_memory
from lilliput.models.pretrained import random_masked_lm
from lilliput.models.shape import EncoderShape
from lilliput.models.student import random_student
from lilliput.models.teacher import build_teacher
from lilliput.objectives import ObjectiveWeights, Operations
from lilliput.planning.cost import BatchShape, step_operations
from lilliput.training.batches import Batch, BatchSource
from lilliput.training.evaluation import evaluate_masked_lm, evaluation_source
from lilliput.training.kernels import fastest_kernels
from lilliput.training.prefetch import prefetched
from lilliput.training.step import DualModel, Stepper

_EVALUATED_ROWS = 64
_MIDDLE = 0.5
"""The share of a stage that is said to be over, so that the learning rate is not 0."""
_LOOP_STEPS = 4
_FORWARD = {
    "teacher_forward": ("teacher", "second_table"),
    "student_forward": ("student",),
    "projections": ("projections",),
}
"""Ranges that `step` names for the profiler within its range "forward", and what `cost` calls their work."""


@dataclass(frozen=True)
class Part:
    """What one part of a step, or beside it, took once."""

    words: int
    """Running words worked on."""
    seconds: float
    """By the clock."""
    operations: int
    """Floating-point operations of its matrix products."""
    kept: int | None
    """Bytes it allocated and did not free, such as activations for the backward pass, negative where it freed
    more than it allocated; None where that is not measured."""


@dataclass(frozen=True)
class LoopSample:
    """Some steps one after the other, each with its batch."""

    words: int
    """Running words of all."""
    seconds: float
    """From the first batch to the last step, by the clock."""
    waited_seconds: float
    """Of these, until batches were there."""


class LilliputStep:
    """A stage's steps; they can be taken with masked LM as the only objective, to compare."""

    def __init__(self, stage: BenchmarkStage) -> None:
        keep_freed_memory()
        data, recipe = stage.data(), stage.recipe
        teacher, student = stage.configs(data)
        self._source, self._weights = stage.source(data), stage.stage.objectives
        # The same batches as both models read them, as `cost` counts them.
        self._whole = BatchSource(data.train, data.lexicon, stage.stage.batch, (recipe.seed,))
        self._shapes = EncoderShape.of_config(teacher), EncoderShape.of_config(student)
        self._muon = stage.stage.optimizer.name == "muon"
        self._affine = recipe.start.second_table == "affine"
        pieces = data.lexicon.teacher_tokenizer().spell(data.lexicon.student_tokenizer())
        table, width, seed = recipe.start.second_table, recipe.student.width, recipe.seed
        models = DualModel(
            build_teacher(random_masked_lm(teacher), pieces, table, width, seed)
            if self._weights.uses_teacher
            else None,
            random_student(student, seed) if self._weights.trains_student else None,
            self._weights,
        )
        accelerator = Accelerator(cpu=True)
        kernels = fastest_kernels(models, stage.stage.batch.length, accelerator.device)
        self._stepper = Stepper(models, stage.stage.optimizer, accelerator, kernels)
        self._held_out = evaluation_source(data.held_out, data.held_out_lexicon, recipe.student.positions)

    def step(self, index: int, masked_lm_only: bool = False) -> Sample:
        """Takes a step on batch `index`, which is made before, and returns what it took."""
        batches = parts_of(self._source, index)
        return timed(lambda: self._step(batches, masked_lm_only))

    def kernels(self) -> dict[str, dict[str, str]]:
        """Returns how each model computes."""
        return dataclasses.asdict(self._stepper.kernels)

    def operations(self, index: int, masked_lm_only: bool = False) -> int:
        """Returns the floating-point operations of a step's passes on batch `index`."""
        counted = self._counted(index, self._objectives(masked_lm_only))
        return sum(part.total for name, part in counted.items() if name != "update")

    def parts(self, index: int) -> dict[str, Part]:
        """Takes a step on batch `index` under the profiler; returns its parts, and what goes on beside it."""
        making = timed(lambda: words_of(parts_of(self._source, index)))
        batches, counted = parts_of(self._source, index), self._counted(index, self._weights)
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
            words = self._step(batches)
        seconds: Counter[str] = Counter()
        kept: Counter[str] = Counter()
        for event in profiler.events() or []:
            seconds[event.name] += event.time_range.elapsed_us() / 1e6
            kept[event.name] += event.cpu_memory_usage
        for spent in (seconds, kept):
            spent["heads"] = spent["forward"] - sum(spent[name] for name in _FORWARD)
        forward = {name: part.forward for name, part in counted.items()}
        operations = {
            part: sum(forward.pop(name, 0) for name in names)
            for part, names in (*_FORWARD.items(), ("update", ("update",)))
        }
        # Heads, and what objectives count under names of their own, stand in no range of the profiler's.
        operations["heads"] = sum(forward.values())
        operations["backward"] = sum(part.backward for part in counted.values())
        return {
            "batches": Part(making.words, making.seconds, 0, None),
            **{
                name: Part(words, seconds[name], count, kept[name])
                for name, count in operations.items()
                if name in seconds
            },
            "evaluation": self._evaluation(),
        }

    def by_operation(self, index: int) -> list[OperationSample]:
        """Takes steps on batch `index` and returns what each operation of torch takes of one."""
        batches = parts_of(self._source, index)
        return operations_of(lambda: self._step(batches))

    def loop(self) -> LoopSample:
        """Takes steps one after the other with batches made in the background, as the loop does.

        The first is not counted, as there the loop begins.
        """
        parts = self._source.config.accumulation
        with prefetched(self._source.stream(0, range(parts), parts)) as batches:
            self._step(next(batches))
            waited, words, started = 0.0, 0, time.perf_counter()
            for _ in range(_LOOP_STEPS):
                asked = time.perf_counter()
                taken = next(batches)
                waited += time.perf_counter() - asked
                words += self._step(taken)
            return LoopSample(words, time.perf_counter() - started, waited)

    peak_memory = staticmethod(peak_memory)

    def _objectives(self, masked_lm_only: bool) -> ObjectiveWeights:
        alone = masked_lm_alone(self._weights) if masked_lm_only else self._weights
        assert alone is not None
        return alone

    def _counted(self, index: int, weights: ObjectiveWeights) -> dict[str, Operations]:
        """Returns the operations of a step by part of `cost`; all parts of a batch are taken to be alike."""
        batches = parts_of(self._whole, index)
        first, parts = BatchShape.of(batches[0]), len(batches)
        return step_operations(
            weights, *self._shapes, first, affine=self._affine, parts=parts, muon=self._muon
        )

    def _step(self, batches: Sequence[Batch], masked_lm_only: bool = False) -> int:
        self._stepper.models.weights = self._objectives(masked_lm_only)
        self._stepper.step(batches, 1, _MIDDLE)
        return words_of(batches)

    def _evaluation(self) -> Part:
        """Evaluates as the loop does, on few rows."""
        models, weights = self._stepper.models, self._weights
        steps = max(1, min(_EVALUATED_ROWS, len(self._held_out.rows)) // self._held_out.config.rows)
        batches = [self._held_out.batch(step) for step in range(steps)]
        read = ObjectiveWeights(
            teacher_masked_lm=float(weights.trains_teacher), student_masked_lm=float(weights.trains_student)
        )
        counted = [step_operations(read, *self._shapes, BatchShape.of(batch)) for batch in batches]

        def evaluate() -> int:
            found = evaluate_masked_lm(
                self._held_out,
                teacher=models.teacher if weights.trains_teacher else None,
                student=models.student,
                kernels=self._stepper.kernels,
                rows=_EVALUATED_ROWS,
            )
            assert list(found)
            return words_of(batches)

        spent = timed(evaluate)
        operations = sum(part.forward for parts in counted for part in parts.values())
        return Part(spent.words, spent.seconds, operations, None)


def masked_lm_alone(weights: ObjectiveWeights) -> ObjectiveWeights | None:
    """Returns the objectives that transformers' modules have too, or None where there are none."""
    teacher, student = weights.teacher_masked_lm, weights.student_masked_lm
    if not (teacher or student):
        return None
    return ObjectiveWeights(teacher_masked_lm=teacher, student_masked_lm=student)
