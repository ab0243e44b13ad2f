"""Stages done once, and metrics that a resumed run goes on with."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from lilliput.common import stage_dir as run
from lilliput.common.files import read_json
from lilliput.common.folders import content
from lilliput.common.metrics_log import MetricsLog
from lilliput.common.stage_dir import StageDir
from lilliput.errors import ConfigError, StorageError
from lilliput.run import RunDir

FROM = {"size": 3, "teacher": {"layers": 6, "width": 96}, "names": ["a", "b"]}


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# Stages


def test_a_stage_is_finished_only_by_its_manifest(tmp_path: Path) -> None:
    stage = StageDir(tmp_path / "stage", FROM)
    assert not stage.is_finished()
    stage.begin()
    assert files(stage.path) == {"begun.json"}
    assert not stage.is_finished()
    stage.begin()
    manifest = stage.finish({"words": 7})
    assert files(stage.path) == {"manifest.json"}
    assert stage.is_finished()
    assert stage.results() == {"words": 7} == manifest["results"]
    assert manifest["versions"].keys() >= {"python", "machine", "lilliput", "torch"}
    assert manifest["made_from"] == FROM
    assert manifest["digest"] == StageDir(tmp_path, json.loads(json.dumps(FROM))).digest


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"size": 4}, "size: 3 there, 4 now"),
        ({"teacher": {"layers": 6, "width": 48}}, "teacher.width: 96 there, 48 now"),
        ({"names": ["a", "c"]}, "names.1: b there, c now"),
        ({"names": ["a", "b", "d"]}, "names.2: nothing there, d now"),
        ({"teacher": None}, "teacher.layers: 6 there, nothing now; teacher.width: 96 there, nothing now"),
        ({"a": 1, "b": 1, "c": 1, "d": 1, "e": 1}, "c: nothing there, 1 now; and 2 more"),
    ],
)
@pytest.mark.parametrize("finished", [True, False])
def test_other_inputs_are_refused_naming_what_changed(
    tmp_path: Path, changes: dict[str, Any], sentence: str, finished: bool
) -> None:
    stage = StageDir(tmp_path / "stage", FROM)
    stage.begin()
    if finished:
        stage.finish({})
    with pytest.raises(StorageError) as caught:
        StageDir(stage.path, FROM | changes).is_finished()
    assert sentence in str(caught.value)
    assert "choose another --out to keep it, or add --overwrite" in str(caught.value)
    assert stage.is_finished() == finished


def half_built(path: Path, made_from: dict[str, Any], finished: bool) -> StageDir:
    """Returns a stage's folder with a file in it."""
    stage = StageDir(path, made_from)
    stage.begin()
    (path / "0.npy").write_bytes(b"0")
    if finished:
        stage.finish({})
    return stage


@pytest.mark.parametrize("finished", [True, False])
def test_overwriting_keeps_what_was_made_from_the_same(tmp_path: Path, finished: bool) -> None:
    stage = half_built(tmp_path / "stage", FROM, finished)
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in stage.path.iterdir()}
    assert stage.is_finished(overwrite=True) == finished
    assert stage.other() is None
    if not finished:
        stage.begin()
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in stage.path.iterdir()} == before


@pytest.mark.parametrize("finished", [True, False])
def test_overwriting_replaces_what_was_made_from_something_else(tmp_path: Path, finished: bool) -> None:
    old = half_built(tmp_path / "stage", FROM, finished)
    kept = files(old.path)
    stage = StageDir(old.path, FROM | {"size": 4})
    assert not stage.is_finished(overwrite=True)
    assert files(stage.path) == kept, "asking removes nothing"
    stage.begin()
    assert files(stage.path) == {"begun.json"}
    assert read_json(stage.begun_path)["made_from"] == stage.made_from
    assert files(tmp_path) == {"stage"}
    stage.finish({})
    assert stage.is_finished(overwrite=True)
    other = old.other()
    assert other is not None
    assert other["made_from"] == stage.made_from


