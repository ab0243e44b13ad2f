"""Evaluation: the same masks for everyone, figures that a loop over transformers' own forward gives too."""

import dataclasses
import math

import pytest
import torch
from transformers import BertForMaskedLM

from conftest import LENGTH, World, stir
from lilliput.config import StudentConfig
from lilliput.models.pretrained import load_masked_lm
from lilliput.models.student import random_student, student_config
from lilliput.models.teacher import Teacher, build_teacher
from lilliput.text.corpus import FIRST_WORD
from lilliput.training.batches import Batch, BatchSource, Reading
from lilliput.training.evaluation import Quality, evaluate_masked_lm, evaluation_source
from lilliput.training.rows import cut_rows

SHAPE = StudentConfig(layers=2, width=16, heads=2, feed_forward=32, positions=LENGTH)


@pytest.fixture
def source(world: World) -> BatchSource:
    return evaluation_source(world.held_out_rows, world.lexicon, LENGTH)


@pytest.fixture
def student(world: World) -> BertForMaskedLM:
    config = student_config(SHAPE, world.lexicon.student_size, world.lexicon.student_special)
    made = random_student(config, seed=0)
    stir(made)
    return made


@pytest.fixture
def teacher(world: World) -> Teacher:
    model, _ = load_masked_lm(world.teacher)
    return build_teacher(model, world.spelling(), "pieces", 0, seed=0)


def one(source: BatchSource, **options: object) -> Quality:
    ((_, quality),) = evaluate_masked_lm(source, **options)  # type: ignore[arg-type]
    return quality


def test_every_piece_of_a_masked_word_is_a_mask(world: World, source: BatchSource) -> None:
    lexicon, words, masked = world.lexicon, 0, 0
    for batch in source:
        for reading, mask in (
            (batch.teacher, lexicon.teacher_special.mask),
            (batch.student, lexicon.student_special.mask),
        ):
            assert (reading.pieces.flatten()[reading.positions] == mask).all()
            assert (reading.pieces == mask).sum() == len(reading.positions)
        assert batch.teacher.pieces.max() < lexicon.teacher_size, "the teacher reads its own pieces"
        assert torch.equal(batch.teacher.words.unique(), batch.student.words.unique())
        words += batch.words
        masked += len(batch.student.words.unique())
    assert 0.11 < masked / words < 0.17  # unknown words are not masked


def test_masks_do_not_change(world: World, source: BatchSource) -> None:
    again = evaluation_source(world.held_out_rows, world.lexicon, LENGTH)
    for mine, other in zip(source, again, strict=True):
        assert torch.equal(mine.student.pieces, other.student.pieces)
        assert torch.equal(mine.teacher.positions, other.teacher.positions)


