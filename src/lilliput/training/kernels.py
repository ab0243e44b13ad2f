"""How the models of a stage compute: chosen where it begins and kept, so that bits stay the same."""

import dataclasses
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from lilliput.common.files import write_json
from lilliput.common.stored import as_stored, stored
from lilliput.models.autotune import choose
from lilliput.models.kernels import PLAIN, PLAIN_BOTH, DualKernels, Kernels
from lilliput.models.shape import EncoderShape
from lilliput.training.processes import ALONE, Processes
from lilliput.training.step import DualModel

_AGAIN = "remove the folder of its checkpoints to begin the stage anew"


def fastest_kernels(models: DualModel, length: int, device: torch.device) -> DualKernels:
    """Returns the fastest kernels here for the models of a stage that reads rows of `length` pieces."""
    trains = models.weights

    def of(model: PreTrainedModel | None, trained: bool) -> Kernels:
        if model is None:
            return PLAIN
        shape = EncoderShape.of_config(model.config, positions=length)
        return choose(shape, length, device, goes_backward=trained)

    teacher = None if models.teacher is None else models.teacher.model
    return DualKernels(of(teacher, trains.trains_teacher), of(models.student, trains.trains_student))


def stage_kernels(kept: Path, own: DualKernels, processes: Processes = ALONE) -> DualKernels:
    """Returns the kernels with which a stage began, or begins.

    Processes that share a stage compute alike: as the main one would, unless one is faster in float32.

    Args:
        kept: The file that keeps them while the stage is trained.
        own: What is fastest in this process.
        processes: Those that train together.

    Raises:
        StorageError: If the file is damaged or cannot be written.
    """

    def kept_before() -> dict[str, Any] | None:
        return dataclasses.asdict(stored(DualKernels, kept, _AGAIN)) if kept.exists() else None

    began = processes.on_main(kept_before)
    if began is None:
        mains: DualKernels = as_stored(DualKernels, processes.on_main(dataclasses.asdict, own), kept)
        slower = any(
            ours.passes == "float32" != main.passes
            for ours, main in ((own.teacher, mains.teacher), (own.student, mains.student))
        )
        began = dataclasses.asdict(PLAIN_BOTH if processes.any(slower) else mains)
        processes.on_main(write_json, kept, began)
    found: DualKernels = as_stored(DualKernels, began, kept, _AGAIN)
    return found
