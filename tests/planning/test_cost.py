"""What is counted from shapes is what torch counts, and what lies in memory and on disk."""

import pytest
import torch
from accelerate import Accelerator
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from conftest import LENGTH, STUDENT_PIECES, World
from lilliput.config import BatchConfig, ObjectiveWeights, OptimizerConfig, StudentConfig
from lilliput.models.kernels import PLAIN_BOTH
from lilliput.models.pretrained import config_of, load_config, load_masked_lm
from lilliput.models.shape import EncoderShape
from lilliput.models.student import parameter_count, random_student, student_config
from lilliput.models.teacher import build_teacher
from lilliput.planning.cost import (
    SHAPES,
    BatchShape,
    encoder_operations,
    step_operations,
)
from lilliput.planning.footprint import teacher_parameters, trained_parameters
from lilliput.training.step import DualModel, Stepper

STUDENT = StudentConfig(layers=2, width=16, heads=2, feed_forward=40, positions=LENGTH)
OBJECTIVES = {
    "teacher": ObjectiveWeights(teacher_masked_lm=1.0),
    "student": ObjectiveWeights(student_masked_lm=1.0),
    "both": ObjectiveWeights(teacher_masked_lm=1.0, student_masked_lm=1.0, soft_labels=1.0),
    "soft labels of a frozen teacher": ObjectiveWeights(soft_labels=1.0),
    "down": ObjectiveWeights(projection_down=1.0),
    "down from a trained teacher": ObjectiveWeights(teacher_masked_lm=1.0, projection_down=1.0),
    "up": ObjectiveWeights(projection_up=1.0),
    "all": ObjectiveWeights(1.0, 1.0, 1.0, 1.0, 1.0),
}


def shapes(world: World) -> tuple[EncoderShape, EncoderShape]:
    """Returns the small teacher's shape and the student's."""
    config = load_config(world.teacher)
    return EncoderShape.of_config(config), EncoderShape.of_student(STUDENT, STUDENT_PIECES)


def dual_model(world: World, weights: ObjectiveWeights, affine: bool) -> DualModel:
    model, _ = load_masked_lm(world.teacher)
    teacher = build_teacher(model, world.spelling(), "affine" if affine else "pieces", STUDENT.width, 0)
    config = student_config(STUDENT, STUDENT_PIECES, world.lexicon.student_special)
    return DualModel(
        teacher if weights.uses_teacher else None,
        random_student(config, 0) if weights.trains_student else None,
        weights,
    )


@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("objectives", OBJECTIVES)
def test_the_operations_of_a_step_are_those_that_torch_counts(
    world: World, objectives: str, affine: bool
) -> None:
    weights = OBJECTIVES[objectives]
    models, batch = (
        dual_model(world, weights, affine),
        world.source(BatchConfig(rows=4, length=LENGTH)).batch(0),
    )
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as forward:  # it counts plain products
        sums = models(batch, PLAIN_BOTH, True)
    with FlopCounterMode(display=False) as backward:
        torch.stack(list(sums.values())).sum().backward()
    counted = step_operations(weights, *shapes(world), BatchShape.of(batch), affine=affine)
    assert sum(part.forward for part in counted.values()) == forward.get_total_flops()
    assert sum(part.backward for part in counted.values()) == backward.get_total_flops()
    assert all(part.total == part.forward + part.backward > 0 for part in counted.values())


@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("objectives", OBJECTIVES)
def test_the_operations_of_muon_are_those_that_torch_counts(
    world: World, objectives: str, affine: bool
) -> None:
    weights = OBJECTIVES[objectives]
    batch = world.source(BatchConfig(rows=4, length=LENGTH)).batch(0)
    stepper = Stepper(dual_model(world, weights, affine), OptimizerConfig("muon"), Accelerator())
    stepper.step([batch], 1, 0.5)
    with FlopCounterMode(display=False) as update:
        stepper.optimizer.step()
    counted = step_operations(weights, *shapes(world), BatchShape.of(batch), affine=affine, muon=True)
    assert counted["update"].total == update.get_total_flops() > 0


def test_the_parts_of_a_step_count_the_projections_once(world: World) -> None:
    batch = BatchShape.of(world.source(BatchConfig(rows=4, length=LENGTH)).batch(0))
    once, thrice = (
        step_operations(OBJECTIVES["all"], *shapes(world), batch, parts=parts) for parts in (1, 3)
    )
    assert once.keys() == {"teacher", "teacher_heads", "student", "student_head", "projections"}
    assert thrice["projections"] == once["projections"]
    assert thrice["student_head"].total == 3 * once["student_head"].total


@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("objectives", OBJECTIVES)
def test_trained_parameters_are_those_of_the_optimizer(world: World, objectives: str, affine: bool) -> None:
    weights = OBJECTIVES[objectives]
    models = dual_model(world, weights, affine)
    counted = trained_parameters(weights, *shapes(world), affine)
    stepper = Stepper(models, OptimizerConfig(), Accelerator())
    groups = stepper.optimizer.param_groups
    assert sum(counted.values()) == sum(item.numel() for group in groups for item in group["params"])
    if models.teacher is not None:
        assert teacher_parameters(*shapes(world), affine) == parameter_count(models.teacher)


def test_parameters_of_well_known_shapes() -> None:
    """Of BERT_BASE with its masked-LM head as published: 109,514,298."""
    assert SHAPES["bert-base"].parameters == 109_514_298
    assert SHAPES["minilm-6"].parameters == 22_744_506  # the README's, of the checkpoint itself
    assert EncoderShape.of_student(StudentConfig(), 4928).parameters == 1_673_048


def test_a_shape_and_a_config_are_one(world: World) -> None:
    shape = EncoderShape.of_config(load_config(world.teacher))
    assert shape.layers == 3
    assert shape.positions == 48
    assert EncoderShape.of_config(config_of(shape)) == shape


def test_an_encoder_is_quadratic_in_length_beyond_its_products() -> None:
    one, two = (
        encoder_operations(SHAPES["minilm-6"], 8, length, predicted=length).forward for length in (128, 256)
    )
    assert two - 2 * one == 2 * 6 * 8 * 2 * 384 * (256**2 - 2 * 128**2)
