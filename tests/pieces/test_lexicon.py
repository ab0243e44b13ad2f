"""Learning a vocabulary, segmenting words, and the lexicon on disk."""

import argparse
import collections
import dataclasses
import inspect
import json
import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import hypothesis.extra.numpy as hypothesis_numpy
import numpy as np
import pytest
from hypothesis import given, strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from lilliput.config import LexiconConfig
from lilliput.errors import InputError, ModelError, StorageError
from lilliput.pieces import wordpiece
from lilliput.pieces.bert_tokenizer import SPECIAL, digest_tokenizer, save_tokenizer, speller, vocabulary_size
from lilliput.pieces.corpus import build_corpus
from lilliput.pieces.lexicon import Lexicon, build_lexicon
from lilliput.pieces.report import measure
from lilliput.pieces.segmentation import segment
from lilliput.pieces.teacher_tokenizer import teachers
from lilliput.pieces.wordpiece import learn_vocabulary
from lilliput.text.corpus import END, FIRST_WORD, START, Corpus

SIZE = 400


def stdlib_documents() -> list[str]:
    """Returns the documentation of a few modules of the standard library, one text per item."""
    modules = (argparse, collections, inspect, json, logging, os, tempfile)
    items = [item for module in modules for item in vars(module).values() if callable(item)]
    return sorted({doc for item in items if (doc := inspect.getdoc(item)) and len(doc) > 200})


def bert_tokenizer(pieces: list[str], **normaliser: bool) -> Tokenizer:
    vocabulary = {piece: index for index, piece in enumerate([*SPECIAL, *pieces])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(**normaliser)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def words_of(text: str, tokenizer: Tokenizer) -> list[str]:
    normal = tokenizer.normalizer.normalize_str(text)
    return [word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normal)]


def saved(tokenizer: Tokenizer, folder: Path) -> str:
    save_tokenizer(tokenizer, folder)
    return str(folder)


@dataclasses.dataclass(frozen=True)
class World:
    corpus: Corpus
    teacher: Tokenizer
    words: list[str]
    counts: np.ndarray


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    (folder / "text.txt").write_text(
        "\n\n".join([*stdlib_documents(), "naïve café İstanbul 中文"]), encoding="utf-8"
    )
    corpus = build_corpus([str(folder / "text.txt")], bert_tokenizer([]), folder / "corpus", workers=1)
    words, counts = corpus.word_types()[FIRST_WORD:], corpus.counts[FIRST_WORD:]
    return World(corpus, learn_vocabulary(words, counts, 1500, bert_tokenizer([])), words, counts)


@pytest.fixture(scope="module")
def built(world: World, tmp_path_factory: pytest.TempPathFactory) -> Lexicon:
    out = tmp_path_factory.mktemp("lexicon") / "lexicon"
    return build_lexicon(world.corpus, world.teacher, LexiconConfig(size=SIZE), out)


@pytest.fixture
def copied(built: Lexicon, tmp_path: Path) -> Path:
    for path in built.path.rglob("*"):
        if path.is_file():
            target = tmp_path / path.relative_to(built.path)
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(path.read_bytes())
    return tmp_path


def test_vocabulary_has_the_asked_size_and_special_pieces_first(world: World) -> None:
    student = learn_vocabulary(world.words, world.counts, SIZE, world.teacher)
    assert vocabulary_size(student) == len(student.get_vocab()) == SIZE
    assert [student.id_to_token(index) for index in range(5)] == list(SPECIAL)
    text = set("".join(world.words)) & set("abcdefghijklmnopqrstuvwxyz0123456789")
    assert text <= student.get_vocab().keys()


def test_vocabulary_holds_the_pair_that_occurs_most() -> None:
    words, counts = ["hug", "pug", "hugs", "bun"], np.array([10, 5, 5, 4])
    characters = {*"bghnpsu", "##u", "##g", "##s", "##n"}
    learnt = learn_vocabulary(words, counts, 18, bert_tokenizer([])).get_vocab()
    assert learnt.keys() - characters == {*SPECIAL, "##ug", "hug"}  # ##ug 20 times, then hug 15 times
    assert learnt["##ug"] < learnt["hug"]


