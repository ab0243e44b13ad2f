"""The settings of a tokenizer that say what a word is: normaliser, pre-tokeniser, pieces taken whole."""

import json
import re
from typing import Any

from tokenizers import AddedToken, Tokenizer

from lilliput.inference.tokenizer_file import SPECIAL

_UNUSED = re.compile(r"\[unused\d+\]")
"""Places of a vocabulary that were kept free."""


def word_settings(tokenizer: Tokenizer) -> dict[str, Any]:
    """Returns the settings that decide which words a text has, as JSON values."""
    found = _marks(tokenizer)
    return {
        "normalizer": _settings(tokenizer.normalizer) | ({"marks": found} if found else {}),
        "pre_tokenizer": _settings(tokenizer.pre_tokenizer),
    }


def whole_pieces(tokenizer: Tokenizer) -> list[str]:
    """Returns the pieces that a tokenizer takes whole wherever they stand, but special and unused ones."""
    added = sorted(tokenizer.get_added_tokens_decoder().items())
    names = (token.content for _, token in added)
    return [name for name in names if name not in SPECIAL and not _UNUSED.fullmatch(name)]


def _marks(tokenizer: Tokenizer) -> list[str]:
    """Returns the pieces that a tokenizer takes whole though BERT makes several words, or others, of them."""
    found = tokenizer.get_added_tokens_decoder().values()
    kept = set(whole_pieces(tokenizer))
    return sorted(
        token.content for token in found if token.content in kept and not _is_word(token, tokenizer)
    )


def _is_word(token: AddedToken, tokenizer: Tokenizer) -> bool:
    normal = tokenizer.normalizer.normalize_str(token.content)
    words = [word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normal)]
    return words == [normal] and (token.normalized or normal == token.content)


def _settings(part: Any) -> Any:
    return json.loads(part.__getstate__())