def test_a_stage_does_not_begin_among_what_no_stage_wrote(tmp_path: Path) -> None:
    """Overwriting would remove it with the stage one day."""
    precious = tmp_path / "stage" / "work" / "thesis.txt"
    precious.parent.mkdir(parents=True)
    precious.write_text("years of work")
    stage = StageDir(tmp_path / "stage", FROM)
    assert not stage.is_finished(overwrite=True)
    with pytest.raises(StorageError, match=r"holds files that lilliput did not write .*choose another --out"):
        stage.begin()
    assert files(stage.path) == {"work"}
    precious.rename(stage.path / ".begun.json.1.partial")  # as a kill leaves it
    stage.begin()
    assert stage.begun_path.exists()


def test_a_folder_of_another_format_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = StageDir(tmp_path / "stage", FROM)
    stage.begin()
    monkeypatch.setattr(run, "FORMAT", run.FORMAT + 1)
    with pytest.raises(StorageError, match=r"format 1, this version of lilliput writes 2"):
        stage.is_finished()


@pytest.mark.parametrize("finished", [True, False])
def test_clearing_removes_what_a_stage_wrote(tmp_path: Path, finished: bool) -> None:
    stage = StageDir(tmp_path / "stage", FROM)
    stage.begin()
    (stage.path / "shards").mkdir()
    (stage.path / "shards" / "0.npy").write_bytes(b"0")
    if finished:
        stage.finish({})
    stage.clear()
    assert files(tmp_path) == set()
    stage.clear()  # nothing there is nothing to do


def test_clearing_refuses_what_no_stage_wrote(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(StorageError, match=r"holds files that lilliput did not write .*choose another --out"):
        StageDir(tmp_path, FROM).clear()
    assert files(tmp_path) == {"thesis.txt"}


def test_clearing_takes_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "stage").mkdir()
    StageDir(tmp_path / "stage", FROM).clear()
    assert files(tmp_path) == set()


def test_every_path_of_a_run_is_another_one_inside_it(tmp_path: Path) -> None:
    made = RunDir(tmp_path)
    paths = [made.corpus, made.lexicon, made.vocabulary, made.summary, made.student]
    paths += [made.training("dual"), made.training("student"), made.evaluation("0"), made.held_out("corpus")]
    assert len(set(paths)) == len(paths)
    assert all(tmp_path in path.parents for path in paths)


# What was saved


