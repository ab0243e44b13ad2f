"""The tokenizer of any checkpoint, as transformers makes it of the files, without code of theirs.

What a tokenizer.json asks for is bounded before it is built (`check_file`); a BERT's is checked key by key in
`pieces.tokenizer_file`.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedConfig

from lilliput.common.hub import checkpoint_folder, read_settings
from lilliput.errors import ModelError, first_line
from lilliput.pieces.tokenizer_file import MOST_ADDED, MOST_ADDED_CHARACTERS, MOST_BYTES, MOST_PIECES

_FILES = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.txt", "vocab.json", "merges.txt", "*.model", "config.json"),
)
_MODELS = ("BPE", "Unigram", "WordLevel", "WordPiece", None)
_LONGEST_PATTERN = 2_000
"""Characters: the library compiles what it searches for. GPT-4's pattern has 130."""


@dataclass(frozen=True)
class AnyTokenizer:
    """A tokenizer, and how its model is given what it makes."""

    tokenizer: Tokenizer
    """Without truncation and padding; puts special pieces around texts."""
    pad: int
    """The id that fills rows up."""
    side: Literal["left", "right"]
    """Where a long text is cut."""
    has_types: bool
    """Whether the model is told which of two texts a piece is of, as transformers tells it."""


def load_any_tokenizer(name: str, config: PreTrainedConfig) -> AnyTokenizer:
    """Loads the fast tokenizer of a checkpoint from a folder or the hub.

    Args:
        name: Folder or hub name.
        config: The model's; says which class of transformers builds the tokenizer.

    Raises:
        ModelError: If there is none, it needs code of its own, or the model has no rows for its pieces.
    """
    folder = checkpoint_folder(name, *_FILES)
    settings = read_settings(folder / "tokenizer_config.json", most_bytes=1 << 24)
    if settings.get("auto_map"):
        raise ModelError(
            f"{folder / 'tokenizer_config.json'} has 'auto_map': it names code of its own, and lilliput runs "
            "no code from a checkpoint"
        )
    if (folder / "tokenizer.json").is_file():
        check_file(folder / "tokenizer.json")
    try:
        found: Any = AutoTokenizer.from_pretrained(
            str(folder), config=config, trust_remote_code=False, local_files_only=True
        )
        is_fast = bool(found.is_fast)
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise  # the library of tokenizers panics where a file is wrong
        raise ModelError(
            f"transformers makes no tokenizer of the files in {folder} ({first_line(error)}); save it with "
            "a tokenizer.json: AutoTokenizer.from_pretrained(...).save_pretrained(FOLDER)"
        ) from error
    if not is_fast:
        raise ModelError(
            f"the tokenizer in {folder} ({type(found).__name__}) has no fast form, which says where in a "
            "text each piece stands; take a checkpoint with a tokenizer.json"
        )
    tokenizer: Tokenizer = found.backend_tokenizer
    tokenizer.no_truncation()
    tokenizer.no_padding()
    highest = max(tokenizer.get_vocab().values(), default=-1)
    if not 0 <= highest < config.vocab_size:
        raise ModelError(
            f"the tokenizer in {folder} has ids up to {highest:,}, and by config.json the model has rows for "
            f"{config.vocab_size:,} pieces; fetch both again"
        )
    pads = (found.pad_token_id, config.pad_token_id, 0)
    pad = next(pad for pad in pads if isinstance(pad, int) and 0 <= pad < config.vocab_size)
    side: Literal["left", "right"] = "left" if found.truncation_side == "left" else "right"
    return AnyTokenizer(tokenizer, pad, side, "token_type_ids" in found.model_input_names)


def check_file(path: Path) -> None:
    """Raises ModelError where a tokenizer.json is damaged, or asks for more than a tokenizer needs."""
    try:
        if (size := path.stat().st_size) > MOST_BYTES:
            raise ValueError(f"it has {size:,} bytes, at most {MOST_BYTES:,} are read")
        layout = json.loads(path.read_bytes())
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
