import dataclasses
import itertools
import math
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from conftest import World
from labelled import CLASSES, JOINT, REGRESSION, TAGGING, TASKS, examples_of
from lilliput.common.metrics_log import MetricsLog
from lilliput.errors import Interrupted, StorageError, TrainingError
from lilliput.finetuning import fit as fit_module
from lilliput.finetuning.config import DistillationConfig, FinetuningConfig
from lilliput.finetuning.encoded import encode, label_array, make_batch, task_tokenizer
from lilliput.finetuning.fit import SeedResult, examine, fit, predict
from lilliput.finetuning.loss import TaskLoss
from lilliput.finetuning.model import TaskModel, load_encoder
from lilliput.finetuning.sets import DevSet, TrainSet
from lilliput.models.quantization import dequantize, grid_of, quantize
from lilliput.tasks.task import Examples, Labels, Task

FAST = FinetuningConfig(epochs=12, rows=8, dropout=0.0, evaluations=4, patience=9)


class NoBar:
    def update(self, completed: float, note: str = "") -> None:
        assert 0 < completed <= 1


def train_set(world: World, task: Task, examples: Examples, **said: np.ndarray) -> TrainSet:
    assert examples.labels is not None
    encoded = encode(examples, task, task_tokenizer(world.teacher), 32)
    return TrainSet(encoded, label_array(task, examples.labels, encoded.given), **said)


def dev_set(world: World, task: Task, examples: Examples) -> DevSet:
    assert examples.labels is not None
    return DevSet(task, encode(examples, task, task_tokenizer(world.teacher), 32), examples.labels)


def learn(
    world: World,
    task: Task,
    config: FinetuningConfig,
    train: TrainSet | None = None,
    seed: int = 0,
    **options: Any,
) -> tuple[TaskModel, SeedResult]:
    model = load_encoder(world.teacher, task, config.dropout, seed)
    train = train or train_set(world, task, examples_of(task, 64, 1))
    dev = dev_set(world, task, examples_of(task, 32, 2))
    return model, fit(model, train, dev, config, rate=5e-3, seed=seed, progress=NoBar(), **options)


@pytest.mark.parametrize("name", TASKS)
def test_every_kind_of_task_is_learnt(world: World, name: str) -> None:
    model, found = learn(world, TASKS[name], FAST)
    assert found.scores[TASKS[name].metric] > 0.95
    assert found.scores == examine(model, dev_set(world, TASKS[name], examples_of(TASKS[name], 32, 2)))
    assert max(found.history) == found.scores[TASKS[name].metric]


def test_no_score_is_shown_before_there_is_one(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    notes: list[str] = []
    monkeypatch.setattr(NoBar, "update", lambda self, completed, note="": notes.append(note))
    learn(world, CLASSES, FinetuningConfig(epochs=1, rows=8, evaluations=2))
    before, after = notes[:3], notes[4:]
    assert [note.count("accuracy") for note in before] == [0, 0, 0]
    assert all("accuracy" in note for note in after)


def test_what_is_learnt_and_scored_has_the_weights_of_a_file(world: World) -> None:
    config = dataclasses.replace(FAST, epochs=1, evaluations=1, weight_decay=0.0, quantization="mixed")
    model, found = learn(world, REGRESSION, config)
    dev = dev_set(world, REGRESSION, examples_of(REGRESSION, 32, 2))
    before = load_encoder(world.teacher, REGRESSION, config.dropout, 0)
    assert list(model.state_dict()) == list(before.state_dict())
    assert all(not torch.equal(value, before.get_parameter(name)) for name, value in model.named_parameters())
    assert examine(model, dev)["pearson"] != pytest.approx(found.scores["pearson"], abs=1e-7)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if (grid := grid_of(name, config.plan)).bits < 32:
                value.copy_(torch.from_numpy(dequantize(quantize(value.numpy(), grid))))
    assert examine(model, dev)["pearson"] == pytest.approx(found.scores["pearson"], abs=1e-7)


def test_the_same_seed_gives_the_same_weights_and_another_does_not(world: World) -> None:
    config = FinetuningConfig(epochs=1, rows=8, evaluations=1)
    models = [learn(world, JOINT, config, seed=seed)[0] for seed in (3, 3, 4)]
    weights = [model.bert.encoder.layer[0].output.dense.weight for model in models]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_what_was_drawn_before_changes_nothing(world: World) -> None:
    examples = examples_of(CLASSES, 32, 1)
    _, states = predict(
        load_encoder(world.headless, CLASSES, 0.0, 9),
        train_set(world, CLASSES, examples).encoded,
        states=True,
    )
    assert states is not None
    train = train_set(world, CLASSES, examples, states=states)
    config = FinetuningConfig(epochs=1, rows=8, evaluations=1, distillation=DistillationConfig(hidden=1.0))
    weights = []
    for drawn in (1, 2):
        torch.manual_seed(drawn)
        weights.append(learn(world, CLASSES, config, train)[0].bert.encoder.layer[0].output.dense.weight)
    assert torch.equal(*weights)


def test_training_ends_where_the_metric_rests(world: World) -> None:
    patient = FinetuningConfig(epochs=40, rows=8, dropout=0.0, evaluations=40, patience=3)
    _, found = learn(world, CLASSES, patient)
    assert len(found.history) < 40
    assert max(found.history[-3:]) <= max(found.history[:-3])


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        ([0.5, 0.6, 0.6], False),
        ([0.6, 0.5, 0.6, 0.6], True),
        ([0.5, 0.6, 0.5, 0.5], False),
        ([0.6] * 9, False),  # the commonest class is said of all examples
        ([*[0.6] * 9, 0.5], False),
        ([*[0.6] * 9, 0.5, 0.6, 0.6], True),
        ([1.0] * 4, True),
    ],
)
def test_a_metric_rests_where_something_was_learnt(history: list[float], expected: bool) -> None:
    assert fit_module._rests(history, 3) == expected


