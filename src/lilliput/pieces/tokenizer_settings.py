"""What stands beside a vocabulary in a checkpoint: kept, compared with the vocabulary, or refused by name.

transformers reads a tokenizer from up to six files, and each of its versions believes another of them. Here
they must agree. A setting that changes what a text becomes is kept, or named in a refusal; none is dropped
in silence. What only concerns decoding, padding or chats is left out.
"""

import dataclasses
import reprlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from lilliput.common.hub import read_settings
from lilliput.errors import ModelError
from lilliput.pieces.tokenizer_file import (
    FLAGS,
    MOST_ADDED,
    MOST_ADDED_CHARACTERS,
    SPECIAL,
    Layout,
)

FILES = (
    *("tokenizer.json", "vocab.txt", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    "config.json",
)
"""What is read of a checkpoint."""

_CLASSES = ("Bert", "DistilBert", "Electra", "MobileBert", "PreTrained")
"""Tokenizers of transformers that make of a text what a BERT's does, each with an end of _ENDS."""
_ENDS = ("Tokenizer", "TokenizerFast")
_NAMES = {f"{piece.strip('[]').lower()}_token": piece for piece in SPECIAL}
_REFUSED: dict[str, tuple[Any, ...]] = {
    "auto_map": (),
    "do_basic_tokenize": (True,),
    "do_split_on_punc": (True,),
    "do_word_tokenize": (True,),
    "do_subword_tokenize": (True,),
    "word_tokenizer_type": ("basic",),
    "subword_tokenizer_type": ("wordpiece",),
    "mecab_kwargs": ({},),
    "sudachi_kwargs": ({},),
    "jumanpp_kwargs": ({},),
    "split_special_tokens": (False,),
    "add_prefix_space": (False,),
    "add_bos_token": (False,),
    "add_eos_token": (False,),
    "truncation_side": ("right",),
    "padding_side": ("right",),
}
"""Settings that lilliput does not have, each with the values, besides null, at which a BERT is as usual."""
_NORMALISER = {
    "do_lower_case": "lowercase",
    "strip_accents": "strip_accents",
    "tokenize_chinese_chars": "handle_chinese_chars",
    "clean_text": "clean_text",
}
"""Settings by their names in tokenizer_config.json and in a normaliser."""


@dataclass(frozen=True)
class WholePiece:
    """A piece that is taken whole wherever it stands in a text."""

    content: str
    """The piece."""
    id: int | None
    """Its id, where a file says it."""
    flags: dict[str, bool]
    """How it is taken, as far as a file says it."""


@dataclass(frozen=True)
class TokenizerSettings:
    """What the files beside a vocabulary say."""

    path: Path
    """The one that says most, for messages."""
    normaliser: dict[str, bool | None]
    """Settings of the normaliser by the names that it has for them, those that are said."""
    prefix: str | None
    """How pieces within a word begin, where it is said."""
    whole: tuple[WholePiece, ...]
    """Pieces that are taken whole besides those of tokenizer.json, in the order in which they get ids."""
    rows: int | None
    """Rows of the table of embeddings, where there is a model."""


def read_tokenizer_settings(folder: Path, supported: str) -> TokenizerSettings:
    """Returns what the files beside a vocabulary say.

    Args:
        folder: With the files.
        supported: The end of a message that says what could be loaded.

    Raises:
        ModelError: If one is damaged, or says something that lilliput does not do.
    """
    path = folder / "tokenizer_config.json"
    settings, model = read_settings(path), read_settings(folder / "config.json")
    kind = settings.get("tokenizer_class") or model.get("tokenizer_class")
    known = {f"{name}{end}" for name in _CLASSES for end in _ENDS} | {"TokenizersBackend", None}
    if not isinstance(kind, str | None) or kind not in known:
        raise ModelError(f"the tokenizer in {folder} is a {reprlib.repr(kind)}; {supported}")
    for name, usual in _REFUSED.items():
        if (value := settings.get(name)) is not None and value not in usual:
            raise _refusal(path, name, value, supported)
    rows = model.get("vocab_size")
    try:
        whole = tuple(_merged(_whole(folder, settings)))
        _check_never_split(settings.get("never_split"), whole)
        found = TokenizerSettings(
            path,
            {inner: _flag(settings[name], name) for name, inner in _NORMALISER.items() if name in settings},
            _text(settings["wordpieces_prefix"]) if settings.get("wordpieces_prefix") is not None else None,
            whole,
            rows if type(rows) is int else None,
        )
    except (ValueError, TypeError) as error:
        raise ModelError(f"{path} is damaged ({error}); fetch it again, or remove it; {supported}") from error
    return found


def compare_settings(layout: Layout, settings: TokenizerSettings) -> None:
    """Raises ValueError where a layout and the files beside it contradict each other."""
    theirs: dict[str, Any] = layout["normalizer"]
    says: dict[str, tuple[Any, Any]] = {}
    for (
        name,
        value,
    ) in settings.normaliser.items():  # no word on accents stands for: they go with the capitals
        pair = (theirs["lowercase"] if each is None else each for each in (theirs[name], value))
        says[name] = (next(pair), next(pair))
    if settings.prefix is not None:
        says["wordpieces_prefix"] = layout["model"]["continuing_subword_prefix"], settings.prefix
    if differing := [name for name, (ours, other) in says.items() if ours != other]:
        ours, other = says[differing[0]]
        raise ValueError(
            f"it has {differing[0]} {ours!r}, and {settings.path.name} beside it {other!r}; make both say "
            "what the model was trained with"
        )


def compare_pieces(layout: Layout, tokenizer: Tokenizer, settings: TokenizerSettings) -> None:
    """Raises ValueError where pieces have other ids or flags than the files beside a vocabulary say."""
    there = {token["content"]: token for token in layout["added_tokens"]}
    for piece in settings.whole:
        if piece.id is None:
            continue
        says = {"id": piece.id} | {flag: piece.flags[flag] for flag in FLAGS[:-1] if flag in piece.flags}
        ours = {"id": tokenizer.token_to_id(piece.content)} | there.get(piece.content, piece.flags)
        if differing := [name for name, value in says.items() if ours.get(name) != value]:
            name = differing[0]
            raise ValueError(
                f"it has {piece.content!r} with {name} {ours.get(name)}, and the files beside it with "
                f"{says[name]}; make both say what the model was trained with"
            )


def _refusal(path: Path, name: str, value: Any, supported: str) -> ModelError:
    return ModelError(
        f"{path} has '{name}': {reprlib.repr(value)}, which lilliput does not do; remove it if the model was "
        f"trained without; {supported}"
    )


def _whole(folder: Path, settings: Mapping[str, Any]) -> Iterator[WholePiece]:
    """Yields the pieces that are taken whole, in the order in which transformers adds them."""
    decoder, legacy = settings.get("added_tokens_decoder"), dict[str, object]()
    numbered = [(int(index), _piece(token)) for index, token in _items(decoder)]
    if decoder is None:
        added, legacy = (
            read_settings(folder / "added_tokens.json"),
            read_settings(folder / "special_tokens_map.json"),
        )
        numbered = [(_number(index), _piece(content)) for content, index in added.items()]
    for index, piece in sorted(numbered, key=lambda item: item[0]):
        yield WholePiece(piece.content, index, piece.flags)
    named = {**settings, **legacy}
    for name, token in named.items():
        if name.endswith("_token") and token is not None and not isinstance(token, bool):
            piece = _piece(token)
            if piece.content != _NAMES.get(name, piece.content):
                raise ValueError(f"'{name}' is {piece.content!r}, supported is {_NAMES[name]}")
            yield WholePiece(piece.content, None, piece.flags | {"special": True})
    for name in ("additional_special_tokens", "extra_special_tokens"):
        more = named.get(name) or []
        if not isinstance(more, list | dict):
            raise ValueError(f"'{name}' is {reprlib.repr(more)}, expected is a list of pieces")
        for token in more.values() if isinstance(more, dict) else more:
            piece = _piece(token)
            yield WholePiece(piece.content, None, piece.flags | {"special": True})


def _merged(pieces: Iterable[WholePiece]) -> list[WholePiece]:
    """Returns each piece once, with the flags that it had first and what later ones add."""
    found: dict[str, WholePiece] = {}
    for piece in pieces:
        first = found.setdefault(piece.content, piece)
        found[piece.content] = dataclasses.replace(first, flags=piece.flags | first.flags)
    if len(found) > MOST_ADDED or sum(map(len, found)) > MOST_ADDED_CHARACTERS:
        raise ValueError(f"it has {len(found):,} added pieces, at most {MOST_ADDED:,} short ones are taken")
    return list(found.values())


def _check_never_split(found: Any, whole: tuple[WholePiece, ...]) -> None:
    if found is None:
        return
    if not isinstance(found, list) or not all(isinstance(piece, str) for piece in found):
        raise ValueError(f"'never_split' is {reprlib.repr(found)}, expected is a list of pieces")
    kept = {*SPECIAL, *(piece.content for piece in whole)}
    if others := [piece for piece in found if piece not in kept]:
        raise ValueError(
            f"'never_split' has {others[0]!r}, which lilliput would split; make it an added piece, or "
            f"leave it out"
        )


def _items(found: Any) -> list[tuple[str, Any]]:
    if found is None:
        return []
    if not isinstance(found, dict) or not all(index.isdecimal() and index.isascii() for index in found):
        raise ValueError("'added_tokens_decoder' does not give a piece to each id")
    return list(found.items())


def _piece(found: Any) -> WholePiece:
    """Returns a piece that is given as text, or with its flags."""
    if isinstance(found, str):
        return WholePiece(_text(found), None, {})
    if not isinstance(found, dict) or not {"content"} <= found.keys() <= {"content", "__type", *FLAGS}:
        raise ValueError(f"{reprlib.repr(found)} stands where a piece should")
    return WholePiece(
        _text(found["content"]), None, {flag: _true(found[flag], flag) for flag in FLAGS if flag in found}
    )


def _text(found: Any) -> str:
    if not isinstance(found, str) or not found:
        raise ValueError(f"{reprlib.repr(found)} stands where a piece should")
    return found


def _number(found: Any) -> int:
    if type(found) is not int or found < 0:
        raise ValueError(f"{reprlib.repr(found)} stands where the id of a piece should")
    return found


def _flag(found: Any, name: str) -> bool | None:
    return None if found is None and name == "strip_accents" else _true(found, name)


def _true(found: Any, name: str) -> bool:
    if not isinstance(found, bool):
        raise ValueError(f"'{name}' is {reprlib.repr(found)}, expected is true or false")
    return found
