"""Checks an untrusted tokenizer.json key by key before the tokenizers library builds it.

That library compiles patterns, panics and takes gigabytes if a file asks for it. Only BERT tokenizers pass:
WordPiece, BertNormalizer, BertPreTokenizer, [CLS] and [SEP] around texts, and added pieces, which are never
split.
"""

import json
import reprlib
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any, NamedTuple

from tokenizers import Tokenizer

PAD, UNK, CLS, SEP, MASK = SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
"""The pieces that are not text, in the order of their ids in a learnt vocabulary."""
CONTINUING = "##"
"""What a piece within a word begins with in a vocabulary that says nothing else."""

MOST_BYTES = 1 << 26
"""Bytes of a file: 250,000 pieces take 6 MB."""
MOST_PIECES = 1_000_000
"""Pieces, and ids."""
MOST_ADDED, MOST_ADDED_CHARACTERS = 10_000, 100_000
"""Added pieces, which are never split, and the characters of all of them: preparing to find 200,000
characters takes three seconds, ten million three minutes and 2 GB."""
_LONGEST_PIECE, _LONGEST_WORD, _LONGEST_PREFIX = 1_000, 250, 8
"""Characters. The time to split a word grows with the cube of its length: BERT's longest has 100."""

FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")
"""How an added piece is matched: only as a whole word, with spaces to its left or right, after normalisation,
as a special piece."""
_OPTIONAL = ("version", "truncation", "padding", "post_processor", "decoder")
_NORMALISER = ("clean_text", "handle_chinese_chars", "strip_accents", "lowercase")

Layout = dict[str, Any]
"""The content of a tokenizer.json."""


class SpecialPieces(NamedTuple):
    """Ids of the pieces that are not text, by what they are for; quicker to define than a dataclass."""

    pad: int
    unk: int
    cls: int
    sep: int
    mask: int

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> "SpecialPieces":
        """Returns those of a tokenizer that has all of them."""
        ids = (tokenizer.token_to_id(name) for name in SPECIAL)
        return cls(*(index for index in ids if index is not None))


def read_layout(content: bytes) -> Layout:
    """Returns the content of a tokenizer.json.

    Raises ValueError with the reason, as the end of a sentence, if it is not a BERT tokenizer.
    """
    if len(content) > MOST_BYTES:
        raise ValueError(f"it has {len(content):,} bytes, at most {MOST_BYTES:,} are read")
    # Each of these becomes a Python object of up to a hundred bytes.
    counts = content.count(b'"') // 2, content.count(b",") // 2, content.count(b"{") + content.count(b"[")
    if max(counts) > 2 * MOST_PIECES:
        raise ValueError(f"it has more than {MOST_PIECES:,} pieces")
    try:
        layout: Layout = json.loads(content.decode(), object_pairs_hook=_once)
    except RecursionError:
        raise ValueError("its values are nested too deeply") from None
    _keys(layout, "it", {"added_tokens", "normalizer", "pre_tokenizer", "model"}, _OPTIONAL)
    _normaliser(layout["normalizer"])
    _typed(layout["pre_tokenizer"], "BertPreTokenizer", "pre_tokenizer")
    _keys(layout["pre_tokenizer"], "its pre_tokenizer", {"type"})
    _model(layout["model"])
    _added(layout["added_tokens"], layout["model"]["vocab"])
    ids = piece_ids(layout)
    if missing := [piece for piece in SPECIAL if piece not in ids]:
        raise ValueError(f"it lacks the special pieces {', '.join(missing)}")
    if UNK not in layout["model"]["vocab"]:
        raise ValueError(f"its vocabulary lacks {UNK}, the piece for unknown words")
    _ends(layout.get("post_processor"), ids)
    if layout.get("decoder") is not None:
        _typed(layout["decoder"], "WordPiece", "decoder")
        _keys(layout["decoder"], "its decoder", {"type", "prefix", "cleanup"})
    return layout


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Returns a JSON object; refuses a key that occurs twice, as the library may take the other one."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("it has a key twice")
    return found


def build_tokenizer(content: bytes) -> tuple[Tokenizer, Layout]:
    """Returns the tokenizer of a tokenizer.json, without truncation and padding, and the file's content.

    Raises ValueError with the reason, as the end of a sentence, if it is not a BERT tokenizer, or if a piece
    gets another id than the file says.
    """
    layout = read_layout(content)
    try:
        tokenizer = Tokenizer.from_buffer(content)
    except Exception as error:  # the library raises bare Exception
        raise ValueError(str(error).partition("\n")[0]) from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    for token in layout["added_tokens"]:
        if (found := tokenizer.token_to_id(token["content"])) != token["id"]:
            raise ValueError(
                f"its added piece {token['content']!r} has the id {token['id']}, where {found} is the next; "
                "ids of added pieces continue those of the vocabulary"
            )
    return tokenizer, layout


def piece_ids(layout: Layout) -> dict[str, int]:
    """Returns the ids of all pieces, added ones included."""
    ids: dict[str, int] = layout["model"]["vocab"]
    return ids | {token["content"]: token["id"] for token in layout["added_tokens"]}


