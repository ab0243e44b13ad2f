"""What a tokenizer says of words: its normaliser, its pre-tokeniser, and the pieces that it takes whole."""

import json
import re
from typing import Any

from tokenizers import AddedToken, Tokenizer

from lilliput.pieces.tokenizer_file import CLS, SEP, SPECIAL
from lilliput.text.words import WordRules

_UNUSED = re.compile(r"\[unused\d+\]")
"""Places of a vocabulary that were kept free."""


def word_rules(tokenizer: Tokenizer) -> WordRules:
    """Returns how a tokenizer makes words of a text."""
    found = _marks(tokenizer)
    normalizer = _settings(tokenizer.normalizer) | ({"marks": found} if found else {})
    pre_tokenizer = _settings(tokenizer.pre_tokenizer)
    return WordRules(json.dumps(normalizer), json.dumps(pre_tokenizer), end=SEP, start=CLS)


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
