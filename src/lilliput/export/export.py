"""A checkpoint to the files that answer without torch: model.onnx, tokenizer.json and config.json."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from tokenizers import Tokenizer

from lilliput.common.files import writing
from lilliput.common.folders import not_ours
from lilliput.errors import StorageError
from lilliput.export.encoder import encoder_model
from lilliput.export.graph import OPSET
from lilliput.export.parity import SENTENCES, Parity, compare, grids_of
from lilliput.export.source import Source, Space, load_source
from lilliput.inference.format import CONFIG, MODEL, TOKENIZER, BundleConfig, is_config
from lilliput.models.quantization import find_scheme
from lilliput.models.student import parameter_count


@dataclass(frozen=True)
class ExportResult:
    """What was written, and how closely it answers as torch does."""

    kind: str
    """What it answers."""
    quantization: str
    """How its weights are stored."""
    files: dict[str, int]
    """Bytes of every file that was written."""
    parity: Parity
    """How closely it answers as torch does."""
    parameters: int
    """Of the model that was exported."""


def export(
    folder: Path,
    out: Path,
    *,
    quantization: str = "int8",
    kind: Literal["fill", "encode"] | None = None,
    space: Space = "teacher",
    sentences: Sequence[str] = SENTENCES,
    tuned_for: str | None = None,
) -> ExportResult:
    """Writes a checkpoint as ONNX with its tokenizer, once both answer as torch does.

    Args:
        folder: A fine-tuned model, a student or any BERT encoder.
        out: Folder to write to; files of an earlier export are replaced.
        quantization: How weights are stored: the name of one of `quantization.SCHEMES`.
        kind: What to export other than the task of a fine-tuned model: `fill` or `encode`. None means its
            task or, where it has none, `encode` for a sentence encoder, `fill` where there is a masked-LM
            head and else `encode`.
        space: Where the vectors of a sentence encoder lie (`load_source`).
        sentences: What torch and the file are compared on.
        tuned_for: The quantization that the model was fine-tuned with, if it was with one.

    Raises:
        ConfigError: If there is no such quantization or kind.
        ModelError: If the checkpoint cannot be exported, or the file would not answer as torch does.
        StorageError: If a file cannot be read or written, or `out` holds a checkpoint.
    """
    find_scheme(quantization)
    if (out / "model.safetensors").exists():
        raise StorageError(
            f"{out} holds a checkpoint, whose config.json would be lost; choose another folder"
        )
    if (out / CONFIG).exists() and not is_config(out / CONFIG):
        raise not_ours(out, [CONFIG])
    source = load_source(folder, kind, space)
    made = graph_of(source, quantization, sentences=sentences, tuned_for=tuned_for)
    with writing(out / MODEL) as file:
        file.write(made.content)
    with writing(out / TOKENIZER) as file:
        file.write(compact(source.tokenizer))
    config_of(source, quantization, made.products).write(out)
    files = {name: (out / name).stat().st_size for name in (MODEL, TOKENIZER, CONFIG)}
    return ExportResult(source.kind, quantization, files, made.parity, parameter_count(source.model))


@dataclass(frozen=True)
class ExportedGraph:
    """A graph that answers as its model does."""

    content: bytes
    """The graph, as ONNX."""
    products: str
    """In which numbers matrices are multiplied (`BundleConfig.products`)."""
    parity: Parity
    """How closely it answers as torch does."""


def graph_of(
    source: Source,
    quantization: str,
    *,
    sentences: Sequence[str] = SENTENCES,
    tuned_for: str | None = None,
    output_name: str | None = None,
) -> ExportedGraph:
    """Returns a model as ONNX; raises ModelError where the graph would not answer as torch does.

    Args:
        source: The model.
        quantization: As `export` has it, and so `sentences` and `tuned_for`.
        sentences: What torch and the graph are compared on.
        tuned_for: The quantization that the model was fine-tuned with.
        output_name: What the output is called, where not as in a bundle.
    """
    scheme = find_scheme(quantization)
    # The texts behind the grids are always the same, so that what is compared changes no file.
    grids = grids_of(source, scheme, SENTENCES)
    model = encoder_model(
        source.model,
        source.answers.head,
        scheme,
        grids,
        dense=source.dense,
        reads_first=source.reads_first,
        output_name=output_name,
    )
    content = model.SerializeToString(deterministic=True)
    parity = compare(content, source, scheme, sentences, grids=grids, is_learnt=tuned_for == quantization)
    return ExportedGraph(content, "int8" if grids else "float32", parity)


def compact(tokenizer: Tokenizer) -> bytes:
    """Returns tokenizer.json without the spaces that it is laid out with."""
    layout = json.loads(tokenizer.to_str())
    return json.dumps(layout, ensure_ascii=False, separators=(",", ":")).encode()


def config_of(source: Source, quantization: str, products: str) -> BundleConfig:
    """Returns what whoever runs the bundle must know of it."""
    task, sentences = source.labels, source.sentences
    return BundleConfig(
        kind=source.kind,
        positions=source.positions,
        opset=OPSET,
        quantization=quantization,
        products=products,
        lilliput=version("lilliput"),
        task=task.name or None,
        pairs=task.pairs,
        classes=task.classes,
        tags=task.tags,
        normalize=sentences is not None and sentences.normalize,
        prompt="" if sentences is None else sentences.prompt(),
        min_probability=source.min_probability,
    )
