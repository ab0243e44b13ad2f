"""The teacher's tokenizer, taken apart: how it makes words of a text and pieces of a word.

Words are the unit that teacher and student share, so both must use one normaliser and one pre-tokeniser.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

from lilliput.common.files import digest_value, write_json, writing
from lilliput.common.hub import checkpoint_folder
from lilliput.errors import ModelError
from lilliput.pieces.tokenizer_file import (
    CLS,
    FLAGS,
    MOST_BYTES,
    SEP,
    SPECIAL,
    UNK,
    SpecialPieces,
    build_tokenizer,
)
from lilliput.pieces.tokenizer_settings import (
    FILES,
    TokenizerSettings,
    WholePiece,
    compare_pieces,
    compare_settings,
    read_tokenizer_settings,
)
from lilliput.pieces.word_rules import whole_pieces

SUPPORTED = (
    "supported are BERT tokenizers: a WordPiece model with BertNormalizer and BertPreTokenizer, in a folder "
    "or on the hub, with tokenizer.json or vocab.txt"
)


def load_tokenizer(name: str) -> Tokenizer:
    """Loads a BERT tokenizer from a folder or the hub, without truncation and padding.

    Raises ModelError when there is none, when it is not a BERT tokenizer, when the files that say what it
    does contradict each other, or when the model beside it has no row for some of its pieces.
    """
    folder = checkpoint_folder(name, *FILES)
    path = next((folder / file for file in FILES[:2] if (folder / file).is_file()), None)
    if path is None:
        raise ModelError(
            f"{folder} has no fast tokenizer (neither tokenizer.json nor vocab.txt); {SUPPORTED}"
        )
    settings = read_tokenizer_settings(folder, SUPPORTED)
    try:
        if (size := path.stat().st_size) > MOST_BYTES:
            raise ValueError(f"it has {size:,} bytes, at most {MOST_BYTES:,} are read")
        content = path.read_bytes()
        built, layout = build_tokenizer(
            _of_vocabulary(content, settings) if path.suffix == ".txt" else content
        )
        compare_settings(layout, settings)
        tokenizer = with_whole_pieces(built, settings.whole)
        compare_pieces(layout, tokenizer, settings)
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be used ({error}); {SUPPORTED}") from error
    if settings.rows is not None and (size := vocabulary_size(tokenizer)) > settings.rows:
        raise ModelError(
            f"the tokenizer in {folder} has ids up to {size - 1:,}, and by config.json the model has rows "
            f"for {settings.rows:,} pieces; fetch both again, or add rows to the model "
            "(resize_token_embeddings)"
        )
    return tokenizer


def special_pieces(tokenizer: Tokenizer) -> SpecialPieces:
    """Returns the ids of [PAD], [UNK], [CLS], [SEP] and [MASK]; raises ModelError when one is missing."""
    if missing := [name for name in SPECIAL if tokenizer.token_to_id(name) is None]:
        raise ModelError(f"the tokenizer lacks the special pieces {', '.join(missing)}; {SUPPORTED}")
    return SpecialPieces.of(tokenizer)


def student_tokenizer(teacher: Tokenizer, vocabulary: dict[str, int]) -> Tokenizer:
    """Returns a tokenizer with the teacher's words and the student's pieces.

    Args:
        teacher: Its normaliser, its pre-tokeniser and the way in which it takes pieces whole are taken over.
        vocabulary: Piece to id, the five special pieces included; what the teacher takes whole comes last.
    """
    layout = json.loads(teacher.to_str())
    added = sorted(layout["added_tokens"], key=lambda token: token["id"])
    whole = [
        WholePiece(token["content"], None, {flag: token[flag] for flag in FLAGS})
        for token in added
        if token["content"] in vocabulary and token["content"] not in SPECIAL
    ]
    spelled = {
        piece: index for piece, index in vocabulary.items() if piece not in {each.content for each in whole}
    }
    layout["model"] |= {"vocab": spelled}
    layout["added_tokens"] = []
    tokenizer = with_whole_pieces(Tokenizer.from_str(json.dumps(layout)), whole)
    assert tokenizer.get_vocab() == vocabulary
    return complete(tokenizer)


def complete(tokenizer: Tokenizer) -> Tokenizer:
    """Returns a tokenizer that takes the special pieces whole and puts [CLS] and [SEP] around texts."""
    layout = json.loads(with_whole_pieces(tokenizer, []).to_str())
    special = special_pieces(tokenizer)
    layout["post_processor"] = {
        "type": "BertProcessing",
        "sep": [SEP, special.sep],
        "cls": [CLS, special.cls],
    }
    return Tokenizer.from_str(json.dumps(layout))


def with_whole_pieces(tokenizer: Tokenizer, pieces: Sequence[WholePiece]) -> Tokenizer:
    """Returns a tokenizer that takes the special pieces and `pieces` whole, and those that it did before."""
    there = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    special = [WholePiece(piece, None, {"special": True}) for piece in SPECIAL]
    wanted = {piece.content: piece for piece in [*special, *pieces] if piece.content not in there}
    if not wanted:
        return tokenizer
    made = Tokenizer.from_str(tokenizer.to_str())
    # As transformers has it: what is special is looked for in the text as it stands.
    flags = [{"normalized": not piece.flags.get("special")} | piece.flags for piece in wanted.values()]
    made.add_tokens([AddedToken(name, **each) for name, each in zip(wanted, flags, strict=True)])
    return made


def speller(tokenizer: Tokenizer) -> Tokenizer:
    """Returns a tokenizer that makes of normal words the pieces that `tokenizer` makes of them in a text.

    The normaliser is left out: words went through it in the corpus, and it need not leave its own result
    alone (it puts spaces around a Chinese character each time).
    """
    if not whole_pieces(tokenizer):
        return Tokenizer(tokenizer.model)
    layout = json.loads(tokenizer.to_str()) | {
        "normalizer": None,
        "pre_tokenizer": None,
        "post_processor": None,
    }
    for token in layout["added_tokens"]:
        if token["normalized"] and token["content"] not in SPECIAL:  # words are normal already
            token["content"] = tokenizer.normalizer.normalize_str(token["content"])
    return Tokenizer.from_str(json.dumps(layout))


def given_tokenizer(name: str, teacher: Tokenizer) -> Tokenizer:
    """Loads a student's tokenizer; raises ModelError when it makes other words than the teacher's."""
    given = load_tokenizer(name)
    # load_tokenizer lets only BertPreTokenizer through, which has no settings: the normaliser decides.
    ours, theirs = _normaliser(given), _normaliser(teacher)
    ours["added pieces"], theirs["added pieces"] = whole_pieces(given), whole_pieces(teacher)
    differing = [
        f"{key} {ours[key]}, the teacher's {theirs[key]}" for key in theirs if ours[key] != theirs[key]
    ]
    if differing:
        raise ModelError(
            f"the tokenizer '{name}' makes other words of a text than the teacher ({'; '.join(differing)}); "
            "take one with the teacher's normaliser, or leave lexicon.tokenizer away to learn a vocabulary"
        )
    return complete(given)


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


def plain_tokenizer(vocabulary: dict[str, int], **normaliser: Any) -> Tokenizer:
    """Returns a BERT tokenizer of some pieces, with other settings of its normaliser than the usual ones."""
    made = Tokenizer(models.WordPiece(vocabulary, unk_token=UNK))
    made.normalizer = normalizers.BertNormalizer(**normaliser)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return made


def _of_vocabulary(content: bytes, settings: TokenizerSettings) -> bytes:
    """Returns the tokenizer.json of an old checkpoint with a vocab.txt; ValueError if that is damaged."""
    # Lines end with \n alone: pieces may hold characters at which splitlines would cut, such as U+2028.
    pieces = content.decode().removesuffix("\n").replace("\r\n", "\n").split("\n")
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    if missing := [piece for piece in SPECIAL if piece not in vocabulary]:
        raise ValueError(
            f"it lacks the special pieces {', '.join(missing)}, so it is cut short or of another kind; fetch "
            "it again"
        )
    plain = plain_tokenizer(vocabulary, **settings.normaliser)
    plain.decoder = decoders.WordPiece()
    return student_tokenizer(plain, vocabulary).to_str().encode()


def _normaliser(tokenizer: Tokenizer) -> dict[str, Any]:
    settings: dict[str, Any] = json.loads(tokenizer.to_str())["normalizer"]
    if settings["strip_accents"] is None:  # then accents go with the capitals
        settings["strip_accents"] = settings["lowercase"]
    return settings


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
