"""Rows: every word that fits once, whole documents held out, none of them trained on."""

from pathlib import Path

import numpy as np
import pytest

from conftest import LENGTH, World, row_words
from lilliput.config import LexiconConfig
from lilliput.errors import InputError
from lilliput.pieces.bert_tokenizer import load_tokenizer
from lilliput.pieces.corpus import build_corpus
from lilliput.pieces.lexicon import build_lexicon
from lilliput.text.corpus import END
from lilliput.training.rows import cut_rows


@pytest.mark.parametrize("length", [8, 20, 32])
def test_rows_hold_every_word_that_fits_and_no_longer_row(world: World, length: int) -> None:
    train, held = cut_rows(world.corpus, world.lexicon, length, hold_out=True)
    longest = np.maximum(world.lexicon.teacher.lengths, world.lexicon.student.lengths)
    covered = [np.zeros(len(shard), int) for shard in world.corpus.shards]
    for rows in (train, held):
        for i in range(len(rows)):
            assert longest[row_words(rows, i)].sum() <= length - 2
            covered[rows.shard[i]][rows.start[i] : rows.end[i]] += 1
    for count, shard in zip(covered, world.corpus.shards, strict=True):
        too_long = longest[shard] > length - 2
        assert np.array_equal(count, np.where(too_long, 0, 1))


def test_held_out_documents_are_whole_and_never_trained_on(world: World) -> None:
    train, held = world.train_rows, world.held_out_rows
    (stream,) = world.corpus.shards
    document = np.concatenate([[0], np.cumsum(stream == END)])[:-1]
    documents = [
        {number for i in range(len(rows)) for number in document[rows.start[i] : rows.end[i] - 1].tolist()}
        for rows in (train, held)
    ]
    assert not documents[0] & documents[1]
    assert documents[0] | documents[1] == set(range(world.corpus.documents))
    assert len(documents[1]) == world.corpus.documents // 20


def test_documents_of_a_few_words_fill_rows(world: World, tmp_path: Path) -> None:
    words = world.text.read_text(encoding="utf-8").split()
    text = tmp_path / "queries.txt"
    text.write_text("\n\n".join(" ".join(words[at : at + 2]) for at in range(0, 4000, 2)), encoding="utf-8")
    tokenizer = load_tokenizer(world.teacher)
    corpus = build_corpus([str(text)], tokenizer, tmp_path / "corpus", workers=1)
    lexicon = build_lexicon(corpus, tokenizer, LexiconConfig(size=300), tmp_path / "lexicon")
    train, held = cut_rows(corpus, lexicon, 128, hold_out=True)
    longest = np.maximum(lexicon.teacher.lengths, lexicon.student.lengths)
    full = [longest[row_words(train, i)].sum() > 128 - 2 - longest.max() for i in range(len(train))]
    assert np.mean(full) > 0.6
    held_out, learnt = ((rows.end - rows.start).sum() for rows in (held, train))
    assert 0.03 < held_out / learnt < 0.08


def test_without_holding_out_everything_is_trained_on(world: World) -> None:
    train, held = cut_rows(world.corpus, world.lexicon, LENGTH, hold_out=False)
    assert len(held) == 0
    assert (train.end - train.start).sum() == len(world.corpus.shards[0])


def test_a_single_document_is_refused(world: World, tmp_path: Path) -> None:
    text = tmp_path / "one.txt"
    text.write_text(world.text.read_text(encoding="utf-8").replace("\n\n", " "), encoding="utf-8")
    tokenizer = load_tokenizer(world.teacher)
    corpus = build_corpus([str(text)], tokenizer, tmp_path / "corpus", workers=1)
    lexicon = build_lexicon(corpus, tokenizer, LexiconConfig(size=300), tmp_path / "lexicon")
    with pytest.raises(InputError, match=r"single document.*--held-out"):
        cut_rows(corpus, lexicon, LENGTH, hold_out=True)
    train, _ = cut_rows(corpus, lexicon, LENGTH, hold_out=False)
    assert len(train) > 100
