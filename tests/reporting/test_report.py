import dataclasses
import json
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from conftest import World
from finetuned import CLASSES, JOINT, SCORES, TEXTS, finished
from lilliput.comparison.bundle_report import BundleReport, LatencyReport, ModelReport, SpeedReport
from lilliput.comparison.runs import compare
from lilliput.compression import Summary
from lilliput.errors import ConfigError, StorageError
from lilliput.recipes import RECIPES, find_recipe
from lilliput.reporting import made, masked
from lilliput.reporting.report import report
from lilliput.run import RunDir
from lilliput.tasks.task import Labels, Task

HOSTILE = "</td><script>alert(1)</script><img src=x onerror=alert(2)>"


class Page(HTMLParser):
    """A page as a browser reads it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: dict[str, int] = {}
        self.attributes: list[tuple[str, str]] = []
        self.headings: list[str] = []
        self.text = ""
        self._in = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] = self.tags.get(tag, 0) + 1
        self.attributes += [(name, value or "") for name, value in attrs]
        self._in = tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._in == "h2" and data.strip():
            self.headings.append(data)


@pytest.fixture
def run(tiny_run: tuple[RunDir, Summary], tmp_path: Path) -> Path:
    shutil.copytree(tiny_run[0].path, tmp_path / "x")
    return tmp_path / "x"


def shown(path: Path, *others: Path) -> Page:
    return Page(report([path, *others], path / "page.html"))


def test_a_finished_run_is_shown_from_its_files(run: Path) -> None:
    finished_run = Summary(**json.loads((run / "summary.json").read_text()))
    page = shown(run)
    assert page.headings == [
        "What was made of what",
        "Sizes",
        "Quality on held-out text",
        *(f"Training: stage {name}" for name in finished_run.stages),
        "Vocabulary",
        "Masked words",
        "Cost",
        "To make it again",
    ]
    for number in (finished_run.student_bytes, finished_run.teacher_bytes, finished_run.student_parameters):
        assert f"{number:,}" in page.text
    assert f"--out {run} --recipe tiny" in page.text
    assert page.tags["svg"] >= 4
    assert json.loads((run / "lexicon/manifest.json").read_text())["versions"]["torch"] in page.text


def test_a_page_asks_nothing_of_the_network_and_runs_nothing(run: Path) -> None:
    page = shown(run)
    assert not page.tags.keys() & {"script", "link", "img", "iframe", "object", "base", "form", "use"}
    names = {name for name, _ in page.attributes}
    assert not any(name.startswith("on") for name in names)
    assert "src" not in names
    assert all(value.startswith("#") for name, value in page.attributes if name == "href")
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'") in page.attributes
    assert "url(" not in (run / "page.html").read_text()
    assert "@import" not in (run / "page.html").read_text()


def test_what_a_run_has_not_is_left_out(run: Path) -> None:
    for name in ("summary.json", "lexicon", "student", "training/student/manifest.json"):
        shutil.rmtree(run / name) if (run / name).is_dir() else (run / name).unlink()
    page = shown(run)
    assert not {"Sizes", "Vocabulary", "Masked words"} & {*page.headings}
    assert "Training: stage student" in page.headings  # its log is there


def test_texts_and_names_of_a_run_never_become_html(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = dataclasses.replace(CLASSES, classes=("no", HOSTILE), metric="accuracy")
    monkeypatch.setitem(TEXTS, "c", ["a b", HOSTILE, "\u202eturned\x1b[2J", "e"])
    finished(world, tmp_path / "x", task, Labels((1, 0, 0, 0)), 0.5)
    corpus = tmp_path / "x/corpus"
    shutil.copytree(world.corpus.path, corpus)
    manifest = json.loads((corpus / "manifest.json").read_text())
    manifest["made_from"]["inputs"] = [{"file": HOSTILE}]
    (corpus / "manifest.json").write_text(json.dumps(manifest))
    page = shown(tmp_path / "x")
    assert not page.tags.keys() & {"script", "img"}
    assert not any(name.startswith("on") for name, _ in page.attributes)
    assert page.text.count(HOSTILE) >= 4  # source, class, confusion and example, as text
    assert "\u202e" not in page.text
    assert "\x1b" not in page.text


def test_a_summary_with_markup_for_numbers_is_refused(run: Path) -> None:
    values = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps(values | {"words": "<b>"}))
    with pytest.raises(StorageError, match=r"summary\.json is damaged .*'words' must be int"):
        shown(run)
    values["recipe"]["stages"][0]["share"] = "<b>"
    (run / "summary.json").write_text(json.dumps(values))
    with pytest.raises(StorageError, match=r"summary\.json is damaged .*'share' must be float"):
        shown(run)


def test_masked_words_are_asked_once_for_each_student(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = shown(run)
    kept = json.loads((run / "masked_words.json").read_text())
    assert {name for gap in kept["gaps"] for name, _ in gap["said"]} == {"teacher", "student"}
    for gap in kept["gaps"]:
        for _, guesses in gap["said"]:
            shares = [guess["probability"] for guess in guesses]
            assert shares == sorted(shares, reverse=True)
            assert 0 < sum(shares) <= 1
            assert all(guess["is_right"] == (guess["text"] == gap["word"]) for guess in guesses)
    with monkeypatch.context() as patched:
        patched.setattr(masked, "load_student", lambda folder: pytest.fail("models are asked again"))
        assert shown(run).text == first.text
    (run / "masked_words.json").write_text(json.dumps(kept | {"student": "another"}))
    assert shown(run).text == first.text
    assert json.loads((run / "masked_words.json").read_text()) == kept
    (run / "masked_words.json").write_text(json.dumps(kept | {"gaps": [{"said": 1}]}))
    with pytest.raises(
        StorageError, match=r"masked_words\.json is damaged .*; remove it, and it is written anew"
    ):
        shown(run)


@pytest.fixture
def tuned(world: World, tmp_path: Path) -> tuple[Path, Path]:
    """A teacher's run and a student's with the same tasks."""
    teacher, student = tmp_path / "teacher", tmp_path / "student"
    for place, said in ((teacher, Labels((0, 1, 1, 1))), (student, Labels((0, 0, 1, 1)))):
        finished(world, place, CLASSES, said, 0.6)
    finished(world, student, SCORES, Labels((2.0, 4.0, 6.0, 10.0)), 0.8)
    finished(world, student, JOINT, Labels((0, 1), ((0, 0), (0,))), 0.5)
    return teacher, student


def test_tasks_have_scores_by_class_confusions_and_errors(tuned: tuple[Path, Path]) -> None:
    page = shown(tuned[1])
    assert [heading for heading in page.headings if heading.startswith("Task")] == [
        "Task c",
        "Task j",
        "Task r",
    ]
    # Of no, 1 of 2 is found, and 1 of 2 that were said to be; the wrong ones are c and e.
    assert page.text.count("50.0%") >= 6
    assert "2 of 4 are wrong" in page.text
    assert "1 of 2 are wrong" in page.text
    assert "Furthest from what is right" in page.text


def test_the_curves_of_a_fine_tuning_are_drawn(tuned: tuple[Path, Path]) -> None:
    before = shown(tuned[1]).tags["svg"]
    folder = tuned[1] / "finetuned/c/metrics"
    folder.mkdir()
    lines = [{"step": 1, "loss": 0.7}, {"step": 2, "loss": 0.5, "dev/accuracy": 0.75}]
    for seed in "01":
        (folder / f"{seed}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    page = shown(tuned[1])
    assert page.tags["svg"] == before + 2
    assert "accuracy, dev" in page.text
    assert page.text.count("seed 1") == 5  # in the scores of three tasks, and in both legends


def test_a_student_stands_beside_its_teacher(tuned: tuple[Path, Path]) -> None:
    teacher, student = tuned
    compare([student], teacher=teacher)
    page = shown(student)
    assert "Student beside teacher" in page.headings
    assert "100.0%" in page.text
    assert "Compared with teacher" in page.text


def test_several_runs_stand_side_by_side(run: Path, tuned: tuple[Path, Path]) -> None:
    page = shown(run, *tuned)
    assert [
        heading for heading in page.headings if heading in ("Side by side", "x", "teacher", "student")
    ] == [
        "Side by side",
        "x",
        "teacher",
        "student",
    ]
    assert page.headings[:4] == ["Side by side", "Runs", "Held-out text", "Tasks"]


def test_measured_bundles_are_drawn_by_bytes_and_milliseconds(tmp_path: Path) -> None:
    latency = (LatencyReport(32, 0.002, 0.002, (0.002,)),)
    speed = (SpeedReport(1, 0.3, 0.3, latency, 500.0, 90_000_000, (0.3,)),)
    models = tuple(
        ModelReport(name, name, "bundle", "int8", size, {"accuracy": score}, speed)
        for name, size, score in (("small", 2_000_000, 0.9), (HOSTILE, 4_000_000, 0.92))
    )
    measured = BundleReport({"processor": "p", "machine": "m"}, "sst2", "accuracy", 872, 5, models)
    (tmp_path / "bundle.json").write_text(json.dumps(dataclasses.asdict(measured)))
    page = shown(tmp_path)
    assert page.tags["svg"] == 2
    assert page.tags["circle"] == 4
    assert "script" not in page.tags
    assert "2,000,000" in page.text
    assert "accuracy by time" in page.text


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_the_command_sets_what_the_recipe_had_set(name: str) -> None:
    stage = find_recipe(name).stages[0].name
    changed = find_recipe(name).replace(
        {"student.width": "48", f"stages.{stage}.batch.rows": "8", "budget.words": "5000", "seed": "3"}
    )
    base, settings = made._settings(json.loads(json.dumps(changed.to_dict())))
    assert base == name
    assert find_recipe(name).replace(dict(one.split("=", 1) for one in settings)) == changed


@pytest.mark.parametrize(
    ("name", "kind", "options"),
    [
        ("sst2", "classification", "--task sst2"),
        ("mine", "tagging", "--task mine"),
        ("stsb_similarity", "similarity", "--task stsb --kind similarity"),
        ("sick_relatedness", "regression", "--task sick --label relatedness"),
        ("sick_relatedness", "similarity", "--task sick --label relatedness --kind similarity"),
        ("mine", "retrieval", "--task mine --kind retrieval"),
    ],
)
def test_the_command_names_the_task(name: str, kind: str, options: str) -> None:
    assert made._asked(Task(name, kind)) == options.split()


def test_nothing_else_is_replaced_and_nothing_else_is_reported(run: Path, tmp_path: Path) -> None:
    (run / "report.html").write_text("<p>mine</p>")
    with pytest.raises(StorageError, match=r"holds files that lilliput did not write \(report\.html\)"):
        report(run)
    (tmp_path / "empty").mkdir()
    with pytest.raises(StorageError, match="empty holds nothing to report; name a run"):
        report(tmp_path / "empty")
    with pytest.raises(ConfigError, match="no run was named"):
        report([])
    assert report(run, run / "other.html") == report(run, run / "other.html")  # its own is
