"""The commands of bundles: to make one, and to answer texts with it."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro

from lilliput.cli.options import Count, File, Folder, Model, Task, show


def run(
    bundle: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="BUNDLE")],
    top: Count = None,
    json_: Annotated[bool, tyro.conf.arg(name="json")] = False,
    npy: File = None,
) -> None:
    """Answer texts with a bundle: one text per line of standard input, one answer per line of output.

        echo 'a film to remember' | lilliput run bundle

    A tab separates the two texts of a pair. If a line cannot be answered, the output has an empty line and
    standard error says why.

    Args:
        bundle: The bundle's folder.
        top: Number of classes, or of pieces for each [MASK]; by default the best class, or 5 pieces.
        json_: Write each answer as a JSON object with all details.
        npy: Write the vectors of a bundle that encodes texts to this file, which numpy.load reads, instead of
            lines; the vector of a line that cannot be answered is NaN.
    """
    from lilliput.inference.lines import run as answer

    sys.exit(answer(bundle, top, json_, npy))


def bundle(
    model: Model,
    out: Folder,
    task: Task = None,
    quantization: Literal["float32", "float16", "int8", "mixed", "int4"] | None = None,
    kind: Literal["fill", "encode"] | None = None,
    space: Literal["teacher", "own"] = "teacher",
    executorch: bool = False,
    licence: Annotated[str | None, tyro.conf.arg(metavar="LICENCE")] = None,
    language: Annotated[tuple[str, ...], tyro.conf.arg(metavar="CODE")] = (),
    datasets: Annotated[tuple[str, ...], tyro.conf.arg(metavar="OWNER/NAME")] = (),
    layout: Literal["bundle", "transformers.js"] = "bundle",
) -> None:
    """Export a model as a bundle: ONNX with tokenizer, labels, card and digests, in OUT.

        lilliput bundle runs/x --task mine --out bundle

    The bundle is written only if its answers match the model. Its card has the scores of the bundled file.

    Args:
        model: A run, or the folder of a BERT checkpoint.
        out: The bundle's folder.
        task: The task of the fine-tuned model in a run; without it, the student is exported.
        quantization: How weights are stored; mixed has embeddings of 4 bits and the rest of 8. By default
            what the model was fine-tuned for, else mixed for a sentence encoder and int8 for others.
        kind: What a checkpoint without a task does: fill in [MASK], or encode texts as vectors.
        space: Where vectors of a sentence encoder lie: in its teacher's space, so that either one can
            search what the other encoded, or in its own, with fewer numbers and the same cosines.
        executorch: Also export model.pte for ExecuTorch on phones; this takes minutes.
        licence: Licence of the weights for the card, such as apache-2.0.
        language: Language of the texts for the card, such as de; by default that of the teacher's card.
        datasets: Data sets of the hub for the card; by default those that the run has read.
        layout: transformers.js for the folder that it and transformers read, in float32 and int8.
    """
    from lilliput.export.bundling import bundle as make
    from lilliput.tasks.metrics import of_all

    made = make(
        model,
        out,
        task=task,
        quantization=quantization,
        kind=kind,
        space=space,
        executorch=executorch,
        licence=licence,
        language=language,
        datasets=datasets,
        layout=layout,
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
    if layout == "bundle":
        show(f"try it: echo 'a text' | lilliput run {out}")
    else:
        show(f"how to open it in JavaScript: {out / 'README.md'}")
