import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from transformers import AutoTokenizer

from conftest import World
from lilliput.common.ragged import Ragged
from lilliput.finetuning.encoded import (
    batches,
    encode,
    label_array,
    labels_from,
    make_batch,
    task_tokenizer,
)
from lilliput.finetuning.words import shortened, text_labels, text_words
from lilliput.inference.texts import CHARACTERS
from lilliput.pieces.bert_tokenizer import load_tokenizer, save_tokenizer
from lilliput.tasks.metrics import first_tags
from lilliput.tasks.task import Examples, Labels, Task

CLASSES = Task("c", "classification", classes=("no", "yes"))
PAIRS = Task("p", "classification", pairs=True, classes=("no", "yes"))
TAGS = Task("t", "tagging", tags=("O", "B-x", "I-x"))
JOINT = Task("j", "joint", classes=("ask", "tell"), tags=("O", "B-x", "I-x"))
TEXTS = ("the brotent was in a stocker", "every café", "a", "my (naïve) plantish boxes; of don't, and 3.14")
WORDS = (("the", "brotenter", "was"), ("don't",), ("a", "b", "c", "café", "…"))


@pytest.mark.parametrize("pairs", [(), TEXTS[::-1]])
def test_batches_read_as_transformers_tokenizers_do(world: World, pairs: tuple[str, ...]) -> None:
    tokenizer = world.lexicon.student_tokenizer()
    encoded = encode(Examples(TEXTS, pairs), PAIRS if pairs else CLASSES, tokenizer, 32)
    inputs = make_batch(encoded, np.arange(len(TEXTS))).inputs
    theirs = AutoTokenizer.from_pretrained(world.lexicon.tokenizer_folder)(
        list(TEXTS), list(pairs) or None, padding=True, truncation=True, max_length=32, return_tensors="pt"
    )
    assert set(inputs) == set(theirs)
    for name, tensor in inputs.items():
        assert torch.equal(tensor, theirs[name])


def test_a_batch_of_pairs_is_padded_with_the_tokenizers_own_piece(world: World) -> None:
    tokenizer = task_tokenizer(world.teacher)
    encoded = encode(Examples(("a", "a b c d")), CLASSES, tokenizer, 32)
    pieces = make_batch(encoded, np.arange(2)).inputs["input_ids"]
    assert tokenizer.token_to_id("[PAD]") != tokenizer.token_to_id("[CLS]")
    assert pieces[0, 3:].tolist() == [tokenizer.token_to_id("[PAD]")] * 3


def test_first_pieces_of_words_stand_where_words_begin(world: World) -> None:
    tokenizer = world.lexicon.student_tokenizer()
    encoded = encode(Examples(WORDS), TAGS, tokenizer, 32)
    batch = make_batch(encoded, np.arange(3))
    flat = batch.inputs["input_ids"].flatten()
    words = "the brotenter was don ' t a b c café …".split()  # noqa: SIM905
    assert flat[batch.positions].tolist() == [tokenizer.encode(word).ids[1] for word in words]
    assert batch.slots.tolist() == list(range(11))
    assert encoded.given.rows() == [[0, 1, 2], [0, 0, 0], [0, 1, 2, 3, 4]]


ODD = ("a", "\u200b", "o'hare", "New York", "12:00", "r&b", "(café", "\u00a0", "…\u200b")


def test_given_words_are_read_as_a_bundle_reads_the_text(world: World) -> None:
    tokenizer = task_tokenizer(world.teacher)
    encoded = encode(Examples((ODD,)), TAGS, tokenizer, 48)
    assert encoded.pieces.values.tolist() == tokenizer.encode(" ".join(ODD)).ids
    (words,) = text_words([ODD], tokenizer, 48)
    assert [" ".join(ODD)[word.start : word.end] for word in words] == (
        "a o ' hare New York 12 : 00 r & b ( café …".split()  # noqa: SIM905
    )
    assert [word.given for word in words] == [0, 2, 2, 2, 3, 3, 4, 4, 4, 5, 5, 5, 6, 6, 8]
    assert encoded.given.rows() == [[word.given for word in words]]
    assert encoded.slots.values.tolist() == [word.piece for word in words]


