"""One training step: exact sums, only what the weights ask for, a stop where a loss is not finite."""

import dataclasses

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor

from conftest import LENGTH, World, stir
from lilliput.config import BatchConfig, ObjectiveWeights, OptimizerConfig, StudentConfig
from lilliput.errors import TrainingError
from lilliput.models.kernels import DualKernels, Kernels
from lilliput.models.pretrained import load_masked_lm
from lilliput.models.student import random_student, student_config
from lilliput.models.teacher import build_teacher
from lilliput.objectives import OBJECTIVES
from lilliput.training.batches import Batch
from lilliput.training.optimizers import build_optimizer
from lilliput.training.step import DualModel, Stepper

ALL = ObjectiveWeights(
    teacher_masked_lm=1.0, student_masked_lm=0.7, projection_down=1e-2, projection_up=2e-2, soft_labels=0.5
)
SHAPE = StudentConfig(layers=2, width=16, heads=2, feed_forward=24, positions=LENGTH)
NAMES = [one.name for one in OBJECTIVES if not one.reads_sentences]


def only(**weights: float) -> ObjectiveWeights:
    return ObjectiveWeights(**weights)


def made(world: World, weights: ObjectiveWeights = ALL, start: str = "pieces") -> DualModel:
    """Returns the same models every time, with values that matter."""
    lexicon = world.lexicon
    teacher = student = None
    if weights.uses_teacher:
        model, _ = load_masked_lm(world.teacher)
        teacher = build_teacher(model, world.spelling(), start, SHAPE.width, seed=0)
    if weights.trains_student:
        student = random_student(student_config(SHAPE, lexicon.student_size, lexicon.student_special), seed=0)
        stir(student, seed=5)
    return DualModel(teacher, student, weights)


def stepper_of(models: DualModel, **options: float | str) -> Stepper:
    return Stepper(models, OptimizerConfig(**options), Accelerator())


def batches(world: World, accumulation: int = 1, step: int = 0) -> list[Batch]:
    source = world.source(BatchConfig(rows=8, length=LENGTH))
    return [source.batch(step, part, accumulation) for part in range(accumulation)]


def weights_of(models: DualModel) -> dict[str, Tensor]:
    return {name: item.detach().clone() for name, item in models.named_parameters()}


def changed(before: dict[str, Tensor], models: DualModel) -> set[str]:
    return {name for name, item in models.named_parameters() if not torch.equal(before[name], item)}


def after_one_step(world: World, weights: ObjectiveWeights, **options: float | str) -> dict[str, Tensor]:
    models = made(world, weights)
    stepper_of(models, **options).step(batches(world), 1, done=0.5)
    return weights_of(models)


# Sums


def test_accumulated_parts_give_the_same_step(world: World) -> None:
    results = []
    for parts in (1, 2, 4):
        models = made(world)
        stepper = stepper_of(models)
        means = stepper.step(batches(world, parts), 1, done=0.5)
        gradients = {name: item.grad for name, item in models.named_parameters()}
        results.append((means, gradients))
    for means, gradients in results[1:]:
        assert means.keys() == set(NAMES)
        assert means == pytest.approx(results[0][0], rel=1e-5)
        for name, gradient in gradients.items():
            torch.testing.assert_close(gradient, results[0][1][name], rtol=1e-3, atol=1e-5, msg=name)


def test_accumulation_does_not_count_the_projections_twice(world: World) -> None:
    weights = only(projection_down=1.0)
    one, two = (stepper_of(made(world, weights)).step(batches(world, parts), 1, done=0.5) for parts in (1, 2))
    assert one == pytest.approx(two)


def test_means_are_those_of_transformers_own_forward(world: World) -> None:
    """Losses against BertForMaskedLM fed with the same pieces."""
    models, (batch,) = made(world), batches(world)
    assert models.student is not None
    assert models.teacher is not None
    reading = batch.student
    assert reading.padding is not None
    labels = torch.full_like(reading.pieces, -100).flatten()
    labels[reading.positions] = reading.targets
    with torch.no_grad():
        student = models.student.eval()(
            reading.pieces,
            attention_mask=(~reading.padding).long(),
            labels=labels.view_as(reading.pieces),
        )
        teacher, mixed = models.teacher.eval(), batch.teacher
        assert mixed.padding is not None
        both = torch.cat([teacher.own_table, teacher.second()])
        hidden = teacher.model.bert(inputs_embeds=both[mixed.pieces], attention_mask=(~mixed.padding).long())[
            0
        ]
        hidden = teacher.model.cls.predictions.transform(hidden.flatten(0, 1)[mixed.positions])
        own = len(teacher.own_table)
        total, student_scores, teacher_scores = 0.0, student.logits.flatten(0, 1)[reading.positions], []
        for row, target in zip(hidden, mixed.targets.tolist(), strict=True):
            if target < own:
                total -= float((teacher.own_table @ row + teacher.own_bias).log_softmax(0)[target])
            else:
                scores = teacher.second() @ row + teacher.second_bias
                total -= float(scores.log_softmax(0)[target - own])
                teacher_scores.append(scores)
        labels_of_teacher = torch.stack(teacher_scores).softmax(-1)
        soft = -(labels_of_teacher * student_scores[batch.aligned].log_softmax(-1)).sum(-1).mean()
    means = stepper_of(models).step([batch], 1, done=0.5)
    assert means["student_masked_lm"] == pytest.approx(float(student.loss), rel=1e-4)
    assert means["teacher_masked_lm"] == pytest.approx(total / len(mixed.targets), rel=1e-4)
    assert means["soft_labels"] == pytest.approx(float(soft), rel=1e-4)


