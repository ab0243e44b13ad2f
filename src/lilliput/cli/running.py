"""The commands of bundles: to make one, and to answer texts with it."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro

from lilliput.cli.options import Count, File, Folder, Model, Task, show
from lilliput.errors import ConfigError


def run(
    bundle: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="BUNDLE")],
    text_: Annotated[tuple[str, ...], tyro.conf.arg(name="text", metavar="TEXT"), tyro.conf.Positional] = (),
    input_: Annotated[Path | None, tyro.conf.arg(name="input", metavar="FILE")] = None,
    column: Annotated[tuple[str, ...], tyro.conf.arg(metavar="COLUMN")] = (),
    out: File = None,
    top: Count = None,
    json_: Annotated[bool, tyro.conf.arg(name="json")] = False,
) -> None:
    """Answer texts with a bundle: one per line of standard input, the rows of a file, or the one named here.

        lilliput run bundle "a film to remember"

    Each has one line of output, or OUT has the columns of the input and the answers beside them. If a text
    cannot be answered, its answer is empty and standard error says why.

    Args:
        bundle: The bundle's folder.
        text_: A text, in quotes, or the two of a pair. Without one, and without --input, lines of standard
            input are read; there a tab separates the two texts of a pair.
        input_: A .csv, .tsv, .jsonl, .parquet, or .txt with a text on each line.
        column: The column of INPUT with the texts, or the two of pairs; by default one with a usual name.
        out: A .csv, .tsv, .jsonl or .parquet for all columns and the answers, a .txt for the answers alone,
            or a .npy for vectors, which numpy.load reads. It is replaced if it exists.
        top: Number of classes, or of pieces for each [MASK]; by default the best class, or 5 pieces.
        json_: Write each answer as a JSON object with all details.
    """
    if text_ and (input_ or out or column):
        raise ConfigError("a text was given, and a file too; leave one out: lilliput run BUNDLE 'a text'")
    if column and not input_:
        raise ConfigError("--column names a column of a file; add --input FILE")
    if json_ and out:
        raise ConfigError("--json is for standard output; leave it out, or end --out in .jsonl")
    if text_:
        from lilliput.inference.lines import run_texts

        sys.exit(run_texts(bundle, text_, top, json_))
    if input_ is None and out is None:
        from lilliput.inference.lines import run as run_lines

        sys.exit(run_lines(bundle, top, json_))
    from lilliput.inference.tables import run as run_table
    from lilliput.tasks.columns import text_columns

    sys.exit(run_table(bundle, input_, column, out, find=text_columns, top=top, as_json=json_))


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
