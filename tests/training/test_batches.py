"""Batches: the same from the same seed, the same words for both models, exact positions, right masks."""

import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from torch import Tensor

from conftest import LENGTH, World, row_words
from lilliput.config import BatchConfig, LexiconConfig
from lilliput.errors import InputError
from lilliput.pieces.bert_tokenizer import load_tokenizer
from lilliput.pieces.corpus import build_corpus
from lilliput.pieces.lexicon import build_lexicon
from lilliput.text.corpus import END, START
from lilliput.training.batches import Batch, BatchSource, Reading
from lilliput.training.rows import Rows, cut_rows

MIXED = BatchConfig(rows=8, length=LENGTH)


def tensors(value: object) -> Iterator[tuple[str, object]]:
    for field in dataclasses.fields(value):  # type: ignore[arg-type]
        item = getattr(value, field.name)
        if isinstance(item, Reading):
            yield from ((f"{field.name}.{name}", part) for name, part in tensors(item))
        else:
            yield field.name, item


def same(one: Batch, other: Batch) -> bool:
    pairs = zip(tensors(one), tensors(other), strict=True)
    return all(
        torch.equal(a, b) if isinstance(a, Tensor) and isinstance(b, Tensor) else a is b or a == b
        for (_, a), (_, b) in pairs
    )


def truth(reading: Reading) -> list[list[int]]:
    """Returns the pieces of each row as they were before masking, padding left out."""
    pieces = reading.pieces.flatten().clone()
    pieces[reading.positions] = reading.targets
    rows = pieces.view_as(reading.pieces)
    padding = torch.zeros_like(rows, dtype=torch.bool) if reading.padding is None else reading.padding
    return [row[~pad].tolist() for row, pad in zip(rows, padding, strict=True)]


def first_rows(rows: Rows, count: int) -> Rows:
    return Rows(rows.shards, rows.shard[:count], rows.start[:count], rows.end[:count])


def expected_words(source: BatchSource, world: World, step: int) -> list[list[int]]:
    """Returns the word ids of each row of a batch: those of the row of the corpus that is spelt like it."""
    table = world.lexicon.student
    spelt = {
        tuple(piece for word in [START, *row_words(source.rows, i), END] for piece in table[word].tolist()): i
        for i in range(len(source.rows))
    }
    return [row_words(source.rows, spelt[tuple(row)]) for row in truth(source.batch(step).student)]


def joint_names(world: World) -> list[str]:
    """Returns the pieces by their joint ids."""
    names = []
    for tokenizer in (world.lexicon.teacher_tokenizer().tokenizer, world.lexicon.student_tokenizer()):
        names += [tokenizer.id_to_token(index) for index in range(tokenizer.get_vocab_size())]
    return names


# The same from the same


def test_two_sources_of_one_seed_give_the_same_batches(world: World) -> None:
    one, other = world.source(MIXED, 3), world.source(MIXED, 3)
    later = other.batch(200)  # beyond the first pass, and asked out of order
    assert same(one.batch(0), other.batch(0))
    assert same(one.batch(200), later)


def test_a_stream_goes_on_from_any_step_with_the_parts_asked_for(world: World) -> None:
    source = world.source(MIXED)
    batches = list(itertools.islice(source.stream(4, range(1, 3), 4), 2))
    expected = [[source.batch(step, part, 4) for part in (1, 2)] for step in (4, 5)]
    for batch, other in zip(batches, expected, strict=True):
        assert all(same(a, b) for a, b in zip(batch, other, strict=True))


