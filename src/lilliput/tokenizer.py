"""The teacher's tokenizer, taken apart: how it makes words of a text and pieces of a word.

Words are the unit that teacher and student share, so both must use one normaliser and one pre-tokeniser.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from lilliput.errors import ModelError
from lilliput.files import digest_value, write_json, writing

SUPPORTED = (
    "supported are BERT tokenizers: a WordPiece model with BertNormalizer and BertPreTokenizer, in a folder "
    "with tokenizer.json or vocab.txt, or on the hub with tokenizer.json"
)

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
"""The pieces that are not text, in the order of their ids in a learnt vocabulary."""


@dataclass(frozen=True)
class SpecialPieces:
    """Ids of the pieces that are not text."""

    pad: int
    unk: int
    cls: int
    sep: int
    mask: int


def load_tokenizer(name: str) -> Tokenizer:
    """Loads a BERT tokenizer from a folder or the hub, without truncation and padding.

    Raises ModelError when there is none or when it is not a BERT tokenizer.
    """
    folder = Path(name)
    if (folder / "tokenizer.json").is_file():
        try:
            tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # the library raises bare Exception
            raise ModelError(f"{folder / 'tokenizer.json'} cannot be read ({error}); {SUPPORTED}") from error
    elif (folder / "vocab.txt").is_file():
        tokenizer = _from_vocabulary_file(folder)
    elif folder.exists():
        raise ModelError(
            f"{folder} has no fast tokenizer (neither tokenizer.json nor vocab.txt); {SUPPORTED}"
        )
    else:
        try:
            tokenizer = Tokenizer.from_pretrained(name)
        except Exception as error:  # the library raises bare Exception for every failure of the hub
            raise ModelError(
                f"'{name}' is not a folder here and no fast tokenizer of that name came from the hub "
                f"({error}); {SUPPORTED}"
            ) from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    _check(tokenizer, name)
    return tokenizer


def special_pieces(tokenizer: Tokenizer) -> SpecialPieces:
    """Returns the ids of [PAD], [UNK], [CLS], [SEP] and [MASK]; raises ModelError when one is missing."""
    ids = {name: piece for name in SPECIAL if (piece := tokenizer.token_to_id(name)) is not None}
    if missing := [name for name in SPECIAL if name not in ids]:
        raise ModelError(f"the tokenizer lacks the special pieces {', '.join(missing)}; {SUPPORTED}")
    return SpecialPieces(*ids.values())


def student_tokenizer(teacher: Tokenizer, vocabulary: dict[str, int]) -> Tokenizer:
    """Returns a tokenizer with the teacher's words and the student's pieces.

    Args:
        teacher: The tokenizer whose normaliser and pre-tokeniser are taken over.
        vocabulary: Piece to id, the five special pieces included.
    """
    layout = json.loads(teacher.to_str())
    layout["model"] |= {"vocab": vocabulary}
    layout["added_tokens"] = [
        {"id": vocabulary[name], "content": name, "special": True}
        | dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        for name in SPECIAL
    ]
    cls, sep = vocabulary["[CLS]"], vocabulary["[SEP]"]
    layout["post_processor"] = {"type": "BertProcessing", "sep": ["[SEP]", sep], "cls": ["[CLS]", cls]}
    return Tokenizer.from_str(json.dumps(layout))


def given_tokenizer(name: str, teacher: Tokenizer) -> Tokenizer:
    """Loads a student's tokenizer; raises ModelError when it makes other words than the teacher's."""
    given = load_tokenizer(name)
    # load_tokenizer lets only BertPreTokenizer through, which has no settings: the normaliser decides.
    ours, theirs = _normaliser(given), _normaliser(teacher)
    differing = [
        f"{key} {ours[key]}, the teacher's {theirs[key]}" for key in theirs if ours[key] != theirs[key]
    ]
    if differing:
        raise ModelError(
            f"the tokenizer '{name}' makes other words of a text than the teacher ({'; '.join(differing)}); "
            "take one with the teacher's normaliser, or leave lexicon.tokenizer away to learn a vocabulary"
        )
    return student_tokenizer(given, given.get_vocab())


def vocabulary_size(tokenizer: Tokenizer) -> int:
    """Returns the rows that a table of embeddings needs for every id of `tokenizer`."""
    return max(tokenizer.get_vocab().values()) + 1


def digest_tokenizer(tokenizer: Tokenizer) -> str:
    """Returns a short digest of everything that a tokenizer does."""
    return digest_value(json.loads(tokenizer.to_str()))


def save_tokenizer(tokenizer: Tokenizer, folder: Path, longest: int | None = None) -> None:
    """Writes a tokenizer as transformers loads it: tokenizer.json and tokenizer_config.json.

    The class is the one that takes tokenizer.json as it stands in transformers 4 and 5. BertTokenizer would
    build normaliser and pre-tokeniser anew from the settings beside it.

    Args:
        tokenizer: What to write.
        folder: Where to; other files in it stay.
        longest: Pieces that the model reads at most, special pieces included; None without a model.
    """
    settings: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
        "clean_up_tokenization_spaces": False,
    }
    settings |= {f"{piece.strip('[]').lower()}_token": piece for piece in SPECIAL}
    settings |= {} if longest is None else {"model_max_length": longest}
    with writing(folder / "tokenizer.json") as file:
        file.write(tokenizer.to_str().encode())
    write_json(folder / "tokenizer_config.json", settings)


def _from_vocabulary_file(folder: Path) -> Tokenizer:
    """Builds the tokenizer of an old checkpoint that has only vocab.txt; raises ModelError if damaged."""
    lines, config = folder / "vocab.txt", folder / "tokenizer_config.json"
    # Lines end with \n alone: pieces may hold characters at which splitlines would cut, such as U+2028.
    pieces = _read(lines).removesuffix("\n").replace("\r\n", "\n").split("\n")
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    try:
        settings = json.loads(_read(config)) if config.is_file() else {}
        tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.BertNormalizer(
            lowercase=settings.get("do_lower_case", True),
            strip_accents=settings.get("strip_accents"),
            handle_chinese_chars=settings.get("tokenize_chinese_chars", True),
        )
    except (ValueError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{config} is damaged ({error}); fetch it again, or remove it; {SUPPORTED}"
        ) from error
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    missing = [piece for piece in SPECIAL if piece not in vocabulary]
    if missing:
        raise ModelError(
            f"{lines} lacks the special pieces {', '.join(missing)}, so it is cut short or of another kind; "
            f"fetch it again; {SUPPORTED}"
        )
    return student_tokenizer(tokenizer, vocabulary)


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{path} cannot be read ({error}); fetch it again; {SUPPORTED}") from error


def _normaliser(tokenizer: Tokenizer) -> dict[str, Any]:
    settings: dict[str, Any] = json.loads(tokenizer.to_str())["normalizer"]
    if settings["strip_accents"] is None:  # then accents go with the capitals
        settings["strip_accents"] = settings["lowercase"]
    return settings


def _check(tokenizer: Tokenizer, name: str) -> None:
    parts = (tokenizer.normalizer, tokenizer.pre_tokenizer, tokenizer.model)
    wanted = (normalizers.BertNormalizer, pre_tokenizers.BertPreTokenizer, models.WordPiece)
    if not all(isinstance(part, kind) for part, kind in zip(parts, wanted, strict=True)):
        found = ", ".join(type(part).__name__ for part in parts)
        raise ModelError(f"the tokenizer of '{name}' is not a BERT tokenizer (it has {found}); {SUPPORTED}")
    special_pieces(tokenizer)


def spell(vocabulary: dict[str, int], other: Tokenizer) -> list[list[int]]:
    """Returns for each piece of a vocabulary, in the order of ids, the pieces of `other` that spell it.

    A piece that `other` has too is spelt by that one piece; any other greedily by the longest pieces from the
    left, as WordPiece cuts words; one that cannot be spelt by [UNK].
    """
    known, prefix = other.get_vocab(), other.model.continuing_subword_prefix
    unknown = [special_pieces(other).unk]
    spelt = [unknown] * (max(vocabulary.values()) + 1)
    for piece, index in vocabulary.items():
        spelt[index] = _cut(piece, known, prefix) or unknown
    return spelt


def _cut(piece: str, known: dict[str, int], prefix: str) -> list[int]:
    """Returns the longest known pieces from the left, or nothing when some part is not known."""
    found, rest = [], piece
    while rest not in ("", prefix):
        ends = range(len(rest), len(prefix) if rest.startswith(prefix) else 0, -1)
        end = next((end for end in ends if rest[:end] in known), None)
        if end is None:
            return []
        found.append(known[rest[:end]])
        rest = prefix + rest[end:]
    return found