def test_every_word_of_a_given_word_learns(world: World) -> None:
    task = Task("t", "tagging", tags=("B-x", "X", "O", "I-x"))
    encoded = encode(Examples((("o'hare", "at", "12:00", "don't"),)), task, task_tokenizer(world.teacher), 48)
    labels = Labels(tags=((0, 2, 3, 1),))
    assert label_array(task, labels, encoded.given).tolist() == [0, 3, 3, 2, 3, 3, 3, 1, 1, 1]
    assert text_labels(task, labels, encoded.given.rows()).tags == ((0, 3, 3, 2, 3, 3, 3, 1, 1, 1),)


def test_what_was_cut_off_is_outside_wherever_that_tag_stands() -> None:
    task = Task("t", "tagging", tags=("B-x", "I-x", "O"))
    scores = np.array([[9, 0, 0], [np.nan] * 3], np.float32)
    assert labels_from(task, scores, Ragged.of([[1, -1]])).tags == ((0, 2),)


def test_long_texts_are_read_as_far_as_a_bundle_reads_them(world: World) -> None:
    tokenizer = task_tokenizer(world.teacher)
    long = ("a " * 300_000).strip()
    pairs = encode(Examples((long, "a"), ("a", long)), PAIRS, tokenizer, 8)
    assert pairs.cut == 2
    assert pairs.words.lengths.tolist() == [8 * CHARACTERS // 2 + 1] * 2
    words = tuple("a" * 300_000)
    tagged = encode(Examples((words, ("a",))), TAGS, tokenizer, 8)
    assert tagged.cut == 1
    assert tagged.given.rows()[0] == list(range(300_000))  # what nobody reads is still to be scored
    kept = shortened(Examples((words, ("abc",))), 8).texts
    assert (len(kept[0]), kept[1]) == (8 * CHARACTERS // 2, ("abc",))


@given(st.lists(st.text(max_size=9), min_size=1, max_size=9), st.integers(1, 3))
def test_given_words_are_shortened_as_their_text_is(words: list[str], positions: int) -> None:
    long = tuple(word * 9 for word in words)
    short = " ".join(shortened(Examples((long,)), positions).texts[0])
    read = " ".join(long)[: CHARACTERS * positions]
    assert short in (read, read.removesuffix(" "))


def test_a_joint_task_reads_its_class_at_the_first_piece(world: World) -> None:
    encoded = encode(Examples(WORDS), JOINT, world.lexicon.student_tokenizer(), 32)
    length = make_batch(encoded, np.arange(3)).inputs["input_ids"].shape[1]
    positions = make_batch(encoded, np.arange(3)).positions
    assert positions[[0, 4, 8]].tolist() == [0, length, 2 * length]
    assert encoded.slots.lengths.tolist() == [4, 4, 6]


def test_both_models_number_words_alike_whatever_their_pieces(world: World) -> None:
    examples = Examples(TEXTS, TEXTS[::-1])
    ours = encode(examples, PAIRS, world.lexicon.student_tokenizer(), 64)
    theirs = encode(examples, PAIRS, task_tokenizer(world.teacher), 64)
    assert not np.array_equal(ours.pieces.lengths, theirs.pieces.lengths)
    assert ours.words.lengths.tolist() == theirs.words.lengths.tolist()


def test_words_that_one_model_cuts_off_are_numbered_all_the_same(world: World) -> None:
    examples = Examples(TEXTS, (" ".join(TEXTS),) * len(TEXTS))
    tokenizer = world.lexicon.student_tokenizer()
    short, long = (encode(examples, PAIRS, tokenizer, positions) for positions in (16, 256))
    assert (short.cut, long.cut) == (len(TEXTS), 0)
    assert short.words.lengths.tolist() == long.words.lengths.tolist()
    kept = short.words.values >= 0
    assert 0 < kept.sum() < len(kept)


@pytest.mark.parametrize("task", [TAGS, JOINT])
def test_what_is_cut_off_keeps_its_slot(world: World, task: Task) -> None:
    texts = (("the", "brotenter", "was", "in", "a", "stockerful", "of", "boxes"), ("a",))
    encoded = encode(Examples(texts), task, world.lexicon.student_tokenizer(), 8)
    assert encoded.cut == 1
    assert encoded.slots.lengths.tolist() == [8 + (task is JOINT), 1 + (task is JOINT)]
    assert (encoded.slots.values == -1).sum() > 2
    batch = make_batch(encoded, np.arange(2))
    assert len(batch.slots) == (encoded.slots.values >= 0).sum()
    scores = np.full((len(encoded.slots.values), len(task.tags + task.classes)), np.nan, np.float32)
    scores[batch.slots] = np.eye(scores.shape[1])[1]
    tags = labels_from(task, scores, encoded.slots).tags[0]
    assert set(tags[:1]) == {1}
    assert set(tags[-2:]) == {0}


@pytest.mark.parametrize(
    ("task", "texts", "labels"),
    [
        (CLASSES, TEXTS, Labels((0, 1, 1, 0))),
        (TAGS, WORDS, Labels((), ((0, 1, 2), (1,), (0, 0, 1, 2, 0)))),
        (JOINT, WORDS, Labels((1, 0, 1), ((0, 1, 2), (1,), (0, 0, 1, 2, 0)))),
    ],
    ids=["classification", "tagging", "joint"],
)
def test_labels_come_back_from_scores_that_say_them(
    world: World, task: Task, texts: tuple[str, ...], labels: Labels
) -> None:
    encoded = encode(Examples(texts), task, world.lexicon.student_tokenizer(), 32)
    columns = label_array(task, labels, encoded.given)
    scores = np.eye(len(task.tags + task.classes), dtype=np.float32)[columns.astype(int)]
    found = labels_from(task, scores, encoded.slots)
    assert found.values == labels.values
    given = encoded.given.rows() if task.tags else []
    assert first_tags(found, given).tags == labels.tags


def test_scores_of_regression_are_the_labels() -> None:
    task, labels = Task("r", "regression", metric="pearson"), Labels((0.5, 4.25))
    scores = label_array(task, labels, Ragged.of([[], []])).astype(np.float32)[:, None]
    assert labels_from(task, scores, Ragged.of([[0], [0]])) == labels


def test_a_pass_reads_every_example_once_in_an_order_of_its_seed(world: World) -> None:
    texts = tuple("word " * (1 + index % 7) for index in range(50))
    encoded = encode(Examples(texts), CLASSES, world.lexicon.student_tokenizer(), 32)

    def order(seed: tuple[int, ...] | None) -> list[int]:
        return [slot for batch in batches(encoded, 8, seed) for slot in batch.slots.tolist()]

    assert sorted(order((0, 0))) == list(range(50))
    assert order((0, 0)) == order((0, 0))
    assert order((0, 0)) != order((0, 1))
    lengths = [batch.inputs["input_ids"].shape[1] for batch in batches(encoded, 8, None)]
    assert lengths == sorted(lengths)


def test_truncation_is_not_left_in_the_tokenizer(
    world: World, tmp_path_factory: pytest.TempPathFactory
) -> None:
    tokenizer, folder = world.lexicon.student_tokenizer(), tmp_path_factory.mktemp("saved")
    encode(Examples(TEXTS), CLASSES, tokenizer, 8)
    save_tokenizer(tokenizer, folder)
    assert len(load_tokenizer(str(folder)).encode("a " * 40).ids) == 42
