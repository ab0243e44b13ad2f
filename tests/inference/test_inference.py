"""Bundles answer as the same model in numpy does, in order, in bounded memory, or say why not."""

import itertools
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st

import lilliput
from bundles import PIECES, POSITIONS, TAGS, WIDTH, Tiny, make_bundle, shares
from lilliput.errors import BundleError, ConfigError, InputError
from lilliput.inference.answers import Classification, Slot, Tagging, Word
from lilliput.inference.bundle import Bundle
from lilliput.inference.tags import join_tags
from lilliput.inference.texts import BATCH_PIECES, WINDOW_TEXTS, batches, windows

Make = Callable[..., tuple[Bundle, Tiny]]
TEXTS = [
    "good film",
    "The film is bad, is bad, is bad!",
    "a",
    "café",
    "nonsense words",
    "miles davis playing jazz.",
]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def call(kind: str, pairs: bool = False) -> tuple[Bundle, Tiny]:
        tiny = make_bundle(tmp_path / kind, kind, pairs)
        return lilliput.load(tiny.folder), tiny

    return call


# Answers


def test_classes_are_those_of_the_twin_in_order(make: Make) -> None:
    bundle, tiny = make("classification")
    texts = TEXTS * 40  # several batches, each of other lengths
    for text, answer in zip(texts, bundle.classify(texts), strict=True):
        expected = tiny.probabilities(text)
        assert list(answer.probabilities.values()) == pytest.approx(expected.tolist(), abs=1e-6)
        assert answer.label == bundle.config.classes[expected.argmax()]
        assert answer.probability == answer.probabilities[answer.label] == max(answer.probabilities.values())
        assert not answer.cut


def test_pairs_are_read_together_with_their_types(make: Make) -> None:
    bundle, tiny = make("classification", pairs=True)
    pairs = list(itertools.product(TEXTS, TEXTS[:4]))
    answers = bundle.classify([first for first, _ in pairs], [second for _, second in pairs])
    for pair, answer in zip(pairs, answers, strict=True):
        expected = tiny.probabilities(*pair)
        assert list(answer.probabilities.values()) == pytest.approx(expected.tolist(), abs=1e-6)


def test_a_score_is_what_the_model_gives_out(make: Make) -> None:
    bundle, tiny = make("regression", pairs=True)
    (answer,) = bundle.score(["good film"], ["bad film"])
    assert answer.value == pytest.approx(float(tiny.scores("good film", "bad film").mean()), abs=1e-6)


def test_a_vector_is_the_mean_of_the_states(make: Make) -> None:
    bundle, tiny = make("encode")
    found = bundle.encode(TEXTS)
    expected = np.stack([tiny.states(text).mean(axis=0) for text in TEXTS])
    assert (found.dtype, found.shape) == (np.float32, (len(TEXTS), WIDTH))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose([answer.vector for answer in bundle.stream(TEXTS)], found)  # type: ignore[union-attr]
    lengths = np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(bundle.encode(TEXTS, normalize=True), expected / lengths, atol=1e-6)
    assert bundle.encode([]).shape == (0, WIDTH)


def test_guesses_are_the_most_probable_pieces_of_each_mask(make: Make) -> None:
    bundle, tiny = make("fill")
    (answer,) = bundle.fill(["the [MASK] is [MASK]."], top=3)
    expected = shares(tiny.scores("the [MASK] is [MASK]."))
    assert len(answer.guesses) == 2
    for place, guesses in zip((2, 4), answer.guesses, strict=True):  # [CLS] the [MASK] is [MASK]
        best = np.argsort(-expected[place])[:3]
        assert [guess.piece for guess in guesses] == [PIECES[piece] for piece in best]
        assert [guess.probability for guess in guesses] == pytest.approx(expected[place][best].tolist(), 1e-5)


def test_words_keep_their_place_in_the_text_and_the_tag_of_their_first_piece(make: Make) -> None:
    bundle, tiny = make("tagging")
    text = "  Playing JAZZ\tby  Café-Davis\u200b, xyz"
    (answer,) = bundle.tag([text])
    assert [word.text for word in answer.words] == ["Playing", "JAZZ", "by", "Café", "-", "Davis", ",", "xyz"]
    assert all(word.text == text[word.start : word.end] for word in answer.words)
    expected = shares(tiny.scores(text))
    first = [1, 3, 4, 5, 6, 7, 8, 9]  # [CLS] play ##ing jazz by café [UNK] davis , [UNK] [SEP]
    assert [word.tag for word in answer.words] == [TAGS[expected[place].argmax()] for place in first]
    assert [word.probability for word in answer.words] == pytest.approx(
        expected[first].max(axis=1).tolist(), 1e-5
    )
    assert answer.classification is None


