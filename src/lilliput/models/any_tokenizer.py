"""The tokenizer of any checkpoint, as transformers makes it of the files, without code of theirs.

What a tokenizer.json asks for is bounded before it is built (`pieces.tokenizer_bounds`); a BERT's is checked
key by key in `pieces.tokenizer_file`.
"""

from dataclasses import dataclass
from typing import Any, Literal

from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedConfig

from lilliput.common.hub import checkpoint_folder
from lilliput.errors import ModelError, first_line
from lilliput.pieces.tokenizer_bounds import check_file, check_rows, read_own_settings

_FILES = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.txt", "vocab.json", "merges.txt", "*.model", "config.json"),
)


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
    read_own_settings(folder)  # refuses code
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
    check_rows(folder, tokenizer, config.vocab_size)
    pads = (found.pad_token_id, config.pad_token_id, 0)
    pad = next(pad for pad in pads if isinstance(pad, int) and 0 <= pad < config.vocab_size)
    side: Literal["left", "right"] = "left" if found.truncation_side == "left" else "right"
    return AnyTokenizer(tokenizer, pad, side, "token_type_ids" in found.model_input_names)
