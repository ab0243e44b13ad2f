"""Shared projections: which variables they link, how they fit, where their gradients go."""

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import BertForMaskedLM

from conftest import World, stir
from lilliput.config import ObjectiveWeights, StudentConfig
from lilliput.models.projection import SharedProjections, matching_layers, shared_variables
from lilliput.models.student import random_student, student_config
from lilliput.models.teacher import Teacher, build_teacher, load_masked_lm
from lilliput.training.objectives import shared_projection
from lilliput.training.step import DualModel


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def pair(world: World, width: int = 16, start: str = "pieces") -> tuple[Teacher, BertForMaskedLM]:
    model, _ = load_masked_lm(world.teacher)
    teacher = build_teacher(model, world.spelling(), start, width, seed=0)
    shape = StudentConfig(layers=2, width=width, heads=2, feed_forward=24, positions=20)
    lexicon = world.lexicon
    student = random_student(student_config(shape, lexicon.student_size, lexicon.student_special), seed=0)
    stir(student, seed=5)
    return teacher, student


# Layers and variables


@pytest.mark.parametrize(
    ("student", "teacher", "expected"),
    [
        (12, 12, list(range(12))),
        (6, 12, [1, 3, 5, 7, 9, 11]),
        (3, 12, [3, 7, 11]),
        (1, 12, [11]),
        (4, 6, [0, 2, 3, 5]),
        (5, 6, [0, 1, 2, 3, 5]),
    ],
)
def test_matching_layers(student: int, teacher: int, expected: list[int]) -> None:
    assert matching_layers(student, teacher) == expected


def test_matching_layers_rise_to_the_last() -> None:
    for teacher in range(1, 30):
        for student in range(1, teacher + 1):
            found = matching_layers(student, teacher)
            assert len(found) == student
            assert found[-1] == teacher - 1
            assert (np.diff([-1, *found]) > 0).all()


def test_every_variable_of_the_student_is_shared_once(world: World) -> None:
    teacher, student = pair(world)
    shared = shared_variables(teacher, student)
    assert [variable.name for variable in shared] == [name for name, _ in student.named_parameters()]
    ours = dict(student.named_parameters())
    for variable in shared:
        assert variable.student is ours[variable.name]
        assert variable.student.dim() == variable.teacher.dim()


def test_variables_have_the_right_counterparts(world: World) -> None:
    teacher, student = pair(world)
    shared = {variable.name: variable.teacher for variable in shared_variables(teacher, student)}
    layers = teacher.model.bert.encoder.layer
    assert shared["bert.encoder.layer.0.output.dense.weight"] is layers[0].output.dense.weight
    assert shared["bert.encoder.layer.1.output.dense.weight"] is layers[2].output.dense.weight
    assert shared["bert.embeddings.word_embeddings.weight"] is teacher.second.weight
    assert shared["cls.predictions.bias"] is teacher.second_bias
    places = teacher.model.bert.embeddings.position_embeddings.weight
    assert torch.equal(shared["bert.embeddings.position_embeddings.weight"], places[:20])


# Fitting


def test_an_axis_of_equal_size_has_no_matrix() -> None:
    sources = [drawn(6, 8), drawn(5, 8), drawn(6, 4), drawn(6, 4), drawn(8), drawn(4)]
    targets = [drawn(6, 3), drawn(2, 8), drawn(6, 4), drawn(2, 3), drawn(3), drawn(4)]
    projections = SharedProjections(sources, targets)
    assert {key: tuple(matrix.shape) for key, matrix in projections.rows.items()} == {
        "5x8_to_2x8": (2, 5),
        "6x4_to_2x3": (2, 6),
    }
    assert {key: tuple(matrix.shape) for key, matrix in projections.columns.items()} == {
        "6x8_to_6x3": (8, 3),
        "6x4_to_2x3": (4, 3),
        "8_to_3": (8, 3),
    }
    pairs = projections(sources, targets)
    assert sum(one.numel() for one, _ in pairs) == sum(target.numel() for target in targets)
    for one, other in pairs:
        assert one.shape == other.shape


def test_variables_of_one_shape_share_their_matrices() -> None:
    sources, targets = [drawn(6, 8, seed=i) for i in range(4)], [drawn(3, 2, seed=i) for i in range(4)]
    projections = SharedProjections(sources, targets)
    assert len(list(projections.parameters())) == 2
    ((projected, stacked),) = projections(sources, targets)
    (u,), (v,) = projections.rows.values(), projections.columns.values()
    for index in range(4):
        torch.testing.assert_close(projected[index], u @ sources[index] @ v)
        assert torch.equal(stacked[index], targets[index])


