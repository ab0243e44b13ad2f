"""Exports a checkpoint as model.pte, for ExecuTorch on phones; and runs a bundle with it on this machine."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from lilliput.common.files import writing
from lilliput.export.forward import Forward
from lilliput.export.parity import SENTENCES, Parity, compare_program
from lilliput.export.program import Program, by_text, check, lower
from lilliput.export.source import Space, load_source
from lilliput.inference.bundle import Bundle
from lilliput.inference.format import PROGRAM, read_bundle
from lilliput.inference.network import INPUTS
from lilliput.models.fake_quantization import quantization_aware
from lilliput.models.pretrained import longest_input
from lilliput.models.quantization import find_scheme


def export_program(
    folder: Path,
    out: Path,
    *,
    quantization: str = "int8",
    kind: Literal["fill", "encode"] | None = None,
    space: Space = "teacher",
    sentences: Sequence[str] = SENTENCES,
    tuned_for: str | None = None,
) -> Parity:
    """Writes a checkpoint as model.pte if its scores match torch; returns how closely they match.

    Args:
        folder: A fine-tuned model, a student or any BERT encoder.
        out: Folder to write to.
        quantization: How weights are stored: float32, int8, mixed or int4.
        kind: As for `export`.
        space: As for `export`.
        sentences: The texts that torch and the file are compared on.
        tuned_for: The quantization that the model was fine-tuned with, if any.

    Raises:
        ConfigError: If ExecuTorch has no such quantization, or none for rows of this length.
        ExtraError: If ExecuTorch is not installed.
        ModelError: If the checkpoint cannot be exported, or the scores of the file differ from torch's.
    """
    check(quantization)
    source, plan = load_source(folder, kind, space), find_scheme(quantization)
    # The true scores of a model that learnt with rounded weights are those with rounded weights.
    is_learnt = tuned_for == quantization
    with quantization_aware(source.model, plan) if is_learnt else contextlib.nullcontext():
        forward = Forward(source).eval()
        content = lower(forward, longest_input(source.config), plan)
        run = Program(content).run
        with torch.inference_mode():
            parity = compare_program(run, lambda inputs: by_text(forward, inputs), source, plan, sentences)
    with writing(out / PROGRAM) as file:
        file.write(content)
    return parity


class ProgramBundle(Bundle):
    """A bundle that runs its model.pte."""

    def __init__(self, folder: Path) -> None:
        self._program = Program((folder / PROGRAM).read_bytes())
        super().__init__(folder, read_bundle(folder), threads=1)

    def _compute(self, *arrays: NDArray[np.int64]) -> NDArray[np.float32]:
        tensors = (torch.from_numpy(array) for array in arrays)
        return self._program.run(dict(zip(INPUTS, tensors, strict=True)))
