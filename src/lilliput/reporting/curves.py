"""Curves of training and of fine-tuning, from the logs of metrics."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lilliput.common.sheet import Sheet
from lilliput.reporting.blocks import Chart, Charts, Grid, Note, Section, section
from lilliput.reporting.drawing import Series, chart, thinned
from lilliput.reporting.sources import Stage, Tuned

_NOT_SHOWN = ("step", "words", "seconds")
_SHARES = ("accuracy",)
_QUALITIES = {
    "bits_per_character": "bits per character",
    "accuracy": "masked pieces right",
    "cosine": "cosine to the teacher's vectors",
    "similarity": "correlation of similarities",
}
"""What is measured on held-out text; the log has more."""
_EVALUATIONS = {"probe": True, "held_out": False}
"""Few rows while a stage trains, joined by a line; many before and after it, as dots."""


def of_stage(stage: Stage) -> list[Section]:
    """Returns the curves of a training stage."""
    qualities = _qualities(stage)
    named = {name: series for name, series in _values(stage.log).items() if name not in _NOT_SHOWN}
    losses = [Series(_spelled(name), thinned(points)) for name, points in named.items() if "/" not in name]
    charts = [_chart(title, series, percent=key in _SHARES) for key, title, series in qualities]
    charts += [_chart(one.name, [one]) for one in losses]
    if not charts:
        return []
    steps = max((int(line["step"]) for line in stage.log), default=0)
    note = f"{steps:,} steps. Where there are many, a point of a line is the mean of neighbouring steps."
    rows = [row for _, title, series in qualities for row in _rows(title, series)]
    rows += [_row(_spelled(name), points) for name, points in named.items() if "/" not in name]
    table = Sheet(("", "first", "last", "least", "most", "values"), rows)
    return section(f"Training: stage {stage.name}", Note(note), Charts(tuple(charts)), Grid(table))


def of_task(one: Tuned) -> Charts | None:
    """Returns the curves of a fine-tuning: its loss, and its metrics on the dev set, a colour a seed."""
    seeds = {seed: _values(log) for seed, log in one.logs.items()}
    names = dict.fromkeys(name for values in seeds.values() for name in values if name not in _NOT_SHOWN)
    charts = []
    for name in names:
        series = [
            Series(f"seed {seed}", thinned(values[name])) for seed, values in seeds.items() if name in values
        ]
        is_metric = name.startswith("dev/")
        title = f"{name.removeprefix('dev/')}, dev" if is_metric else _spelled(name)
        charts.append(_chart(title, series, across="steps", percent=is_metric))
    return Charts(tuple(charts)) if charts else None


def _values(log: Iterable[Mapping[str, Any]]) -> dict[str, list[tuple[float, float]]]:
    """Returns the finite values of each name, each with the words, or else the steps, before it."""
    found: dict[str, list[tuple[float, float]]] = {}
    for line in log:
        at = float(line.get("words", line["step"]))
        for name, value in line.items():
            if math.isfinite(value):
                found.setdefault(name, []).append((at, float(value)))
    return found


def _qualities(stage: Stage) -> list[tuple[str, str, list[Series]]]:
    """Returns what was measured on held-out text: key, title, and the series of each model."""
    values, found = _values(stage.log), []
    for key, title in _QUALITIES.items():
        series = [
            Series(f"{model}, {'few rows' if is_line else 'before, after'}", tuple(points), is_line)
            for kind, is_line in _EVALUATIONS.items()
            for model in ("student", "teacher")
            if (points := values.get(f"{kind}/{model}/{key}"))
        ]
        if series:
            found.append((key, title, series))
    return found


def _chart(title: str, series: Sequence[Series], across: str = "words read", *, percent: bool = False) -> Chart:
    names = tuple(one.name for one in series) if len(series) > 1 else ()
    return Chart(title, chart(series, across, percent=percent), names)


def _rows(title: str, series: Sequence[Series]) -> list[tuple[str, ...]]:
    return [_row(f"{title}: {one.name}", one.points) for one in series]


def _row(name: str, points: Sequence[tuple[float, float]]) -> tuple[str, ...]:
    values = [value for _, value in points]
    shown = (values[0], values[-1], min(values), max(values))
    return (name, *(f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}" for value in shown), f"{len(values):,}")


def _spelled(name: str) -> str:
    return name.replace("_", " ")
