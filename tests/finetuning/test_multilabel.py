"""A text with several classes, the whole way: from labels and from teachers to a line of answers."""

import itertools
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch.nn import functional as F
from transformers import AutoModelForSequenceClassification, pipeline

import lilliput
from conftest import World
from lilliput.cli.running import run as run_command
from lilliput.comparison.runs import compare
from lilliput.export.bundling import bundle
from lilliput.finetuning.columns import together
from lilliput.finetuning.config import DistillationConfig, FinetuningConfig
from lilliput.finetuning.finetune import finetune
from lilliput.finetuning.heads import HEADS
from lilliput.finetuning.results import FinetuneResult, read_predictions
from lilliput.run import RunDir
from lilliput.tasks.loading import load_task
from lilliput.tasks.task import TaskData

QUICK = FinetuningConfig(epochs=40, rows=8, rate=5e-3, dropout=0.0, evaluations=4)
pytestmark = pytest.mark.slow
WORDS = ("every", "my", "under")
HEAD = HEADS["multilabel"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TaskData:
    """Texts whose classes are those of three words that they have."""
    folder, rng = tmp_path_factory.mktemp("words"), random.Random(1)
    for name, count in (("words_train", 12), ("words_dev", 2)):
        subsets = [[word for word, there in zip(WORDS, flags, strict=True) if there]
                   for flags in itertools.product((0, 1), repeat=3)] * count  # fmt: skip
        rows = [
            {"text": f"the {' '.join(rng.sample(words, len(words)))} boxes {number}", "labels": words}
            for number, words in enumerate(subsets)
        ]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return load_task(str(folder / "words"))


@pytest.fixture(scope="module")
def taught(
    world: World, data: TaskData, tmp_path_factory: pytest.TempPathFactory
) -> tuple[RunDir, FinetuneResult]:
    run = RunDir(tmp_path_factory.mktemp("taught"))
    return run, finetune(world.teacher, data, run, QUICK)


def test_classes_are_learnt_from_labels(taught: tuple[RunDir, FinetuneResult], data: TaskData) -> None:
    run, found = taught
    assert (data.task.kind, data.task.classes) == ("multilabel", WORDS)
    assert found.mean["micro_f1"] > 0.95
    folder = run.finetuned("words")
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    assert model.config.problem_type == "multi_label_classification"
    said = pipeline("text-classification", str(folder), top_k=None)(["the my boxes under"])[0]
    assert {one["label"] for one in said if one["score"] >= 0.5} == {"my", "under"}


def test_classes_are_learnt_from_a_teacher_and_answered_by_a_bundle(
    taught: tuple[RunDir, FinetuneResult],
    data: TaskData,
    world: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: Any,
) -> None:
    run, place = RunDir(tmp_path / "run"), tmp_path / "bundle"
    finetune(world.teacher, data, run, QUICK, teacher=str(taught[0].path))
    entry = next(one for one in compare([run.path], teacher=taught[0].path).entries if one.run == "run")
    assert entry.scores["micro_f1"][0] > 0.9
    assert entry.agreement is not None
    assert entry.agreement > 0.8
    made = bundle(run.path, place, task="words", quantization="float32")
    assert made.exported.kind == "multilabel"
    assert made.scores["micro_f1"] > 0.9
    assert "any number of 3 classes for a text" in (place / "README.md").read_text()
    said = {
        line["text"]: line["predicted"]["labels"]
        for line in read_predictions(run.finetuned("words"), data.task)
    }
    answers = lilliput.load(place).label(list(said))
    assert [sorted(answer.labels) for answer in answers] == list(said.values())
    assert list(answers[0].probabilities) == list(data.task.classes)
    two, none = (next(text for text in said if len(said[text]) == count) for count in (2, 0))
    (answer,) = lilliput.load(place).label([two])
    shares = [answer.probabilities[name] for name in answer.labels]
    assert shares == sorted(shares, reverse=True)
    lines = tmp_path / "lines.txt"
    lines.write_text(f"{two}\n{none}\n")
    capfdbinary.readouterr()
    for options, expected in (({}, 2), ({"top": 3}, 3)):
        with lines.open() as given:
            monkeypatch.setattr("sys.stdin", given)
            with pytest.raises(SystemExit, match="0"):
                run_command(place, **options)
        first, second = capfdbinary.readouterr().out.decode().splitlines()
        assert len(first.split("\t")) == 2 * expected
        assert (second == "no class") == (not options)


def test_a_teacher_alone_says_what_the_task_is(
    taught: tuple[RunDir, FinetuneResult], world: World, tmp_path: Path
) -> None:
    rng, pile = random.Random(3), tmp_path / "pile.txt"
    texts = {f"the {' '.join(rng.sample(WORDS, rng.randrange(4)))} boxes {n}" for n in range(120)}
    pile.write_text("\n".join(sorted(texts)))
    found = finetune(
        world.headless,
        None,
        RunDir(tmp_path / "run"),
        QUICK,
        teacher=str(taught[0].path),
        unlabelled=[str(pile)],
    )
    assert found.task.metric == "agreement_micro_f1"
    assert found.mean["agreement_micro_f1"] > 0.8


def test_rare_classes_weigh_more_where_that_is_wanted(data: TaskData, world: World, tmp_path: Path) -> None:
    targets = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 0.0], [0.0, 0.0]])
    known = torch.ones(5, dtype=torch.bool)
    assert HEAD.weights(targets, known, 2, 0.0) is None
    weights = HEAD.weights(targets, known, 2, 1.0)
    assert weights is not None
    assert weights.sum() == pytest.approx(5)
    assert (weights / weights[0]).tolist() == pytest.approx([1, 1, 3, 1.5, 1.5])