def test_learning_twice_gives_the_same_vocabulary(world: World) -> None:
    script = """if True:
        import sys
        from pathlib import Path
        from tokenizers import Tokenizer
        from lilliput.text.corpus import Corpus
        from lilliput.pieces.bert_tokenizer import digest_tokenizer
        from lilliput.pieces.wordpiece import learn_vocabulary
        corpus = Corpus.open(Path(sys.argv[1]))
        words, counts = corpus.word_types()[2:], corpus.counts[2:]
        teacher = Tokenizer.from_str(sys.stdin.read())
        print(digest_tokenizer(learn_vocabulary(words, counts, 400, teacher)))
    """
    digests = {digest_tokenizer(learn_vocabulary(world.words, world.counts, SIZE, world.teacher))}
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", script, str(world.corpus.path)],
            input=world.teacher.to_str(),
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        digests.add(done.stdout.strip())
    assert len(digests) == 1


def test_vocabulary_larger_than_the_text_allows_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"the text gives 15 pieces at most, 500 were asked for; give more text"
    ):
        learn_vocabulary(["abc", "abd"], np.array([3, 2]), 500, bert_tokenizer([]))


def test_vocabulary_smaller_than_the_characters_is_refused(world: World) -> None:
    with pytest.raises(
        InputError, match=r"40 pieces cannot hold the \d+ characters .* raise lexicon.size to \d+ or more"
    ):
        learn_vocabulary(world.words, world.counts, 40, world.teacher)


def test_rare_characters_are_left_out_but_never_ascii_letters_and_digits() -> None:
    words = [first + second for first in "abcdefgh" for second in "ijklmnop"]
    counts = np.full(len(words), 1000)
    pieces = learn_vocabulary(
        [*words, "жж", "q7"], np.append(counts, [2, 1]), 90, bert_tokenizer([])
    ).get_vocab()
    assert {"q", "##7"} <= pieces.keys()
    assert not {"ж", "##ж"} & pieces.keys()


