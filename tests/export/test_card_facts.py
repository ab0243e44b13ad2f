"""What a card says comes from the run and stands as the hub reads it; what is not known is left out."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import EvalResult, ModelCard

from checkpoints import save_small
from conftest import World
from labelled import REGRESSION, examples_of
from lilliput.common.cards import called
from lilliput.common.stage_dir import StageDir
from lilliput.errors import ConfigError
from lilliput.export.bundling import bundle
from lilliput.finetuning.config import FinetuningConfig
from lilliput.finetuning.finetune import finetune
from lilliput.finetuning.results import read_results
from lilliput.run import RunDir
from lilliput.tasks.task import TaskData

BRIEF = FinetuningConfig(epochs=4, rows=8, rate=5e-3, dropout=0.0, evaluations=1)
SENTENCES = TaskData(REGRESSION, examples_of(REGRESSION, 32, 1), examples_of(REGRESSION, 16, 2))


def recorded(folder: Path, made_from: dict[str, Any]) -> None:
    stage = StageDir(folder, made_from)
    stage.begin()
    stage.finish({})


def a_run(world: World, path: Path, teacher: str, digest: str) -> RunDir:
    """Writes a run with what `compress` records of a teacher and a corpus."""
    run = RunDir(path)
    save_small(world, "fill", run.student)
    recipe = {"name": "tiny", "stages": [{"name": "student"}]}
    summary = {"teacher": teacher, "recipe": recipe, "teacher_parameters": 7_000, "words": 900}
    run.summary.write_text(json.dumps(summary))
    inputs = [
        {"data_set": "owner/texts", "config": "20231101.en", "split": "train", "revision": "0" * 40},
        {"file": "more.txt", "bytes": 3, "digest": "0"},
    ]
    recorded(run.corpus, {"inputs": inputs})
    recorded(run.training("student"), {"teacher": digest})
    return run


def card_in(folder: Path) -> ModelCard:
    return ModelCard.load(folder / "README.md")


def test_models_and_data_sets_of_the_hub_are_those_that_the_run_read(world: World, tmp_path: Path) -> None:
    run = a_run(world, tmp_path / "small", "owner/encoder", f"owner/encoder@{'a' * 40}")
    bundle(run, tmp_path / "bundle", quantization="float32")
    card = card_in(tmp_path / "bundle")
    assert card.data.to_dict() == {
        "base_model": "owner/encoder",
        "datasets": ["owner/texts"],
        "library_name": "lilliput",
        "pipeline_tag": "fill-mask",
        "tags": ["lilliput", "onnx", "bert", "distillation"],
    }
    assert "\n# small\n" in card.text
    assert "- teacher: owner/encoder\n- corpus: owner/texts, more.txt: 900 words" in card.text
    assert "Not stated" in card.text


def test_a_name_that_was_not_read_from_the_hub_is_no_base_model(world: World, tmp_path: Path) -> None:
    run = a_run(world, tmp_path / "small", "models/encoder", "0123456789abcdef")
    bundle(run, tmp_path / "bundle", quantization="float32")
    data = card_in(tmp_path / "bundle").data.to_dict()
    assert not {"base_model", "language", "license", "model-index"} & data.keys()


def test_language_and_licence_of_the_teacher_are_those_of_its_card(world: World, tmp_path: Path) -> None:
    teacher = Path(shutil.copytree(world.teacher, tmp_path / "mine" / "model"))
    (teacher / "README.md").write_text("---\nlanguage: de\nlicense: mit\n---\n# A teacher\n")
    run = a_run(world, tmp_path / "small", str(teacher), "0123")
    bundle(run, tmp_path / "bundle", quantization="float32")
    card = card_in(tmp_path / "bundle")
    assert card.data.language == "de"
    assert card.data.license is None, "the teacher's licence is not that of the student"
    assert "- teacher: mine\n" in card.text
    assert "The card of mine says mit." in card.text


@pytest.mark.parametrize(
    "metadata",
    [
        "language: [de, en]\n",
        "language: multilingual\n",
        "language: {a: b}\nlicense: [x]\n",
        "language: 7\n",
        "x: [\n",
        "language: de|x\nlicense: '**'\n",
    ],
)
def test_what_a_teachers_card_leaves_open_is_left_out(world: World, tmp_path: Path, metadata: str) -> None:
    teacher = Path(shutil.copytree(world.teacher, tmp_path / "teacher"))
    (teacher / "README.md").write_text(f"---\n{metadata}---\n# A teacher\n")
    run = a_run(world, tmp_path / "small", str(teacher), "0123")
    bundle(run, tmp_path / "bundle", quantization="float32")
    assert not {"language", "license"} & card_in(tmp_path / "bundle").data.to_dict().keys()


def test_what_the_user_states_stands_in_the_card(world: World, tmp_path: Path) -> None:
    run = a_run(world, tmp_path / "small", "owner/encoder", f"owner/encoder@{'a' * 40}")
    stated = {"licence": "Apache-2.0", "language": ["de", "pt-BR"], "datasets": "mine/texts"}
    bundle(run, tmp_path / "bundle", quantization="float32", **stated)  # type: ignore[arg-type]
    card = card_in(tmp_path / "bundle")
    assert (card.data.license, card.data.language) == ("apache-2.0", ["de", "pt-BR"])
    assert card.data.datasets == ["mine/texts"]
    assert card.text.endswith("## Licence\n\napache-2.0\n")


@pytest.mark.parametrize(
    "stated", [{"language": "English"}, {"licence": "my own"}, {"datasets": "data/mine/x.csv"}]
)
def test_what_the_hub_would_refuse_is_refused(world: World, tmp_path: Path, stated: dict[str, Any]) -> None:
    checkpoint = save_small(world, "fill", tmp_path / "fill")
    (name,) = stated
    with pytest.raises(ConfigError, match=f"^{name} is '.*expected is what the hub reads, such as"):
        bundle(checkpoint, tmp_path / "bundle", **stated)
    assert not (tmp_path / "bundle").exists()


def test_a_checkpoint_in_the_hubs_cache_is_its_own_base(world: World, tmp_path: Path) -> None:
    folder = save_small(world, "fill", tmp_path / "models--owner--small" / "snapshots" / ("b" * 40))
    (folder / "README.md").write_text("---\nlicense: mit\nlanguage:\n- fr\n---\n")
    bundle(folder, tmp_path / "bundle", quantization="float32")
    data = card_in(tmp_path / "bundle").data
    assert (data.base_model, data.license, data.language) == ("owner/small", "mit", "fr")
    assert "\n# small\n" in card_in(tmp_path / "bundle").text


def test_the_teachers_score_stands_beside_the_students(world: World, tmp_path: Path) -> None:
    teacher, student = RunDir(tmp_path / "large"), RunDir(tmp_path / "small")
    theirs = finetune(world.teacher, SENTENCES, teacher, BRIEF)
    finetune(world.headless, SENTENCES, student, BRIEF, teacher=str(teacher.path))
    made = bundle(student.path, tmp_path / "bundle", task="r", quantization="float32")
    card = card_in(tmp_path / "bundle")
    for name, mine in made.scores.items():
        row = f"| r dev | {name} | {round(mine, 4):g} | {round(theirs.mean[name], 4):g} |"
        assert row in card.text
    assert "\n# small-r\n" in card.text
    assert "taught by large-r" in card.text
    assert card.data.model_name == "small-r"
    hub = {"pearson": "pearsonr", "spearman": "spearmanr"}
    assert card.data.eval_results == [
        EvalResult("text-classification", "r", "r dev", hub[name], round(value, 4), metric_name=name)
        for name, value in made.scores.items()
    ]


@pytest.mark.parametrize("what", ["other examples", "another teacher", "damaged"])
def test_a_teacher_that_was_scored_on_something_else_is_not_quoted(
    world: World, tmp_path: Path, what: str
) -> None:
    teacher, student = RunDir(tmp_path / "large"), RunDir(tmp_path / "small")
    data = SENTENCES
    if what == "other examples":
        data = TaskData(REGRESSION, data.train, examples_of(REGRESSION, 16, 3))
    finetune(world.teacher, data, teacher, BRIEF)
    finetune(world.headless, SENTENCES, student, BRIEF, teacher=str(teacher.path))
    if what == "another teacher":
        finetune(world.headless, data, teacher, BRIEF, overwrite=True)
    if what == "damaged":
        (teacher.finetuned("r") / "predictions.jsonl").write_text("")
    bundle(student.path, tmp_path / "bundle", task="r", quantization="float32")
    assert re.search(r"\| data \| metric \| this model \|\n", card_in(tmp_path / "bundle").text)


def test_examples_of_the_hub_are_a_data_set_of_the_card(world: World, tmp_path: Path) -> None:
    origin = "data set nyu-mll/glue:stsb:train (texts in 'sentence1')"
    data = replace(SENTENCES, task=replace(REGRESSION, name="stsb"), origin=origin)
    run = RunDir(tmp_path / "run")
    finetune(world.headless, data, run, BRIEF)
    assert read_results(run.finetuned("stsb")).origin == origin
    bundle(run, tmp_path / "bundle", task="stsb", quantization="float32")
    found = card_in(tmp_path / "bundle").data
    assert found.datasets == ["nyu-mll/glue"]
    assert found.eval_results is not None
    assert {one.dataset_type for one in found.eval_results} == {"nyu-mll/glue"}
    local = replace(data, origin="stsb_train.csv")
    finetune(world.headless, local, RunDir(tmp_path / "other"), BRIEF)
    bundle(tmp_path / "other", tmp_path / "second", task="stsb", quantization="float32")
    assert "datasets" not in card_in(tmp_path / "second").data.to_dict()


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("bert-base-uncased", "bert-base-uncased"),
        ("/home/me/films/model", "films"),
        ("/home/me/films", "films"),
        ("/c/models--a--b--c/snapshots/0f", "a/b--c"),
    ],
)
def test_models_have_names_that_say_something(model: str, name: str) -> None:
    assert called(model) == name
