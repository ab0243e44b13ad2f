"""What version 0.1 wrote still opens: a run with its stages, a fine-tuned model, a recipe and a bundle.

`version_0_1/make.py` made them, with lilliput at commit d799546, before the files of the package moved.
"""

import json
import re
import shutil
from pathlib import Path

import onnx
import pytest

from lilliput.comparison.runs import compare
from lilliput.compression import compress
from lilliput.export.bundling import bundle
from lilliput.finetuning.config import FinetuningConfig
from lilliput.finetuning.finetune import finetune
from lilliput.inference.bundle import load
from lilliput.recipes import find_recipe
from lilliput.run import RunDir
from lilliput.tasks.loading import load_task
from lilliput.training.evaluation import evaluate

MADE = Path(__file__).parent / "version_0_1"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of all that was made, as the working directory."""
    shutil.copytree(MADE, tmp_path / "made")
    monkeypatch.chdir(tmp_path / "made")
    return tmp_path / "made"


def written(folder: Path) -> dict[str, int]:
    """Returns when each finished stage and model of a run was written."""
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("manifest.json")}


def test_the_same_command_finds_every_stage_finished(place: Path) -> None:
    before = written(place / "run" / "training") | written(place / "run" / "corpus")
    assert len(before) == 4
    summary = compress("teacher", ["text.txt"], Path("run"), find_recipe("recipe.json"), workers=1)
    assert written(place / "run" / "training") | written(place / "run" / "corpus") == before
    known = json.loads((MADE / "run" / "summary.json").read_text())
    assert summary.stages == known["stages"]
    assert summary.student_files == known["student_files"]


def test_its_student_has_the_quality_that_it_had(place: Path) -> None:
    found = evaluate(Path("run"))["student"]
    said = re.search(r"student: ([\d.]+) bits per character, ([\d.]+)%", (MADE / "evaluate.txt").read_text())
    assert said is not None
    assert f"{found.bits_per_character:.3f}" == said[1]
    assert f"{found.accuracy:.1%}" == f"{said[2]}%"


def test_its_fine_tuned_model_is_finished_and_compared_and_bundled(place: Path) -> None:
    run, data = RunDir(Path("run")), load_task("topics")
    before = written(run.finetuned("topics"))
    found = finetune("run", data, run, FinetuningConfig(epochs=2))
    assert written(run.finetuned("topics")) == before
    (entry,) = compare([Path("run")], place / "comparison").entries
    assert entry.scores["accuracy"][0] == found.mean["accuracy"]
    made = bundle("run", place / "again", task="topics")
    again, before = (onnx.load(place / name / "model.onnx") for name in ("again", "bundle"))
    again.producer_version = before.producer_version
    assert again == before
    assert made.scores


def test_its_bundle_gives_the_answers_that_it_gave(place: Path) -> None:
    known = [json.loads(line) for line in (MADE / "answers.jsonl").read_text().splitlines()]
    answers = load(place / "bundle").classify(["ban troll marts", "mellys"])
    assert [answer.label for answer in answers] == [one["label"] for one in known]
    assert [answer.probability for answer in answers] == pytest.approx(
        [one["probability"] for one in known], abs=1e-6
    )
