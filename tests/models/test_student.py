"""The student: true sizes, and a checkpoint that needs nothing of lilliput."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer, BertForMaskedLM, BertForPreTraining

from conftest import LENGTH, World, stir
from lilliput.config import StudentConfig
from lilliput.errors import StorageError
from lilliput.models.masked_lm import MaskedLM
from lilliput.models.student import (
    load_student,
    parameter_count,
    random_student,
    save_student,
    student_config,
)
from lilliput.pieces.tokenizer_file import SpecialPieces
from lilliput.recipes import paper48, paper96, paper192

SPECIAL = SpecialPieces(0, 1, 2, 3, 4)
SHAPE = StudentConfig(layers=2, width=16, heads=2, feed_forward=32, positions=LENGTH)


@pytest.fixture
def student(world: World) -> BertForMaskedLM:
    config = student_config(SHAPE, world.lexicon.student_size, world.lexicon.student_special)
    made = random_student(config, seed=0)
    stir(made)
    return made


# Sizes


@pytest.mark.parametrize(
    ("recipe", "parameters"),
    [(paper48, 591_970), (paper96, 1_888_642), (paper192, 6_389_698)],
    ids=["48", "96", "192"],
)
def test_true_sizes(recipe: object, parameters: int) -> None:
    made = recipe()  # type: ignore[operator]
    config, width = student_config(made.student, made.lexicon.size, SPECIAL), made.student.width
    assert parameter_count(BertForPreTraining(config)) == parameters
    pooler, next_sentence = width * width + width, 2 * width + 2
    assert parameter_count(BertForMaskedLM(config)) == parameters - pooler - next_sentence


def test_the_config_says_what_was_asked_for() -> None:
    config = student_config(StudentConfig(3, 24, 6, 50, 77), 200, SpecialPieces(9, 1, 2, 3, 4))
    assert config.num_hidden_layers == 3
    assert config.hidden_size == 24
    assert config.num_attention_heads == 6
    assert config.intermediate_size == 50
    assert config.max_position_embeddings == 77
    assert config.vocab_size == 200
    assert config.pad_token_id == 9


def test_the_head_is_tied(student: BertForMaskedLM) -> None:
    assert student.cls.predictions.decoder.weight is student.bert.embeddings.word_embeddings.weight


def test_a_random_start_hangs_on_the_seed_and_leaves_torch_alone() -> None:
    config, state = student_config(SHAPE, 200, SPECIAL), torch.get_rng_state()
    one, same, other = (random_student(config, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    weights = [model.bert.encoder.layer[0].output.dense.weight for model in (one, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert weights[0].std().item() == pytest.approx(0.02, rel=0.15)


# On disk

LOAD = """
import json, sys
import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer

folder, text = sys.argv[1:]
model, tokenizer = AutoModelForMaskedLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
encoded = tokenizer(text, return_tensors="pt")
with torch.no_grad():
    logits = model.eval()(**encoded).logits[0]
assert "lilliput" not in sys.modules
kind = type(model).__name__
print(json.dumps({"kind": kind, "ids": encoded["input_ids"][0].tolist(), "logits": logits.tolist(),
                  "longest": tokenizer.model_max_length, "mask": tokenizer.mask_token_id}))
"""


@torch.no_grad()
def test_it_loads_where_lilliput_is_not_imported(
    world: World, student: BertForMaskedLM, tmp_path: Path
) -> None:
    tokenizer = world.lexicon.student_tokenizer()
    save_student(student, tokenizer, tmp_path)
    text = "The brinimhood café, [MASK] every honost → 中!"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(tmp_path), text],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["kind"] == "BertForMaskedLM"
    assert found["longest"] == LENGTH
    assert found["mask"] == world.lexicon.student_special.mask
    assert found["ids"] == tokenizer.encode(text).ids
    assert found["mask"] in found["ids"]
    pieces = torch.tensor([found["ids"]])
    model = MaskedLM(student)
    ours = model.scores(model.read(pieces, None)[0])
    torch.testing.assert_close(torch.tensor(found["logits"]), ours, rtol=1e-4, atol=1e-4)


def test_what_is_saved_is_loaded(world: World, student: BertForMaskedLM, tmp_path: Path) -> None:
    save_student(student, world.lexicon.student_tokenizer(), tmp_path)
    for loaded in (load_student(tmp_path), AutoModelForMaskedLM.from_pretrained(tmp_path)):
        assert isinstance(loaded, BertForMaskedLM)
        theirs = dict(loaded.named_parameters())
        for name, parameter in student.named_parameters():
            assert torch.equal(theirs[name], parameter), name
    assert parameter_count(load_student(tmp_path)) == parameter_count(student)


def test_its_tokenizer_makes_the_pieces_of_the_lexicon(
    world: World, student: BertForMaskedLM, tmp_path: Path
) -> None:
    save_student(student, world.lexicon.student_tokenizer(), tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    text = world.other_text.read_text(encoding="utf-8")[:80]
    assert tokenizer(text)["input_ids"] == world.lexicon.student_tokenizer().encode(text).ids
    pieces = tokenizer("Naïve CAFÉ", add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(pieces) == "naive cafe"


@pytest.mark.parametrize("spoil", ["missing", "cut", "no config"])
def test_a_spoilt_student_is_refused(
    world: World, student: BertForMaskedLM, tmp_path: Path, spoil: str
) -> None:
    save_student(student, world.lexicon.student_tokenizer(), tmp_path)
    weights = tmp_path / "model.safetensors"
    if spoil == "cut":
        weights.write_bytes(weights.read_bytes()[:-50])
    else:
        (weights if spoil == "missing" else tmp_path / "config.json").unlink()
    with pytest.raises(StorageError, match="no student could be loaded from"):
        load_student(tmp_path)


def test_a_student_is_tuned_without_dropout_as_it_was_trained(world: World) -> None:
    config = student_config(StudentConfig(), world.lexicon.student_size, world.lexicon.student_special)
    assert (config.hidden_dropout_prob, config.attention_probs_dropout_prob) == (0.0, 0.0)