def test_the_loss_is_binary_cross_entropy_and_that_of_a_teacher_is_least_where_it_agrees() -> None:
    scores, targets = torch.randn(4, 3), torch.randint(0, 2, (4, 3)).float()
    expected = F.binary_cross_entropy_with_logits(scores, targets)
    assert HEAD.loss(scores, targets, torch.full((4,), 0.25)) == pytest.approx(float(expected))
    soft = torch.randn(4, 3, requires_grad=True)
    HEAD.soft_loss(soft, soft.detach(), torch.ones(4), 2.0).backward()
    assert soft.grad is not None
    assert soft.grad.abs().max() < 1e-6


def test_new_columns_begin_with_how_many_texts_have_the_class() -> None:
    labels = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    found = HEAD.first_bias(labels, torch.zeros(2))
    assert found.sigmoid().tolist() == pytest.approx([0.5, 1 / 6])
    assert HEAD.first_bias(labels, torch.tensor([0.0, 3.0])).tolist() == pytest.approx([0.0, 3.0])
    assert HEAD.as_labels(torch.zeros(1, 2)).tolist() == [[0.5, 0.5]]


def test_several_teachers_are_averaged_by_the_probability_of_each_class() -> None:
    one, other = np.array([[0.0, 4.0]], np.float32), np.array([[2.0, -4.0]], np.float32)
    shares = (1 / (1 + np.exp(-one)) + 1 / (1 + np.exp(-other))) / 2
    assert_allclose(together([one, other], "shares"), np.log(shares / (1 - shares)), atol=1e-5)


def test_settings_of_distillation_reach_the_loss(
    taught: tuple[RunDir, FinetuneResult], data: TaskData, world: World, tmp_path: Path
) -> None:
    config = FinetuningConfig(epochs=0.3, rows=8, distillation=DistillationConfig(weight=1.0), balance=1.0)
    found = finetune(world.teacher, data, RunDir(tmp_path), config, teacher=str(taught[0].path))
    assert set(found.mean) == {"micro_f1", "macro_f1", "exact_match"}
