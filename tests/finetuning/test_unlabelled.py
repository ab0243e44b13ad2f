"""Unlabelled text: sentences near a task, new pairs, the user's own text."""

import itertools
import json
import math
from collections import Counter
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from conftest import World, small_text
from lilliput.errors import InputError
from lilliput.finetuning.config import DistillationConfig
from lilliput.finetuning.texts import more_texts
from lilliput.finetuning.unlabelled import recombination, sentences
from lilliput.finetuning.unlabelled.exchange import exchanged
from lilliput.finetuning.unlabelled.own import read_texts
from lilliput.finetuning.unlabelled.recombination import recombined
from lilliput.finetuning.unlabelled.sentences import near_sentences
from lilliput.pieces.bert_tokenizer import load_tokenizer
from lilliput.pieces.corpus import build_corpus
from lilliput.run import RunDir
from lilliput.tasks.task import Examples, Labels, Task, TaskData
from lilliput.text.corpus import Corpus


@pytest.fixture(scope="module")
def tokenizer(world: World) -> Tokenizer:
    return load_tokenizer(world.teacher)


def words_of(tokenizer: Tokenizer, text: str) -> list[str]:
    normal = tokenizer.normalizer.normalize_str(text)
    return [word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normal)]


# Sentences near the task

FILM = (
    "The film is a sad comedy of {} errors.",
    "Its plot and its {} cast are very boring!",
    "Why do we go to see such {} pictures?",
)
RIVER = (
    "The long river runs north of the {} mountains.",
    "It is home to birds and to {} otters.",
    "Its valley is green and {} banks are flooded.",
)
TASK = ("a dull film with a sad plot and cast", "this comedy is sad and its cast is dull", "see the bad film")


def built(tokenizer: Tokenizer, folder: Path, texts: list[str]) -> Corpus:
    (folder / "text.txt").write_text("\n\n".join(texts), encoding="utf-8")
    return build_corpus([str(folder / "text.txt")], tokenizer, folder / "corpus", workers=1)


