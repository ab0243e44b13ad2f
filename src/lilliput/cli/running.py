"""The commands of bundles: to make one, and to answer texts with it."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro

from lilliput.cli.options import show


def run(
    bundle: Annotated[Path, tyro.conf.Positional],
    top: int | None = None,
    json_: Annotated[bool, tyro.conf.arg(name="json")] = False,
) -> None:
    """Answer texts with a bundle: each line of standard input is a text, each of the output its answer.

    Two texts that are read together have a tab between them. A line that cannot be answered has an empty line
    for an answer and a sentence on standard error.

    Args:
        bundle: The bundle's folder.
        top: How many classes, or pieces for each [MASK]; by default the best class, or 5 pieces.
        json_: Write JSON objects, with all that is known of the answer.
    """
    from lilliput.inference.lines import run as answer

    sys.exit(answer(bundle, top, json_))


def bundle(
    model: Annotated[str, tyro.conf.Positional],
    out: Path,
    task: str | None = None,
    quantization: Literal["float32", "float16", "int8", "mixed", "int4"] | None = None,
    kind: Literal["fill", "encode"] | None = None,
    executorch: bool = False,
    licence: str = "apache-2.0",
) -> None:
    """Make a bundle: the model as ONNX with its tokenizer, labels, card and signature, in OUT.

    It is written only when it answers as the model does, and its card has the scores of its own file.

    Args:
        model: A run, or the folder of a BERT checkpoint.
        out: The bundle's folder.
        task: Of a run, the task whose fine-tuned model is meant; without one, its student.
        quantization: How weights are stored: mixed has embeddings of 4 bits and all else of 8. By default as
            the model was fine-tuned for, or else int8.
        kind: What a checkpoint without a task is for: to fill in [MASK], or to encode texts as vectors.
        executorch: Add model.pte, the same model for ExecuTorch on phones; this takes minutes.
        licence: SPDX name of the licence of the weights, for the card.
    """
    from lilliput.export.bundling import bundle as make
    from lilliput.tasks.metrics import of_all

    made = make(
        model, out, task=task, quantization=quantization, kind=kind, executorch=executorch, licence=licence
    )
    for name, size in made.files.items():
        show(f"{size:>12,}  {name}")
    show(f"{made.total:>12,}  bytes in all, {made.exported.kind}, {made.exported.quantization}")
    if made.tuned_for not in (None, made.exported.quantization):
        show(f"the model was fine-tuned for {made.tuned_for}, and is stored as {made.exported.quantization}")
    for name, value in of_all(made.scores).items():
        before = f", before the export {made.reported[name]:.1%}" if name in made.reported else ""
        show(f"{name} {value:.1%}{before}")
    for name, value in of_all(made.program_scores).items():
        show(f"{name} {value:.1%} with model.pte")
    show(f"try it: echo 'a text' | lilliput run {out}")
