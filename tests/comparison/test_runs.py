import dataclasses
import io
import json
import re
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from conftest import World
from finetuned import CLASSES, JOINT, SCORES, finished, unrecorded
from lilliput.cli.tasks import evaluate
from lilliput.comparison.run_report import render
from lilliput.comparison.runs import compare
from lilliput.errors import StorageError
from lilliput.tasks.task import Labels


@pytest.fixture(scope="module")
def runs(world: World, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("runs")
    finished(world, folder / "teacher", CLASSES, Labels((0, 1, 1, 1)), 0.8)
    finished(world, folder / "student", CLASSES, Labels((0, 0, 1, 1)), 0.6)
    finished(world, folder / "teacher", SCORES, Labels((1.0, 2.0, 3.0, 5.0)), 0.9)
    finished(world, folder / "student", SCORES, Labels((2.0, 4.0, 6.0, 10.0)), 0.81)
    finished(world, folder / "teacher", JOINT, Labels((0, 1), ((0, 1), (0,))), 1.0)
    finished(world, folder / "student", JOINT, Labels((0, 1), ((0, 0), (0,))), 0.5)
    return folder / "teacher", folder / "student"


def test_retention_and_agreement_are_of_the_teachers_scores(runs: tuple[Path, Path], tmp_path: Path) -> None:
    teacher, student = runs
    found = compare([student], tmp_path, teacher=teacher)
    of_student = {entry.task: entry for entry in found.entries if entry.run == "student"}
    assert {name: entry.retention for name, entry in of_student.items()} == pytest.approx(
        {"c": 0.75, "r": 0.9, "j": 0.5}
    )
    assert {name: entry.agreement for name, entry in of_student.items()} == pytest.approx(
        {"c": 0.75, "r": 1.0, "j": 0.5}
    )
    assert found.retention("student") == pytest.approx((0.75 + 0.9 + 0.5) / 3)
    assert of_student["c"].confusion == {"no": {"no": 1, "yes": 1}, "yes": {"no": 1, "yes": 1}}
    assert all(entry.milliseconds > 0 for entry in found.entries)
    written = json.loads((tmp_path / "comparison.json").read_text())
    assert [entry["run"] for entry in written["entries"]] == ["teacher"] * 3 + ["student"] * 3


def test_the_table_is_markdown_with_deviations(runs: tuple[Path, Path], tmp_path: Path) -> None:
    compare([runs[1]], tmp_path, teacher=runs[0])
    text = (tmp_path / "comparison.md").read_text()
    (line,) = [line for line in text.splitlines() if line.startswith("| student | c |")]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[3:8] == ["60.0 ± 1.1", "", "75.0%", "75.0%", "7"]
    assert "- student keeps 71.7% of teacher on average" in text


def test_a_person_reads_where_models_differ(runs: tuple[Path, Path], tmp_path: Path) -> None:
    compare([runs[1]], tmp_path, teacher=runs[0])
    differences = (tmp_path / "differences" / "student-c.md").read_text()
    assert differences.startswith("# c: 1 examples where student and teacher differ")
    assert "- c\x85\n  - true: yes\n  - teacher: yes\n  - student: no\n" in differences
    tags = (tmp_path / "differences" / "student-j.md").read_text()
    assert (
        "- the boxes\n  - true: ask; boxes/B-x\n  - teacher: ask; boxes/B-x\n  - student: ask; no tags\n"
        in tags
    )


def test_a_model_of_the_version_before_is_compared_by_given_words(
    runs: tuple[Path, Path], world: World, tmp_path: Path
) -> None:
    finished(world, tmp_path / "old", JOINT, Labels((0, 1), ((0, 1), (0,))), 0.8)
    folder = tmp_path / "old/finetuned/j"
    unrecorded(folder)
    (folder / "task.json").write_text(
        (folder / "task.json").read_text().replace('"format": 2', '"format": 1')
    )
    found = compare([runs[1]], tmp_path / "out", teacher=tmp_path / "old")
    entries = {(entry.run, entry.task): entry for entry in found.entries}
    assert entries["old", "j"].scores == {"frame_accuracy_given_words": (0.8, 0.011)}
    assert entries["old", "j"].metric == "frame_accuracy_given_words"
    assert entries["student", "j"].metric == "frame_accuracy"
    assert entries["student", "j"].retention == pytest.approx(0.5 / 0.8)


def test_models_that_read_other_words_agree_by_given_words(
    runs: tuple[Path, Path], world: World, tmp_path: Path
) -> None:
    finished(world, tmp_path / "new", JOINT, Labels((0, 1), ((0, 1), (0,))), 0.8)
    file = tmp_path / "new/finetuned/j/predictions.jsonl"
    unrecorded(file.parent)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    lines[0] |= {"words": [[0, 3], [4, 7], [7, 9]], "gold": {"label": "ask", "tags": ["O", "B-x", "B-x"]}}
    lines[0]["predicted"]["tags"] = ["O", "B-x", "O"]
    lines[1]["words"] = [[0, 1]]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = compare([tmp_path / "new"], tmp_path / "out", teacher=runs[0])
    (agreement,) = [entry.agreement for entry in found.entries if entry.run == "new"]
    assert agreement == 1.0
    assert not (tmp_path / "out/differences/new-j.md").read_text().count("- the boxes")


def test_runs_without_a_teacher_are_compared_too(runs: tuple[Path, Path], tmp_path: Path) -> None:
    found = compare(runs, tmp_path)
    assert {entry.retention for entry in found.entries} == {None}
    assert not (tmp_path / "differences").exists()


def test_a_run_without_a_model_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="holds no fine-tuned model; make one with `lilliput finetune"):
        compare([tmp_path / "empty"], tmp_path)


