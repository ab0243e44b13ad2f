"""The fastest kernels are chosen by measurement, once for each machine and class of work."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lilliput.models import autotune
from lilliput.models.autotune import Work, choose, measure
from lilliput.models.kernels import PLAIN, Kernels
from lilliput.models.shape import EncoderShape

SHAPE = EncoderShape(2, 96, 4, 384, 64, 300)
CPU = torch.device("cpu")
WORK = Work(32, 4, 64, 256, 32, goes_backward=True, dropout=0.0, device="cpu", threads=1)
SHORT = Kernels("bfloat16", "products", "bfloat16", "bfloat16", "bfloat16")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, which other processes do not see."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    autotune._kept.cache_clear()
    return tmp_path / "lilliput" / "kernels"


def timed_by(seconds: Callable[[str], float]) -> Callable[..., float]:
    """Returns a clock that says how long a run took from what it is called with."""

    def clock(run: object, device: torch.device) -> float:
        run()  # type: ignore[operator]
        return seconds(str(run.args))  # type: ignore[attr-defined]

    return clock


def test_where_nothing_is_faster_all_stays_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autotune, "_timed", lambda run, device: 1.0)
    assert measure(WORK, CPU) == PLAIN


def test_each_operation_is_what_was_fastest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autotune, "_has_bfloat16", lambda *_: True)
    monkeypatch.setattr(autotune, "_timed", timed_by(lambda run: 0.5 if "bfloat16" in run else 1.0))
    assert measure(WORK, CPU) == dataclasses.replace(SHORT, attention="fused")
    monkeypatch.setattr(autotune, "_timed", timed_by(lambda run: 0.5 if "products" in run else 1.0))
    assert measure(WORK, CPU) == Kernels(attention="products")


def test_a_small_gain_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autotune, "_has_bfloat16", lambda *_: True)
    monkeypatch.setattr(autotune, "_timed", timed_by(lambda run: 0.97 if "bfloat16" in run else 1.0))
    assert measure(WORK, CPU) == PLAIN


def test_without_bfloat16_none_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(autotune, "_has_bfloat16", lambda *_: False)
    monkeypatch.setattr(autotune, "_timed", timed_by(lambda run: float(len(seen) and not seen.append(run))))
    measure(WORK, CPU)
    assert not [run for run in seen if "bfloat16" in run]


def test_a_real_measurement_takes_less_than_a_second_and_changes_no_random_numbers() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    assert isinstance(measure(WORK, CPU), Kernels)
    assert torch.equal(before, torch.get_rng_state())


def test_a_choice_is_kept_for_the_next_process(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autotune, "measure", lambda *_: SHORT)
    assert choose(SHAPE, 30, CPU) == SHORT
    monkeypatch.setattr(autotune, "measure", lambda *_: PLAIN)
    autotune._kept.cache_clear()  # as in a new process
    assert choose(SHAPE, 33, CPU) == SHORT, "of the same class"
    assert choose(SHAPE, 12, CPU) == PLAIN
    assert choose(SHAPE, 30, CPU, goes_backward=False) == PLAIN
    assert len(list(cache.glob("*.json"))) == 3
    assert not list(cache.glob(".*"))


@pytest.mark.parametrize("content", ["", "{", '{"passes": "float16"}', "[]"])
def test_a_damaged_choice_is_measured_again(
    cache: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    monkeypatch.setattr(autotune, "measure", lambda *_: SHORT)
    choose(SHAPE, 30, CPU)
    (path,) = cache.glob("*.json")
    path.write_text(content)
    autotune._kept.cache_clear()
    assert choose(SHAPE, 30, CPU) == SHORT
    assert json.loads(path.read_text()) == dataclasses.asdict(SHORT)


def test_models_of_tests_are_too_small_to_measure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autotune, "measure", lambda *_: SHORT)
    assert choose(EncoderShape(2, 32, 4, 64, 64, 300), 30, CPU) == PLAIN


def test_without_a_cache_each_process_measures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(autotune, "measure", lambda *_: SHORT)
    autotune._kept.cache_clear()
    assert choose(SHAPE, 30, CPU) == SHORT
    autotune._kept.cache_clear()