# Weights of objectives


def refuse(*_: object) -> None:
    raise AssertionError("an objective of weight 0 was computed")


@pytest.mark.parametrize("name", NAMES)
def test_what_has_no_weight_is_not_computed(world: World, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for objective in OBJECTIVES:
        if objective.name != name:
            monkeypatch.setattr(type(objective), "sum", refuse)
    means = stepper_of(made(world, only(**{name: 1.0}))).step(batches(world), 1, done=0.5)
    assert means.keys() == {name}


@pytest.mark.parametrize("name", NAMES)
def test_what_has_no_weight_changes_nothing(world: World, name: str) -> None:
    """A stage where one objective is switched off, against one where the models lack it altogether."""
    without = dataclasses.replace(ALL, **{name: 0.0})
    before = weights_of(made(world, without))
    after = after_one_step(world, without)
    if name == "teacher_masked_lm":
        assert all(torch.equal(before[key], after[key]) for key in before if key.startswith("teacher."))
    if name.startswith("projection"):
        assert not any(key.startswith(f"{name.removeprefix('projection_')}.") for key in after)
    assert name not in stepper_of(made(world, without)).step(batches(world), 1, done=0.5)


@pytest.fixture(scope="module")
def usual(world: World) -> dict[str, Tensor]:
    """The weights after a step of everything."""
    return after_one_step(world, ALL)


@pytest.mark.parametrize("name", NAMES)
def test_each_weight_changes_the_result(world: World, usual: dict[str, Tensor], name: str) -> None:
    doubled = after_one_step(world, dataclasses.replace(ALL, **{name: 2 * getattr(ALL, name)}))
    assert usual.keys() == doubled.keys()
    assert any(not torch.equal(usual[key], doubled[key]) for key in usual)


def test_the_same_step_gives_the_same_weights(world: World, usual: dict[str, Tensor]) -> None:
    again = after_one_step(world, ALL)
    assert all(torch.equal(value, again[key]) for key, value in usual.items())


@pytest.mark.parametrize(
    "weights", [only(soft_labels=1.0), only(projection_down=1.0), only(projection_up=1.0)]
)
def test_a_frozen_teacher_stays_as_it_is(world: World, weights: ObjectiveWeights) -> None:
    models = made(world, weights)
    before = weights_of(models)
    stepper = stepper_of(models, student_rate=0.1)
    for step in range(3):
        stepper.step(batches(world, step=step), step + 1, done=0.5)
    moved = changed(before, models)
    assert moved
    assert not any(name.startswith("teacher.") for name in moved)


def test_soft_labels_alone_train_the_student_towards_the_teacher(world: World) -> None:
    models = made(world, only(soft_labels=1.0))
    stepper = stepper_of(models, student_rate=1e-2)
    losses = [stepper.step(batches(world), step, done=0.5)["soft_labels"] for step in range(1, 21)]
    assert losses[-1] < losses[0] - 0.3


def test_projections_alone_draw_the_models_together(world: World) -> None:
    models = made(world, only(projection_down=1.0))
    stepper = stepper_of(models, student_rate=1e-2)
    losses = [stepper.step(batches(world), step, done=0.5)["projection_down"] for step in range(1, 11)]
    assert losses[-1] < 0.9 * losses[0]


# Optimisers


@pytest.mark.parametrize("start", ["pieces", "affine"])
@pytest.mark.parametrize("name", ["adamw", "lamb", "muon"])
def test_a_step_changes_everything_that_is_trained(world: World, name: str, start: str) -> None:
    models = made(world, ALL, start)
    before = weights_of(models)
    stepper = stepper_of(models, name=name)
    assert type(stepper.optimizer.optimizer).__name__.strip("_").lower() == name
    for step in range(2):
        stepper.step(batches(world, step=step), step + 1, done=0.5)
    assert changed(before, models) == set(before)
    assert all(item.isfinite().all() for item in models.parameters())


@pytest.mark.parametrize("name", ["adamw", "lamb", "muon"])
def test_steps_lower_the_loss(world: World, name: str) -> None:
    models = made(world, only(student_masked_lm=1.0))
    stepper = stepper_of(models, name=name, student_rate=2e-2)
    losses = [stepper.step(batches(world), step, done=0.5)["student_masked_lm"] for step in range(1, 16)]
    assert losses[-1] < losses[0] - 0.5


def test_each_model_has_its_own_rate(world: World) -> None:
    rates, decays = {}, {}
    models = made(world)
    optimizer = build_optimizer(models, OptimizerConfig(student_rate=0.3, teacher_rate=0.1))
    for group in optimizer.param_groups:
        for item in group["params"]:
            rates[id(item)], decays[id(item)] = group["peak"], group["weight_decay"]
    for name, item in models.named_parameters():
        assert rates[id(item)] == (0.1 if name.startswith("teacher.") else 0.3), name
        assert (decays[id(item)] > 0) == (item.dim() > 1), name


OPTIONS = {
    "student_rate": 1e-3,
    "teacher_rate": 1e-3,
    "clip": 0.01,
    "weight_decay": 0.5,
    "beta2": 0.5,
    "warm_up": 0.9,
}


def after_two_steps(world: World, **options: float) -> dict[str, Tensor]:
    models = made(world)
    stepper = stepper_of(models, **options)
    for step in range(2):
        stepper.step(batches(world, step=step), step + 1, done=0.5)
    return weights_of(models)


@pytest.fixture(scope="module")
def usual_after_two(world: World) -> dict[str, Tensor]:
    return after_two_steps(world)


@pytest.mark.parametrize("option", OPTIONS)
def test_each_option_of_the_optimiser_changes_the_result(
    world: World, usual_after_two: dict[str, Tensor], option: str
) -> None:
    other = after_two_steps(world, **{option: OPTIONS[option]})
    assert any(not torch.equal(value, other[name]) for name, value in usual_after_two.items())


def test_clipping_is_done_for_each_model_apart(world: World) -> None:
    models = made(world)
    stepper = stepper_of(models, clip=0.5)
    stepper.step(batches(world), 1, done=0.5)
    for module in (models.teacher, models.student, models.down, models.up):
        assert module is not None
        norms = [item.grad.norm() for item in module.parameters() if item.grad is not None]
        assert torch.stack(norms).norm().item() == pytest.approx(0.5, rel=1e-3)


@pytest.mark.parametrize("name", ["adamw", "lamb", "muon"])
def test_models_that_nothing_links_train_as_if_alone(world: World, name: str) -> None:
    both, alone = (
        made(world, weights)
        for weights in (only(teacher_masked_lm=1.0, student_masked_lm=1.0), only(student_masked_lm=1.0))
    )
    for models in (both, alone):
        stepper = stepper_of(models, name=name)
        for step in range(3):
            stepper.step(batches(world, step=step), step + 1, done=0.5)
    theirs = weights_of(both)
    assert all(torch.equal(item, theirs[key]) for key, item in weights_of(alone).items())


def test_the_rate_of_a_step_hangs_on_what_is_done(world: World) -> None:
    models = made(world)
    stepper = stepper_of(models, student_rate=0.4, teacher_rate=0.2, warm_up=0.0)
    stepper.step(batches(world), 1, done=0.75)
    assert {group["lr"] for group in stepper.optimizer.param_groups} == {0.1, 0.05}


# Losses that are not finite


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", NAMES)
def test_a_loss_that_is_not_finite_stops_before_the_step(
    world: World, name: str, value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = made(world)
    stepper, before = stepper_of(models), weights_of(models)
    (kind,) = (type(objective) for objective in OBJECTIVES if objective.name == name)
    usual = kind.sum
    monkeypatch.setattr(kind, "sum", lambda objective, outputs: usual(objective, outputs) * value)
    with pytest.raises(TrainingError, match=r"objective \w+ is (nan|inf) at step 7.*[Ll]ower") as caught:
        stepper.step(batches(world), 7, done=0.5)
    assert f"objective {name} " in str(caught.value)
    assert not changed(before, models)


def test_a_spoilt_weight_is_found_by_its_loss(world: World) -> None:
    models = made(world, only(student_masked_lm=1.0))
    assert models.student is not None
    with torch.no_grad():
        models.student.bert.encoder.layer[1].output.dense.weight[0, 0] = float("nan")
    with pytest.raises(TrainingError, match="student_masked_lm is nan at step 12"):
        stepper_of(models).step(batches(world), 12, done=0.5)


def test_a_gradient_that_is_not_finite_stops_before_the_step(world: World) -> None:
    models = made(world)
    before, stepper = weights_of(models), stepper_of(models)
    assert models.up is not None
    next(models.up.parameters()).register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(
        TrainingError, match=r"norm of the gradients of .*projection_up is (nan|inf) at step 3"
    ):
        stepper.step(batches(world), 3, done=0.5)
    assert not changed(before, models)


# Precision


def test_bfloat16_trains_everything_too(world: World) -> None:
    models = made(world)
    before, stepper = weights_of(models), stepper_of(models)
    stepper.kernels = DualKernels(Kernels("bfloat16", "products"), Kernels("bfloat16", "products"))
    exact = stepper_of(made(world)).step(batches(world), 1, done=0.5)
    assert stepper.step(batches(world), 1, done=0.5) == pytest.approx(exact, rel=0.05)
    assert changed(before, models) == set(before)
    assert all(item.dtype == torch.float32 for item in models.parameters())
