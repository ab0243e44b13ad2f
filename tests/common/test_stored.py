"""What lilliput wrote, read back: whatever a file holds, it is of the right form or a sentence."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

from conftest import World
from lilliput.common.metrics_log import MetricsLog
from lilliput.common.stage_dir import StageDir
from lilliput.common.stored import stored, stored_array, stored_lines
from lilliput.errors import StorageError
from lilliput.finetuning.fit import SeedResult
from lilliput.finetuning.model import load_task
from lilliput.finetuning.results import FinetuneResult, read_predictions
from lilliput.pieces.lexicon import Lexicon
from lilliput.tasks.task import Task
from lilliput.text.corpus import Corpus
from lilliput.training.checkpoint import Progress, load_checkpoint, save_checkpoint

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=8,
)
DAMAGED = ["{}", "[]", "null", "3", '"x"', "", "{", "[" * 100_000, "NaN", "\ufeff{}", '{"a": 1}\n{"a": 1}']
FILES = st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()) | st.sampled_from(
    [text.encode() for text in DAMAGED]
)  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stored")


def refused_or(read: Callable[[], Any], kind: Any) -> Any:
    """Returns what is read, which is of a kind, or None where it is refused with a remedy."""
    try:
        found = read()
    except StorageError as error:
        assert any(word in str(error) for word in ("remove", "again", "cannot be read"))  # noqa: PT017
        return None
    assert isinstance(found, kind)
    return found


@given(content=FILES)
@pytest.mark.parametrize("kind", [FinetuneResult, SeedResult, Task, Progress])
def test_any_file_is_a_value_of_the_type_or_refused(place: Path, kind: type[Any], content: bytes) -> None:
    (place / "a.json").write_bytes(content)
    refused_or(lambda: stored(kind, place / "a.json"), kind)


@given(content=FILES)
def test_any_lines_are_objects_or_refused(place: Path, content: bytes) -> None:
    (place / "a.jsonl").write_bytes(content)
    found = refused_or(lambda: stored_lines({"a": int}, place / "a.jsonl"), list)
    assert all(isinstance(line["a"], int) for line in found or ())


@given(content=FILES, end=st.sampled_from([b"", b"\n", b'\n{"step": 1}\n']))
def test_any_log_of_metrics_is_read_or_refused(place: Path, content: bytes, end: bytes) -> None:
    (place / "metrics.jsonl").write_bytes(content + end)
    for line in refused_or(MetricsLog(place / "metrics.jsonl").read, list) or ():
        assert isinstance(line["step"], int)


@given(content=FILES, name=st.sampled_from(["manifest.json", "begun.json"]))
def test_any_manifest_is_read_or_refused(place: Path, content: bytes, name: str) -> None:
    shutil.rmtree(place / "stage", ignore_errors=True)
    (place / "stage").mkdir()
    (place / "stage" / name).write_bytes(content)
    refused_or(StageDir(place / "stage", {"a": 1}).is_finished, bool)


@given(
    values=st.fixed_dictionaries(
        {}, optional=dict.fromkeys(("digest", "made_from", "results", "format", "finished"), JSON)
    )
)
def test_any_record_of_a_stage_is_read_or_refused(place: Path, values: dict[str, Any]) -> None:
    shutil.rmtree(place / "stage", ignore_errors=True)
    (place / "stage").mkdir()
    (place / "stage" / "manifest.json").write_text(json.dumps(values))
    stage = StageDir(place / "stage", {"a": 1})
    refused_or(stage.is_finished, bool)
    refused_or(stage.results, dict)
    refused_or(lambda: stage.read(SeedResult), SeedResult)
    refused_or(lambda: Corpus.open(place / "stage"), Corpus)
    refused_or(lambda: Lexicon.open(place / "stage"), Lexicon)


@given(content=FILES)
def test_any_task_of_a_model_is_read_or_refused(place: Path, content: bytes) -> None:
    (place / "task.json").write_bytes(content)
    refused_or(lambda: load_task(place), Task)


LINE = {"text": "a", "gold": {"label": "x"}, "predicted": {"label": "y"}}


@given(changes=st.dictionaries(st.sampled_from(["text", "gold", "predicted"]), JSON, max_size=2))
def test_any_predictions_are_read_or_refused(place: Path, changes: dict[str, Any]) -> None:
    (place / "predictions.jsonl").write_text(json.dumps(LINE | changes) + "\n")
    task = Task("it", "classification", classes=("x", "y"))
    refused_or(lambda: read_predictions(place, task), list)


# Arrays


@pytest.fixture(scope="module")
def header(place: Path) -> bytes:
    np.save(place / "whole.npy", np.arange(12, dtype=np.float32).reshape(4, 3))
    return (place / "whole.npy").read_bytes()


@given(content=st.binary(max_size=200))
def test_any_bytes_are_no_array(place: Path, content: bytes) -> None:
    (place / "a.npy").write_bytes(content)
    assert refused_or(lambda: stored_array(place / "a.npy", "<f4", (None, None)), np.ndarray) is None


@given(data=st.data(), mode=st.sampled_from(["r", "c", "r+", None]))
def test_an_altered_array_has_the_shape_or_is_refused(
    place: Path, header: bytes, data: st.DataObject, mode: str | None
) -> None:
    altered = bytearray(header)
    for _ in range(data.draw(st.integers(1, 3))):
        altered[data.draw(st.integers(0, 100))] = data.draw(st.integers(0, 255))
    (place / "b.npy").write_bytes(altered[: data.draw(st.integers(0, len(altered)))])
    read = lambda: stored_array(place / "b.npy", "<f4", (4, None), mode=mode)  # noqa: E731
    found = refused_or(read, np.ndarray)
    assert found is None or (found.dtype, found.shape[0]) == (np.float32, 4)


@pytest.mark.parametrize(
    "array",
    [
        np.array([{"a": 1}], object),
        np.zeros((4, 3), np.float64),
        np.zeros(3, np.float32),
        np.zeros((3, 3, 3), np.float32),
        np.zeros((3, 3), np.dtype([("a", "<f4")])),
        np.zeros((4, 3), ">f4"),
    ],
    ids=repr,
)
def test_an_array_of_another_kind_is_refused(place: Path, array: Any) -> None:
    np.save(place / "c.npy", array, allow_pickle=True)
    with pytest.raises(StorageError, match=r"c\.npy is damaged \(.*\); remove its folder"):
        stored_array(place / "c.npy", "<f4", (None, 3))


# Checkpoints


@pytest.fixture(scope="module")
def saved(place: Path) -> bytes:
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    save_checkpoint(place / "checkpoints", model, optimizer, Progress(3, 30, 1.5))
    return next((place / "checkpoints").glob("*/state.json")).read_bytes()


@given(content=FILES | st.integers(0, 400))
def test_an_altered_state_is_refused(place: Path, saved: bytes, content: bytes | int) -> None:
    if isinstance(content, int):  # a bit of the true one
        altered = bytearray(saved)
        altered[content % len(saved)] ^= 1
        content = bytes(altered)
    next((place / "checkpoints").glob("*")).joinpath("state.json").write_bytes(content)
    model = torch.nn.Linear(2, 2)
    read = lambda: load_checkpoint(place / "checkpoints", model, torch.optim.AdamW(model.parameters()))  # noqa: E731
    found = refused_or(read, Progress)
    assert found is None or dataclasses.astuple(found) == (3, 30, 1.5)


def test_arrays_of_a_corpus_are_looked_at(world: World, tmp_path: Path) -> None:
    shutil.copytree(world.corpus.path, tmp_path / "corpus")
    (shard,) = (tmp_path / "corpus" / "shards").iterdir()
    content = shard.read_bytes()
    shard.write_bytes(content.replace(b"<u4", b"<f4"))
    with pytest.raises(StorageError, match=r"00000\.npy is damaged .*expected uint32.*remove"):
        Corpus.open(tmp_path / "corpus").shards  # noqa: B018