def ends(ids: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    """Yields the two forms of a post-processor that puts [CLS] before a text and [SEP] after it."""
    yield {"type": "BertProcessing", "sep": [SEP, ids[SEP]], "cls": [CLS, ids[CLS]]}
    first = [
        {"SpecialToken": {"id": CLS, "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}},
        {"SpecialToken": {"id": SEP, "type_id": 0}},
    ]
    yield {
        "type": "TemplateProcessing",
        "single": first,
        "pair": [
            *first,
            {"Sequence": {"id": "B", "type_id": 1}},
            {"SpecialToken": {"id": SEP, "type_id": 1}},
        ],
        "special_tokens": {name: {"id": name, "ids": [ids[name]], "tokens": [name]} for name in (CLS, SEP)},
    }


def _normaliser(found: Any) -> None:
    _typed(found, "BertNormalizer", "normalizer")
    _keys(found, "its normalizer", {"type", *_NORMALISER})
    for name in _NORMALISER:
        if not isinstance(found[name], bool) and (name, found[name]) != ("strip_accents", None):
            raise ValueError(f"its normalizer has {name} {_shown(found[name])}, expected true or false")


def _model(found: Any) -> None:
    if isinstance(found, dict):
        found.setdefault("type", "WordPiece")  # the first versions of the library left it out
    _typed(found, "WordPiece", "model")
    names = {"type", "vocab", "unk_token", "continuing_subword_prefix", "max_input_chars_per_word"}
    _keys(found, "its model", names)
    if found["unk_token"] != UNK:
        raise ValueError(f"its piece for unknown words is {_shown(found['unk_token'])}, expected {UNK}")
    vocabulary, prefix = found["vocab"], found["continuing_subword_prefix"]
    if not isinstance(vocabulary, dict) or not set(map(type, vocabulary.values())) <= {int}:
        raise ValueError("its vocabulary does not give each piece a whole number")
    ids = vocabulary.values()
    if not ids or min(ids) < 0 or max(ids) >= MOST_PIECES or len(set(ids)) < len(ids):
        raise ValueError(f"its pieces do not have different ids from 0 to {MOST_PIECES - 1:,}")
    if max(map(len, vocabulary)) > _LONGEST_PIECE:
        raise ValueError(f"it has pieces of more than {_LONGEST_PIECE:,} characters")
    if not isinstance(prefix, str) or not 0 < len(prefix) <= _LONGEST_PREFIX:
        raise ValueError(
            f"its pieces within a word begin with {_shown(prefix)}, expected {CONTINUING} or similar"
        )
    if not _is_number(found["max_input_chars_per_word"], 1, _LONGEST_WORD):
        raise ValueError(
            f"its longest word has {_shown(found['max_input_chars_per_word'])} characters, expected 1 to "
            f"{_LONGEST_WORD}"
        )


def _added(found: Any, vocabulary: dict[str, int]) -> None:
    if not isinstance(found, list) or len(found) > MOST_ADDED:
        raise ValueError(f"its added pieces are not a list of at most {MOST_ADDED:,}")
    of_id, characters = {index: piece for piece, index in vocabulary.items()} if found else {}, 0
    for token in found:
        _keys(token, "one of its added pieces", {"id", "content", *FLAGS})
        content, index = token["content"], token["id"]
        if not isinstance(content, str) or not 0 < len(content) <= _LONGEST_PIECE:
            raise ValueError(f"it has an added piece {_shown(content)}, expected text")
        if not all(isinstance(token[flag], bool) for flag in FLAGS) or not _is_number(index, 0, MOST_PIECES):
            raise ValueError(
                f"its added piece {_shown(content)} has no id, or flags that are not true or false"
            )
        characters += len(content)
        if of_id.setdefault(index, content) != content or vocabulary.get(content, index) != index:
            raise ValueError(f"its added piece {_shown(content)} has the id of another, or two ids")
    if characters > MOST_ADDED_CHARACTERS:
        raise ValueError(
            f"its added pieces have {characters:,} characters, at most {MOST_ADDED_CHARACTERS:,}"
        )


def _ends(found: Any, ids: dict[str, int]) -> None:
    if found is not None and found not in ends(ids):
        raise ValueError(f"its post_processor puts other pieces than {CLS} and {SEP} around texts")


def _typed(found: Any, wanted: str, what: str) -> None:
    """Raises ValueError if a part of the file has another type."""
    kind = found.get("type") if isinstance(found, dict) else found
    if kind != wanted:
        raise ValueError(f"its {what} is {_shown(kind)}, expected {wanted}")


def _keys(found: Any, what: str, needed: Set[str], optional: Sequence[str] = ()) -> None:
    """Raises ValueError if a value is not an object, lacks keys or has others."""
    if not isinstance(found, dict):
        raise ValueError(f"{what} is {_shown(found)}, expected an object")
    if missing := sorted(needed - found.keys()):
        raise ValueError(f"{what} has no {missing[0]}")
    if other := sorted(found.keys() - {*needed, *optional}):
        raise ValueError(f"{what} has {_shown(other[0])}, which is not supported")


def _is_number(value: Any, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most


def _shown(value: Any) -> str:
    """Returns a value for a message, shortened."""
    return reprlib.repr(value)
