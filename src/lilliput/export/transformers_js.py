"""The folder that transformers.js reads: an encoder of vectors in float32 and int8, with its tokenizer.

    onnx/model.onnx            the graph in float32, `dtype: "fp32"`
    onnx/model_quantized.onnx  the same in int8, `dtype: "q8"`
    config.json                the encoder's, as transformers has it
    tokenizer.json, tokenizer_config.json
    README.md                  its card

The graphs are those of a bundle, but for the name of their output: `last_hidden_state`. It is what the
encoder's map makes of the states, so that the mean over a text's pieces is the text's vector, up to its
length.
"""

import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from lilliput.common.files import write_json, writing
from lilliput.common.folders import check_strangers, not_ours, replacing
from lilliput.common.locks import beside, locked
from lilliput.errors import ConfigError, ModelError, nearest
from lilliput.export.card import Card
from lilliput.export.export import ExportResult, config_of, graph_of
from lilliput.export.source import Source, Space, load_source
from lilliput.inference.format import CARD, CONFIG
from lilliput.models.student import parameter_count
from lilliput.pieces.bert_tokenizer import save_tokenizer

LAYOUT = "transformers.js"
FLOAT, QUANTIZED = "onnx/model.onnx", "onnx/model_quantized.onnx"
FILES = (FLOAT, QUANTIZED, CONFIG, "tokenizer.json", "tokenizer_config.json", CARD)
_OUTPUT = "last_hidden_state"
_MADE_BY = "lilliput"
"""A key of config.json by which the folder is known as one of ours."""


def check(layout: str, **given: object) -> None:
    """Raises ConfigError where there is no such layout, or it does not have an option that is given."""
    if layout != LAYOUT:
        raise ConfigError(f"there is no layout '{layout}'; {nearest(layout, ['bundle', LAYOUT])}")
    if others := [name for name, value in given.items() if value]:
        raise ConfigError(
            f"the layout {LAYOUT} has vectors alone, in float32 and int8; leave out {' and '.join(others)}"
        )


def write(
    folder: Path, out: Path, space: Space, card: Callable[[int], Card]
) -> tuple[ExportResult, dict[str, int]]:
    """Writes the folder, once both graphs answer as torch does; returns the int8 one, and all files' bytes.

    Args:
        folder: An encoder of vectors.
        out: The folder to write; an earlier one of the same layout is replaced.
        space: Where vectors lie (`load_source`).
        card: Returns what its card says, given the encoder's parameters; called if it can be exported.

    Raises:
        ModelError: If there is no such encoder, or a graph would not answer as it does.
        StorageError: If `out` has files that were not written here, or something cannot be read or written.
    """
    source = load_source(folder, None, space)
    if source.kind != "encode":
        raise ModelError(
            f"{folder} gives no vectors (its kind is {source.kind}), and the layout {LAYOUT} is for encoders "
            "of vectors; make one with `lilliput compress --recipe sentence`, or a bundle of this"
        )
    plain, small = (graph_of(source, name, states_name=_OUTPUT) for name in ("float32", "int8"))
    parameters = parameter_count(source.model)
    described = card(parameters)
    with locked(beside(out), out):
        _check_ours(out)
        with replacing(out) as new:
            for name, graph in ((FLOAT, plain), (QUANTIZED, small)):
                with writing(new / name) as file:
                    file.write(graph.content)
            save_tokenizer(source.tokenizer, new, longest=source.positions)
            write_json(new / CONFIG, _settings(source))
            config = config_of(source, "float32 and int8", small.products)
            text = described.render(config, _sizes(new), for_javascript=out.name)
            with writing(new / CARD) as file:
                file.write(text.encode(errors="backslashreplace"))
    files = _sizes(out)
    sizes = {QUANTIZED: files[QUANTIZED]}
    return ExportResult(source.kind, "int8", sizes, small.parity, parameters), files


def _settings(source: Source) -> dict[str, object]:
    """Returns the encoder's settings, without a head that the graphs do not have."""
    settings: dict[str, object] = source.config.to_diff_dict()
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