def distance(projections: SharedProjections, sources: list[Tensor], targets: list[Tensor]) -> float:
    with torch.no_grad():
        return float(shared_projection(projections(sources, targets))[0])


@pytest.mark.parametrize("shape", [(12, 8), (40, 8)])
def test_fit_is_exact_where_columns_alone_are_projected(shape: tuple[int, int]) -> None:
    sources, v = [drawn(*shape, seed=i) for i in range(3)], drawn(8, 5, seed=9)
    targets = [source @ v for source in sources]
    projections = SharedProjections(sources, targets)
    before = distance(projections, sources, targets)
    projections.fit(sources, targets)
    assert distance(projections, sources, targets) < 1e-8 * before


def test_fit_finds_an_exact_projection_of_both_axes() -> None:
    sources, u, v = [drawn(10, 8, seed=i) for i in range(6)], drawn(6, 10, seed=8), drawn(8, 5, seed=9)
    targets = [u @ source @ v for source in sources]
    projections = SharedProjections(sources, targets)
    projections.fit(sources, targets, rounds=200)
    assert distance(projections, sources, targets) < 1e-6 * sum(float(t.square().sum()) for t in targets)


def test_fit_is_the_best_there_is() -> None:
    """No neighbour of what least squares find is better."""
    sources, targets = [drawn(9, 8, seed=i) for i in range(3)], [drawn(9, 4, seed=10 + i) for i in range(3)]
    projections = SharedProjections(sources, targets)
    projections.fit(sources, targets)
    shared_projection(projections(sources, targets))[0].backward()
    (matrix,) = projections.parameters()
    assert matrix.grad is not None
    assert matrix.grad.abs().max() < 1e-3


@pytest.mark.parametrize("start", ["pieces", "affine"])
@pytest.mark.parametrize("direction", ["projection_down", "projection_up"])
def test_fit_reduces_the_distance_of_real_models(world: World, direction: str, start: str) -> None:
    models = DualModel(*pair(world, start=start), ObjectiveWeights(**{direction: 1.0}))
    projections = models.down if direction == "projection_down" else models.up
    assert projections is not None
    theirs, ours = models.variables()
    sides = (theirs, ours) if direction == "projection_down" else (ours, theirs)
    before = distance(projections, *sides)
    models.fit_modules()
    after = distance(projections, *sides)
    assert after < 0.9 * before
    assert after <= sum(float(side.detach().square().sum()) for side in sides[1])


@pytest.mark.parametrize(
    ("weights", "kinds"),
    [
        (ObjectiveWeights(projection_down=1.0), {"down"}),
        (ObjectiveWeights(projection_up=1.0), {"up"}),
        (ObjectiveWeights(projection_down=1.0, projection_up=1.0), {"down", "up"}),
    ],
    ids=["down", "up", "both"],
)
def test_only_the_directions_asked_for_exist(
    world: World, weights: ObjectiveWeights, kinds: set[str]
) -> None:
    models = DualModel(*pair(world), weights)
    assert {name for name, _ in models.named_children()} == {"teacher", "student"} | kinds


@pytest.mark.parametrize("direction", ["projection_down", "projection_up"])
def test_gradients_reach_both_models_and_both_matrices(world: World, direction: str) -> None:
    weights = ObjectiveWeights(teacher_masked_lm=1.0, **{direction: 1.0})
    models = DualModel(*pair(world), weights)
    theirs, ours = models.variables()
    is_down = direction == "projection_down"
    projections, sides = (models.down, (theirs, ours)) if is_down else (models.up, (ours, theirs))
    shared_projection(projections(*sides))[0].backward()
    assert models.student is not None
    assert models.teacher is not None
    for name, parameter in [*models.student.named_parameters(), *projections.named_parameters()]:
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name
    layers = models.teacher.model.bert.encoder.layer
    for variable in (
        models.teacher.second.weight,
        models.teacher.second_bias,
        layers[2].output.dense.weight,
    ):
        assert variable.grad is not None
        assert variable.grad.any()
    assert layers[1].output.dense.weight.grad is None, "no layer of the student matches the middle one"
    assert models.teacher.own_table.grad is None, "the teacher's own vocabulary is not shared"
