import dataclasses
import functools
import json
import os
import random
import re
import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from conftest import World, stir
from finetuned import unrecorded
from lilliput.common.files import read_json
from lilliput.common.metrics_log import MetricsLog
from lilliput.common.progress import console
from lilliput.common.stage_dir import StageDir
from lilliput.errors import ConfigError, ModelError, StorageError
from lilliput.export.bundling import bundle
from lilliput.finetuning import (
    config as config_module,
    finetune as finetune_module,
    fit as fit_module,
    job as job_module,
    targets,
    texts as texts_module,
)
from lilliput.finetuning.config import LEAST_STEPS, DistillationConfig, FinetuningConfig
from lilliput.finetuning.encoded import TaskBatch, encode, task_tokenizer
from lilliput.finetuning.finetune import finetune
from lilliput.finetuning.inputs import inputs_of
from lilliput.finetuning.model import (
    TaskModel,
    labels_of,
    load_encoder,
    load_task as load_task_of,
    load_task_model,
    save_task_model,
)
from lilliput.finetuning.rates import suitable_rate
from lilliput.finetuning.results import FinetuneResult, render
from lilliput.finetuning.sets import Floats, States
from lilliput.finetuning.teachers import find_teacher
from lilliput.models.kernels import Kernels
from lilliput.models.pretrained import load_masked_lm
from lilliput.models.teacher import build_teacher
from lilliput.pieces.corpus import build_corpus
from lilliput.run import RunDir
from lilliput.tasks.loading import load_task
from lilliput.tasks.splits import some
from lilliput.tasks.task import Examples, Labels, Task, TaskData

QUICK = FinetuningConfig(epochs=12, rows=8, evaluations=2, rate=5e-3, dropout=0.0)
BRIEF = dataclasses.replace(QUICK, epochs=0.5)
"""Four steps, where it is of no account what is learnt."""
NOUNS = ("brotent", "stocker", "plantish", "boxes")


def written(path: Path, count: int, seed: int) -> Path:
    """Writes texts whose second word says the class."""
    rng = random.Random(seed)
    lines = ["text,label"]
    for _ in range(count):
        kind = rng.choice(("my", "every"))
        lines.append(
            f"the {kind} {' '.join(rng.choices(NOUNS, k=rng.randint(1, 6)))} {rng.random():.3f},{kind}"
        )
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TaskData:
    folder = tmp_path_factory.mktemp("toy")
    train, dev = written(folder / "toy_train.csv", 64, 1), written(folder / "toy_dev.csv", 24, 2)
    return load_task(None, train=str(train), dev=str(dev))


@pytest.fixture(scope="module")
def taught(
    world: World, data: TaskData, tmp_path_factory: pytest.TempPathFactory
) -> tuple[RunDir, FinetuneResult]:
    """A teacher's run with a model fine-tuned with two seeds."""
    run = RunDir(tmp_path_factory.mktemp("taught"))
    return run, finetune(world.teacher, data, run, QUICK, seeds=2)


@pytest.fixture(scope="module")
def brief(
    world: World, data: TaskData, tmp_path_factory: pytest.TempPathFactory
) -> tuple[RunDir, FinetuneResult]:
    """The same after a few steps. Not to be changed."""
    run = RunDir(tmp_path_factory.mktemp("brief"))
    return run, finetune(world.teacher, data, run, BRIEF, seeds=2)


def said(folder: Path, data: TaskData, cache: Path, *, states: bool) -> tuple[Floats, States | None]:
    """What a teacher says of the examples to learn from, by its own words."""
    encoded = encode(data.train, data.task, task_tokenizer(str(folder)), 512)
    teacher = find_teacher(str(folder), None)
    return targets.teacher_targets(teacher, data.train, encoded, data.task, cache, states=states)


def weights_in(run: RunDir) -> bytes:
    return (run.finetuned("toy") / "model.safetensors").read_bytes()


def test_a_run_keeps_the_best_seed_as_a_plain_checkpoint(
    taught: tuple[RunDir, FinetuneResult], data: TaskData
) -> None:
    run, found = taught
    folder = run.finetuned("toy")
    accuracies = {seed: scores["accuracy"] for seed, scores in found.scores.items()}
    assert found.mean["accuracy"] == pytest.approx(sum(accuracies.values()) / 2)
    assert found.deviation["accuracy"] == pytest.approx(abs(accuracies["0"] - accuracies["1"]) / 2**0.5)
    assert not (folder / "seeds").exists()
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer(list(data.dev.texts), padding=True, return_tensors="pt")
    with torch.no_grad():
        predicted = model(**inputs).logits.argmax(-1).tolist()
    lines = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
    assert [line["predicted"]["label"] for line in lines] == [data.task.classes[index] for index in predicted]
    right = sum(line["predicted"] == line["gold"] for line in lines) / len(lines)
    assert right == pytest.approx(accuracies[found.best_seed]) == max(accuracies.values())
    assert right > 0.9


