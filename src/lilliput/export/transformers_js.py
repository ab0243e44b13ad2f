"""The folder that transformers.js reads: a model in float32 and int8, with its tokenizer and settings.

    onnx/model.onnx            the graph in float32, `dtype: "fp32"`
    onnx/model_quantized.onnx  the same in int8, `dtype: "q8"`
    config.json                the model's, as transformers has it, with the names of its classes or tags
    tokenizer.json, tokenizer_config.json
    lilliput.json              what a bundle's config.json says
    README.md                  its card

The graphs are those of a bundle, but for the name of their output: `logits`, and `last_hidden_state` of an
encoder. That is what the encoder's map makes of the states, so that the mean over a text's pieces is the
text's vector, up to its length.
"""

import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from lilliput.common.files import write_json, writing
from lilliput.common.folders import check_strangers, not_ours, replacing
from lilliput.common.locks import beside, locked
from lilliput.errors import ConfigError, ModelError, nearest
from lilliput.export.card import Card
from lilliput.export.export import ExportResult, compact, config_of, graph_of
from lilliput.export.source import Source, Space, load_source
from lilliput.inference.bundle import Bundle
from lilliput.inference.format import CARD, CONFIG, BundleFiles
from lilliput.models.student import parameter_count
from lilliput.pieces.bert_tokenizer import save_tokenizer

LAYOUT = "transformers.js"
FLOAT, QUANTIZED, SETTINGS = "onnx/model.onnx", "onnx/model_quantized.onnx", "lilliput.json"
FILES = (FLOAT, QUANTIZED, CONFIG, "tokenizer.json", "tokenizer_config.json", SETTINGS, CARD)
_KINDS = ("classification", "multilabel", "regression", "tagging", "fill", "encode")
"""The kinds for which transformers has a class, and so transformers.js."""
_PROBLEMS = {
    "classification": "single_label_classification",
    "multilabel": "multi_label_classification",
    "regression": "regression",
}
"""What transformers calls these kinds of tasks."""
_MADE_BY = "lilliput"
"""A key of config.json by which the folder is known as one of ours."""


def check(layout: str, **given: object) -> None:
    """Raises ConfigError where there is no such layout, or it does not have an option that is given."""
    if layout != LAYOUT:
        raise ConfigError(f"there is no layout '{layout}'; {nearest(layout, ['bundle', LAYOUT])}")
    if others := [name for name, value in given.items() if value]:
        raise ConfigError(
            f"the layout {LAYOUT} has a graph in float32 and one in int8; leave out {' and '.join(others)}"
        )


def write(
    folder: Path,
    out: Path,
    card: Callable[[int, Bundle], Card],
    *,
    kind: Literal["fill", "encode"] | None = None,
    space: Space = "teacher",
    tuned_for: str | None = None,
) -> tuple[ExportResult, dict[str, int]]:
    """Writes the folder, once both graphs answer as torch does; returns the int8 one, and all files' bytes.

    Args:
        folder: The model.
        out: The folder to write; an earlier one of the same layout is replaced.
        card: Returns what its card says, given the model's parameters, and the int8 graph opened as a bundle.
        kind: What a checkpoint is exported for other than its task (`load_source`), and so `space`.
        space: Where vectors lie.
        tuned_for: The quantization that the model was fine-tuned with, if it was with one.

    Raises:
        ModelError: If transformers.js knows no such model, or a graph would not answer as it does.
        StorageError: If `out` has files that were not written here, or something cannot be read or written.
    """
    source = load_source(folder, kind, space)
    if source.kind not in _KINDS:
        raise ModelError(
            f"{folder} is of the kind {source.kind}, which transformers.js and transformers' pipelines do "
            f"not know; they know {', '.join(_KINDS)}. Leave out the layout for a bundle"
        )
    name = "last_hidden_state" if source.kind == "encode" else "logits"
    plain, small = (
        graph_of(source, stored, output_name=name, tuned_for=tuned_for) for stored in ("float32", "int8")
    )
    parameters = parameter_count(source.model)
    config = config_of(source, "float32 and int8", small.products)
    with locked(beside(out), out):
        _check_ours(out)
        with replacing(out) as new:
            for path, graph in ((FLOAT, plain), (QUANTIZED, small)):
                with writing(new / path) as file:
                    file.write(graph.content)
            save_tokenizer(source.tokenizer, new, longest=source.positions)
            write_json(new / CONFIG, _settings(source))
            write_json(new / SETTINGS, {"format": config.format, **config._asdict()})
            files = BundleFiles(config, small.content, compact(source.tokenizer))
            described = card(parameters, Bundle(new, files, threads=1))
            text = described.render(config, _sizes(new), for_javascript=out.name)
            with writing(new / CARD) as file:
                file.write(text.encode(errors="backslashreplace"))
    written = _sizes(out)
    sizes = {QUANTIZED: written[QUANTIZED]}
    return ExportResult(source.kind, "int8", sizes, small.parity, parameters), written


def _settings(source: Source) -> dict[str, object]:
    """Returns the model's settings, of an encoder without a head that the graphs do not have."""
    settings: dict[str, object] = source.config.to_diff_dict()
    for name in ("id2label", "label2id", "problem_type"):
        settings.pop(name, None)
    labels = source.labels
    if names := ("score",) if source.kind == "regression" else labels.classes or labels.tags:
        settings["id2label"] = {str(index): name for index, name in enumerate(names)}
        settings["label2id"] = {name: index for index, name in enumerate(names)}
    if source.kind in _PROBLEMS:
        settings["problem_type"] = _PROBLEMS[source.kind]
    known = (one.__name__ for one in type(source.model).__mro__ if one.__module__.startswith("transformers."))
    return settings | {"architectures": [next(known)], _MADE_BY: version("lilliput")}


def _sizes(folder: Path) -> dict[str, int]:
    """Returns the bytes of the files that are there, by name."""
    return {name: (folder / name).stat().st_size for name in FILES if (folder / name).is_file()}


def _check_ours(out: Path) -> None:
    """Raises StorageError where a folder holds files that were not written here."""
    check_strangers(out, FILES)
    if out.is_dir() and any(out.iterdir()):
        try:
            found = json.loads((out / CONFIG).read_bytes())
        except (OSError, ValueError):
            found = None
        if not (isinstance(found, dict) and _MADE_BY in found):
            raise not_ours(out, [CONFIG])