def test_other_dev_sets_are_a_sentence(runs: tuple[Path, Path], tmp_path: Path, world: World) -> None:
    finished(world, tmp_path / "other", CLASSES, Labels((0, 1, 1, 0)), 0.5)
    predictions = tmp_path / "other/finetuned/c/predictions.jsonl"
    predictions.write_text(predictions.read_text().replace('"a b"', '"z"'))
    with pytest.raises(StorageError, match="were scored on other dev sets"):
        compare([tmp_path / "other"], tmp_path, teacher=runs[0])


def test_the_table_stands_whole_on_a_narrow_terminal(runs: tuple[Path, Path], tmp_path: Path) -> None:
    written = io.StringIO()
    Console(file=written, width=80).print(render(compare([runs[1]], tmp_path, teacher=runs[0])))
    shown = written.getvalue()
    assert "…" not in shown
    assert re.search(r"^ student +j +frame_accuracy +50\.0 ± 1\.1 +50\.0% ", shown, re.MULTILINE)


def test_runs_of_the_same_name_are_told_apart(
    runs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("a/student", "b/student"):
        shutil.copytree(runs[1], tmp_path / place)
    monkeypatch.chdir(tmp_path)
    found = compare([Path("a/student"), Path("b/student")], Path("out"), teacher=runs[0])
    assert {entry.run for entry in found.entries} == {"teacher", "a/student", "b/student"}
    written = {path.name for path in Path("out/differences").iterdir()}
    assert written == {f"{run}-student-{task}.md" for run in "ab" for task in "crj"}


@pytest.mark.parametrize("what", ["gold", "text"])
def test_other_labels_or_texts_are_other_dev_sets(
    runs: tuple[Path, Path], tmp_path: Path, world: World, what: str
) -> None:
    finished(world, tmp_path / "other", CLASSES, Labels((0, 1, 1, 0)), 0.5)
    folder = tmp_path / "other/finetuned/c"
    lines = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().split("\n")[:-1]]
    lines[0][what] = {"label": "yes"} if what == "gold" else "z"
    (folder / "predictions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(StorageError, match="were scored on other dev sets"):
        compare([tmp_path / "other"], tmp_path / "out", teacher=runs[0])


def test_tasks_of_one_name_with_other_classes_are_not_compared(
    runs: tuple[Path, Path], tmp_path: Path, world: World
) -> None:
    task = dataclasses.replace(CLASSES, classes=("no", "yes", "perhaps"))
    finished(world, tmp_path / "other", task, Labels((0, 1, 1, 0)), 0.5)
    with pytest.raises(StorageError, match="different tasks of the same name"):
        compare([tmp_path / "other"], tmp_path / "out", teacher=runs[0])


@pytest.mark.parametrize("name", ["comparison.md", "comparison.json", "differences/mine.md"])
def test_files_of_others_are_not_replaced(runs: tuple[Path, Path], tmp_path: Path, name: str) -> None:
    precious = tmp_path / name
    precious.parent.mkdir(exist_ok=True)
    precious.write_text("years of work")
    with pytest.raises(StorageError, match="holds files that lilliput did not write"):
        compare([runs[1]], tmp_path, teacher=runs[0])
    assert precious.read_text() == "years of work"
    assert not list(tmp_path.glob("comparison.json")) or name == "comparison.json"


def test_altered_predictions_are_not_compared(runs: tuple[Path, Path], tmp_path: Path) -> None:
    run = Path(shutil.copytree(runs[1], tmp_path / "run"))
    predictions = run / "finetuned/c/predictions.jsonl"
    predictions.write_text(
        predictions.read_text().replace('"predicted": {"label": "no"', '"predicted": {"label": "yes"', 1)
    )
    with pytest.raises(
        StorageError, match=r"predictions\.jsonl was altered.*; run the same `lilliput finetune`"
    ):
        compare([run], tmp_path / "out", teacher=runs[0])


def test_a_run_with_a_student_but_no_corpus_is_compared(
    runs: tuple[Path, Path], world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(runs[1], run)
    shutil.copytree(world.headless, run / "student")
    evaluate((run,))
    told = capsys.readouterr().out
    assert "no words are masked, as it has no corpus, and --text names none" in told
    assert (run / "comparison" / "comparison.md").exists()