@given(
    hypothesis_numpy.arrays(np.int64, st.integers(1, 50), elements=st.integers(1, 10_000)),
    st.integers(1, 5_000),
)
def test_thinning_keeps_every_nth_word(counts: np.ndarray, at_most: int) -> None:
    words = [str(index) for index in range(len(counts))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wordpiece, "WORDS_LEARNT_FROM", at_most)
        kept, thinned = wordpiece._thinned(words, counts)
    every = -(-int(counts.sum()) // at_most)
    found = np.zeros(len(counts))
    found[[int(word) for word in kept]] = thinned
    assert thinned.sum() == counts.sum() // every <= at_most
    assert (thinned > 0).all()
    assert (np.abs(found - counts / every) < 1).all()


def test_segments_are_the_tokenizers_own(world: World) -> None:
    for text in stdlib_documents()[:40]:
        table = segment(words_of(text, world.teacher), speller(world.teacher))
        assert table.values.tolist() == world.teacher.encode(text, add_special_tokens=False).ids


def test_segmenting_does_not_normalise_again() -> None:
    tokenizer = bert_tokenizer(["A", "中", "a"])
    table = segment(["A", "中"], speller(tokenizer))
    assert [tokenizer.id_to_token(piece) for piece in table.values] == ["A", "中"]


def test_segmenting_many_words_keeps_their_order() -> None:
    tokenizer = bert_tokenizer([*"0123456789", *(f"##{digit}" for digit in range(10))])
    words = [str(number) for number in range(60_500)]
    table = segment(words, speller(tokenizer))
    assert table.lengths.tolist() == [len(word) for word in words]
    assert (table.values[table.offsets[:-1]] - 5).tolist() == [int(word[0]) for word in words]


def test_segmenting_nothing_gives_an_empty_table(world: World) -> None:
    assert segment([], speller(world.teacher)).offsets.tolist() == [0]


@given(st.text(max_size=40))
def test_pieces_join_to_the_word(built: Lexicon, text: str) -> None:
    student = built.student_tokenizer()
    words = words_of(text, student)
    table = segment(words, speller(student))
    names = {index: piece for piece, index in student.get_vocab().items()}
    for index, word in enumerate(words):
        first, *later = [names[piece] for piece in table[index]]
        assert all(piece.startswith("##") for piece in later)
        assert first + "".join(piece[2:] for piece in later) == word or (first, later) == ("[UNK]", [])


def test_figures_are_those_counted_by_hand() -> None:
    teacher = bert_tokenizer(["the", "cat", "##s", "dog", "x"])
    student = bert_tokenizer(["the", "c", "##a", "##t", "##s", "do", "##g", "cat"])
    words, counts = ["the", "cats", "dog", "x", "é"], np.array([4, 3, 2, 1, 10])
    report = measure(
        words,
        counts,
        segment(words, speller(teacher)),
        teachers(teacher),
        segment(words, speller(student)),
        student,
    )
    assert (report.teacher_size, report.student_size, report.words, report.types) == (10, 13, 20, 5)
    assert report.teacher_fertility == (4 * 1 + 3 * 2 + 2 * 1 + 1 * 1 + 10 * 1) / 20
    assert report.student_fertility == (4 * 1 + 3 * 2 + 2 * 2 + 1 * 1 + 10 * 1) / 20
    assert report.overlap == (5 + 3) / 13  # special pieces; the, cat, ##s
    assert (report.teacher_coverage, report.student_coverage) == (10 / 20, 9 / 20)
    assert report.alike == 7 / 20
    assert report.embedding_parameters(3) == (39, 30)
    assert "35.0% of the words are cut into the same pieces" in report.describe(3)


def test_ids_that_are_no_words_have_their_special_piece(built: Lexicon) -> None:
    assert built.teacher[END].tolist() == [built.teacher_special.sep]
    assert built.student[END].tolist() == [built.student_special.sep]
    assert built.teacher[START].tolist() == [built.teacher_special.cls]
    assert built.student[START].tolist() == [built.student_special.cls]
    assert built.characters[:FIRST_WORD].tolist() == [0, 0]


def test_lexicon_marks_the_words_either_vocabulary_cannot_read(world: World, built: Lexicon) -> None:
    for index in range(FIRST_WORD, len(world.words) + FIRST_WORD):
        pieces = {"teacher": built.teacher[index], "student": built.student[index]}
        unknown = (
            built.teacher_special.unk in pieces["teacher"] or built.student_special.unk in pieces["student"]
        )
        assert built.unknown[index] == unknown
    assert built.characters[FIRST_WORD:].tolist() == [len(word) for word in world.words]
    assert built.unknown.any()


@given(st.dictionaries(st.text("abcdefé中", min_size=1, max_size=9), st.integers(1, 1000), min_size=1))
def test_lexicon_opened_is_the_lexicon_built(counted: dict[str, int]) -> None:
    teacher, student = bert_tokenizer([*"abcdef", "##a", "##b"]), bert_tokenizer(["a", "ab", "##c", "##cd"])
    words = sorted(counted, key=lambda word: (-counted[word], word))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "manifest.json").write_text('{"digest": "0", "made_from": {}, "results": {}}')
        np.save(folder / "counts.npy", np.array([1, 0, *(counted[word] for word in words)]))
        (folder / "words.txt").write_text("\n".join(["[SEP]", "[CLS]", *words, ""]), encoding="utf-8")
        corpus = Corpus(folder, sum(counted.values()), 1)
        config = LexiconConfig(tokenizer=saved(student, folder / "given"))
        lexicon = build_lexicon(corpus, teacher, config, folder / "lexicon")
        for table, tokenizer in ((lexicon.teacher, teacher), (lexicon.student, student)):
            assert table.values[FIRST_WORD:].tolist() == segment(words, speller(tokenizer)).values.tolist()
            assert table.lengths[FIRST_WORD:].tolist() == segment(words, speller(tokenizer)).lengths.tolist()
        assert lexicon.student_tokenizer().get_vocab() == student.get_vocab()
        assert lexicon.teacher_tokenizer().tokenizer.get_vocab() == teacher.get_vocab()


def test_finished_lexicon_is_opened_and_another_refused(world: World, built: Lexicon) -> None:
    before = (built.path / "manifest.json").stat().st_mtime_ns
    again = build_lexicon(world.corpus, world.teacher, LexiconConfig(size=SIZE), built.path)
    assert (built.path / "manifest.json").stat().st_mtime_ns == before
    assert again.report == built.report
    with pytest.raises(StorageError, match="vocabulary: 400 there, 410 now"):
        build_lexicon(world.corpus, world.teacher, LexiconConfig(size=410), built.path)