def test_a_joint_bundle_gives_tags_and_the_class_at_cls(make: Make) -> None:
    bundle, tiny = make("joint")
    (both,) = bundle.tag(["new york is good"])
    scores = tiny.scores("new york is good")
    assert both.classification is not None
    assert list(both.classification.probabilities.values()) == pytest.approx(
        shares(scores[0, len(TAGS) :]).tolist(), abs=1e-6
    )
    assert [word.tag for word in both.words] == [
        TAGS[tag] for tag in scores[1:-1, : len(TAGS)].argmax(axis=1)
    ]
    assert both.slots == join_tags("new york is good", both.words)
    assert bundle.classify(["new york is good"]) == [both.classification]


def test_a_slot_is_as_probable_as_the_least_probable_of_its_tags() -> None:
    words = [Word("a", 0, 1, "B-x", 0.5), Word("b", 2, 3, "I-x", 0.25)]
    assert join_tags("a b", words) == (Slot("x", "a b", 0, 3, 0.25),)


# Many texts, and long ones


@given(st.lists(st.integers(2, 700), max_size=60))
def test_batches_hold_every_text_once_and_are_bounded(lengths: list[int]) -> None:
    made = list(batches(lengths))
    assert sorted(itertools.chain(*made)) == list(range(len(lengths)))
    ordered = [lengths[index] for batch in made for index in batch]
    assert ordered == sorted(lengths)
    assert all(len(batch) == 1 or len(batch) * lengths[batch[-1]] <= BATCH_PIECES for batch in made)


def test_a_stream_reads_one_window_ahead(make: Make) -> None:
    bundle, _ = make("classification")
    read = 0

    def lines() -> Iterator[str]:
        nonlocal read
        while True:
            read += 1
            yield "good film"

    answers = bundle.stream(lines())
    first = next(answers)
    assert isinstance(first, Classification)
    assert read == WINDOW_TEXTS
    assert next(itertools.islice(answers, WINDOW_TEXTS - 1, None)).probabilities == pytest.approx(
        first.probabilities
    )
    assert read == 2 * WINDOW_TEXTS


def test_windows_are_bounded_in_characters() -> None:
    texts = ["x" * 5_000] * 100 + ["y"]
    made = list(windows(texts, positions=64))
    assert list(itertools.chain(*made)) == texts
    assert len(made) == 2  # 4,096 characters of each are read


def test_a_word_that_is_cut_within_is_named_whole(make: Make) -> None:
    bundle, _ = make("tagging")
    text = "film " * (POSITIONS - 3) + "playing film"
    (answer,) = bundle.tag([text])
    assert answer.cut
    assert [word.text for word in answer.words[-2:]] == ["film", "playing"]
    assert text[answer.words[-1].start : answer.words[-1].end] == "playing"


@pytest.mark.parametrize("repeats", [POSITIONS - 1, 2_000_000], ids=["just too long", "10 MB"])
def test_a_long_text_is_cut_to_the_positions_and_says_so(make: Make, repeats: int) -> None:
    bundle, _ = make("classification")
    long, whole = bundle.classify(["film " * repeats, "film " * (POSITIONS - 2)])
    assert (long.cut, whole.cut) == (True, False)
    assert long.probabilities == pytest.approx(whole.probabilities, abs=1e-6)


def test_both_texts_of_a_pair_are_cut(make: Make) -> None:
    bundle, tiny = make("classification", pairs=True)
    (answer,) = bundle.classify(["film " * 50], ["good " * 50])
    halves = "film " * 14, "good " * 15  # 32 positions, 3 of them for [CLS], [SEP], [SEP]
    assert answer.cut
    assert list(answer.probabilities.values()) == pytest.approx(
        tiny.probabilities(*halves).tolist(), abs=1e-6
    )


def test_a_mask_beyond_the_positions_has_no_guesses_and_the_answer_says_cut(make: Make) -> None:
    bundle, _ = make("fill")
    (answer,) = bundle.fill(["film " * 50 + "[MASK]"])
    assert answer.guesses == ()
    assert answer.cut


# Refusals


@pytest.mark.parametrize(
    ("kind", "method", "named"),
    [
        ("classification", "tag", "classify()"),
        ("classification", "score", "classify()"),
        ("regression", "classify", "score()"),
        ("tagging", "classify", "tag()"),
        ("joint", "encode", "classify() and tag()"),
        ("fill", "encode", "fill()"),
        ("encode", "fill", "encode()"),
    ],
)
def test_what_a_bundle_cannot_do_names_what_it_can(make: Make, kind: str, method: str, named: str) -> None:
    bundle, _ = make(kind)
    with pytest.raises(BundleError, match=f"has no {method}.*kind {kind}, with {re.escape(named)}"):
        getattr(bundle, method)(["the [MASK]"])