def test_another_seed_or_step_gives_another_batch(world: World) -> None:
    source = world.source(MIXED, 3)
    assert not same(source.batch(0), world.source(MIXED, 4).batch(0))
    assert not same(source.batch(0), source.batch(1))
    few = BatchSource(first_rows(world.train_rows, 64), world.lexicon, MIXED, (3,))
    assert not same(few.batch(0), few.batch(64 // MIXED.rows)), "the second pass must differ from the first"


@pytest.mark.parametrize("parts", [2, 3, 8])
def test_parts_together_are_the_whole_batch(world: World, parts: int) -> None:
    """Also where they cannot all have as many rows."""
    source = world.source(MIXED)
    whole = source.batch(5)
    pieces = [source.batch(5, part, parts) for part in range(parts)]
    sizes = [len(piece.student.pieces) for piece in pieces]
    assert max(sizes) - min(sizes) <= 1
    assert sum(part.words for part in pieces) == whole.words
    assert sum(part.masked_characters for part in pieces) == whole.masked_characters
    assert torch.equal(torch.cat([part.aligned for part in pieces]), whole.aligned)
    for name in ("teacher", "student"):
        readings, reading = [getattr(part, name) for part in pieces], getattr(whole, name)
        assert torch.equal(torch.cat([part.targets for part in readings]), reading.targets)
        assert [row for part in readings for row in truth(part)] == truth(reading)
        shown = [row[row != pad] for part in readings for row, pad in zip(part.pieces, [0] * 8, strict=False)]
        shown_whole = [row[row != 0] for row in reading.pieces]
        assert all(torch.equal(a, b) for a, b in zip(shown, shown_whole, strict=True))


@pytest.mark.parametrize("reader", ["teacher", "student"])
def test_a_reading_that_is_not_asked_for_is_empty_and_changes_nothing_else(world: World, reader: str) -> None:
    whole = world.source(MIXED).batch(3)
    alone = BatchSource(world.train_rows, world.lexicon, MIXED, (0,), **{reader: False}).batch(3)
    assert getattr(alone, reader).pieces.shape == (0, 0)
    assert len(getattr(alone, reader).targets) == 0
    assert whole.aligned.any()
    assert alone.aligned.shape == alone.student.targets.shape
    assert not alone.aligned.any()
    unread = {reader: getattr(whole, reader), "aligned": whole.aligned}
    assert same(dataclasses.replace(alone, **unread), whole)


# Words


@given(
    seed=st.integers(0, 2**31),
    step=st.integers(0, 10_000),
    mixing=st.sampled_from([0.0, 0.3, 0.5, 1.0]),
    length=st.sampled_from([8, 17, 32, 48]),
)
def test_pieces_rejoin_to_the_words_of_the_corpus(
    world: World, seed: int, step: int, mixing: float, length: int
) -> None:
    rows, _ = cut_rows(world.corpus, world.lexicon, length, hold_out=True)
    config = BatchConfig(rows=4, length=length, mixing=mixing)
    batch = BatchSource(rows, world.lexicon, config, (seed,)).batch(step)
    names, types = joint_names(world), world.corpus.word_types()
    known = {tuple(types[word] for word in row_words(rows, i)) for i in range(len(rows))}
    unknown = {types[word] for word in np.flatnonzero(world.lexicon.unknown)}
    for theirs, ours in zip(truth(batch.teacher), truth(batch.student), strict=True):
        assert max(len(theirs), len(ours)) <= length
        in_teacher = rejoined([names[piece] for piece in theirs])
        in_student = rejoined([names[piece + world.lexicon.teacher_size] for piece in ours])
        assert in_student[0] == "[CLS]"
        assert in_student[-1] == "[SEP]"
        assert tuple(in_student[1:-1]) in known, "the student has pieces for all words of the small world"
        for a, b in zip(in_teacher, in_student, strict=True):
            assert a == b or (a == "[UNK]" and b in unknown)


def rejoined(pieces: list[str]) -> list[str]:
    words: list[str] = []
    for piece in pieces:
        if piece.startswith("##"):
            words[-1] += piece[2:]
        else:
            words.append(piece)
    return words


def test_both_models_read_the_same_words_with_the_same_masked(world: World) -> None:
    source = world.source(BatchConfig(rows=16, length=LENGTH))
    batch = source.batch(0)
    words = expected_words(source, world, 0)
    lexicon = world.lexicon
    flat = [word for row in words for word in [START, *row, END]]
    assert batch.words == sum(word != END for row in words for word in row)
    for reading, tables in (
        (batch.student, [(lexicon.student, 0)]),
        (batch.teacher, [(lexicon.teacher, 0), (lexicon.student, lexicon.teacher_size)]),
    ):
        found: dict[int, list[int]] = {}
        for word, target in zip(reading.words.tolist(), reading.targets.tolist(), strict=True):
            found.setdefault(word, []).append(target)
        for word, pieces in found.items():
            choices = [(table[flat[word]] + shift).tolist() for table, shift in tables]
            assert pieces in choices, "each masked word is predicted whole, in one segmentation"
    assert torch.equal(batch.teacher.words.unique(), batch.student.words.unique())
    masked = batch.student.words.unique().tolist()
    assert batch.masked_characters == sum(int(lexicon.characters[flat[word]]) for word in masked)


def test_positions_point_at_what_is_predicted(world: World) -> None:
    batch = world.source(BatchConfig(rows=16, length=LENGTH)).batch(3)
    for reading in (batch.teacher, batch.student):
        assert (reading.positions.diff() > 0).all()
        assert reading.padding is not None
        assert not reading.padding.flatten()[reading.positions].any()
        ids = reading.pieces.flatten()[reading.positions]
        changed = (ids != reading.targets).float().mean()
        assert changed > 0.8
    assert batch.student.pieces.max() < world.lexicon.student_size
    assert batch.teacher.pieces.max() >= world.lexicon.teacher_size


@pytest.mark.parametrize("rows", [1, 16])
def test_rows_are_padded_with_pad_to_few_lengths(world: World, rows: int) -> None:
    batch = world.source(BatchConfig(rows=rows, length=LENGTH)).batch(2)
    pads = (world.lexicon.teacher_special.pad, world.lexicon.student_special.pad)
    for reading, pad in zip((batch.teacher, batch.student), pads, strict=True):
        assert len(reading.pieces) == rows
        if reading.padding is not None:
            assert torch.equal(reading.pieces == pad, reading.padding)
            longest, length = int((~reading.padding).sum(1).max()), reading.pieces.shape[1]
            assert length == min(-(-longest // 8) * 8, LENGTH), "few lengths, as each is compiled"


def test_rows_may_be_longer_than_the_lexicon(world: World, tmp_path: Path) -> None:
    text, tokenizer = tmp_path / "text.txt", load_tokenizer(world.teacher)
    text.write_text("the in of\n\n" + "the in of " * 6, encoding="utf-8")
    corpus = build_corpus([str(text)], tokenizer, tmp_path / "corpus", workers=1)
    lexicon = build_lexicon(corpus, tokenizer, LexiconConfig(tokenizer=world.teacher), tmp_path / "lexicon")
    rows, _ = cut_rows(corpus, lexicon, 20, hold_out=False)
    assert len(lexicon.student.values) < 10
    assert (rows.end - rows.start).min() < 10, "the shorter row is padded with more than there are pieces"
    batch = BatchSource(rows, lexicon, BatchConfig(rows=len(rows), length=20), (0,)).batch(0)
    ids = tokenizer.get_vocab()
    spelt = [["[CLS]", *(corpus.word_types()[word] for word in row_words(rows, i))] for i in range(len(rows))]
    expected = [[ids[word.replace("\n", "[SEP]")] for word in [*row, "[SEP]"]] for row in spelt]
    assert sorted(truth(batch.student)) == sorted(expected)


@pytest.mark.parametrize("mixing", [0.0, 0.5, 1.0])
def test_aligned_pieces_are_the_same_in_order(world: World, mixing: float) -> None:
    batch = world.source(dataclasses.replace(MIXED, mixing=mixing)).batch(1)
    shift = world.lexicon.teacher_size
    in_teacher = batch.teacher.targets[batch.teacher.targets >= shift] - shift
    assert torch.equal(batch.student.targets[batch.aligned], in_teacher)
    words = batch.teacher.words[batch.teacher.targets >= shift]
    assert torch.equal(batch.student.words[batch.aligned], words)
    share = batch.aligned.float().mean()
    assert share == mixing if mixing in (0, 1) else 0.2 < share < 0.8


def test_mixing_chooses_whole_words_at_its_rate(world: World) -> None:
    source = world.source(BatchConfig(rows=64, length=LENGTH, mixing=0.25))
    shift, share = world.lexicon.teacher_size, []
    for step in range(8):
        batch = source.batch(step)
        in_student = {word: set() for word in batch.teacher.words.tolist()}
        for word, target in zip(batch.teacher.words.tolist(), batch.teacher.targets.tolist(), strict=True):
            in_student[word].add(target >= shift)
        assert all(len(kinds) == 1 for kinds in in_student.values())
        share += [kinds.pop() for kinds in in_student.values()]
    assert 0.21 < np.mean(share) < 0.29  # some 1,200 words: four standard deviations


def test_without_mixing_the_teacher_reads_its_own_pieces_only(world: World) -> None:
    batch = world.source(dataclasses.replace(MIXED, mixing=0.0)).batch(0)
    assert batch.teacher.pieces.max() < world.lexicon.teacher_size
    assert not batch.aligned.any()


def test_with_full_mixing_the_teacher_reads_what_the_student_reads(world: World) -> None:
    batch = world.source(dataclasses.replace(MIXED, mixing=1.0)).batch(0)
    shift, padding = world.lexicon.teacher_size, batch.student.padding
    assert padding is not None
    assert torch.equal(batch.teacher.padding, padding)
    # [CLS] and [SEP] are words of the mixture like others.
    assert torch.equal(batch.teacher.pieces[~padding] - shift, batch.student.pieces[~padding])
    assert batch.aligned.all()


# Masks


def test_every_piece_of_a_masked_word_is_masked(world: World) -> None:
    config = BatchConfig(rows=64, length=LENGTH, mixing=0.5)
    source = BatchSource(world.train_rows, world.lexicon, config, (0,))
    lexicon, masked, words = world.lexicon, 0, 0
    ours = lexicon.student_special.mask
    theirs = torch.tensor([lexicon.teacher_special.mask, ours + lexicon.teacher_size])
    for batch in source:
        for reading, masks in ((batch.student, torch.tensor([ours])), (batch.teacher, theirs)):
            assert torch.isin(reading.pieces.flatten()[reading.positions], masks).all()
            assert torch.isin(reading.pieces, masks).sum() == len(reading.positions)
        masked += len(batch.student.words.unique())
        words += batch.words
    known = 1 - np.mean([lexicon.unknown[word] for shard in world.corpus.shards for word in shard])
    assert 0.14 < masked / words / known < 0.16


def test_unknown_words_are_never_masked(world: World) -> None:
    config = BatchConfig(rows=64, length=LENGTH, masked=0.9)
    ours, theirs = world.lexicon.student_special, world.lexicon.teacher_special
    unknown = (theirs.unk, ours.unk + world.lexicon.teacher_size)
    present = 0
    for batch in world.source(config):
        present += int((batch.teacher.pieces == unknown[0]).sum())
        assert not torch.isin(batch.teacher.targets, torch.tensor(unknown)).any()
        assert not torch.isin(batch.student.targets, torch.tensor([ours.cls, ours.sep])).any()
    assert present > 50, "the small world has words that the teacher does not know"


# Rows


def test_one_pass_visits_each_row_once(world: World) -> None:
    config = BatchConfig(rows=64, length=LENGTH)
    source = BatchSource(first_rows(world.train_rows, 640), world.lexicon, config, (0,))
    seen = [tuple(row) for batch in source for row in truth(batch.student)]
    table = world.lexicon.student
    rows = [
        tuple(piece for word in [START, *row_words(source.rows, i), END] for piece in table[word].tolist())
        for i in range(len(source.rows))
    ]
    assert sorted(seen) == sorted(rows)
    assert seen != rows, "rows must be shuffled"


def test_no_rows_are_refused(world: World) -> None:
    _, none = cut_rows(world.corpus, world.lexicon, LENGTH, hold_out=False)
    with pytest.raises(InputError, match="no row"):
        BatchSource(none, world.lexicon, MIXED, (0,))
