import json
import os
import random
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from seqeval.metrics import f1_score
from transformers import pipeline

import lilliput
from conftest import World
from finetuned import TEXTS, finished
from labelled import REGRESSION, examples_of
from lilliput.cli.running import bundle as bundle_command
from lilliput.common.files import read_json_lines
from lilliput.common.locks import beside, locked
from lilliput.errors import StorageError
from lilliput.export import bundling
from lilliput.export.bundling import bundle
from lilliput.export.export import export
from lilliput.finetuning.config import FinetuningConfig
from lilliput.finetuning.finetune import finetune
from lilliput.finetuning.model import load_task_model
from lilliput.finetuning.results import FinetuneResult, given_tags
from lilliput.models.fake_quantization import fake_quantize
from lilliput.models.quantization import find_scheme, grid_of
from lilliput.models.student import random_student, save_student, student_config
from lilliput.recipes import tiny
from lilliput.run import RunDir
from lilliput.tasks.task import Examples, Labels, Task, TaskData

CLASSES = Task("c", "classification", classes=("no", "yes"))
JOINT = Task("j", "joint", classes=("ask", "tell"), tags=("O", "B-x"), metric="frame_accuracy")
SCORES = Task("r", "regression", metric="pearson")


@pytest.fixture(scope="module")
def tuned(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with models of three tasks."""
    folder = tmp_path_factory.mktemp("tuned")
    finished(world, folder, CLASSES, Labels((0, 1, 1, 1)), 0.8)
    finished(world, folder, SCORES, Labels((1.0, 2.0, 3.0, 5.0)), 0.9)
    finished(world, folder, JOINT, Labels((0, 1), ((0, 1), (0,))), 1.0)
    return folder


def test_a_bundle_is_scored_by_its_own_answers(tuned: Path, tmp_path: Path) -> None:
    made = bundle(tuned, tmp_path / "b", task="c", quantization="float32")
    said = pipeline("text-classification", model=str(RunDir(tuned).finetuned("c")))(TEXTS["c"])
    right = [one["label"] == gold for one, gold in zip(said, ["no", "yes", "yes", "no"], strict=True)]
    assert made.scores["accuracy"] == pytest.approx(sum(right) / 4)
    assert made.files.keys() == {"README.md", "config.json", "manifest.json", "model.onnx", "tokenizer.json"}
    assert made.total == sum(file.stat().st_size for file in (tmp_path / "b").iterdir())
    card = (tmp_path / "b" / "README.md").read_text()
    assert f"| c dev | accuracy | {made.scores['accuracy']:g} |" in card


def test_a_task_is_not_scored_by_vectors(tuned: Path, tmp_path: Path) -> None:
    made = bundle(tuned, tmp_path / "b", task="c", kind="encode")
    assert (made.exported.kind, made.scores) == ("encode", {})
    assert len(lilliput.load(tmp_path / "b").encode(["a b", "c"])) == 2


@pytest.mark.parametrize(("task", "metric"), [("r", "pearson"), ("j", "slot_f1")])
def test_every_kind_of_task_is_bundled_and_scored(
    tuned: Path, tmp_path: Path, task: str, metric: str
) -> None:
    made = bundle(tuned, tmp_path / "b", task=task)
    assert metric in made.scores
    assert lilliput.load(tmp_path / "b").config.task == task


@pytest.fixture(scope="module")
def for_int4(world: World, tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """A run with a model that was fine-tuned for weights of four bits."""
    run = RunDir(tmp_path_factory.mktemp("for_int4"))
    data = TaskData(REGRESSION, examples_of(REGRESSION, 64, 1), examples_of(REGRESSION, 16, 2))
    # Scores that differ widely, as a correlation of like ones hangs on their last digits.
    config = FinetuningConfig(epochs=12, rows=8, rate=5e-3, dropout=0.0, evaluations=1, quantization="int4")
    finetune(world.teacher, data, run, config)
    return run


def test_a_model_is_stored_as_it_was_fine_tuned_for_and_scores_what_was_reported(
    for_int4: RunDir, tmp_path: Path
) -> None:
    made = bundle(for_int4.path, tmp_path / "b", task="r")
    assert made.exported.quantization == made.tuned_for == "int4"
    assert made.scores["pearson"] == pytest.approx(made.reported["pearson"], abs=1e-5)
    lines = (for_int4.finetuned("r") / "predictions.jsonl").read_text().splitlines()
    answers = list(lilliput.load(tmp_path / "b").stream(json.loads(line)["text"] for line in lines))
    for answer, line in zip(answers, lines, strict=True):
        assert answer.value == pytest.approx(json.loads(line)["predicted"]["label"], abs=1e-4)
    model, _ = load_task_model(for_int4.finetuned("r"))
    stored = {one.name: one for one in onnx.load(tmp_path / "b/model.onnx").graph.initializer}
    for name, parameter in (("pieces", "bert.embeddings.word_embeddings"), ("pooler", "bert.pooler.dense")):
        integers, scales = (numpy_helper.to_array(stored[one]) for one in (name, f"{name}.scale"))
        weight = model.get_parameter(f"{parameter}.weight")
        rounded = fake_quantize(weight.detach(), grid_of(f"{parameter}.weight", find_scheme("int4")))
        assert not torch.equal(rounded, weight)
        held = integers.astype(np.float32) * scales.astype(np.float32)
        held = held.T if name == "pooler" else held  # what states are multiplied with is stored as columns
        assert (held.reshape(rounded.shape) == rounded.numpy()).all()


def test_another_quantization_than_it_was_fine_tuned_for_is_said(
    for_int4: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle_command(str(for_int4.path), tmp_path / "b", task="r", quantization="float32")
    assert "the model was fine-tuned for int4, and is stored as float32" in capsys.readouterr().out
    assert "at rate 0.005, with weights rounded to int4" in (tmp_path / "b/README.md").read_text()


ODD_TASK = Task("t", "joint", classes=("fly", "play"), tags=("O", "B-x", "I-x"), metric="frame_accuracy")


def odd_examples(count: int, seed: int) -> Examples:
    """Texts in which every name behind my is tagged, most of them with punctuation inside."""
    rng = random.Random(seed)
    names = (
        "o'hare",
        "7:30",
        "stratford-upon-avon",
        "r&b",
        "boxes",
        "u.s.",
        "(brotent",
        "\u200b",
        "New York",
    )
    texts, values, tags = [], [], []
    for _ in range(count):
        marked = [rng.randrange(2) for _ in range(rng.randint(1, 3))]
        values.append(marked[0])
        words = [("the", ("every", "my")[mark], rng.choice(names), "stocker") for mark in marked]
        texts.append(tuple(word for part in words for word in part))
        tags.append(tuple(tag for mark in marked for tag in (0, 0, mark, 2 * mark)))
    return Examples(tuple(texts), labels=Labels(tuple(values), tuple(tags)))


@pytest.fixture(scope="module")
def odd(world: World, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunDir, FinetuneResult]:
    """A run with a model of words with punctuation inside, some texts longer than its 48 positions."""
    run = RunDir(tmp_path_factory.mktemp("odd"))
    data = TaskData(ODD_TASK, odd_examples(96, 1), odd_examples(40, 2))
    config = FinetuningConfig(epochs=16, rows=8, rate=5e-3, dropout=0.0, evaluations=2)
    return run, finetune(world.teacher, data, run, config)


def test_a_bundle_scores_texts_with_odd_words_as_fine_tuning_did(
    odd: tuple[RunDir, FinetuneResult], tmp_path: Path
) -> None:
    made = bundle(odd[0].path, tmp_path / "b", task="t", quantization="float32")
    assert made.scores == pytest.approx(odd[1].mean)
    assert made.scores["slot_f1"] > 0.4
    assert {"slot_f1", "slot_f1_given_words", "frame_accuracy_given_words"} < made.scores.keys()
    assert odd[1].cut["dev"] > 0
    card = (tmp_path / "b" / "README.md").read_text()
    assert "| t dev | slot_f1 |" in card
    assert "| t dev | slot_f1_given_words |" in card


def test_the_predictions_score_what_was_reported(odd: tuple[RunDir, FinetuneResult]) -> None:
    lines = read_json_lines(odd[0].finetuned("t") / "predictions.jsonl")
    gold, said = ([line[of]["tags"] for line in lines] for of in ("gold", "predicted"))
    assert f1_score(gold, said) == pytest.approx(odd[1].mean["slot_f1"])
    same = [line["gold"] == line["predicted"] for line in lines]
    assert sum(same) / len(same) == pytest.approx(odd[1].mean["frame_accuracy"])
    given = [
        [
            [tag for tag, word in zip(given_tags(line, of), line["text"], strict=True) if word != "\u200b"]
            for line in lines
        ]
        for of in ("gold", "predicted")
    ]  # of \u200b nothing is left to be tagged
    assert f1_score(*given) == pytest.approx(odd[1].mean["slot_f1_given_words"])


def test_slots_of_odd_words_are_whole(odd: tuple[RunDir, FinetuneResult], tmp_path: Path) -> None:
    bundle(odd[0].path, tmp_path / "b", task="t", quantization="float32")
    (answer,) = lilliput.load(tmp_path / "b").tag(["the my stratford-upon-avon stocker"])
    assert [slot.text for slot in answer.slots] == ["stratford-upon-avon stocker"]


def test_a_student_becomes_a_bundle_that_fills_in(world: World, tmp_path: Path) -> None:
    lexicon = world.lexicon
    config = student_config(tiny().student, lexicon.student_size, lexicon.student_special)
    save_student(random_student(config, 0), lexicon.student_tokenizer(), tmp_path / "run" / "student")
    made = bundle(tmp_path / "run", tmp_path / "b")
    assert (made.exported.kind, made.scores) == ("fill", {})
    command = [sys.executable, "-m", "lilliput", "run", str(tmp_path / "b"), "--top", "2", "--json"]
    said = subprocess.run(command, input=b"the [MASK] was in\n", capture_output=True, check=True).stdout
    assert len(json.loads(said)["guesses"][0]) == 2


def test_no_model_is_a_sentence(tuned: Path, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="does not exist; make it first with `lilliput finetune`"):
        bundle(tuned, tmp_path / "b", task="nothing")


def test_exporting_alone_makes_no_bundle(tuned: Path, tmp_path: Path) -> None:
    with torch.no_grad():
        export(RunDir(tuned).finetuned("c"), tmp_path / "b")
    with pytest.raises(lilliput.LilliputError):
        lilliput.load(tmp_path / "b")


# Whose folder it is


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "name",
    ["README.md", "config.json", "tokenizer.json", "manifest.json", "notes.txt", ".git/HEAD", "model.pte"],
)
def test_a_folder_with_files_of_others_is_left_as_it_is(tuned: Path, tmp_path: Path, name: str) -> None:
    precious = tmp_path / "b" / name
    precious.parent.mkdir(parents=True)
    precious.write_text('{"years": "of work"}')
    before = contents(tmp_path)
    with pytest.raises(
        StorageError, match=rf"did not write \({name}\), .*choose another --out, or move them"
    ):
        bundle(tuned, tmp_path / "b", task="c")
    assert contents(tmp_path) == before


def test_a_bundle_of_ours_is_replaced_whole(tuned: Path, tmp_path: Path) -> None:
    bundle(tuned, tmp_path / "b", task="c")
    (tmp_path / "b" / "README.md").write_text("edited")
    (tmp_path / "b" / "model.onnx").unlink()
    (tmp_path / "b" / ".config.json.12.partial").write_text("left by a kill")
    (tmp_path / ".b.partial").mkdir()
    made = bundle(tuned, tmp_path / "b", task="r")
    assert lilliput.load(tmp_path / "b").config.task == "r"
    assert {path.name for path in (tmp_path / "b").iterdir()} == made.files.keys()
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_a_file_put_beside_a_bundle_is_named_and_kept(tuned: Path, tmp_path: Path) -> None:
    bundle(tuned, tmp_path / "b", task="c")
    (tmp_path / "b" / "notes.txt").write_text("mine")
    before = contents(tmp_path)
    with pytest.raises(StorageError, match=r"did not write \(notes\.txt\)"):
        bundle(tuned, tmp_path / "b", task="r")
    assert contents(tmp_path) == before


def test_a_bundle_stays_where_the_next_one_fails(
    tuned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle(tuned, tmp_path / "b", task="c")
    before = contents(tmp_path)
    monkeypatch.setattr(bundling, "_scores", None)
    with pytest.raises(TypeError):
        bundle(tuned, tmp_path / "b", task="r")
    assert contents(tmp_path) == before


def test_two_do_not_write_one_bundle(tuned: Path, tmp_path: Path) -> None:
    with locked(beside(tmp_path / "b"), tmp_path / "b"):
        other = ThreadPoolExecutor(1).submit(bundle, tuned, tmp_path / "b", task="c")
        with pytest.raises(StorageError, match=rf"b is in use by process {os.getpid()} on"):
            other.result()
    assert not (tmp_path / "b").exists()


def test_exporting_does_not_replace_a_config_of_others(tuned: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"my": "settings"}')
    with pytest.raises(StorageError, match=r"did not write \(config\.json\)"):
        export(RunDir(tuned).finetuned("c"), tmp_path)


@pytest.mark.parametrize("task", ["../c", "a/b", ".", ""])
def test_a_task_of_a_bundle_is_one_name(tuned: Path, tmp_path: Path, task: str) -> None:
    with pytest.raises(lilliput.LilliputError, match="a task's name becomes a folder name"):
        bundle(tuned, tmp_path / "b", task=task)


def test_a_card_does_not_tell_of_a_run_that_was_made_anew(world: World, tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    shutil.copytree(world.headless, run.student)
    recipe = {"name": "r", "stages": []}
    summary = {"teacher": "the-teacher", "recipe": recipe, "teacher_parameters": 7, "words": 9}
    run.summary.write_text(json.dumps(summary))
    data = TaskData(REGRESSION, examples_of(REGRESSION, 16, 1), examples_of(REGRESSION, 8, 2))
    finetune(str(run.path), data, run, FinetuningConfig(epochs=0.1, rate=1e-3))
    bundle(run.path, tmp_path / "b", task="r", quantization="float32")
    assert "the-teacher" in (tmp_path / "b" / "README.md").read_text()
    (run.student / "config.json").write_text((run.student / "config.json").read_text() + "\n")
    bundle(run.path, tmp_path / "b", task="r", quantization="float32")
    assert "the-teacher" not in (tmp_path / "b" / "README.md").read_text()
