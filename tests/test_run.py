"""Files whole or not at all, stages done once, and metrics that a resumed run goes on with."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from lilliput import run
from lilliput.errors import StorageError
from lilliput.run import MetricsLog, RunDir, StageDir, digest_file, digest_folder, digest_value, writing

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FROM = {"size": 3, "teacher": {"layers": 6, "width": 96}, "names": ["a", "b"]}


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# Writing


def test_a_file_appears_whole_with_its_folders(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "c.txt"
    with writing(path) as file:
        file.write(b"text")
        file.flush()
        assert not path.exists()
    assert path.read_bytes() == b"text"
    assert files(path.parent) == {"c.txt"}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_file_stays_as_it_was_when_the_block_fails(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "c.txt"
    path.write_text("before")

    def write() -> None:
        with writing(path) as file:
            file.write(b"half")
            raise error

    with pytest.raises(error):
        write()
    assert path.read_text() == "before"
    assert files(tmp_path) == {"c.txt"}


def test_a_kill_leaves_no_half_file_under_the_name(tmp_path: Path) -> None:
    script = (
        "import os, sys\nfrom pathlib import Path\nfrom lilliput.run import writing\n"
        "with writing(Path(sys.argv[1])) as file:\n    file.write(b'half')\n    os.kill(os.getpid(), 9)\n"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(tmp_path / "c.txt")], check=False)
    assert killed.returncode == -9
    assert not (tmp_path / "c.txt").exists()


def test_a_full_disk_is_a_sentence_and_keeps_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "c.txt"
    path.write_bytes(b"before")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    sentence = r"c\.txt cannot be written: File too large; make room .*what is finished is kept"
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(StorageError, match=sentence), writing(path) as file:
            file.write(bytes(1_000_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_bytes() == b"before"
    assert files(tmp_path) == {"c.txt"}


def test_a_failing_flush_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="cannot be written: No space left on device"):
        run.write_json(tmp_path / "c.json", {})
    assert files(tmp_path) == set()


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"c\.json cannot be written: (Not a directory|File exists)"):
        run.write_json(tmp_path / "file" / "out" / "c.json", {})


@settings(max_examples=20, deadline=None)
@given(JSON)
def test_json_is_read_as_written(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    path = tmp_path_factory.mktemp("json") / "a.json"
    run.write_json(path, value)
    assert run.read_json(path) == value


def test_missing_and_damaged_json_are_sentences(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"a\.json cannot be read: No such file"):
        run.read_json(tmp_path / "a.json")
    (tmp_path / "a.json").write_text('{"a": ')
    with pytest.raises(StorageError, match=r"a\.json is damaged .*remove its folder to build it again"):
        run.read_json(tmp_path / "a.json")


# Digests


@given(st.dictionaries(st.text(max_size=5), JSON, min_size=1, max_size=4), st.randoms())
def test_a_digest_does_not_hang_on_the_order_of_keys(value: dict[str, Any], random: Any) -> None:
    keys = list(value)
    random.shuffle(keys)
    assert digest_value({key: value[key] for key in keys}) == digest_value(value)


@given(JSON, JSON)
def test_different_values_have_different_digests(first: Any, second: Any) -> None:
    same = json.dumps(first, sort_keys=True) == json.dumps(second, sort_keys=True)
    assert (digest_value(first) == digest_value(second)) == same


def test_a_folders_digest_is_that_of_names_and_bytes_of_its_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    digest = digest_folder(tmp_path)
    (tmp_path / ".hidden").write_text("2")
    (tmp_path / "folder").mkdir()
    assert digest_folder(tmp_path) == digest
    (tmp_path / "a").rename(tmp_path / "b")
    assert digest_folder(tmp_path) != digest
    (tmp_path / "b").rename(tmp_path / "a")
    (tmp_path / "a").write_text("2")
    assert digest_folder(tmp_path) != digest
    assert len(digest_file(tmp_path / "a")) == 32


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
    assert run.read_json(stage.begun_path)["made_from"] == stage.made_from
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


# Metrics


@settings(max_examples=30, deadline=None)
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