@pytest.mark.parametrize(
    ("texts", "sentence"),
    [
        ("good film", "a list of texts"),
        (["good", ""], "text 2 is empty"),
        ([" \n\t"], "text 1 is empty"),
        (["\x00\x01"], "text 1 has no words"),
        ([*["good"] * 600, "bad \ud800"], "text 601 is not Unicode: character 4 is a lone surrogate"),
        ([b"good"], "text 1 is of the type bytes; expected str"),
        ([None], "text 1 is of the type NoneType"),
        ([("good", "bad")], "text 1 has 2 parts; this bundle reads one text"),
    ],
)
def test_a_text_that_is_none_is_refused_by_its_number(make: Make, texts: object, sentence: str) -> None:
    bundle, _ = make("classification")
    with pytest.raises(InputError, match=sentence.replace("(", r"\(")):
        bundle.classify(texts)  # type: ignore[arg-type]


def test_pairs_are_refused_where_one_is_missing(make: Make) -> None:
    bundle, _ = make("classification", pairs=True)
    with pytest.raises(InputError, match="text 1 has 1 parts; this bundle reads pairs"):
        bundle.classify(["good"])
    with pytest.raises(InputError, match="same number"):
        bundle.classify(["good", "bad"], ["film"])
    with pytest.raises(InputError, match="a list of texts"):
        bundle.classify(["good"], "film")


class TheirsError(Exception):
    """What a program that uses a bundle raises."""


def failing(error: Exception) -> Iterator[str]:
    yield "good film"
    raise error


@pytest.mark.parametrize(
    "error", [ValueError("mine"), TypeError("mine"), OSError("mine"), TheirsError("mine")]
)
@pytest.mark.parametrize("which", ["texts", "pairs", "stream"])
def test_what_the_callers_own_texts_raise_stays_as_it_is(make: Make, which: str, error: Exception) -> None:
    bundle, _ = make("classification", pairs=True)
    films = ["film"] * 3
    calls = {
        "texts": lambda: bundle.classify(failing(error), films),
        "pairs": lambda: bundle.classify(films, failing(error)),
        "stream": lambda: list(bundle.stream(zip(failing(error), films, strict=False))),
    }
    with pytest.raises(type(error), match="mine") as raised:
        calls[which]()
    assert raised.value is error


@pytest.mark.parametrize("threads", [0, -1, 100_000, 1.5, float("nan"), "2", True])
def test_numbers_of_threads_have_bounds(make: Make, threads: object) -> None:
    _, tiny = make("classification")
    with pytest.raises(ConfigError, match="threads must be a whole number from 1 to 1,024"):
        lilliput.load(tiny.folder, threads=threads)  # type: ignore[arg-type]


@pytest.mark.parametrize("top", [0, -1, 10**9, 1.5, float("nan")])
def test_numbers_of_guesses_have_bounds(make: Make, top: int) -> None:
    bundle, _ = make("fill")
    with pytest.raises(ConfigError, match="top must be a whole number from 1 to 1,000,000"):
        bundle.fill(["a [MASK]"], top=top)
    assert len(bundle.fill(["a [MASK]"], top=np.int64(2))[0].guesses[0]) == 2


def test_a_text_to_fill_needs_a_mask(make: Make) -> None:
    bundle, _ = make("fill")
    with pytest.raises(InputError, match=r"text 1 has no \[MASK\]"):
        bundle.fill(["the film"])


def test_no_texts_have_no_answers(make: Make) -> None:
    bundle, _ = make("tagging")
    assert bundle.tag([]) == []
    assert bundle.answer([]) == []


def test_a_text_without_an_answer_leaves_the_others_theirs(make: Make) -> None:
    bundle, _ = make("tagging")
    first, wrong, last = bundle.answer(["good", "", "film"])
    assert isinstance(first, Tagging)
    assert isinstance(wrong, InputError)
    assert isinstance(last, Tagging)
    assert last.words[0].text == "film"


# Without torch


@pytest.mark.parametrize("way", ["lilliput", "lilliput.inference.lines"])
def test_nothing_but_numpy_tokenizers_and_onnxruntime_is_imported(make: Make, way: str) -> None:
    _, tiny = make("classification")
    script = (
        "import sys; there = set(sys.modules)\n"  # a site's own, such as Debian's sitecustomize
        f"import {way}, lilliput; lilliput.load({str(tiny.folder)!r}).classify(['good film'])\n"
        "print(*{name.partition('.')[0] for name in set(sys.modules) - there})"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=os.environ
    )
    found = {name for name in done.stdout.split() if name not in sys.stdlib_module_names}
    ours = {name for name in found if not name.startswith(("_", "google"))}
    assert ours == {"lilliput", "numpy", "onnxruntime", "tokenizers"}
