"""Curves of training and of fine-tuning, from the logs of metrics."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lilliput.common.sheet import Sheet
from lilliput.reporting.blocks import Chart, Charts, Grid, Note, Section, section
from lilliput.reporting.drawing import Series, chart, thinned
from lilliput.reporting.sources import Stage, Tuned

_NOT_SHOWN = ("step", "words", "seconds")
QUALITIES = {
    "bits_per_character": ("bits per character", "{:.3f}"),
    "accuracy": ("masked pieces right", "{:.1%}"),
    "cosine": ("cosine to the teacher's vectors", "{:.3f}"),
    "similarity": ("correlation of similarities", "{:.3f}"),
}
"""What is measured of models on held-out text: its name, and how it is shown."""
_EVALUATIONS = {"probe": "on the way", "held_out": "start and end"}
"""On few rows while a stage trains, joined by a line; on many before and after it, as dots."""


def of_stage(stage: Stage) -> list[Section]:
    """Returns the curves of a training stage."""
    qualities = _qualities(stage)
    named = {name: series for name, series in _values(stage.log).items() if name not in _NOT_SHOWN}
    losses = [Series(_spelled(name), thinned(points)) for name, points in named.items() if "/" not in name]
    charts = [_chart(title, series, percent=form.endswith("%}")) for title, form, series in qualities]
    charts += [_chart(one.name, [one]) for one in losses]
    if not charts:
        return []
    steps = max((int(line["step"]) for line in stage.log), default=0)
    note = f"{steps:,} steps. Where there are many, a point of a line is the mean of neighbouring steps."
    rows = [
        _row(f"{title}: {one.name}", one.points, form) for title, form, every in qualities for one in every
    ]
    rows += [_row(_spelled(name), points, "{:,.4g}") for name, points in named.items() if "/" not in name]
    table = Sheet(("", "first", "last", "least", "most", "values"), rows)
    return section(f"Training: stage {stage.name}", Note(note), Charts(tuple(charts)), Grid(table))


def of_task(one: Tuned) -> Charts | None:
    """Returns the curves of a fine-tuning: loss, rate and metrics on the dev set, a colour a seed."""
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
    """Returns what was measured on held-out text: its name, how it is shown, and the series of each model."""
    values, found = _values(stage.log), []
    for key, (title, form) in QUALITIES.items():
        series = [
            Series(f"{model}, {when}", tuple(points), is_line=kind == "probe")
            for kind, when in _EVALUATIONS.items()
            for model in ("student", "teacher")
            if (points := values.get(f"{kind}/{model}/{key}"))
        ]
        if series:
            found.append((title, form, series))
    return found


def _chart(
    title: str, series: Sequence[Series], across: str = "words read", *, percent: bool = False
) -> Chart:
    names = tuple(one.name for one in series) if len(series) > 1 else ()
    return Chart(title, chart(series, across, percent=percent), names)


def _row(name: str, points: Sequence[tuple[float, float]], form: str) -> tuple[str, ...]:
    values = [value for _, value in points]
    shown = (values[0], values[-1], min(values), max(values))
    whole = (f"{value:,.0f}" if abs(value) >= 1e4 else form.format(value) for value in shown)
    return (name, *whole, f"{len(values):,}")


def _spelled(name: str) -> str:
    return name.replace("_", " ")
