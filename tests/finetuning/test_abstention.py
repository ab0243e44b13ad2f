"""A classifier answers from the lowest probability on that has the wanted precision, or says it cannot."""

import dataclasses
import json
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st

import lilliput
from conftest import World
from lilliput.errors import ConfigError
from lilliput.finetuning.abstention import LEAST_ANSWERS, Abstention, find_threshold
from lilliput.finetuning.config import FinetuningConfig
from lilliput.finetuning.finetune import finetune
from lilliput.finetuning.inputs import inputs_of
from lilliput.finetuning.results import read_results, render
from lilliput.run import RunDir
from lilliput.tasks.kinds import KINDS
from lilliput.tasks.loading import load_task
from lilliput.tasks.task import Task, TaskData

BRIEF = FinetuningConfig(epochs=0.5, rows=8, evaluations=2, rate=5e-3, dropout=0.0)


@given(st.lists(st.tuples(st.integers(50, 100), st.booleans()), min_size=1, max_size=60), st.integers(1, 100))
def test_the_threshold_is_the_lowest_that_has_the_precision(
    examples: list[tuple[int, bool]], percent: int
) -> None:
    shares, right = (np.array(values) for values in zip(*examples, strict=True))
    probabilities, wanted = shares / 100, percent / 100
    found = find_threshold(probabilities, right, wanted)

    def at(least: float) -> tuple[int, float]:
        answered = np.floor(probabilities * 10_000) >= round(least * 10_000)
        return int(answered.sum()), float(right[answered].mean())

    every = {least: at(least) for least in np.unique(np.floor(probabilities * 10_000) / 10_000)}
    good = [least for least, (count, share) in every.items() if count >= LEAST_ANSWERS and share >= wanted]
    assert found.min_probability == (min(good) if good else None)
    if good:
        count, share = every[min(good)]
        assert (found.answered, found.precision) == pytest.approx((count / len(right), share))
    else:
        assert found.precision < wanted or len(right) < LEAST_ANSWERS


def test_what_is_found_and_what_cannot_be_reached_is_said() -> None:
    assert str(Abstention(0.95, 0.8312, 0.957, 0.812)) == (
        "unsure below a probability of 0.8312: 95.7% of the answers right, 81.2% of the dev examples answered"
    )
    assert str(Abstention(0.99, None, 0.917, 0.25)) == (
        "no threshold has a precision of 99.0%; the best with at least 20 answers: 91.7% of the answers "
        "right, 25.0% of the dev examples answered. So every text has a label"
    )


def test_the_class_of_a_joint_model_is_read_where_its_columns_are() -> None:
    task = Task("orders", "joint", classes=("a", "b"), tags=("O", "B-x", "I-x"))
    scores, offsets = np.arange(25, dtype=np.float32).reshape(5, 5), np.array([0, 3, 5])
    found = KINDS["joint"].class_scores(task, scores, offsets)
    assert found.tolist() == [[3, 4], [18, 19]]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TaskData:
    """Texts whose second word says the class, or for a tenth of them not."""
    folder, rng = tmp_path_factory.mktemp("toy"), random.Random(1)
    for name, count in (("train", 48), ("dev", 40)):
        lines = ["text,label"]
        for number in range(count):
            kind = rng.choice(("my", "every"))
            lines.append(f"the {kind} boxes {number},{kind if number % 10 else 'my'}")
        (folder / f"toy_{name}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return load_task(str(folder / "toy"))


@pytest.mark.parametrize("precision", [0.6, 1.0])
def test_a_bundle_is_unsure_below_the_threshold(
    world: World, data: TaskData, tmp_path: Path, precision: float
) -> None:
    run = RunDir(tmp_path / "run")
    found = finetune(world.teacher, data, run, dataclasses.replace(BRIEF, precision=precision))
    assert found.abstention is not None
    assert read_results(run.finetuned("toy")) == found
    assert str(found.abstention) in render(found).caption
    least = found.abstention.min_probability
    assert (least is None) == (precision == 1.0)
    assert json.loads((run.finetuned("toy") / "task.json").read_text())["min_probability"] == least
    made = lilliput.bundle(run, tmp_path / "bundle", task="toy", quantization="float32")
    assert made.scores["accuracy"] == pytest.approx(found.mean["accuracy"], abs=1e-6)
    config = json.loads((tmp_path / "bundle" / "config.json").read_text())
    assert (config["min_probability"], config["format"]) == (least, 1 if least is None else 4)
    answers = lilliput.load(tmp_path / "bundle").classify([str(text) for text in data.dev.texts])
    assert data.dev.labels is not None
    gold = [data.task.classes[int(value)] for value in data.dev.labels.values]
    right = [answer.label == name for answer, name in zip(answers, gold, strict=True) if answer.label]
    if least is None:
        assert len(right) == len(gold)
    else:
        assert sum(right) / len(right) == pytest.approx(found.abstention.precision)
        assert len(right) / len(gold) == pytest.approx(found.abstention.answered)
        assert 0 < len(right) < len(gold)


@pytest.mark.parametrize("kind", ["regression", "multilabel"])
def test_a_precision_needs_one_class_a_text(world: World, tmp_path: Path, kind: str) -> None:
    labels = {"regression": [f"{number / 7}" for number in range(12)], "multilabel": ["a", "b", "a,b"] * 4}
    rows = "".join(f"the my boxes {place}\t{label}\n" for place, label in enumerate(labels[kind]))
    for name in ("train", "dev"):
        (tmp_path / f"toy_{name}.tsv").write_text("text\tlabel\n" + rows)
    config = dataclasses.replace(BRIEF, precision=0.9)
    with pytest.raises(ConfigError, match=f"precision is for texts with one class each, not for {kind}"):
        finetune(world.teacher, load_task(str(tmp_path / "toy"), kind=kind), RunDir(tmp_path / "run"), config)


def test_what_was_finished_without_a_precision_stays_finished(world: World, data: TaskData) -> None:
    def settings(config: FinetuningConfig) -> set[str]:
        return set(inputs_of(world.teacher, data, config, (), 1, 0.0)["config"])

    assert settings(dataclasses.replace(BRIEF, precision=0.9)) - settings(BRIEF) == {"precision"}
