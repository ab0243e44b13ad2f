"""The start from what a teacher computes: nearer to it than a random start, whatever its architecture is."""

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForMaskedLM, BertConfig

from any_checkpoints import small_config
from checkpoints import drawn_pieces
from conftest import stir
from lilliput.models.fitted_start import fitted_start
from lilliput.models.masked_lm import MaskedLM
from lilliput.models.own_modules import modules_traces
from lilliput.models.student import random_student
from lilliput.models.teacher import Teacher, build_teacher

KINDS = ("electra", "albert", "deberta-v2", "modernbert", "nomic_bert", "eurobert", "bert")
OWN, SECOND, MASK = 60, 50, 4


def teacher_of(kind: str) -> Teacher:
    model = AutoModelForMaskedLM.from_config(small_config(kind, OWN, 1, 20)).eval()
    teacher = build_teacher(model, [[i, i + 3] for i in range(SECOND)], "pieces", 0, 0)
    stir(teacher, 1)
    with torch.no_grad():
        for name, parameter in teacher.named_parameters():
            if name.lower().endswith("norm.weight"):
                parameter.copy_(1 + 0.2 * parameter)
    return teacher


def shape(**sizes: int) -> BertConfig:
    usual = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    return BertConfig(vocab_size=SECOND, max_position_embeddings=18, **usual | sizes)


@pytest.fixture(scope="module")
def pieces() -> Tensor:
    return drawn_pieces(96, SECOND, MASK)


@torch.no_grad()
def divergence(teacher: Teacher, student: torch.nn.Module, pieces: Tensor) -> float:
    """Nats from the teacher's predictions to the student's at masked pieces."""
    masked = (pieces == MASK).flatten().nonzero().squeeze(1)
    theirs = teacher.second_scores(teacher.transform(teacher.hidden(pieces + OWN, None, at=masked)))
    mine = MaskedLM(student)  # type: ignore[arg-type]
    ours = mine.scores(mine.read(pieces, None, at=masked))
    return float((theirs.softmax(1) * (theirs.log_softmax(1) - ours.log_softmax(1))).sum(1).mean())


@pytest.mark.parametrize("kind", KINDS)
def test_it_beats_a_random_start(kind: str, pieces: Tensor) -> None:
    teacher = teacher_of(kind)
    fitted = divergence(teacher, fitted_start(teacher, shape(), pieces, mask=MASK), pieces)
    assert fitted < 0.7 * divergence(teacher, random_student(shape(), seed=0), pieces)


@pytest.mark.parametrize("kind", KINDS)
def test_streams_and_attention_of_every_layer_are_seen(kind: str, pieces: Tensor) -> None:
    teacher = teacher_of(kind)
    embedded = torch.nn.functional.embedding(pieces[:3], teacher.second())
    usual = teacher.model.config._attn_implementation
    streams, _ = modules_traces(teacher.model, embedded)
    _, attention = modules_traces(teacher.model, embedded, attention=True)
    assert [tuple(each.shape) for each in streams] == [(3, 16, 24)] * 3
    assert [tuple(each.shape) for each in attention] == [(3, 3, 16, 16)] * 2
    for weights in attention:
        torch.testing.assert_close(weights.sum(-1), torch.ones(3, 3, 16))
    torch.testing.assert_close(streams[-1], teacher.hidden(pieces[:3] + OWN, None), atol=1e-5, rtol=1e-4)
    assert teacher.model.config._attn_implementation == usual


@pytest.mark.parametrize(
    "sizes",
    [
        {"num_attention_heads": 4},  # more than the teacher has
        {"num_hidden_layers": 1},
        {"hidden_size": 24, "num_attention_heads": 3},
        {"hidden_size": 24, "num_attention_heads": 1, "intermediate_size": 8},
    ],
)
def test_any_smaller_shape_is_finite(sizes: dict[str, int], pieces: Tensor) -> None:
    student = fitted_start(teacher_of("modernbert"), shape(**sizes), pieces, mask=MASK)
    for name, parameter in student.named_parameters():
        assert parameter.isfinite().all(), name
    again = fitted_start(teacher_of("modernbert"), shape(**sizes), pieces, mask=MASK)
    for one, other in zip(student.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)