@torch.no_grad()
def test_the_student_is_scored_as_a_plain_loop_scores_it(
    world: World, source: BatchSource, student: BertForMaskedLM
) -> None:
    found = one(source, student=student)
    nats, right, pieces, words, characters = 0.0, 0, 0, 0, 0
    types, tokenizer = world.corpus.word_types(), world.lexicon.student_tokenizer()
    for step in range(len(source.rows) // source.config.rows):
        batch = source.batch(step).student
        assert batch.padding is not None
        scores = student.eval()(batch.pieces, attention_mask=(~batch.padding).long()).logits.flatten(0, 1)
        spelt: dict[int, str] = {}
        for place, target, word in zip(
            batch.positions.tolist(), batch.targets.tolist(), batch.words.tolist(), strict=True
        ):
            nats -= float(scores[place].log_softmax(0)[target])
            right += int(scores[place].argmax()) == target
            pieces += 1
            spelt[word] = spelt.get(word, "") + tokenizer.id_to_token(target).removeprefix("##")
        assert set(spelt.values()) <= set(types[FIRST_WORD:])
        words += len(spelt)
        characters += sum(map(len, spelt.values()))
    assert found.pieces == pieces
    assert found.words == words
    assert found.accuracy == pytest.approx(right / pieces)
    assert found.loss == pytest.approx(nats / pieces, rel=1e-4)
    assert found.bits_per_character == pytest.approx(nats / math.log(2) / characters, rel=1e-4)


@torch.no_grad()
def test_the_teacher_is_scored_as_transformers_does(
    world: World, source: BatchSource, teacher: Teacher
) -> None:
    found, reference = one(source, teacher=teacher), BertForMaskedLM.from_pretrained(world.teacher).eval()
    nats, pieces = 0.0, 0
    for step in range(len(source.rows) // source.config.rows):
        batch = source.batch(step).teacher
        padding = torch.zeros_like(batch.pieces) if batch.padding is None else batch.padding.long()
        labels = torch.full_like(batch.pieces, -100).flatten()
        labels[batch.positions] = batch.targets
        loss = reference(batch.pieces, attention_mask=1 - padding, labels=labels.view_as(padding)).loss
        nats += float(loss) * len(batch.targets)
        pieces += len(batch.targets)
    assert found.pieces == pieces
    assert found.loss == pytest.approx(nats / pieces, rel=1e-4)


def test_who_knows_nothing_needs_the_bits_of_a_uniform_guess(
    world: World, source: BatchSource, student: BertForMaskedLM
) -> None:
    with torch.no_grad():
        student.bert.embeddings.word_embeddings.weight.zero_()
        student.cls.predictions.bias.zero_()
    found = one(source, student=student)
    assert found.loss == pytest.approx(math.log(world.lexicon.student_size), rel=1e-5)
    pieces_per_character = found.pieces * found.loss / math.log(2) / found.bits_per_character
    assert found.words < found.pieces < pieces_per_character


def test_who_knows_everything_is_always_right(
    world: World, source: BatchSource, student: BertForMaskedLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lilliput.training import evaluation

    add = evaluation._Tally.add

    def oracle(tally: evaluation._Tally, _: torch.Tensor, reading: Reading, batch: Batch) -> None:
        known = torch.nn.functional.one_hot(reading.targets, world.lexicon.student_size)
        add(tally, 100.0 * known, reading, batch)

    monkeypatch.setattr(evaluation._Tally, "add", oracle)
    found = one(source, student=student)
    assert found.accuracy == 1
    assert found.bits_per_character == pytest.approx(0, abs=1e-6)


def test_both_models_are_asked_for_the_same_words(
    source: BatchSource, teacher: Teacher, student: BertForMaskedLM
) -> None:
    found = dict(evaluate_masked_lm(source, teacher=teacher, student=student))
    assert found.keys() == {"teacher", "student"}
    assert found["teacher"].words == found["student"].words > 50
    assert found["teacher"] == one(source, teacher=teacher)
    assert found["student"] == one(source, student=student)


def test_fewer_rows_are_a_beginning_of_all(
    world: World, source: BatchSource, student: BertForMaskedLM
) -> None:
    few, all_rows = (one(source, student=student, rows=rows) for rows in (16, 512))
    assert 0 < few.words < all_rows.words
    first = source.batch(0).student
    assert few.pieces == len(first.targets)


def test_a_text_of_few_rows_is_read_whole(world: World, student: BertForMaskedLM) -> None:
    train, _ = cut_rows(world.corpus, world.lexicon, LENGTH, hold_out=False)
    few = dataclasses.replace(train, shard=train.shard[:5], start=train.start[:5], end=train.end[:5])
    source = evaluation_source(few, world.lexicon, LENGTH)
    found = one(source, student=student)
    assert found.pieces == len(source.batch(0).student.targets) > 5


def test_nothing_is_learnt_and_no_mode_is_changed(source: BatchSource, student: BertForMaskedLM) -> None:
    before = [item.detach().clone() for item in student.parameters()]
    one(source, student=student)
    assert all(torch.equal(a, b) for a, b in zip(before, student.parameters(), strict=True))
    assert all(item.grad is None for item in student.parameters())
    assert torch.is_grad_enabled()
