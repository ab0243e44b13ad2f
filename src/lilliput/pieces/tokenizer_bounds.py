"""Bounds what a tokenizer.json of any kind may ask for before anything is built of it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from lilliput.common.hub import read_settings
from lilliput.errors import ModelError, first_line
from lilliput.pieces.tokenizer_file import MOST_ADDED, MOST_ADDED_CHARACTERS, MOST_BYTES, MOST_PIECES, Layout

_MODELS = ("BPE", "Unigram", "WordLevel", "WordPiece", None)
_LONGEST_PATTERN = 2_000
"""Characters: the library compiles what it searches for. GPT-4's pattern has 130."""


def check_file(path: Path) -> Layout:
    """Returns the content of a tokenizer.json.

    Raises ModelError where it is damaged, or asks for more than a tokenizer needs.
    """
    try:
        if (size := path.stat().st_size) > MOST_BYTES:
            raise ValueError(f"it has {size:,} bytes, at most {MOST_BYTES:,} are read")
        layout: Any = json.loads(path.read_bytes())
        if not isinstance(layout, dict) or not isinstance(model := layout.get("model"), dict):
            raise ValueError("it is not a JSON object with a model")
        if (kind := model.get("type")) not in _MODELS:
            raise ValueError(f"its model is {str(kind)[:60]!r}, expected one of {', '.join(_MODELS[:-1])}")
        vocabulary, added = model.get("vocab"), layout.get("added_tokens") or []
        if not isinstance(vocabulary, dict | list) or len(vocabulary) > MOST_PIECES:
            raise ValueError(f"it has no vocabulary, or one of more than {MOST_PIECES:,} pieces")
        characters = sum(len(str(token.get("content"))) for token in added)
        if len(added) > MOST_ADDED or characters > MOST_ADDED_CHARACTERS:
            raise ValueError(f"it has {len(added):,} added pieces of {characters:,} characters, too many")
        steps = (layout.get(key) for key in ("normalizer", "pre_tokenizer", "post_processor", "decoder"))
        longest = max((len(text) for step in steps for text in _patterns(step)), default=0)
        if longest > _LONGEST_PATTERN:
            raise ValueError(f"it has a pattern of {longest:,} characters")
    except RecursionError:
        raise ModelError(f"{path} cannot be used (its values are nested too deeply)") from None
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise ModelError(f"{path} cannot be used ({first_line(error)}); fetch it again") from error
    return layout


def _patterns(step: Any) -> Iterator[str]:
    """Yields what a step of a tokenizer searches for by regular expressions."""
    if isinstance(step, dict):
        for key, value in step.items():
            if key == "Regex" and isinstance(value, str):
                yield value
            yield from _patterns(value)
    elif isinstance(step, list):
        for value in step:
            yield from _patterns(value)


def read_own_settings(folder: Path) -> dict[str, object]:
    """Returns the tokenizer_config.json of a checkpoint; raises ModelError if it names code of its own."""
    path = folder / "tokenizer_config.json"
    settings = read_settings(path, most_bytes=1 << 24)
    if settings.get("auto_map"):
        raise ModelError(
            f"{path} has 'auto_map': it names code of its own, and lilliput runs no code from a checkpoint"
        )
    return settings


def check_rows(folder: Path, tokenizer: Tokenizer, rows: int) -> None:
    """Raises ModelError if a table of so many rows lacks some for the pieces of a tokenizer."""
    highest = max(tokenizer.get_vocab().values(), default=-1)
    if not 0 <= highest < rows:
        raise ModelError(
            f"the tokenizer in {folder} has ids up to {highest:,}, and by config.json the model has rows for "
            f"{rows:,} pieces; fetch both again"
        )
