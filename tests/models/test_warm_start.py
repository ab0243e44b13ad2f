"""The warm start: exact where it can be, finite everywhere, nearer to the teacher than a random start."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import BertConfig, BertForMaskedLM

from checkpoints import drawn_pieces
from lilliput.models.masked_lm import MaskedLM
from lilliput.models.student import random_student
from lilliput.models.teacher import Teacher, build_teacher
from lilliput.models.warm_start import warm_start

OWN, SECOND, MASK = 40, 30, 4


def config_of(layers: int = 3, width: int = 32, heads: int = 4, inner: int = 64) -> BertConfig:
    return BertConfig(
        vocab_size=SECOND,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=inner,
        max_position_embeddings=16,
    )


@pytest.fixture(scope="module")
def teacher() -> Teacher:
    """A random teacher whose every parameter matters: large weights, uneven gains, biases not zero."""
    config = config_of()
    config.vocab_size, config.max_position_embeddings = OWN, 24
    generator = torch.Generator().manual_seed(0)
    built = build_teacher(
        BertForMaskedLM(config), [np.array([i, i + 3]) for i in range(SECOND)], "pieces", 0, 0
    )
    with torch.no_grad():
        for name, parameter in built.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(1 + 0.2 * noise if "LayerNorm.weight" in name else 0.25 * noise)
    return built.eval()


@pytest.fixture(scope="module")
def pieces() -> Tensor:
    return drawn_pieces(64, SECOND, MASK)


@torch.no_grad()
def teacher_scores(teacher: Teacher, pieces: Tensor) -> Tensor:
    states = teacher.hidden(pieces + OWN, None).flatten(0, 1)
    return teacher.second_scores(teacher.transform(states)).view(*pieces.shape, -1)


@torch.no_grad()
def student_scores(student: BertForMaskedLM, pieces: Tensor) -> Tensor:
    scores: Tensor = student.eval()(pieces).logits
    return scores


def test_equal_shapes_give_the_teacher_itself(teacher: Teacher, pieces: Tensor) -> None:
    student = warm_start(teacher, config_of(), pieces, mask=MASK)
    torch.testing.assert_close(
        student_scores(student, pieces), teacher_scores(teacher, pieces), rtol=1e-3, atol=1e-3
    )
    unseen = pieces.flip(1).roll(1, 0)
    torch.testing.assert_close(
        student_scores(student, unseen), teacher_scores(teacher, unseen), rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize(
    "shape",
    [
        {"width": 16},
        {"width": 16, "heads": 2},
        {"width": 24, "heads": 8},
        {"heads": 2},
        {"heads": 8},
        {"layers": 1},
        {"layers": 2, "width": 20},
        {"layers": 5},
        {"inner": 24},
        {"inner": 96},
    ],
    ids=str,
)
def test_any_shape_is_nearer_to_the_teacher_than_a_random_start(
    teacher: Teacher, pieces: Tensor, shape: dict[str, int]
) -> None:
    config = config_of(**shape)
    warm, cold = warm_start(teacher, config, pieces, mask=MASK), random_student(config, seed=0)
    target = teacher_scores(teacher, pieces)[pieces == MASK].softmax(-1)
    losses = [F.cross_entropy(student_scores(s, pieces)[pieces == MASK], target) for s in (warm, cold)]
    assert all(parameter.isfinite().all() for parameter in warm.parameters())
    assert losses[0] < losses[1] - 0.1


def test_more_room_than_the_teacher_has_keeps_it_exact(teacher: Teacher, pieces: Tensor) -> None:
    """Twice the heads of half the size share the scores; neurons beyond the teacher's find nothing to do."""
    student = warm_start(teacher, config_of(inner=96), pieces, mask=MASK)
    torch.testing.assert_close(
        student_scores(student, pieces), teacher_scores(teacher, pieces), rtol=0.05, atol=0.05
    )


def test_equal_input_gives_equal_weights(teacher: Teacher, pieces: Tensor) -> None:
    config = config_of(layers=2, width=16, heads=8, inner=80)
    first, second = (warm_start(teacher, config, pieces, mask=MASK).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_what_the_student_computes_is_plain_transformers(teacher: Teacher, pieces: Tensor) -> None:
    student = warm_start(teacher, config_of(width=16), pieces, mask=MASK)
    model = MaskedLM(student)
    ours = model.scores(model.read(pieces, None).flatten(0, 1))
    theirs = student_scores(student, pieces).flatten(0, 1)
    torch.testing.assert_close(ours.detach(), theirs, rtol=1e-4, atol=1e-4)
