"""The same steps as one would write them with transformers' own modules, to compare with."""

from typing import Literal

import torch
from torch import Tensor
from transformers import BertForMaskedLM

from benchmarks.in_process import Sample, timed
from benchmarks.stage import BenchmarkStage, parts_of, words_of
from lilliput.common.memory import peak_memory
from lilliput.common.workers import keep_freed_memory
from lilliput.training.batches import Reading


class TransformersStep:
    """A stage's masked-LM steps by `BertForMaskedLM`, which predicts at every position.

    It reads the same pieces with the same padding, and its loss is over the same masked pieces. A teacher's
    vocabulary is both vocabularies one after the other, as its pieces are joint. Dropout is off, as it is in
    lilliput; gradients are clipped alike, and the allocator is set alike. The optimiser is that of
    transformers' `Trainer`, fused AdamW.
    """

    def __init__(self, stage: BenchmarkStage, precision: Literal["bf16", "fp32"]) -> None:
        keep_freed_memory()
        data = stage.data()
        teacher, student = stage.configs(data)
        teacher.vocab_size += data.lexicon.student_size
        weights, self._source = stage.stage.objectives, stage.source(data)
        self._models: dict[str, BertForMaskedLM] = {}
        if weights.teacher_masked_lm:
            self._models["teacher"] = BertForMaskedLM(teacher)
        if weights.student_masked_lm:
            self._models["student"] = BertForMaskedLM(student)
        for model in self._models.values():
            model.train(False)  # without dropout; gradients flow all the same
        self._autocast, self._clip = precision == "bf16", stage.stage.optimizer.clip
        parameters = [item for model in self._models.values() for item in model.parameters()]
        self._optimizer = torch.optim.AdamW(parameters, lr=1e-4, fused=True)

    def step(self, index: int) -> Sample:
        """Takes a step on batch `index`, which is made before, and returns what it took."""
        batches = parts_of(self._source, index)
        inputs = [{name: inputs_of(getattr(batch, name)) for name in self._models} for batch in batches]

        def step() -> int:
            self._optimizer.zero_grad(set_to_none=True)
            for part in inputs:
                for name, model in self._models.items():
                    with torch.autocast("cpu", torch.bfloat16, enabled=self._autocast):
                        loss = model(**part[name]).loss
                    (loss / len(inputs)).backward()
            for model in self._models.values():
                torch.nn.utils.clip_grad_norm_(model.parameters(), self._clip)
            self._optimizer.step()
            return words_of(batches)

        return timed(step)

    peak_memory = staticmethod(peak_memory)


def inputs_of(reading: Reading) -> dict[str, Tensor | None]:
    """Returns a reading as `BertForMaskedLM` takes it."""
    labels = torch.full((reading.pieces.numel(),), -100)
    labels[reading.positions] = reading.targets
    return {
        "input_ids": reading.pieces,
        "attention_mask": None if reading.padding is None else (~reading.padding).long(),
        "labels": labels.view_as(reading.pieces),
    }
