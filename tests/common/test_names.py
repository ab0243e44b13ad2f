"""Names of tasks and stages: one folder's name on every system, wherever they come from."""

from pathlib import Path

import pytest

from lilliput.common.names import folder_name
from lilliput.config import ObjectiveWeights, StageConfig
from lilliput.errors import InputError
from lilliput.run import RunDir
from lilliput.tasks.loading import load_task

BAD = [
    "a/b",
    "../../x",
    "/abs",
    ".",
    "..",
    "",
    " ",
    "a\0b",
    "a\nb",
    "a\\b",
    "c:",
    "x" * 101,
    "é" * 51,
    "\udc80",
]
BAD += [
    ".hidden",
    "end.",
    " a",
    "a ",
    "con",
    "NUL.txt",
    "lpt1",
    "a\u202eb",
    "a?",
    "a*",
    '"a"',
    "<a>",
    "a|b",
    "\x1b[1m",
]


@pytest.mark.parametrize("name", BAD)
def test_a_name_that_is_no_folders_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"a task's name becomes a folder name, and .*; give it another one"
    ) as caught:
        RunDir(tmp_path).finetuned(name)
    assert str(caught.value).isprintable()
    with pytest.raises(InputError):
        RunDir(tmp_path).training(name)


@pytest.mark.parametrize(
    "name", ["sst2", "my task", "Zürich", "a.b-c_d", "x" * 100, "中文", "console", "com10"]
)
def test_a_plain_name_stays_as_it_is(name: str, tmp_path: Path) -> None:
    assert folder_name(name, "a name", "") == name
    assert RunDir(tmp_path).finetuned(name).parent == tmp_path / "finetuned"


@pytest.mark.parametrize("name", ["a/b", "../../x", "/abs", ".", ""])
def test_a_task_is_refused_before_its_files_are_read(name: str) -> None:
    with pytest.raises(InputError, match="a task's name becomes a folder name"):
        load_task(name, train="nowhere.csv")


def test_no_name_at_all_is_not_the_folder_that_one_is_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "train.csv").write_text("text,label\na,x\nb,y\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="the task's name '' is empty"):
        load_task("")


def test_a_file_without_a_name_gives_the_task_none(tmp_path: Path) -> None:
    file = tmp_path / ".csv"
    file.write_text("text,label\na,x\nb,y\n", encoding="utf-8")
    with pytest.raises(InputError):
        load_task(None, train=str(file))


def test_a_label_with_a_slash_names_no_folder(tmp_path: Path) -> None:
    rows = "".join(f"a {n},{n % 2},{n % 2}\n" for n in range(40))
    (tmp_path / "sst2_train.csv").write_text(f"text,label,a/b\n{rows}", encoding="utf-8")
    with pytest.raises(InputError, match="the name of a task and its label becomes a folder name"):
        load_task(str(tmp_path / "sst2"), label="a/b")


def test_a_stage_of_a_recipe_has_a_folders_name() -> None:
    with pytest.raises(InputError, match="a stage's name becomes a folder name"):
        StageConfig("con", 1.0, ObjectiveWeights(student_masked_lm=1.0))
