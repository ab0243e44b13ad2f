"""A tokenizer without what it does at the ends of a text: it makes pieces of a stretch wherever that stands.

Most tokenizers put a space before a text, so that its first word is like any other, and special pieces
around it. Here a text brings its own space, and special pieces written out in it are text.
"""

import json
from collections.abc import Iterable
from typing import Any

from tokenizers import Tokenizer

from lilliput.pieces.tokenizer_file import Layout

_NEVER_READ = "\0"
"""Goes before a special piece in the vocabulary, so that none is found in a text: words hold no such."""


def bare(tokenizer: Tokenizer, special: Iterable[str] = ()) -> Tokenizer:
    """Returns a tokenizer that cuts texts into the same pieces, with the same ids, as they stand.

    Args:
        tokenizer: Of any kind.
        special: Pieces that are never found in a text.
    """
    layout: Layout = json.loads(tokenizer.to_str())
    layout |= dict.fromkeys(("truncation", "padding", "post_processor", "decoder"))
    layout["added_tokens"] = []
    layout["normalizer"] = _normalizer(layout["normalizer"])
    layout["pre_tokenizer"] = _pre_tokenizer(layout["pre_tokenizer"])
    _hide(layout["model"], set(special))
    return Tokenizer.from_str(json.dumps(layout))


def _steps(found: Any, of: str) -> list[Any]:
    """Returns the steps of a normaliser or a pre-tokeniser."""
    if found is None:
        return []
    return (
        [step for each in found[of] for step in _steps(each, of)] if found["type"] == "Sequence" else [found]
    )


def _normalizer(found: Any) -> Any:
    steps = [step for step in _steps(found, "normalizers") if step["type"] not in ("Prepend", "Strip")]
    return {"type": "Sequence", "normalizers": steps} if steps else None


def _pre_tokenizer(found: Any) -> Any:
    steps = _steps(found, "pretokenizers")
    marks_spaces = any(step["type"] == "Metaspace" for step in steps)
    kept = []
    for step in steps:
        if step["type"] == "Metaspace":
            kept.append(step | {"prepend_scheme": "never"})
        elif step["type"] == "ByteLevel":
            kept.append(step | {"add_prefix_space": False})
        elif step["type"] != "WhitespaceSplit" or not marks_spaces:
            kept.append(step)  # one that drops spaces would drop what Metaspace is to mark
    return {"type": "Sequence", "pretokenizers": kept} if kept else None


def _hide(model: dict[str, Any], special: set[str]) -> None:
    """Gives special pieces of a vocabulary names that no text holds."""

    def name(piece: str) -> str:
        return _NEVER_READ + piece if piece in special else piece

    if isinstance(model["vocab"], list):
        model["vocab"] = [[name(piece), score] for piece, score in model["vocab"]]
    else:
        model["vocab"] = {name(piece): index for piece, index in model["vocab"].items()}
    if isinstance(model.get("unk_token"), str):
        model["unk_token"] = name(model["unk_token"])
    if model["type"] == "BPE":
        pairs = (pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"])
        model["merges"] = [pair for pair in pairs if not special & {*pair, "".join(pair)}]
