"""Stage 6a: one training step, the place where batches, models and objectives meet.

`Trainees` holds everything that a stage reads or trains as one module and turns a batch into the sums of its
objectives. `Stepper` divides them, goes backward, clips and steps. Both name their parts for torch's profiler
(`record_function`), by which `benchmark` tells them apart.
"""

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.profiler import record_function
from transformers import PreTrainedModel

from lilliput.config import ObjectiveWeights, OptimizerConfig
from lilliput.errors import TrainingError
from lilliput.models.masked_lm import MaskedLM
from lilliput.models.projection import SharedProjections, shared_variables
from lilliput.models.teacher import Teacher
from lilliput.training.batches import Batch
from lilliput.training.objectives import masked_lm, shared_projection, soft_labels
from lilliput.training.optimizers import build_optimizer, learning_rate, training_dtype
from lilliput.training.processes import ALONE, Processes, connected

Sums = dict[str, Tensor]
"""Summed loss of each objective."""


class Trainees(nn.Module):
    """Everything that one stage reads or trains.

    Attributes:
        teacher: The teacher, where an objective needs it; frozen where none trains it.
        student: The student, where an objective trains it.
        down: Maps from teacher to student, where that objective is on.
        up: Maps from student to teacher, where that objective is on.
    """

    def __init__(
        self, teacher: Teacher | None, student: PreTrainedModel | None, weights: ObjectiveWeights
    ) -> None:
        super().__init__()
        self.teacher, self.student, self.weights = teacher, student, weights
        self.down: SharedProjections | None = None
        self.up: SharedProjections | None = None
        if teacher is not None:
            teacher.requires_grad_(weights.trains_teacher)
        if weights.uses_projections:
            theirs, ours = self._shared()
            self.down = SharedProjections(theirs, ours) if weights.projection_down else None
            self.up = SharedProjections(ours, theirs) if weights.projection_up else None

    def _shared(self) -> tuple[list[Tensor], list[Tensor]]:
        """Returns the teacher's and the student's side of all shared variables."""
        assert self.teacher is not None
        assert self.student is not None
        shared = shared_variables(self.teacher, self.student)
        return [variable.teacher for variable in shared], [variable.student for variable in shared]

    def fit_projections(self) -> None:
        """Sets the shared projections to match the models as they are, by least squares."""
        if self.down is not None or self.up is not None:
            theirs, ours = self._shared()
            if self.down is not None:
                self.down.fit(theirs, ours)
            if self.up is not None:
                self.up.fit(ours, theirs)

    def forward(self, batch: Batch, dtype: torch.dtype, with_projections: bool) -> Sums:
        """Returns the sums of this stage's objectives over one batch.

        Args:
            batch: What to read.
            dtype: Precision of the forward pass; losses are summed in float32.
            with_projections: Whether to count in the projections, which do not depend on the batch.
        """
        sums: Sums = {}
        second: Tensor | None = None
        if self.teacher is not None and self.weights.reads_teacher:
            with torch.set_grad_enabled(self.weights.trains_teacher and torch.is_grad_enabled()):
                own_loss, second_loss, second = self._read_teacher(self.teacher, batch, dtype)
            if self.weights.trains_teacher:
                sums["teacher_masked_lm"] = own_loss + second_loss
        if self.student is not None and (self.weights.student_masked_lm or self.weights.soft_labels):
            scores = self._read_student(self.student, batch, dtype)
            if self.weights.student_masked_lm:
                sums["student_masked_lm"], _ = masked_lm(scores, batch.student.targets)
            if self.weights.soft_labels and second is not None:
                sums["soft_labels"], _ = soft_labels(scores[batch.aligned], second)
        if with_projections and self.weights.uses_projections:
            with record_function("projections"):
                theirs, ours = self._shared()
                if self.down is not None:
                    sums["projection_down"], _ = shared_projection(self.down(theirs, ours))
                if self.up is not None:
                    sums["projection_up"], _ = shared_projection(self.up(ours, theirs))
        return sums

    def _read_teacher(
        self, teacher: Teacher, batch: Batch, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the teacher's loss on its own pieces and on the student's, and its scores over these."""
        reading = batch.teacher
        with record_function("teacher_forward"):
            hidden = teacher.hidden(reading.pieces, reading.padding, dtype)
        hidden = teacher.transform(hidden.flatten(0, 1)[reading.positions])
        own_size = teacher.own_table.shape[0]
        is_second = reading.targets >= own_size
        own_targets, second_targets = reading.targets[~is_second], reading.targets[is_second] - own_size
        second = teacher.second_scores(hidden[is_second])
        if not self.weights.trains_teacher:
            return second.new_zeros(()), second.new_zeros(()), second
        own = teacher.own_scores(hidden[~is_second])
        return masked_lm(own, own_targets)[0], masked_lm(second, second_targets)[0], second

    def _read_student(self, student: PreTrainedModel, batch: Batch, dtype: torch.dtype) -> Tensor:
        """Returns the student's scores at the masked pieces [N, V]."""
        reading = batch.student
        with record_function("student_forward"):
            hidden = MaskedLM(student).read(reading.pieces, reading.padding, dtype)
        return MaskedLM(student).scores(hidden.flatten(0, 1)[reading.positions])

    def counts(self, batches: Sequence[Batch]) -> dict[str, int]:
        """Returns of how many terms each objective's sum over `batches` consists."""
        return {
            "teacher_masked_lm": sum(len(batch.teacher.targets) for batch in batches),
            "student_masked_lm": sum(len(batch.student.targets) for batch in batches),
            "soft_labels": sum(int(batch.aligned.sum()) for batch in batches),
            "projection_down": 1,
            "projection_up": 1,
        }


class Stepper:
    """Takes training steps, together with the other processes of a launch.

    Each process goes backward over its own parts of a batch and gets the gradients of the whole batch, so all
    take the same step.
    """

    def __init__(
        self,
        trainees: Trainees,
        config: OptimizerConfig,
        accelerator: Accelerator,
        processes: Processes = ALONE,
    ) -> None:
        """Moves the models to the accelerator's device and builds their optimiser.

        Of several processes all begin with the weights of the main one, in a precision that suits each.
        """
        self._config, self._accelerator, self.processes = config, accelerator, processes
        self.trainees = trainees
        self.device = accelerator.device
        exact = training_dtype(accelerator.device) == torch.float32
        self.dtype = torch.float32 if processes.any(exact) else torch.bfloat16
        with connected():
            self._forward, self.optimizer = accelerator.prepare(trainees, build_optimizer(trainees, config))

    def step(self, batches: Sequence[Batch], step: int, done: float) -> dict[str, float]:
        """Takes one step over a batch and returns each objective's mean over all of it.

        Args:
            batches: The parts that this process reads, on any device.
            step: The step's number, for messages.
            done: Share of the stage that is over.

        Raises:
            TrainingError: If an objective or a gradient is not finite; the step is then not taken.
            LaunchError: If another process ended or does not come along.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(group["peak"], done, self._config.warm_up)
        counts = self.processes.add_up(self.trainees.counts(batches))
        self.optimizer.zero_grad(set_to_none=True)
        with connected():
            means = self.processes.add_up(self._go_backward(batches, counts))
        for name, mean in means.items():
            _require_finite(f"the objective {name}", mean, step)
        with record_function("update"):
            for parameters in self._clipped_together():
                norm = self._accelerator.clip_grad_norm_(parameters, self._config.clip)
                _require_finite(f"the norm of the gradients of {', '.join(means)}", float(norm), step)
            self.optimizer.step()
        return means

    def _go_backward(self, batches: Sequence[Batch], counts: Mapping[str, float]) -> dict[str, float]:
        """Leaves the gradients of the whole batch and returns what this process adds to each mean.

        The projections do not hang on the batch: every process counts them in once, in its last part, as
        gradients travel with that one and it has to reach every parameter.
        """
        found: dict[str, list[Tensor]] = {}
        for part, batch in enumerate(batches, start=1):
            is_last = part == len(batches)
            with contextlib.nullcontext() if is_last else self._accelerator.no_sync(self._forward):
                with record_function("forward"):
                    sums = self._forward(batch.to(self.device), self.dtype, is_last)
                weighted = [
                    getattr(self.trainees.weights, name) * value / max(counts[name], 1)
                    for name, value in sums.items()
                ]
                if weighted:
                    with record_function("backward"):  # times their number, as their gradients are averaged
                        self._accelerator.backward(torch.stack(weighted).sum() * self.processes.count)
            for name, value in sums.items():
                found.setdefault(name, []).append(value.detach())
        return {name: sum(map(float, values)) / max(counts[name], 1) for name, values in found.items()}

    def _clipped_together(self) -> Iterator[list[nn.Parameter]]:
        """Yields the trained parameters of each model."""
        for module in self.trainees.children():
            yield [parameter for parameter in module.parameters() if parameter.grad is not None]


def _require_finite(what: str, value: float, step: int) -> None:
    """Raises TrainingError where a number is not finite; the step must not be taken yet."""
    if not math.isfinite(value):
        raise TrainingError(
            f"{what} is {value} at step {step}; nothing of this step was kept. Lower the learning rate "
            "(optimizer.student_rate, optimizer.teacher_rate) or the weight of the objective"
        )