@pytest.fixture(scope="module")
def mixed(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Documents of two subjects, a hundred of each; every sentence has ten words with its end mark."""
    texts = [" ".join(of).format(*[f"word{n}"] * 3) for n in range(100) for of in (FILM, RIVER)]
    return built(tokenizer, tmp_path_factory.mktemp("mixed"), texts)


def test_sentences_are_the_best_by_the_formula(tokenizer: Tokenizer, mixed: Corpus) -> None:
    """A plain twin scores every sentence word by word."""
    counts = dict(zip(mixed.word_types(), mixed.counts.tolist(), strict=True))
    task = Counter(word for text in TASK for word in words_of(tokenizer, text) if word in counts)
    total = sum(task.values())

    def score(sentence: str) -> float:
        shares = {word: counts[word] / mixed.words for word in sentence.split()}
        smoothed = {word: (task[word] + total / 10 * share) / (1.1 * total) for word, share in shares.items()}
        return sum(math.log(smoothed[word] / shares[word]) for word in sentence.split())

    every = [line.format(f"word{n}") for n in range(100) for line in (*FILM, *RIVER)]
    scores = {text: score(text) for text in (" ".join(words_of(tokenizer, line)) for line in every)}
    found = near_sentences(mixed, TASK, 400, seed=0)
    assert 50 < len(found) < 400  # of this length, the others are not there
    assert len(set(found)) == len(found)
    best = sorted(scores.values(), reverse=True)[: len(found)]
    assert sorted(map(scores.__getitem__, found), reverse=True) == pytest.approx(best)


def test_the_order_hangs_on_the_seed(mixed: Corpus) -> None:
    first, again, other = (near_sentences(mixed, TASK, 400, seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_the_cut_into_stretches_does_not_matter(mixed: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = near_sentences(mixed, TASK, 10_000, seed=0)
    monkeypatch.setattr(sentences, "_STRETCH", 64)
    assert sorted(near_sentences(mixed, TASK, 10_000, seed=0)) == sorted(expected)


def test_texts_of_the_task_are_left_out(mixed: Corpus) -> None:
    before = near_sentences(mixed, TASK, 10_000, seed=0)
    own = (FILM[0].format("word3"), tuple(before[0].split()[:-1]))  # with its end mark, and without
    after = near_sentences(mixed, (*TASK, *own), 10_000, seed=0)
    assert set(before) - set(after) == {before[0], "the film is a sad comedy of word3 errors ."}


def test_abbreviations_and_decimal_points_end_nothing(tokenizer: Tokenizer, tmp_path: Path) -> None:
    bill = "Mr. Smith paid {0}3.50 to the U.S. bank of word{0}. "
    bill += "He saw that old Mr. Jones had been in it before."
    corpus = built(tokenizer, tmp_path, [bill.format(n) for n in range(100, 150)])
    found = near_sentences(
        corpus, ("mr smith paid a lot to the u s bank of old america too",), 10_000, seed=0
    )
    assert sorted(found) == [
        "he saw that old mr . jones had been in it before .",
        *(f"mr . smith paid {n}3 . 50 to the u . s . bank of word{n} ." for n in range(100, 150)),
    ]


def test_for_long_texts_several_sentences_are_taken_for_one(mixed: Corpus) -> None:
    found = near_sentences(mixed, [" ".join([*TASK, TASK[0]])], 10_000, seed=0)
    assert len(found) == 200
    assert {len(text.split()) for text in found} == {30}


def test_lengths_are_those_of_the_task(world: World) -> None:
    text = world.other_text.read_text(encoding="utf-8")
    task = [part for part in text.replace("\n", " ").split(". ") if 6 <= len(part.split()) <= 9]
    found = near_sentences(world.corpus, task, 50, seed=0)
    assert len(found) == 50
    assert {len(sentence.split()) for sentence in found} <= set(range(5, 20))
    assert all(sentence[-1] in ".!?" and sentence[0].isalnum() for sentence in found)


# New pairs


@pytest.fixture(scope="module")
def texts() -> tuple[str, ...]:
    """Different texts of a few words, odd ones among them."""
    lines = dict.fromkeys(small_text(4, 60, odd=True).replace("\n", " ").split(". "))
    return tuple(line for line in lines if 3 < len(line.split()) < 9)[:60]


def test_new_pairs_share_words_and_are_new(tokenizer: Tokenizer, texts: tuple[str, ...]) -> None:
    examples = Examples(texts[:40], texts[20:60])
    found = recombined(examples, 100, seed=0)
    pairs = list(zip(found.texts, found.pairs, strict=True))
    assert len(pairs) == len(set(pairs)) == 100
    assert set(found.texts) <= set(examples.texts)
    assert set(found.pairs) <= set(examples.pairs)
    assert not set(pairs) & set(zip(examples.texts, examples.pairs, strict=True))
    for first, second in pairs:
        assert first != second
        assert set(words_of(tokenizer, str(first))) & set(words_of(tokenizer, second))
    assert recombined(examples, 100, seed=0) == found
    assert recombined(examples, 100, seed=1) != found


def test_the_nearest_shares_the_rarest_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recombination, "_NEIGHBOURS", 1)
    firsts = ("a cat on the mat", "a dog in the fog", "a cow at the door")
    seconds = ("the fog is on a hill", "a mat and the door", "cats on the cat mat")
    found = recombined(Examples(firsts, seconds), 10, seed=0)
    assert sorted(zip(found.texts, found.pairs, strict=True)) == [
        ("a cat on the mat", "cats on the cat mat"),
        ("a cow at the door", "a mat and the door"),
        ("a dog in the fog", "the fog is on a hill"),
    ]


def test_texts_that_share_nothing_make_no_pairs() -> None:
    assert len(recombined(Examples(("one", "two"), ("three", "four")), 5, seed=0)) == 0


# New texts with tags

TAGGED = Task("t", "tagging", tags=("O", "B-artist", "I-artist", "B-city"), metric="f1")
SONGS = Examples(
    (("play", "nina", "simone", "now"), ("who", "is", "prince"), ("rain", "in", "rome"), ("stop",)),
    labels=Labels(tags=((0, 1, 2, 0), (0, 0, 2), (0, 0, 3), (0,))),
)


def test_spans_are_exchanged_for_others_of_their_kind() -> None:
    found = exchanged(SONGS, TAGGED, 10, seed=0)
    assert set(found.texts) == {("play", "prince", "now"), ("who", "is", "nina", "simone")}
    assert found.labels is None


def test_every_span_of_a_text_is_exchanged_and_beginnings_part_spans() -> None:
    names = tuple("abcdefgh")
    examples = Examples((names,), labels=Labels(tags=((1, 1, 2, 0, 3, 3, 2, 1),)))
    made = exchanged(examples, TAGGED, 1000, seed=0).texts
    artists, cities = [("a",), ("b", "c"), ("g",), ("h",)], [("e",), ("f",)]
    every = [
        (*one, *two, "d", *first, *second, *three, *four)
        for one, two, three, four in itertools.product(artists, repeat=4)
        for first, second in itertools.product(cities, repeat=2)
    ]
    assert 0.6 * len(every) < len(made) == len(set(made))
    assert set(made) <= set(every) - {names}
    assert exchanged(examples, TAGGED, 50, seed=1).texts != exchanged(examples, TAGGED, 50, seed=2).texts
    assert len(exchanged(examples, TAGGED, 50, seed=1)) == 50


def test_texts_without_spans_make_no_others() -> None:
    examples = Examples((("stop",),), labels=Labels(tags=((0,),)))
    assert len(exchanged(examples, TAGGED, 5, seed=0)) == 0


# The user's own text


def test_lines_and_rows_are_texts(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("One  line.\nAnother.\n\n One line.\n", encoding="utf-8")
    rows = [{"said": "a row\nof two lines"}, {"said": None}, {"said": "Ærø"}]
    (tmp_path / "b.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    found = read_texts([str(tmp_path)], "said", limit=10)
    assert found == ("One line.", "Another.", "a row of two lines", "Ærø")
    assert read_texts([str(tmp_path)], "said", limit=3) == found[:3]


def test_texts_that_have_labels_are_not_read_as_unlabelled_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those to learn from are learnt from anyway, and those to be scored on must stay new."""
    path = tmp_path / "pile.txt"
    path.write_text("a new text\nThe Train  text\nthe dev text\nthe test text\n")
    sets = [Examples((f"the {name} text",), labels=Labels((0.0,))) for name in ("train", "dev", "test")]
    task = Task("t", "classification", classes=("no", "yes"))
    data = TaskData(task, *sets[:2], test=sets[2])
    found = more_texts(data, DistillationConfig(), RunDir(tmp_path), [str(path)])
    assert found == Examples(("a new text",))
    assert "3 of 4 unlabelled texts are among the labelled ones, and left out" in capsys.readouterr().err


def test_long_texts_are_cut_at_sentence_ends(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("One two. Three? Four five six seven! Eight 9.5 ten", encoding="utf-8")
    found = read_texts([str(tmp_path / "a.txt")], limit=10, longest=3)
    assert found == ("One two. Three?", "Four five six seven!", "Eight 9.5 ten")


def test_sources_without_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(" \n\n", encoding="utf-8")
    with pytest.raises(InputError, match="no text"):
        read_texts([str(tmp_path / "a.txt")], limit=10)