def test_training_ends_in_time(world: World) -> None:
    _, found = learn(world, CLASSES, FinetuningConfig(epochs=1e4, rows=8, patience=99), seconds=0.5)
    assert 0.5 <= found.seconds < 5
    assert 1 <= len(found.history) <= 11


@pytest.mark.parametrize("name", ["c", "t"])
def test_the_loss_without_a_teacher_is_that_of_transformers(world: World, name: str) -> None:
    task, config = TASKS[name], FinetuningConfig(dropout=0.0)
    train = train_set(world, task, examples_of(task, 6, 1))
    model = load_encoder(world.teacher, task, 0.0, 0)
    batch = make_batch(train.encoded, np.arange(6))
    ours = TaskLoss(model, train, task, config)(batch)
    labels = torch.from_numpy(train.labels).long()
    if task.tags:
        flat = torch.full((batch.inputs["input_ids"].numel(),), -100)
        flat[batch.positions] = labels[batch.slots]
        labels = flat.view_as(batch.inputs["input_ids"])
    theirs = model(**batch.inputs, labels=labels).loss
    assert float(ours.detach()) == pytest.approx(float(theirs.detach()), rel=1e-5)


def test_a_joint_loss_is_the_mean_over_texts_and_the_mean_over_words(world: World) -> None:
    train = train_set(world, JOINT, examples_of(JOINT, 6, 1))
    model = load_encoder(world.teacher, JOINT, 0.0, 0)
    batch = make_batch(train.encoded, np.arange(6))
    ours = TaskLoss(model, train, JOINT, FinetuningConfig(dropout=0.0))(batch)
    scores = model(**batch.inputs).logits.flatten(0, 1)[batch.positions]
    labels = torch.from_numpy(train.labels).long()[batch.slots]
    of_text = labels >= 3
    theirs = F.cross_entropy(scores[of_text], labels[of_text]) + F.cross_entropy(
        scores[~of_text], labels[~of_text]
    )
    assert float(ours.detach()) == pytest.approx(float(theirs.detach()), rel=1e-5)


def test_a_teacher_that_says_the_labels_teaches_texts_that_have_none(world: World) -> None:
    examples = examples_of(CLASSES, 64, 1)
    labelled = train_set(world, CLASSES, examples)
    soft = 8 * np.eye(2, dtype=np.float32)[labelled.labels.astype(int)]
    unlabelled = np.full_like(labelled.labels, np.nan)
    _, found = learn(world, CLASSES, FAST, TrainSet(labelled.encoded, unlabelled, soft))
    assert found.scores["accuracy"] > 0.95


@pytest.mark.parametrize(
    ("weight", "follows"), [(1.0, "teacher"), (0.0, "labels")], ids=["the teacher alone", "labels alone"]
)
def test_the_weight_decides_between_labels_and_teacher(world: World, weight: float, follows: str) -> None:
    train = train_set(world, CLASSES, examples_of(CLASSES, 64, 1))
    wrong = 8 * np.eye(2, dtype=np.float32)[1 - train.labels.astype(int)]
    config = dataclasses.replace(FAST, evaluations=1, distillation=DistillationConfig(weight=weight))
    _, found = learn(world, CLASSES, config, TrainSet(train.encoded, train.labels, wrong))
    assert (found.scores["accuracy"] < 0.1) == (follows == "teacher")


@pytest.mark.parametrize("name", ["hidden", "relations"])
def test_states_of_a_teacher_are_drawn_near(world: World, name: str) -> None:
    examples = examples_of(CLASSES, 32, 1)
    encoded = encode(examples, CLASSES, task_tokenizer(world.teacher), 32)
    torch.manual_seed(0)
    _, states = predict(load_encoder(world.headless, CLASSES, 0.0, 9), encoded, states=True)
    assert states is not None
    train = train_set(world, CLASSES, examples, states=states.astype(np.float16))
    config = FinetuningConfig(
        dropout=0.0, distillation=DistillationConfig(**{"hidden": 0.0, "relations": 0.0, name: 1.0})
    )
    task_loss = TaskLoss(load_encoder(world.teacher, CLASSES, 0.0, 0), train, CLASSES, config)
    batch = make_batch(encoded, np.arange(32))
    optimizer = torch.optim.Adam(task_loss.parameters(), 1e-3)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = task_loss(batch)
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    scores_alone = dataclasses.replace(config, distillation=DistillationConfig(hidden=0.0, relations=0.0))
    plain = TaskLoss(task_loss.model, train, CLASSES, scores_alone)(batch)
    assert losses[-1] - float(plain) < 0.7 * (losses[0] - math.log(2) * 0.5)
    assert losses[-1] < losses[0]