def finished(path: Path) -> StageDir:
    """Returns a finished stage with a file in it."""
    stage = half_built(path, FROM, finished=True)
    assert stage.is_whole()
    return stage


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize("damage", [flip, cut, Path.unlink])
def test_a_damaged_stage_is_made_anew(
    tmp_path: Path, damage: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    stage = finished(tmp_path / "stage")
    damage(stage.path / "0.npy")
    assert stage.is_finished()
    assert not stage.is_whole()
    with pytest.raises(StorageError, match=r"0\.npy .*; do this"):
        stage.require_whole("do this")
    assert files(stage.path) >= {"manifest.json"}, "asking removes nothing"
    with run.console.capture() as said:
        stage.begin()
    assert "0.npy" in said.get()
    assert "building again" in said.get()
    assert files(stage.path) == {"begun.json"}


def test_a_manifest_of_the_version_before_still_opens(tmp_path: Path) -> None:
    stage = finished(tmp_path / "stage")
    manifest = read_json(stage.manifest_path)
    del manifest["files"]
    stage.manifest_path.write_text(json.dumps(manifest))
    flip(stage.path / "0.npy")
    assert stage.is_whole()
    stage.require_whole("nothing to do")


def test_what_only_building_needs_is_neither_recorded_nor_kept(tmp_path: Path) -> None:
    stage = StageDir(tmp_path / "stage", FROM)
    stage.begin()
    (stage.path / "seeds").mkdir()
    (stage.path / "seeds" / "0").write_text("")
    assert stage.finish({})["files"] == {}
    assert files(stage.path) == {"manifest.json"}


def test_a_kill_right_after_the_manifest_leaves_nothing(tmp_path: Path) -> None:
    stage = finished(tmp_path / "stage")
    stage.begun_path.write_text(stage.manifest_path.read_text())
    (stage.path / "checkpoints").mkdir()
    assert stage.is_whole()
    stage.tidy()
    assert files(stage.path) == {"manifest.json", "0.npy"}
    assert stage.leftovers() == []


@pytest.mark.parametrize("name", ["notes.txt", ".git/HEAD", "inner/thesis.txt"])
def test_overwriting_does_not_take_what_somebody_put_there_since(tmp_path: Path, name: str) -> None:
    stage = finished(tmp_path / "stage")
    (stage.path / name).parent.mkdir(exist_ok=True)
    (stage.path / name).write_text("years of work")
    other = StageDir(stage.path, FROM | {"size": 4})
    with pytest.raises(StorageError, match=rf"did not write \({name}\), .*choose another --out, or move"):
        other.begin()
    assert (stage.path / name).read_text() == "years of work"
    (stage.path / name).unlink()
    other.begin()


def test_what_kills_left_goes_when_the_stage_begins(tmp_path: Path) -> None:
    stage = half_built(tmp_path / "stage", FROM, finished=False)
    (stage.path / ".1.npy.123.partial").write_text("half")
    (tmp_path / ".stage.123.removed").mkdir()
    stage.begin()
    assert files(tmp_path) == {"stage"}
    assert files(stage.path) == {"begun.json", "0.npy"}


# Teachers that were trained


def trained(made: RunDir, name: str, earlier: str | None = None, finish: bool = True) -> None:
    """Writes a stage that trained a teacher."""
    before = {} if earlier is None else {"earlier_teacher": content(made.training(earlier), "teacher")}
    stage = StageDir(made.training(name), {"name": name} | before)
    stage.begin()
    (stage.path / "teacher").mkdir()
    (stage.path / "teacher" / "w").write_text(name)
    if finish:
        stage.finish({})


def touch(folder: Path) -> None:
    os.utime(folder, (2e9, 2e9))


def test_the_last_teacher_is_the_one_that_none_began_with(tmp_path: Path) -> None:
    made = RunDir(tmp_path)
    assert made.trained_teacher() is None
    trained(made, "b")
    trained(made, "a", "b")
    touch(made.training("b") / "teacher")
    assert made.trained_teacher() == made.training("a") / "teacher"
    trained(made, "c", "a", finish=False)
    assert made.trained_teacher() == made.training("a") / "teacher", "the newest is not finished"


def test_of_teachers_apart_that_of_the_recipe_counts_or_none(tmp_path: Path) -> None:
    made = RunDir(tmp_path)
    trained(made, "old")
    trained(made, "new")
    with pytest.raises(StorageError, match=r"of which none began with the other \(new, old\); remove"):
        made.trained_teacher()
    recipe = {"name": "r", "stages": [{"name": "old"}, {"name": "student"}]}
    summary = {"teacher": "t", "recipe": recipe, "teacher_parameters": 7, "words": 9}
    made.summary.write_text(json.dumps(summary))
    assert made.trained_teacher() == made.training("old") / "teacher"


def test_a_damaged_teacher_is_refused(tmp_path: Path) -> None:
    trained(RunDir(tmp_path), "a")
    flip(tmp_path / "training" / "a" / "teacher" / "w")
    with pytest.raises(StorageError, match=r"w was altered.*; run the same `lilliput compress` again, or"):
        RunDir(tmp_path).trained_teacher()


# Metrics


@given(last=st.integers(0, 12), step=st.integers(0, 14), cut=st.integers(0, 30))
def test_rewinding_leaves_whole_lines_up_to_a_step(
    tmp_path_factory: pytest.TempPathFactory, last: int, step: int, cut: int
) -> None:
    log = MetricsLog(tmp_path_factory.mktemp("log") / "metrics.jsonl")
    for index in range(last + 1):
        log.append({"step": index, "loss": index / 3})
    with log.path.open("a") as file:  # as a kill leaves it
        file.write('{"step": 0, "loss": 0.123456789}\n'[:cut])
    whole = log.read()
    assert whole == [{"step": index, "loss": index / 3} for index in range(last + 1)]
    log.rewind(step)
    assert log.read() == whole[: step + 1]
    log.append({"step": step + 1})
    assert log.read()[-1] == {"step": step + 1}


def test_a_log_that_is_not_there_is_empty(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    assert log.read() == []
    log.rewind(3)
    assert log.read() == []


def test_metrics_of_numpy_are_refused_rather_than_written_wrongly(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        MetricsLog(tmp_path / "metrics.jsonl").append({"step": np.int64(3)})


def test_the_name_of_a_run_is_unicode(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not Unicode, which not all libraries take; rename the folder"):
        RunDir(tmp_path / "run\udcff")