def test_overwriting_replaces_a_lexicon(world: World, copied: Path) -> None:
    replaced = build_lexicon(world.corpus, world.teacher, LexiconConfig(size=410), copied, overwrite=True)
    assert replaced.student_size == 410
    with pytest.raises(InputError, match="pieces at most"):
        build_lexicon(world.corpus, world.teacher, LexiconConfig(size=1_000_000), copied, overwrite=True)
    assert Lexicon.open(copied).student_size == 410


def test_overwriting_keeps_a_lexicon_made_from_the_same(world: World, copied: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in copied.rglob("*")}
    kept = build_lexicon(world.corpus, world.teacher, LexiconConfig(size=SIZE), copied, overwrite=True)
    assert kept.student_size == SIZE
    assert {path: path.stat().st_mtime_ns for path in copied.rglob("*")} == before


def test_refused_size_leaves_nothing_behind(world: World, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="pieces at most"):
        build_lexicon(world.corpus, world.teacher, LexiconConfig(size=1_000_000), tmp_path / "lexicon")
    assert not (tmp_path / "lexicon").exists()


def test_tokenizer_of_other_words_is_refused(world: World, tmp_path: Path) -> None:
    config = LexiconConfig(tokenizer=saved(bert_tokenizer(["a"], lowercase=False), tmp_path / "given"))
    with pytest.raises(ModelError, match=r"makes other words .* \(.*lowercase False, the teacher's True"):
        build_lexicon(world.corpus, world.teacher, config, tmp_path / "lexicon")


def test_tokenizer_that_says_the_same_in_other_words_is_taken(world: World, tmp_path: Path) -> None:
    config = LexiconConfig(tokenizer=saved(bert_tokenizer(["a"], strip_accents=True), tmp_path / "given"))
    lexicon = build_lexicon(world.corpus, world.teacher, config, tmp_path / "lexicon")
    assert lexicon.student_size == len(SPECIAL) + 1
    assert lexicon.student_tokenizer().encode("a").tokens == ["[CLS]", "a", "[SEP]"]


def test_lexicon_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no finished lexicon; build it with `lilliput build-lexicon`"):
        Lexicon.open(tmp_path)


ARRAYS = ("teacher_offsets", "teacher_pieces", "student_offsets", "student_pieces", "characters", "unknown")
AGAIN = "remove the lexicon's folder and build it again"


@pytest.mark.parametrize("name", ARRAYS)
def test_missing_array_is_refused(copied: Path, name: str) -> None:
    (copied / f"{name}.npy").unlink()
    with pytest.raises(StorageError, match=rf"{name}.npy is missing; {AGAIN}"):
        Lexicon.open(copied)


@pytest.mark.parametrize("kept", [0, 40, 200])
@pytest.mark.parametrize("name", ARRAYS)
def test_array_cut_short_is_refused(copied: Path, name: str, kept: int) -> None:
    path = copied / f"{name}.npy"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(StorageError, match=rf"{name}.npy is damaged .*; {AGAIN}"):
        Lexicon.open(copied)


@pytest.mark.parametrize("name", ARRAYS)
def test_array_of_another_lexicon_is_refused(copied: Path, name: str) -> None:
    path = copied / f"{name}.npy"
    np.save(path, np.load(path)[:-1])
    with pytest.raises(StorageError, match=r"\.npy is damaged .*it holds \w+ \[\d+\], expected \w+ \[\d+\]"):
        Lexicon.open(copied)


@pytest.mark.parametrize("name", ["teacher_tokenizer.json", "tokenizer/tokenizer.json"])
def test_damaged_tokenizer_is_refused(copied: Path, name: str) -> None:
    (copied / name).write_text("{")
    with pytest.raises(StorageError, match=rf"tokenizer.json is missing or damaged .*; {AGAIN}"):
        Lexicon.open(copied)


def test_tokenizer_of_another_lexicon_is_refused(copied: Path) -> None:
    save_tokenizer(bert_tokenizer(["a"]), copied / "tokenizer")
    with pytest.raises(StorageError, match=r"tokenizer.json has 6 pieces where the lexicon needs 400"):
        Lexicon.open(copied)


def test_manifest_of_another_version_is_refused(copied: Path) -> None:
    (copied / "manifest.json").write_text('{"results": {"size": 3}}')
    with pytest.raises(
        StorageError, match=r"manifest.json is damaged .*; remove its folder to build it again"
    ):
        Lexicon.open(copied)


def test_lexicon_imports_no_model_library() -> None:
    script = (
        "import sys, lilliput.pieces.lexicon; sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