def test_balance_weighs_rare_classes_up(world: World) -> None:
    examples = examples_of(CLASSES, 40, 1)
    assert examples.labels is not None
    rare = Labels(tuple(float(index < 4) for index in range(40)))
    train = train_set(world, CLASSES, Examples(examples.texts, labels=rare))
    model = load_encoder(world.teacher, CLASSES, 0.0, 0)
    task_loss = TaskLoss(model, train, CLASSES, FinetuningConfig(balance=1.0))
    weights = task_loss._hard_weights
    assert float(weights[:4].sum()) == pytest.approx(float(weights[4:].sum()))
    assert float(weights.mean()) == pytest.approx(1)


def test_predictions_do_not_depend_on_how_texts_are_batched(world: World) -> None:
    examples = examples_of(TAGGING, 70, 1)
    model = load_encoder(world.teacher, TAGGING, 0.3, 0)
    encoded = train_set(world, TAGGING, examples).encoded
    together, states = predict(model, encoded, states=True)
    assert states is not None
    one = Examples(examples.texts[7:8], labels=Labels((), examples.labels.tags[7:8]))  # type: ignore[union-attr]
    alone, _ = predict(model, train_set(world, TAGGING, one).encoded)
    start = encoded.slots.offsets[7]
    np.testing.assert_allclose(together[start : start + len(alone)], alone, atol=1e-5)
    assert states.shape == (len(together), 32)


def test_a_loss_that_is_not_finite_is_a_sentence(world: World) -> None:
    model = load_encoder(world.teacher, CLASSES, 0.0, 0)
    with torch.no_grad():
        model.classifier.weight.fill_(math.nan)
    train, dev = (
        train_set(world, CLASSES, examples_of(CLASSES, 8, 1)),
        dev_set(world, CLASSES, examples_of(CLASSES, 8, 2)),
    )
    with pytest.raises(TrainingError, match=r"the loss is nan at step 1; .*: lower the rate"):
        fit(model, train, dev, FAST, rate=1e-3, seed=0, progress=NoBar())


def test_a_signal_ends_it_with_a_sentence(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    step = fit_module._step

    def interrupted(*arguments: object) -> float:
        os.kill(os.getpid(), signal.SIGTERM)
        return step(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(fit_module, "_step", interrupted)
    with pytest.raises(Interrupted, match="SIGTERM stopped fine-tuning"):
        learn(world, CLASSES, FAST)


@pytest.mark.parametrize("quantization", [None, "int4"])
@pytest.mark.parametrize("when", [3, 40, 90], ids="stopped at step {}".format)
def test_what_goes_on_learns_what_an_uninterrupted_one_does(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: int, quantization: str | None
) -> None:
    config = dataclasses.replace(FAST, dropout=0.1, quantization=quantization)
    whole, expected = learn(world, JOINT, config, logged=tmp_path / "whole")
    step = fit_module._step

    def interrupted(*arguments: object) -> float:
        if arguments[-1] == when:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(fit_module, "_step", interrupted)
    with pytest.raises(Interrupted):
        learn(world, JOINT, config, kept=tmp_path / "kept", logged=tmp_path / "parts")
    monkeypatch.setattr(fit_module, "_step", step)
    taken = list[int]()
    monkeypatch.setattr(fit_module, "_step", lambda *given: taken.append(given[-1]) or step(*given))
    model, found = learn(world, JOINT, config, kept=tmp_path / "kept", logged=tmp_path / "parts")
    assert taken == [*range(when + 1, expected.steps + 1)]
    assert (found.scores, found.history, found.steps) == (expected.scores, expected.history, expected.steps)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name
    logs = [MetricsLog(tmp_path / part / "metrics/0.jsonl").read() for part in ("whole", "parts")]
    for line in itertools.chain(*logs):
        del line["seconds"]
    assert logs[0] == logs[1]


def test_a_damaged_checkpoint_is_refused(world: World, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("lilliput.finetuning.state._MINUTES_BETWEEN", 0.0)
        learn(world, CLASSES, dataclasses.replace(FAST, epochs=1), kept=tmp_path)
    newest = sorted(tmp_path.glob("step-*"))[-1] / "weights.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1])
    with pytest.raises(StorageError, match=r"weights.safetensors is missing, cut short or altered; remove"):
        learn(world, CLASSES, dataclasses.replace(FAST, epochs=1), kept=tmp_path)


def test_time_ends_it_evenly_evaluated(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = itertools.count()
    monkeypatch.setattr("lilliput.finetuning.state.time.monotonic", lambda: next(seconds) / 4)
    _, found = learn(world, CLASSES, dataclasses.replace(FAST, epochs=1e4, evaluations=5), seconds=20.0)
    assert found.seconds >= 20
    assert 4 <= len(found.history) <= 6