def test_every_step_of_every_seed_is_logged(brief: tuple[RunDir, FinetuneResult]) -> None:
    folder, found = brief[0].finetuned("toy"), brief[1]
    for seed, scores in found.scores.items():
        log = MetricsLog(folder / f"metrics/{seed}.jsonl").read()
        assert [line["step"] for line in log] == [1, 2, 3, 4]
        assert all({"loss", "rate", "seconds"} <= line.keys() for line in log)
        evaluated = [line["dev/accuracy"] for line in log if "dev/accuracy" in line]
        assert len(evaluated) == BRIEF.evaluations
        assert max(evaluated) == scores["accuracy"]
        assert list((folder / "tensorboard" / seed).glob("events*"))
    files = json.loads((folder / "manifest.json").read_text())["files"]
    assert "metrics/0.jsonl" in files


def test_what_is_finished_is_not_done_again(
    world: World, data: TaskData, taught: tuple[RunDir, FinetuneResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, found = taught
    monkeypatch.setattr(job_module, "fit", None)
    assert finetune(world.teacher, data, run, QUICK, seeds=2) == found
    with pytest.raises(StorageError, match="was made from something else"):
        finetune(world.teacher, data, run, dataclasses.replace(QUICK, rows=4), seeds=2)


def test_an_interrupted_call_goes_on_after_the_last_finished_seed(
    world: World,
    data: TaskData,
    brief: tuple[RunDir, FinetuneResult],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fit, seeds = job_module.fit, list[int]()

    def counted(*arguments: object, seed: int, **options: object) -> object:
        if seed == 1 and len(seeds) == 1:
            seeds.append(-1)
            raise KeyboardInterrupt
        seeds.append(seed)
        return fit(*arguments, seed=seed, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(job_module, "fit", counted)
    with pytest.raises(KeyboardInterrupt):
        finetune(world.teacher, data, RunDir(tmp_path), BRIEF, seeds=2)
    found = finetune(world.teacher, data, RunDir(tmp_path), BRIEF, seeds=2)
    assert seeds == [0, -1, 1]
    assert found.scores == brief[1].scores
    assert weights_in(RunDir(tmp_path)) == weights_in(brief[0])


def test_a_student_learns_from_a_teacher_whose_words_are_read_once(
    world: World,
    data: TaskData,
    taught: tuple[RunDir, FinetuneResult],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    extra = tmp_path / "more.txt"
    extra.write_text("the my boxes\n\nthe every stocker boxes\n", encoding="utf-8")
    teacher = {"teacher": str(taught[0].path), "unlabelled": [str(extra)]}
    config = dataclasses.replace(
        QUICK, distillation=DistillationConfig(weight=1.0, relations=0.1, hidden=0.1)
    )
    found = finetune(world.headless, data, RunDir(tmp_path / "run"), config, **teacher)
    assert found.examples == {"train": 64, "dev": 24, "unlabelled": 2}
    assert found.mean["accuracy"] > 0.9
    monkeypatch.setattr(targets, "predict_rest", None)
    again = finetune(world.headless, data, RunDir(tmp_path / "run"), config, overwrite=True, **teacher)
    assert again.scores == found.scores


def test_a_teacher_that_was_interrupted_reads_only_the_rest(
    data: TaskData, taught: tuple[RunDir, FinetuneResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = taught[0].finetuned("toy")
    whole = said(folder, data, tmp_path / "whole", states=True)
    rows, scores_of = list[int](), fit_module.task_scores

    def counted(
        model: TaskModel, batch: TaskBatch, kernels: Kernels, *, states: bool
    ) -> tuple[Tensor, Tensor | None]:
        if len(rows) == 2:
            rows.clear()
            raise KeyboardInterrupt
        rows.append(len(batch.positions))
        return scores_of(model, batch, kernels, states=states)

    monkeypatch.setattr(fit_module, "_ROWS_TO_PREDICT", 20)
    monkeypatch.setattr(fit_module, "task_scores", counted)
    with pytest.raises(KeyboardInterrupt):
        said(folder, data, tmp_path / "parts", states=True)
    parts = said(folder, data, tmp_path / "parts", states=True)
    assert sum(rows) == len(data.train) - 2 * 20
    for one, other in zip(whole, parts, strict=True):
        assert one is not None
        assert other is not None
        np.testing.assert_allclose(one, other, atol=1e-2)


def test_what_is_recombined_is_what_the_task_has(data: TaskData, tmp_path: Path) -> None:
    run, config = RunDir(tmp_path), DistillationConfig(recombined=20)
    tagged = Examples((("in", "rome"), ("to", "lima")), labels=Labels(tags=((0, 1), (0, 1))))
    cities = TaskData(Task("cities", "tagging", tags=("O", "B-city")), tagged, tagged)
    made = texts_module.more_texts(cities, config, run, ())
    assert made is not None
    assert set(made.texts) == {("in", "lima"), ("to", "rome")}
    pairs = Examples(("a red fox", "a blue fox"), ("red and blue", "the red one"), Labels((0, 1)))
    alike = TaskData(Task("alike", "classification", pairs=True, classes=("no", "yes")), pairs, pairs)
    made = texts_module.more_texts(alike, config, run, ())
    assert made is not None
    assert set(zip(made.texts, made.pairs, strict=True)) <= {
        ("a red fox", "the red one"),
        ("a blue fox", "red and blue"),
    }
    with pytest.raises(ConfigError, match="'toy' has neither pairs nor tags to recombine"):
        texts_module.more_texts(data, config, run, ())


# What it is made from


@pytest.fixture
def lessons(
    world: World, taught: tuple[RunDir, FinetuneResult], tmp_path: Path
) -> tuple[RunDir, Callable[..., FinetuneResult]]:
    """A run with corpus, lexicon and a teacher that predicts words, and what fine-tunes in it."""
    run = RunDir(tmp_path / "run")
    shutil.copytree(world.corpus.path, run.corpus)
    shutil.copytree(world.lexicon.path, run.lexicon)
    masked_lm(world, run, seed=0)

    def learn(
        data: TaskData, unlabelled: Sequence[str] = (), overwrite: bool = False, **more: int
    ) -> FinetuneResult:
        config = dataclasses.replace(
            QUICK, epochs=1, distillation=DistillationConfig(hidden=0, relations=0, **more)
        )
        teacher = str(taught[0].path)
        return finetune(
            world.headless, data, run, config, teacher=teacher, unlabelled=unlabelled, overwrite=overwrite
        )

    return run, learn


def masked_lm(world: World, run: RunDir, seed: int) -> None:
    """Puts a teacher that predicts words into a run, in the place of one that is there."""
    stage = StageDir(run.training("teacher"), {"seed": seed})
    stage.begin()
    model, _ = load_masked_lm(world.teacher)
    stir(model, seed)
    build_teacher(model, world.spelling(), "pieces", 16, seed=0).save(stage.path / "teacher")
    stage.finish({})


def refused_then_made(learn: Callable[..., FinetuneResult], what: str) -> FinetuneResult:
    """Returns what is made with --overwrite, after it was refused without."""
    with pytest.raises(StorageError, match=rf"was made from something else \(.*{what}.*--overwrite"):
        learn()
    found = learn(overwrite=True)
    assert learn() == found
    return found


def test_another_text_behind_the_same_name_is_another_lesson(
    data: TaskData, lessons: tuple[RunDir, Callable[..., FinetuneResult]], tmp_path: Path
) -> None:
    text = tmp_path / "more.txt"
    text.write_text("the my boxes\n", encoding="utf-8")
    learn = functools.partial(lessons[1], data, [str(text)])
    assert learn().examples["unlabelled"] == 1
    text.write_text("the my boxes\nthe every stocker\n", encoding="utf-8")
    assert refused_then_made(learn, "unlabelled").examples["unlabelled"] == 2


def test_another_file_in_the_same_folder_is_another_lesson(
    data: TaskData, lessons: tuple[RunDir, Callable[..., FinetuneResult]], tmp_path: Path
) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("the my boxes\n", encoding="utf-8")
    learn = functools.partial(lessons[1], data, [str(tmp_path / "texts")])
    learn()
    (tmp_path / "texts" / "b.txt").write_text("the every stocker\n", encoding="utf-8")
    assert refused_then_made(learn, "unlabelled").examples["unlabelled"] == 2


def test_another_corpus_gives_other_near_sentences(
    world: World, data: TaskData, lessons: tuple[RunDir, Callable[..., FinetuneResult]]
) -> None:
    run, learn = lessons[0], functools.partial(lessons[1], data, near=5)
    learn()
    tokenizer = world.lexicon.teacher_tokenizer().tokenizer
    build_corpus([str(world.other_text)], tokenizer, run.corpus, workers=1, overwrite=True)
    refused_then_made(learn, "near")


def test_another_task_teacher_says_other_things(
    world: World,
    data: TaskData,
    taught: tuple[RunDir, FinetuneResult],
    lessons: tuple[RunDir, Callable[..., FinetuneResult]],
    tmp_path: Path,
) -> None:
    _, learn = lessons
    first = learn(data)
    teacher = RunDir(Path(shutil.copytree(taught[0].path, tmp_path / "taught"))).finetuned("toy")
    assert learn(data) == first
    model, _ = load_task_model(teacher)
    stir(model, 3)
    (teacher / "manifest.json").unlink()
    save_task_model(model, world.lexicon.teacher_tokenizer().tokenizer, data.task, teacher)
    config = dataclasses.replace(QUICK, epochs=1, distillation=DistillationConfig(hidden=0, relations=0))
    with pytest.raises(StorageError, match="was made from something else"):
        finetune(world.headless, data, lessons[0], config, teacher=str(tmp_path / "taught"))


def test_the_same_examples_in_another_place_are_the_same(
    world: World, data: TaskData, taught: tuple[RunDir, FinetuneResult], tmp_path: Path
) -> None:
    train, dev = written(tmp_path / "toy_train.csv", 64, 1), written(tmp_path / "toy_dev.csv", 24, 2)
    moved = load_task(None, train=str(train), dev=str(dev))
    assert moved.origin != data.origin
    assert finetune(world.teacher, moved, taught[0], QUICK, seeds=2) == taught[1]


def test_an_encoder_that_changes_meanwhile_is_noticed(
    world: World, data: TaskData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = Path(shutil.copytree(world.headless, tmp_path / "encoder"))
    keep = finetune_module._keep_best

    def changed(*arguments: Any) -> FinetuneResult:
        (encoder / "tokenizer.json").touch()
        (encoder / "notes.txt").write_text("new")
        return keep(*arguments)

    monkeypatch.setattr(finetune_module, "_keep_best", changed)
    config = dataclasses.replace(QUICK, epochs=1)
    with pytest.raises(StorageError, match="was changed meanwhile"):
        finetune(str(encoder), data, RunDir(tmp_path / "run"), config)


# Damage


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


@pytest.mark.parametrize("damage", [flip, cut, Path.unlink])
@pytest.mark.parametrize("name", ["model.safetensors", "predictions.jsonl", "task.json"])
def test_a_damaged_model_is_made_anew(
    world: World,
    data: TaskData,
    brief: tuple[RunDir, FinetuneResult],
    tmp_path: Path,
    damage: Callable[[Path], None],
    name: str,
) -> None:
    run = RunDir(Path(shutil.copytree(brief[0].path, tmp_path / "run")))
    good = (run.finetuned("toy") / name).read_bytes()
    damage(run.finetuned("toy") / name)
    sentence = rf"{name} (was|is) .*; run the same `lilliput finetune` again"
    with pytest.raises(StorageError, match=sentence):
        bundle(run.path, tmp_path / "bundle", task="toy")
    with pytest.raises(StorageError, match=sentence):
        finetune(world.headless, data, RunDir(tmp_path / "other"), BRIEF, teacher=str(run.path))
    found = finetune(world.teacher, data, run, BRIEF, seeds=2)
    assert (found.scores, found.best_seed) == (brief[1].scores, brief[1].best_seed)
    assert (run.finetuned("toy") / name).read_bytes() == good


def test_a_damaged_seed_is_trained_again(
    world: World,
    data: TaskData,
    brief: tuple[RunDir, FinetuneResult],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(finetune_module, "_keep_best", None)
    with pytest.raises(TypeError):
        finetune(world.teacher, data, RunDir(tmp_path), BRIEF, seeds=2)
    monkeypatch.undo()
    seeds = RunDir(tmp_path).finetuned("toy") / "seeds"
    flip(seeds / brief[1].best_seed / "model.safetensors")
    (seeds / ".0.partial").mkdir()
    with console.capture() as said:
        assert finetune(world.teacher, data, RunDir(tmp_path), BRIEF, seeds=2).scores == brief[1].scores
    assert "this seed is trained again" in said.get()
    assert weights_in(RunDir(tmp_path)) == weights_in(brief[0])
    assert not seeds.exists()


@pytest.mark.parametrize("damage", [flip, cut, Path.unlink])
@pytest.mark.parametrize("name", ["scores.npy", "states.npy"])
def test_damaged_targets_are_read_again(
    data: TaskData,
    taught: tuple[RunDir, FinetuneResult],
    tmp_path: Path,
    damage: Callable[[Path], None],
    name: str,
) -> None:
    folder = taught[0].finetuned("toy")
    good = said(folder, data, tmp_path, states=True)[0].copy()
    (place,) = tmp_path.iterdir()
    content = (place / name).read_bytes()
    damage(place / name)
    again = said(folder, data, tmp_path, states=True)
    assert (place / name).read_bytes() == content
    assert np.array_equal(again[0], good, equal_nan=True)
    assert {path.suffix for path in place.iterdir()} == {".npy", ".json"}


@pytest.mark.parametrize("content", [b"", b"half", b"\x93NUMPY\x01\x00"])
def test_targets_half_begun_are_begun_again(
    data: TaskData, taught: tuple[RunDir, FinetuneResult], tmp_path: Path, content: bytes
) -> None:
    folder = taught[0].finetuned("toy")
    good, _ = said(folder, data, tmp_path / "a", states=False)
    (place,) = (tmp_path / "a").iterdir()
    other = tmp_path / "b" / place.name
    other.mkdir(parents=True)
    (other / "scores.partial").write_bytes(content)
    assert np.array_equal(said(folder, data, tmp_path / "b", states=False)[0], good)


# Two at once


def test_two_that_share_what_a_teacher_says_take_turns(
    data: TaskData, taught: tuple[RunDir, FinetuneResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads are as good as processes: a lock is held by the file that was opened."""
    predict, at_work, most = targets.predict_rest, list[int](), list[int]()

    def noted(*arguments: Any, **options: Any) -> Any:
        at_work.append(1)
        most.append(len(at_work))
        time.sleep(0.1)
        try:
            return predict(*arguments, **options)
        finally:
            at_work.pop()

    monkeypatch.setattr(targets, "predict_rest", noted)
    folder = taught[0].finetuned("toy")
    with ThreadPoolExecutor(2) as two:
        calls = [two.submit(said, folder, data, tmp_path, states=True) for _ in range(2)]
        (scores, states), (other_scores, other_states) = (call.result() for call in calls)
    assert most == [1], "the second finds what the first wrote"
    assert np.array_equal(scores, other_scores, equal_nan=True)
    assert states is not None
    assert other_states is not None
    assert np.array_equal(states, other_states, equal_nan=True)
    assert len(list(tmp_path.iterdir())) == 1


def test_one_task_is_learnt_by_one_process_and_another_at_once(
    world: World, data: TaskData, tmp_path: Path
) -> None:
    run, config = RunDir(tmp_path), dataclasses.replace(QUICK, epochs=0.2)
    other = dataclasses.replace(data, task=dataclasses.replace(data.task, name="other"))
    with StageDir(run.finetuned("toy"), {}).locked():
        in_thread = ThreadPoolExecutor(1)
        with pytest.raises(StorageError, match=rf"toy is in use by process {os.getpid()} on"):
            in_thread.submit(finetune, world.headless, data, run, config).result()
        in_thread.submit(finetune, world.headless, other, run, config).result()
    assert {path.name for path in (run.path / "finetuned").iterdir()} == {"other"}


# Rates


def test_learning_rates_are_tried_in_the_time_given(world: World, data: TaskData, tmp_path: Path) -> None:
    config = dataclasses.replace(QUICK, rate=None)
    found = finetune(world.teacher, data, RunDir(tmp_path), config, search_minutes=0.01)
    tried = {float(rate): value for rate, value in read_json(tmp_path / "finetuned/toy/search.json").items()}
    suits = suitable_rate(32, tags=False, taught=False)
    assert sorted(tried) == pytest.approx([suits * times for times in (0.4, 1, 2.5)])
    assert tried[found.rate] == max(tried.values())


@pytest.mark.parametrize(
    ("tags", "taught", "ours"),
    [(True, False, 1e-3), (True, True, 1e-3), (False, True, 7e-4), (False, False, 3e-4)],
)
def test_rates_suit_students_and_bert_base(tags: bool, taught: bool, ours: float) -> None:
    assert suitable_rate(120, tags=tags, taught=taught) == pytest.approx(ours)
    assert suitable_rate(768, tags=tags, taught=taught) == pytest.approx(2.4e-5)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"seeds": 0}, ConfigError, "--seeds must be a whole number from 1 to 1,000, found 0"),
        ({"unlabelled": ["x.txt"]}, ConfigError, "unlabelled text is of use only with a teacher"),
        ({"teacher": "nowhere"}, StorageError, "there is no teacher fine-tuned for 'toy' in nowhere"),
    ],
)
def test_what_cannot_work_is_a_sentence(
    world: World,
    data: TaskData,
    tmp_path: Path,
    options: dict[str, object],
    kind: type[Exception],
    message: str,
) -> None:
    with pytest.raises(kind, match=message):
        finetune(world.teacher, data, RunDir(tmp_path), QUICK, **options)  # type: ignore[arg-type]


def test_a_teacher_of_another_task_is_a_sentence(world: World, data: TaskData, tmp_path: Path) -> None:
    other = dataclasses.replace(data.task, name="other", classes=("no", "yes"))
    model = load_encoder(world.teacher, other, 0.1, 0)
    save_task_model(model, world.lexicon.teacher_tokenizer().tokenizer, other, tmp_path / "teacher")
    with pytest.raises(
        ModelError, match=r"was fine-tuned for another task \('other', classes \('no', 'yes'\)\)"
    ):
        finetune(world.teacher, data, RunDir(tmp_path), QUICK, teacher=str(tmp_path / "teacher"))


TAGGED = TaskData(
    Task("cities", "joint", classes=("ask", "tell"), tags=("O", "B-city"), metric="frame_accuracy"),
    Examples(
        (("to", "o'hare"), ("in", "brotent", "at", "7:30")), labels=Labels((0, 1), ((0, 1), (0, 1, 0, 0)))
    ),
    Examples((("to", "o'hare", "boxes"),), labels=Labels((0,), ((0, 1, 0),))),
)
SHORT = FinetuningConfig(epochs=1, rows=2, evaluations=1, rate=1e-3, dropout=0.0)


def test_every_task_learns_the_tags_of_words_behind_the_first(world: World, tmp_path: Path) -> None:
    found = finetune(world.teacher, TAGGED, RunDir(tmp_path), SHORT)
    assert found.task.tags == ("O", "B-city", "I-city")
    (line,) = (tmp_path / "finetuned/cities/predictions.jsonl").read_text().splitlines()
    read = json.loads(line)
    assert read["text"] == ["to", "o'hare", "boxes"]
    assert read["words"] == [[0, 2], [3, 4], [4, 5], [5, 9], [10, 15]]
    assert read["gold"] == {"label": "ask", "tags": ["O", "B-city", "I-city", "I-city", "O"]}
    assert len(read["predicted"]["tags"]) == 5


def test_tags_of_other_notations_are_learnt_as_b_and_i(world: World, tmp_path: Path) -> None:
    task = Task("t", "tagging", tags=("O", "B-x", "E-x", "S-x"), metric="f1")
    examples = Examples((("a", "new", "york", "o'hare"),), labels=Labels(tags=((0, 1, 2, 3),)))
    found = finetune(world.teacher, TaskData(task, examples, examples), RunDir(tmp_path), SHORT)
    assert found.task.tags == ("O", "B-x", "I-x")
    (line,) = (tmp_path / "finetuned/t/predictions.jsonl").read_text().splitlines()
    assert json.loads(line)["gold"]["tags"] == ["O", "B-x", "I-x", "B-x", "I-x", "I-x"]


def test_what_the_version_before_finished_is_not_taken_for_this_ones(world: World, tmp_path: Path) -> None:
    finetune(world.teacher, TAGGED, RunDir(tmp_path), SHORT)
    manifest = tmp_path / "finetuned/cities/manifest.json"
    found = read_json(manifest)
    del found["made_from"]["tags"]
    found["digest"] = StageDir(tmp_path, found["made_from"]).digest
    manifest.write_text(json.dumps(found))
    with pytest.raises(
        StorageError, match=r"tags: nothing there, of every word of a text now\); .*--overwrite"
    ):
        finetune(world.teacher, TAGGED, RunDir(tmp_path), SHORT)
    again = finetune(world.teacher, TAGGED, RunDir(tmp_path), SHORT, overwrite=True)
    assert again == finetune(world.teacher, TAGGED, RunDir(tmp_path), SHORT)


def test_a_teacher_of_tags_by_the_version_before_is_a_sentence(world: World, tmp_path: Path) -> None:
    finetune(world.teacher, TAGGED, RunDir(tmp_path / "teacher"), SHORT)
    file = tmp_path / "teacher/finetuned/cities/task.json"
    unrecorded(file.parent)
    file.write_text(json.dumps(read_json(file) | {"format": 1}))
    with pytest.raises(ModelError, match=r"by an earlier version of lilliput, .* again with --overwrite"):
        finetune(world.headless, TAGGED, RunDir(tmp_path), SHORT, teacher=str(tmp_path / "teacher"))


def test_a_teacher_teaches_every_word_whatever_the_order_of_its_columns(world: World, tmp_path: Path) -> None:
    finetune(world.teacher, TAGGED, RunDir(tmp_path / "teacher"), SHORT)
    folder = tmp_path / "teacher/finetuned/cities"
    model, task = load_task_model(folder)
    turned = dataclasses.replace(task, classes=task.classes[::-1], tags=("I-city", "O", "B-city"))
    order = [labels_of(task).index(name) for name in labels_of(turned)]
    with torch.no_grad():
        model.classifier.weight.copy_(model.classifier.weight[order].clone())
        model.classifier.bias.copy_(model.classifier.bias[order].clone())
    model.config.id2label = dict(enumerate(labels_of(turned)))
    save_task_model(model, world.lexicon.teacher_tokenizer().tokenizer, turned, tmp_path / "turned")
    config = dataclasses.replace(
        SHORT, distillation=DistillationConfig(weight=1.0, hidden=0.0, relations=0.0)
    )
    scores = []
    for teacher in (folder, tmp_path / "turned"):
        run = RunDir(tmp_path / f"of {teacher.name}")
        finetune(world.headless, TAGGED, run, config, teacher=str(teacher))
        scores.append(load_task_model(run.finetuned("cities"))[0].classifier.weight)
    torch.testing.assert_close(*scores)


def test_a_head_in_another_order_is_kept_by_name_and_said(
    world: World,
    data: TaskData,
    taught: tuple[RunDir, FinetuneResult],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    turned = dataclasses.replace(data.task, classes=data.task.classes[::-1])
    labels = [Labels(tuple(1 - value for value in part.labels.values)) for part in (data.train, data.dev)]  # type: ignore[union-attr]
    parts = (
        dataclasses.replace(part, labels=one)
        for part, one in zip((data.train, data.dev), labels, strict=True)
    )
    config = dataclasses.replace(QUICK, epochs=0.01, rate=1e-9)
    found = finetune(str(taught[0].finetuned("toy")), TaskData(turned, *parts), RunDir(tmp_path), config)
    assert found.mean["accuracy"] == pytest.approx(taught[1].scores[taught[1].best_seed]["accuracy"])
    assert "columns 'my', 'every' are kept, by name" in " ".join(capsys.readouterr().err.split())


def test_a_teacher_that_makes_other_words_of_a_text_teaches(
    world: World, data: TaskData, tmp_path: Path
) -> None:
    tokenizer = json.loads(world.lexicon.teacher_tokenizer().tokenizer.to_str())
    tokenizer["normalizer"]["handle_chinese_chars"] = False
    folder = tmp_path / "teacher"
    model = load_encoder(world.teacher, data.task, 0.1, 0)
    save_task_model(model, world.lexicon.teacher_tokenizer().tokenizer, data.task, folder)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    texts = Examples(("the my 中文 boxes",))
    encoded = encode(texts, data.task, task_tokenizer(world.teacher), 16)
    teacher, own = find_teacher(str(folder), None), task_tokenizer(str(folder)).encode("the my 中文 boxes")
    _, states = targets.teacher_targets(teacher, texts, encoded, data.task, tmp_path, states=True)
    assert states is not None
    assert [(start, end) for _, start, end in encoded.spans.tolist()] == [
        (0, 3),
        (4, 6),
        (7, 8),
        (8, 9),
        (10, 15),
    ]
    assert own.word_ids.count(2) == 1, "what the student reads as two words"
    assert np.array_equal(states[2], states[3])
    assert not np.isnan(states).any()


def test_the_code_of_the_how_to_works(
    world: World, taught: tuple[RunDir, FinetuneResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parent.parent.parent / "docs/how-to/tasks.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.+?)```", page, re.DOTALL)
    (tmp_path / "data").mkdir()
    written(tmp_path / "data/mine_train.csv", 16, 1)
    shutil.copytree(world.teacher, tmp_path / "runs/x/student")
    shutil.copytree(taught[0].path, tmp_path / "runs/teacher")
    monkeypatch.chdir(tmp_path)
    found: dict[str, Any] = {}
    exec(compile(code.replace("epochs=10", "epochs=1"), "tasks.md", "exec"), found)
    assert len(found["result"].scores) == 3
    assert {entry.run for entry in found["table"].entries} == {"x", "teacher"}


def test_few_examples_are_learnt_in_more_steps_than_many(
    world: World,
    data: TaskData,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(config_module, "LEAST_STEPS", 6)
    usual = dataclasses.replace(QUICK, epochs=None)
    assert (usual.steps(8), usual.steps(64), dataclasses.replace(QUICK, epochs=1).steps(16)) == (6, 40, 2)
    few = dataclasses.replace(data, train=some(data.train, range(8)))
    with console.capture() as told:
        finetune(world.teacher, few, RunDir(tmp_path), usual)
    line = "Training takes 6 steps of 8 examples at most: 5 passes over 8 examples would be 5, too few"
    assert line in told.get()
    assert "after 6 steps" in told.get()


def test_what_was_finished_of_many_examples_stays_finished(world: World, data: TaskData) -> None:
    rest = (world.teacher, data)
    settings = [
        inputs_of(*rest, config, (), 1, 0.0)["config"]["epochs"]
        for config in (FinetuningConfig(rows=1), FinetuningConfig(rows=1, epochs=5), FinetuningConfig())
    ]
    assert len(data.train) * 5 < LEAST_STEPS
    assert settings == [None, 5.0, None]
    many = dataclasses.replace(data, train=some(data.train, [*range(64)] * 2))
    assert inputs_of(world.teacher, many, FinetuningConfig(rows=1), (), 1, 0.0)["config"]["epochs"] == 5.0


def test_a_model_that_always_says_the_same_is_warned_of(world: World, data: TaskData, tmp_path: Path) -> None:
    found = finetune(world.teacher, data, RunDir(tmp_path), dataclasses.replace(BRIEF, rate=1e-12))
    (warning,) = found.warnings
    assert re.search(r"the model says '(my|every)' of all 24 dev examples, so it has learnt nothing", warning)
    assert "--set balance=1" in warning
    assert "WARNING: the model says" in render(found).caption
    again = finetune(world.teacher, data, RunDir(tmp_path), dataclasses.replace(BRIEF, rate=1e-12))
    assert again.warnings == found.warnings


def test_a_test_set_scores_the_kept_model_and_chooses_nothing(
    world: World, data: TaskData, brief: tuple[RunDir, FinetuneResult], tmp_path: Path
) -> None:
    run, before = brief
    wrong = dataclasses.replace(data.dev, labels=Labels(tuple(1 - x for x in data.dev.labels.values)))  # type: ignore[union-attr]
    found = finetune(world.teacher, dataclasses.replace(data, test=wrong), RunDir(tmp_path), BRIEF, seeds=2)
    assert weights_in(RunDir(tmp_path)) == weights_in(run)
    assert found.scores == before.scores
    assert found.test["accuracy"] == pytest.approx(1 - found.scores[found.best_seed]["accuracy"])
    assert found.examples["test"] == 24
    assert (before.test, "test" in before.examples) == ({}, False)
    table = render(found)
    assert table.headings[-1] == f"test, seed {found.best_seed}"
    assert table.rows[0][-1] == f"{found.test['accuracy']:.1%}"
    assert len(render(before).headings) == len(table.headings) - 1


def test_the_best_state_is_that_of_the_metric_that_is_named(
    world: World, data: TaskData, tmp_path: Path
) -> None:
    task = dataclasses.replace(data.task, metric="matthews")
    found = finetune(world.teacher, dataclasses.replace(data, task=task), RunDir(tmp_path), BRIEF)
    assert found.mean["matthews"] == found.scores["0"]["matthews"]
    assert load_task_of(RunDir(tmp_path).finetuned("toy")).metric == "matthews"


def test_warnings_about_examples_are_told_where_only_their_name_is_given(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "toy_train.csv", 16, 1)
    shutil.copy(tmp_path / "toy_train.csv", tmp_path / "toy_dev.csv")
    with console.capture() as told:
        finetune(world.teacher, "toy", RunDir(tmp_path / "run"), BRIEF)
    assert "16 of 16 dev examples (100.0%) are also in train" in told.get()
