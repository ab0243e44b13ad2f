"""Several runs beside each other: what they are, how good on held-out text, and how good at tasks."""

from collections.abc import Sequence

from lilliput.common.sheet import Sheet, duration
from lilliput.reporting.blocks import Grid, Section, section
from lilliput.reporting.curves import QUALITIES
from lilliput.reporting.made import short_name
from lilliput.reporting.sources import Run
from lilliput.tasks.metrics import of_all


def of_runs(runs: Sequence[Run]) -> list[Section]:
    """Returns tables of several runs."""
    return (
        section("Runs", _runs(runs))
        + section("Held-out text", _qualities(runs))
        + section("Tasks", _tasks(runs))
    )


def held_out(run: Run) -> list[Section]:
    """Returns how good the models of a run are on held-out text, before and after each stage."""
    rows = []
    for stage in run.stages:
        for name in dict.fromkeys([*(stage.before or {}), *(stage.after or {})]):
            model, _, key = name.partition("/")
            if key in QUALITIES:
                title, form = QUALITIES[key]
                values = ((of or {}).get(name) for of in (stage.before, stage.after))
                shown = ("" if value is None else form.format(value) for value in values)
                rows.append((stage.name, model, title, *shown))
    headings = ("stage", "model", "", "before", "after")
    return section("Quality on held-out text", Grid(Sheet(headings, rows, left=3)) if rows else None)


def _runs(runs: Sequence[Run]) -> Grid | None:
    headings = ("run", "teacher", "recipe", "parameters", "bytes of weights", "words read", "training")
    rows = []
    for run in (run for run in runs if run.summary):
        found = run.summary
        counts = (found.get(key) for key in ("student_parameters", "student_bytes", "words"))
        rows.append(
            (
                run.title,
                short_name(run.teacher) if run.teacher else "",
                str(found["recipe"]["name"]),
                *("" if count is None else f"{count:,}" for count in counts),
                duration(found["training_seconds"]) if "training_seconds" in found else "",
            )
        )
    return Grid(Sheet(headings, rows, left=3)) if rows else None


def _qualities(runs: Sequence[Run]) -> Grid | None:
    """Returns the last quality of each run's student and teacher."""
    last = [
        {name: value for stage in run.stages for name, value in (stage.after or {}).items()} for run in runs
    ]
    names = [
        (f"{model}/{key}", f"{model}: {title}", form)
        for key, (title, form) in QUALITIES.items()
        for model in ("student", "teacher")
        if any(f"{model}/{key}" in values for values in last)
    ]
    rows = [
        (run.title, *(form.format(values[name]) if name in values else "" for name, _, form in names))
        for run, values in zip(runs, last, strict=True)
        if values
    ]
    return Grid(Sheet(("run", *(title for _, title, _ in names)), rows)) if names else None


def _tasks(runs: Sequence[Run]) -> Grid | None:
    every = [(run.title, one.result) for run in runs for one in run.tuned]
    rows = []
    for title, result in sorted(every, key=lambda pair: pair[1].task.name):
        task, mean = result.task, of_all(result.mean)
        score = f"{mean[task.metric]:.1%}"
        if len(result.scores) > 1:
            score += f" ± {result.deviation[task.metric] * 100:.1f}"
        others = ", ".join(f"{name} {value:.1%}" for name, value in mean.items() if name != task.metric)
        rows.append((task.name, title, task.metric, score, others, f"{result.weight_bytes:,}"))
    headings = ("task", "run", "metric", "score", "others", "bytes of weights")
    return Grid(Sheet(headings, rows, left=3)) if rows else None
