"""One training step, the place where batches, models and objectives meet.

`DualModel` holds everything that a stage reads or trains as one module and turns a batch into the sums of its
objectives. `Stepper` divides them, goes backward, clips and steps. Both name their parts for torch's profiler
(`record_function`), by which the benchmark of training tells them apart.

Shape letters: B rows, L length, T teacher width, S student width, N predicted pieces, V vocabulary.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn
from torch.profiler import record_function
from transformers import PreTrainedModel

from lilliput.config import OptimizerConfig
from lilliput.models.fits import least_squares
from lilliput.models.kernels import PLAIN, PLAIN_BOTH, DualKernels, Kernels
from lilliput.models.masked_lm import MaskedLM
from lilliput.models.projection import SharedProjections, shared_variables
from lilliput.models.sentence_modules import pooled
from lilliput.models.teacher import Teacher
from lilliput.objectives import ObjectiveWeights
from lilliput.training.batches import Batch
from lilliput.training.optimizers import (
    build_optimizer,
    clip_gradients,
    learning_rate,
    require_finite,
)
from lilliput.training.outputs import Outputs, Predictions, TextStates
from lilliput.training.processes import ALONE, Processes, connected

Sums = dict[str, Tensor]
"""Summed loss of each objective."""
_REMEDY = (
    "lower the learning rate (optimizer.student_rate, optimizer.teacher_rate) or the weight of the objective"
)


class DualModel(nn.Module):
    """Everything that one stage reads or trains.

    The module of an objective that adds one is a child under the name that the objective gives it.

    Attributes:
        teacher: The teacher, where an objective needs it; frozen where none trains it.
        student: The student, where an objective trains it.

    Args:
        sample: Some batches of texts that the teacher has read, where objectives are of these; what they add
            is as wide as the teacher's answers, and fitted to them.
    """

    def __init__(
        self,
        teacher: Teacher | None,
        student: PreTrainedModel | None,
        weights: ObjectiveWeights,
        sample: Sequence[Batch] = (),
    ) -> None:
        super().__init__()
        self._sample = sample
        self.teacher, self.student, self.weights = teacher, student, weights
        if teacher is not None:
            teacher.requires_grad_(weights.trains_teacher)
        for one in weights.active:
            if (module := one.module(self)) is not None:
                self.add_module(one.module_name, module)

    def variables(self) -> tuple[list[Tensor], list[Tensor]]:
        """Returns the variables that both models have, the teacher's and the student's."""
        assert self.teacher is not None
        assert self.student is not None
        shared = shared_variables(self.teacher, self.student)
        return [variable.teacher for variable in shared], [variable.student for variable in shared]

    @staticmethod
    def projections(sources: Sequence[Tensor], targets: Sequence[Tensor]) -> SharedProjections:
        """Returns matrices that map variables to the size of others."""
        return SharedProjections(sources, targets)

    def map_to(self, what: Literal["vectors", "states"]) -> nn.Linear:
        """Returns a map from the student's states to what a teacher said of texts, or of their words."""
        assert self.student is not None
        targets = getattr(self._sample[0].taught, what)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return nn.Linear(self.student.config.hidden_size, targets.shape[1])

    @torch.no_grad()
    def fit_map(self, module: nn.Linear, what: Literal["vectors", "states"]) -> None:
        """Sets a map by least squares over the sample."""
        inputs, targets = list[Tensor](), list[Tensor]()
        for batch in self._sample:
            found = self.read_texts(batch, PLAIN)
            assert batch.taught is not None
            inputs.append(found.pooled if what == "vectors" else found.words)
            targets.append(getattr(batch.taught, what))
        matrix, offset = least_squares(torch.cat(inputs), torch.cat(targets))
        module.weight.copy_(matrix)
        module.bias.copy_(offset)

    def fit_modules(self) -> None:
        """Sets the objectives' modules to match the models as they are."""
        for one in self.weights.active:
            if one.module_name:
                one.fit(self.get_submodule(one.module_name), self)

    def forward(self, batch: Batch, kernels: DualKernels, is_last: bool) -> Sums:
        """Returns the sums of this stage's objectives over one batch.

        Args:
            batch: What to read.
            kernels: How each model computes; losses are summed in float32.
            is_last: Whether to count in the objectives that do not depend on the batch.
        """
        predictions: dict[str, Predictions] = {}
        if self.weights.reads_teacher:
            with torch.set_grad_enabled(self.weights.trains_teacher and torch.is_grad_enabled()):
                predictions |= self._read_teacher(batch, kernels.teacher)
        texts = None
        if self.weights.reads_sentences:
            texts = self.read_texts(batch, kernels.student)
        elif self.weights.reads_student:
            predictions["student"] = self._read_student(batch, kernels.student)
        outputs = Outputs(self, batch, predictions, texts)
        sums = {one.name: one.sum(outputs) for one in self.weights.active if one.reads}
        once = [one for one in self.weights.active if not one.reads]
        if is_last and once:
            with record_function("projections"):
                sums |= {one.name: one.sum(outputs) for one in once}
        return sums

    def _read_teacher(self, batch: Batch, kernels: Kernels) -> dict[str, Predictions]:
        """Returns the teacher's predictions over the student's vocabulary and, where trained, its own."""
        teacher, reading = self.teacher, batch.teacher
        assert teacher is not None
        with record_function("teacher_forward"):
            states = teacher.hidden(reading.pieces, reading.padding, kernels, reading.positions)
        hidden = teacher.transform(states, kernels)
        own_size = teacher.own_table.shape[0]
        is_second = reading.targets >= own_size
        scores = teacher.second_scores(hidden[is_second])
        targets = reading.targets[is_second] - own_size
        found = {"teacher": Predictions(states[is_second], scores, targets)}
        if self.weights.trains_teacher:
            own = teacher.own_scores(hidden[~is_second])
            found["teacher_own"] = Predictions(states[~is_second], own, reading.targets[~is_second])
        return found

    def _read_student(self, batch: Batch, kernels: Kernels) -> Predictions:
        """Returns the student's predictions."""
        reading = batch.student
        assert self.student is not None
        student = MaskedLM(self.student)
        with record_function("student_forward"):
            states = student.read(reading.pieces, reading.padding, kernels, reading.positions)
        return Predictions(states, student.scores(states, kernels), reading.targets)

    def read_texts(self, batch: Batch, kernels: Kernels) -> TextStates:
        """Returns what the student makes of texts."""
        reading = batch.student
        assert self.student is not None
        with record_function("student_forward"):
            states = MaskedLM(self.student).read(reading.pieces, reading.padding, kernels)
        words = states.flatten(0, 1).index_select(0, reading.positions).float()
        return TextStates(pooled(states, reading.padding, "mean"), words)

    def vectors(self, texts: TextStates) -> Tensor:
        """Returns the vectors of texts, of length 1 [B, E]."""
        return F.normalize(self.get_submodule("dense")(texts.pooled), dim=-1)

    def counts(self, batches: Sequence[Batch]) -> dict[str, int]:
        """Returns of how many terms each objective's sum over `batches` consists."""
        return {one.name: sum(map(one.count, batches)) if one.reads else 1 for one in self.weights.active}


