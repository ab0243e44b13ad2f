"""The experiment on a byte-level BPE teacher, small."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer, BertModel

from conftest import World, small_text
from experiments.bpe_teacher import learn_bpe, make, spelt, with_vocabulary
from lilliput.pieces.bert_tokenizer import load_tokenizer
from lilliput.pieces.lexicon import Lexicon
from lilliput.recipes import tiny


def test_from_a_bert_to_a_bpe_teacher_to_a_bundle(world: World, tmp_path: Path) -> None:
    texts = small_text(1, 300, odd=True).split("\n\n")
    pq.write_table(pa.table({"text": texts}), tmp_path / "articles.parquet")
    learning = tiny().replace({"stages.teacher.batch.mixing": "0.0", "budget.words": "40000"})
    out = tmp_path / "out"
    found = make(world.teacher, tmp_path / "articles.parquet", out, 250, 500, learning, tiny())
    assert found["articles"] == 250
    learnt = found["learnt"]
    assert learnt["after"]["teacher/loss"] < learnt["before"]["teacher/loss"]
    first = found["summary"]["stages"]["teacher"]["before"]
    assert first["teacher/loss"] < learnt["before"]["teacher/loss"], "the student's teacher is the learnt one"
    assert AutoModelForMaskedLM.from_pretrained(out / "teacher").config.model_type == "roberta"
    assert Lexicon.open(out / "run" / "lexicon").teacher_size == 500
    assert found["bundle_bytes"] == sum(path.stat().st_size for path in (out / "bundle").iterdir())
    assert json.loads((out / "bpe_teacher.json").read_text())["guesses"] == found["guesses"]


def test_the_new_table_begins_from_what_spells_a_piece(world: World, tmp_path: Path) -> None:
    bpe, wordpiece = learn_bpe(small_text(1, 100, odd=True).split("\n\n"), 400), load_tokenizer(world.teacher)
    with_vocabulary(world.teacher, bpe, tmp_path)
    pieces_of, tokenizer = spelt(bpe, wordpiece), AutoTokenizer.from_pretrained(tmp_path)
    theirs = BertModel.from_pretrained(world.teacher).embeddings.word_embeddings.weight
    ours = AutoModelForMaskedLM.from_pretrained(tmp_path).roberta.embeddings.word_embeddings.weight
    for piece, named in (("Ġthe", "the"), ("<mask>", "[MASK]"), ("s", "##s")):
        row = ours[tokenizer.convert_tokens_to_ids(piece)]
        assert torch.equal(row, theirs[wordpiece.token_to_id(named)])
    long = max(range(len(pieces_of)), key=lambda at: len(pieces_of[at]))
    assert len(pieces_of[long]) > 1
    assert torch.allclose(ours[long], theirs[pieces_of[long]].mean(0), atol=1e-6)
