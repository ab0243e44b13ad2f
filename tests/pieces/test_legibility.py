"""A teacher that cannot read a text is told of before anything is made, and one that can is not."""

from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from conftest import World
from lilliput.common.progress import console
from lilliput.config import LexiconConfig
from lilliput.pieces.bert_tokenizer import SPECIAL
from lilliput.pieces.corpus import build_corpus
from lilliput.pieces.legibility import MOST_PIECES, Legibility, legibility
from lilliput.pieces.teacher_tokenizer import teachers
from lilliput.preparation import build_lexicon

ENGLISH = "the child ran across the wet grass and the dog was in the house . " * 20
RUSSIAN = "ребёнок бежал по мокрой траве а собака была в доме . " * 20
JAPANESE = "子供が濡れた草の上を走った。" * 20
GERMAN = "kinder liefen durch nasses grass . " * 20


def a_teacher(*others: str) -> Tokenizer:
    """Returns a tokenizer that knows English words, the Latin letters, and what is named."""
    words = sorted(set(ENGLISH.split()))
    letters = [mark + chr(code) for code in range(ord("a"), ord("z") + 1) for mark in ("", "##")]
    pieces = [*SPECIAL, *dict.fromkeys([*words, *letters, *others])]
    made = Tokenizer(models.WordPiece({piece: at for at, piece in enumerate(pieces)}, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return made


CYRILLIC = [mark + letter for letter in "абвгдежзийклмнопрстуфхцчшщъыьэюя" for mark in ("", "##")]


def found(text: str, tokenizer: Tokenizer, folder: Path) -> Legibility:
    path = folder / "text.txt"
    path.write_text("\n\n".join([text] * 3), encoding="utf-8")
    return legibility(build_corpus([str(path)], tokenizer, folder / "corpus", workers=1), teachers(tokenizer))


def test_a_text_of_the_teachers_language_is_read(tmp_path: Path) -> None:
    of_english = found(ENGLISH, a_teacher(), tmp_path)
    assert of_english == Legibility(0.0, 0.0, 1.0, {})
    assert of_english.warning() is None


def test_words_that_are_unknown_are_counted(tmp_path: Path) -> None:
    mixed = found(f"{ENGLISH} {JAPANESE}", a_teacher(), tmp_path)
    english = len(ENGLISH.replace(".", "").split())
    japanese = len(JAPANESE.replace("。", ""))  # for a BERT a character is a word, but for those of kana
    assert 0.1 < mixed.unknown < japanese / (english + japanese)
    assert mixed.pieces == 1.0, "of scripts without spaces pieces a word say nothing"
    warning = mixed.warning()
    assert warning is not None
    assert warning.startswith(
        f"the teacher cannot read this text: of its words {mixed.unknown:.1%} are unknown"
    )
    assert "It reads 0% of those in CJK" in warning
    assert "multilingual" in warning


def test_words_that_are_spelled_are_counted(tmp_path: Path) -> None:
    of_russian = found(RUSSIAN, a_teacher(*CYRILLIC), tmp_path)
    assert of_russian.unknown == 0.0
    assert of_russian.spelled == pytest.approx(7 / 10)  # but for the three of one or two letters
    assert of_russian.scripts == {"CYRILLIC": pytest.approx(3 / 10)}
    assert "70.0% are cut into single letters" in str(of_russian.warning())


def test_many_pieces_a_word_are_another_language(tmp_path: Path) -> None:
    halves = ["kin", "##der", "lie", "##fen", "dur", "##ch", "nas", "##ses"]
    of_german = found(GERMAN, a_teacher(*halves), tmp_path)
    assert (of_german.unknown, of_german.spelled) == (0.0, 0.0)
    assert of_german.pieces == pytest.approx(9 / 5)
    assert of_german.warning() is None, "the bound itself is still usual"
    warning = of_german._replace(pieces=MOST_PIECES + 0.01).warning()
    assert warning is not None
    assert "into 1.8 pieces a word" in warning


def test_a_text_without_letters_is_no_reason_to_warn(tmp_path: Path) -> None:
    assert found("1 2 3 . " * 30, a_teacher(), tmp_path) == Legibility(0.0, 0.0, 0.0, {})


def test_it_is_said_before_a_vocabulary_is_learnt(world: World, tmp_path: Path) -> None:
    path, teacher = tmp_path / "text.txt", world.lexicon.teacher_tokenizer().tokenizer
    path.write_text("\n\n".join([RUSSIAN] * 3), encoding="utf-8")
    corpus = build_corpus([str(path)], teacher, tmp_path / "run" / "corpus", workers=1)
    with console.capture() as told, pytest.raises(Exception, match="pieces"):
        build_lexicon(corpus, teacher, LexiconConfig(size=5_000))
    assert told.get().startswith("WARNING: the teacher cannot read this text: of its words ")


def test_nothing_is_said_of_a_text_that_is_read(world: World, tmp_path: Path) -> None:
    teacher = world.lexicon.teacher_tokenizer().tokenizer
    with console.capture() as told:
        build_lexicon(world.corpus, teacher, LexiconConfig(size=300), tmp_path / "lexicon")
    assert "WARNING" not in told.get()
