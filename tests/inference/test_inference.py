"""Bundles answer as the same model in numpy does, in order, in bounded memory, or say why not."""

import itertools
import json
import os
import pickle
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
from lilliput.inference.answers import Classification, Encoding, Slot, Tagging, Word
from lilliput.inference.bundle import Bundle
from lilliput.inference.kinds import KINDS
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
        (["\x00\x01"], "text 1 has no words"),
        ([*["good"] * 600, "bad \ud800"], "text 601 is not Unicode: character 4 is a lone surrogate"),
        ([b"good"], "text 1 is of the type bytes; expected str"),
        ([3], "text 1 is of the type int"),
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
    first, wrong, last = bundle.answer(["good", "\x00", "film"])
    assert isinstance(first, Tagging)
    assert isinstance(wrong, InputError)
    assert isinstance(last, Tagging)
    assert last.words[0].text == "film"


# Texts that are missing, and words that are unknown

EMPTY = {
    "classification": {"label": None, "probability": None, "probabilities": {}},
    "multilabel": {"labels": [], "probabilities": {}},
    "regression": {"value": None},
    "tagging": {"words": [], "slots": [], "classification": None},
    "fill": {"guesses": []},
    "encode": {"vector": None},
}
NAMED = {"fill": "a [MASK]"}


@pytest.mark.parametrize("kind", EMPTY)
def test_a_missing_text_has_an_empty_answer_in_its_place(make: Make, kind: str) -> None:
    bundle, _ = make(kind)
    good = NAMED.get(kind, "good film")
    texts = [None, good, "", float("nan"), np.float32("nan"), " \n\t", good]
    with pytest.warns(UserWarning, match=r"^5 of 7 texts hold no text .*text 1 first") as warned:
        answers = bundle.answer(texts)  # type: ignore[arg-type]
    assert [item.filename for item in warned] == [__file__]
    found = [answer.to_dict() for answer in answers]  # type: ignore[union-attr]
    assert [one == EMPTY[kind] | {"cut": False, "unknown": 0.0} for one in found] == [
        text is not good for text in texts
    ]
    with pytest.warns(UserWarning, match="5 of 7") as warned:
        streamed = [answer.to_dict() for answer in bundle.stream(texts)]  # type: ignore[arg-type]
    assert streamed == found
    assert [item.filename for item in warned] == [__file__]


def test_one_missing_text_in_a_list_is_no_error_either(make: Make) -> None:
    bundle, _ = make("classification")
    with pytest.warns(UserWarning, match="1 of 1 texts holds no text") as warned:
        (answer,) = bundle.classify([""])
    assert [item.filename for item in warned] == [__file__]
    assert answer.label is None
    assert not answer.is_unsure


def test_a_pair_is_missing_if_one_of_its_texts_is(make: Make) -> None:
    bundle, _ = make("classification", pairs=True)
    with pytest.warns(UserWarning, match="2 of 3 texts"):
        answers = bundle.classify(["good", "", "film"], ["film", "film", None])  # type: ignore[list-item]
    assert [bool(answer.probabilities) for answer in answers] == [True, False, False]


@pytest.mark.parametrize("precision", ["float32", "int8", "binary"])
def test_the_vector_of_a_missing_text_is_nan_or_zeros(make: Make, precision: str) -> None:
    bundle, _ = make("encode")
    with pytest.warns(UserWarning, match="1 of 2"):
        found = bundle.encode(["good", None], normalize=True, truncate_dim=4, precision=precision)  # type: ignore
    assert np.isnan(found[1]).all() if precision == "float32" else not found[1].any()
    assert found[0].any()


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("good film", 0),
        ("good xyzzy", 1 / 2),
        ("xyzzy plugh xyzzy", 1),
        ("playing xyzzy, film!", 1 / 5),  # play ##ing [UNK] , film !
        ("[UNK] film", 1 / 2),
        ("good " * 30 + "xyzzy", 0),  # beyond what is read
    ],
)
@pytest.mark.parametrize("kind", ["classification", "multilabel", "regression", "tagging", "joint", "encode"])
def test_an_answer_says_which_share_of_its_words_is_unknown(
    make: Make, kind: str, text: str, share: float
) -> None:
    bundle, _ = make(kind)
    (answer,) = bundle.answer([text])
    assert answer.unknown == pytest.approx(share)  # type: ignore[union-attr]
    assert answer.to_dict()["unknown"] == answer.unknown  # type: ignore[union-attr]


def test_the_words_of_both_texts_count(make: Make) -> None:
    bundle, _ = make("classification", pairs=True)
    (answer,) = bundle.classify(["good xyzzy"], ["xyzzy plugh"])
    assert answer.unknown == 3 / 4


def test_the_words_of_a_prompt_do_not_count(tmp_path: Path) -> None:
    bundle = lilliput.load(make_bundle(tmp_path / "b", "encode", format=3, prompt="plugh: a ").folder)
    (answer,) = bundle.answer(["good xyzzy"])
    assert isinstance(answer, Encoding)
    assert answer.unknown == 1 / 2


# Answers that are not sure enough


def test_a_class_that_is_not_probable_enough_is_no_label(tmp_path: Path) -> None:
    sure = lilliput.load(make_bundle(tmp_path / "sure", "classification").folder)
    probable = {text: sure.classify([text])[0].probability for text in TEXTS}
    least = sum(sorted(probable.values())[2:4]) / 2
    folder = make_bundle(tmp_path / "b", "classification", format=4, min_probability=least).folder
    for text, answer in zip(TEXTS, lilliput.load(folder).classify(TEXTS), strict=True):
        whole = sure.classify([text])[0]
        assert answer.is_unsure == (probable[text] < least)
        assert answer.label == (None if answer.is_unsure else whole.label)
        assert answer.probabilities == pytest.approx(whole.probabilities)
        assert answer.to_dict()["label"] == answer.label


def test_a_joint_bundle_may_leave_the_class_open_and_tags_all_the_same(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "b", "joint", format=4, min_probability=1.0).folder
    (answer,) = lilliput.load(folder).tag(["new york is good"])
    assert answer.classification is not None
    assert answer.classification.is_unsure
    assert len(answer.words) == 4


# Answers as values, and a bundle in other processes


@pytest.mark.parametrize("kind", KINDS)
def test_answers_are_plain_values_that_json_takes(make: Make, kind: str) -> None:
    bundle, _ = make(kind)
    (answer,) = bundle(["the [MASK] is in new york"])
    found = answer.to_dict()  # type: ignore[union-attr]
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_a_bundle_is_called_as_its_answer_is(make: Make) -> None:
    bundle, _ = make("classification")
    assert bundle(TEXTS) == bundle.answer(iter(TEXTS))
    with pytest.raises(InputError, match="takes a list of texts"):
        bundle("good film")


def test_a_pickled_bundle_is_opened_anew_from_its_folder(
    make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _, tiny = make("classification")
    monkeypatch.chdir(tiny.folder.parent)
    bundle = lilliput.load(tiny.folder.name, threads=2)
    content = pickle.dumps(bundle)
    assert len(content) < 1000
    monkeypatch.chdir(tmp_path.parent)
    other = pickle.loads(content)
    assert other(TEXTS) == bundle(TEXTS)
    assert other._threads == 2


def test_what_a_bundle_is_stands_on_one_line(make: Make) -> None:
    bundle, tiny = make("joint")
    size = sum(path.stat().st_size for path in tiny.folder.iterdir())
    assert repr(bundle) == (
        f"<Bundle {tiny.folder}: joint, 3 classes, 5 tags, float32, {size:,} bytes, texts of up to 32 pieces>"
    )


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