class Stepper:
    """Takes training steps, together with the other processes of a launch.

    Each process goes backward over its own parts of a batch and gets the gradients of the whole batch, so all
    take the same step.
    """

    def __init__(
        self,
        models: DualModel,
        config: OptimizerConfig,
        accelerator: Accelerator,
        kernels: DualKernels = PLAIN_BOTH,
        processes: Processes = ALONE,
    ) -> None:
        """Moves the models to the accelerator's device and builds their optimiser.

        Of several processes all begin with the weights of the main one.

        Args:
            models: What is trained.
            config: Which optimiser, and its rates.
            accelerator: Where it is trained.
            kernels: How the models compute.
            processes: Those that train together.
        """
        self._config, self._accelerator, self.processes = config, accelerator, processes
        self.models = models
        self.device = accelerator.device
        self.kernels = kernels
        with connected():
            optimizer = build_optimizer(models, config, kernels)
            self._forward, self.optimizer = accelerator.prepare(models, optimizer)

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
        counts = self.processes.add_up(self.models.counts(batches))
        self.optimizer.zero_grad(set_to_none=True)
        with connected():
            means = self.processes.add_up(self._go_backward(batches, counts))
        for name, mean in means.items():
            require_finite(f"the objective {name}", mean, step, _REMEDY)
        with record_function("update"):
            for parameters in self._clipped_together():
                clip_gradients(parameters, self._config.clip, ", ".join(means), step, _REMEDY)
            self.optimizer.step()
        return means

    def _go_backward(self, batches: Sequence[Batch], counts: Mapping[str, float]) -> dict[str, float]:
        """Leaves the gradients of the whole batch and returns what this process adds to each mean.

        What does not depend on the batch, such as projections, each process counts in with its last part:
        gradients travel with that one, so it has to reach every parameter.
        """
        found: dict[str, list[Tensor]] = {}
        for part, batch in enumerate(batches, start=1):
            is_last = part == len(batches)
            with contextlib.nullcontext() if is_last else self._accelerator.no_sync(self._forward):
                with record_function("forward"):
                    sums = self._forward(batch.to(self.device), self.kernels, is_last)
                weighted = [
                    getattr(self.models.weights, name) * value / max(counts[name], 1)
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
        for module in self.models.children():
            yield [parameter for parameter in module.parameters() if parameter.grad is not None]
