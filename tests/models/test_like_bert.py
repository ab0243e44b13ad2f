"""Encoders like a BERT under other names: their start is as exact, and they share the same matrices."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForMaskedLM, BertConfig, BertForMaskedLM

from any_checkpoints import small_config
from checkpoints import drawn_pieces
from conftest import stir
from lilliput.models.any_masked_lm import open_masked_lm
from lilliput.models.masked_lm import MaskedLM
from lilliput.models.projection import shared_variables
from lilliput.models.student import random_student
from lilliput.models.teacher import Teacher, build_teacher
from lilliput.models.warm_start import warm_start

EXACT = ("roberta", "xlm-roberta", "camembert", "distilbert")
KINDS = (*EXACT, "mpnet")
OWN, SECOND, MASK = 40, 30, 4


def teacher_of(kind: str, seed: int = 0, **config: int) -> Teacher:
    model = AutoModelForMaskedLM.from_config(small_config(kind, OWN, 1, 20, **config)).eval()
    teacher = build_teacher(model, [[i, i + 3] for i in range(SECOND)], "pieces", 0, 0)
    stir(teacher, seed)
    with torch.no_grad():
        for name, parameter in teacher.named_parameters():
            if "norm.weight" in name:
                parameter.add_(1.0)
    return teacher


def shape(width: int = 24, layers: int = 2) -> BertConfig:
    return BertConfig(
        vocab_size=SECOND,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=3,
        intermediate_size=32,
        max_position_embeddings=16,
    )


@pytest.fixture(scope="module")
def pieces() -> Tensor:
    return drawn_pieces(64, SECOND, MASK)


@torch.no_grad()
def divergence(teacher: Teacher, student: BertForMaskedLM, pieces: Tensor) -> float:
    """Nats from the teacher's predictions to the student's, over the student's vocabulary."""
    theirs = teacher.second_scores(teacher.transform(teacher.hidden(pieces + OWN, None).flatten(0, 1)))
    ours = MaskedLM(student).scores(MaskedLM(student).read(pieces, None).flatten(0, 1))
    return float((theirs.softmax(1) * (theirs.log_softmax(1) - ours.log_softmax(1))).sum(1).mean())


@pytest.mark.parametrize("kind", EXACT)
def test_equal_shapes_give_the_teacher_itself(kind: str, pieces: Tensor) -> None:
    teacher = teacher_of(kind)
    student = warm_start(teacher, shape(), pieces, mask=MASK)
    assert divergence(teacher, student, pieces) < 1e-5
    assert divergence(teacher, student, pieces.flip(1).roll(1, 0)) < 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_a_narrower_start_beats_a_random_one(kind: str, pieces: Tensor) -> None:
    teacher = teacher_of(kind, seed=1)
    warm = divergence(teacher, warm_start(teacher, shape(18), pieces, mask=MASK), pieces)
    cold = divergence(teacher, random_student(shape(18), seed=0), pieces)
    assert warm < 0.6 * cold


def test_an_mpnet_of_equal_shape_lacks_its_bias_alone(pieces: Tensor) -> None:
    teacher = teacher_of("mpnet")
    bias = teacher.model.mpnet.encoder.relative_attention_bias.weight
    with torch.no_grad():
        bias.mul_(10)
    biased = divergence(teacher, warm_start(teacher, shape(), pieces, mask=MASK), pieces)
    assert biased < 0.5 * divergence(teacher, random_student(shape(), seed=0), pieces)
    with torch.no_grad():
        bias.zero_()
    assert divergence(teacher, warm_start(teacher, shape(), pieces, mask=MASK), pieces) < 1e-5
    assert biased > 1e-4


def test_one_row_of_types_serves_both_texts(pieces: Tensor) -> None:
    student = warm_start(teacher_of("roberta", type_vocab_size=1), shape(), pieces, mask=MASK)
    first, second = student.bert.embeddings.token_type_embeddings.weight
    assert torch.equal(first, second)
    assert first.abs().max() > 0


def test_without_types_they_are_zero(pieces: Tensor) -> None:
    student = warm_start(teacher_of("distilbert"), shape(), pieces, mask=MASK)
    assert not student.bert.embeddings.token_type_embeddings.weight.any()


@pytest.mark.parametrize("kind", KINDS)
def test_what_both_have_is_shared(kind: str) -> None:
    teacher, student = teacher_of(kind), random_student(shape(), seed=0)
    shared = {variable.name: variable for variable in shared_variables(teacher, student)}
    lacking = {name for name, _ in student.named_parameters()} - shared.keys()
    types = "bert.embeddings.token_type_embeddings.weight"
    assert lacking == ({types} if kind in ("distilbert", "mpnet") else set())
    for variable in shared.values():
        assert variable.teacher.shape == variable.student.shape, variable.name
    positions = shared["bert.embeddings.position_embeddings.weight"]
    first = {"distilbert": 0}.get(kind, 2)  # RoBERTa counts from the piece that pads
    table = teacher.model.base_model.embeddings.position_embeddings.weight
    assert torch.equal(positions.teacher, table[first : first + 16])
    assert shared["bert.embeddings.word_embeddings.weight"].teacher is teacher.second()


def test_of_one_row_of_types_one_row_is_shared() -> None:
    teacher, student = teacher_of("roberta", type_vocab_size=1), random_student(shape(), seed=0)
    shared = {variable.name: variable for variable in shared_variables(teacher, student)}
    variable = shared["bert.embeddings.token_type_embeddings.weight"]
    assert len(variable.teacher) == len(variable.student) == 1


def test_a_head_that_is_missing_passes_states_on(tmp_path: Path) -> None:
    model = AutoModelForMaskedLM.from_config(small_config("roberta", OWN, 1, 20))
    stir(model)
    model.roberta.save_pretrained(tmp_path)
    opened, has_head = open_masked_lm(str(tmp_path))
    assert not has_head
    assert torch.equal(opened.lm_head.dense.weight, torch.eye(24))
