"""What a benchmark of bundles found, as values, tables and a plot."""

from dataclasses import dataclass
from pathlib import Path

from rich.console import Group

from lilliput.common.charts import new_figure, save_figure, tidy
from lilliput.common.sheet import Sheet

LENGTHS = (8, 32, 128)
"""Pieces of the texts that are answered one by one."""
_SHOWN_LENGTH = 32
"""Pieces of the text whose time is plotted."""
_MARKS = "osD^vP*"
"""Of models in a plot, one after the other, as points may lie on each other."""


@dataclass(frozen=True)
class LatencyReport:
    """How long the answer to one text takes, tokenising included: medians."""

    pieces: int
    """Pieces of the text, special ones included."""
    seconds: float
    """By the clock."""
    processor_seconds: float
    """Of the processor, all threads together: what it takes whatever else the machine does."""
    samples: tuple[float, ...]
    """The median of each round, by the clock."""


@dataclass(frozen=True)
class SpeedReport:
    """What a model took with so many threads: medians of processes of their own."""

    threads: int
    """Threads of the graph, and of the tokenizer where it has many texts."""
    first_seconds: float
    """From `import lilliput` in a new process to the first answer, by the clock."""
    first_processor_seconds: float
    """The same of the processor."""
    latency: tuple[LatencyReport, ...]
    """One for each length that it reads."""
    texts_per_second: float
    """Dev examples of the task, in batches."""
    memory: int
    """Most bytes that a process ever had, libraries included: the largest."""
    first_samples: tuple[float, ...]
    """Seconds to the first answer in each round, by the clock."""

    @property
    def busy(self) -> float:
        """Share of the seconds to the first answer that a processor worked; low on a shared machine."""
        return self.first_processor_seconds / self.first_seconds


@dataclass(frozen=True)
class ModelReport:
    """One model."""

    name: str
    """What it is called."""
    path: str
    """Where it was read."""
    form: str
    """bundle, onnx or static."""
    quantization: str | None
    """How a bundle's weights are stored; None for others, which do not say."""
    bytes: int
    """Of all files that it needs, tokenizer included."""
    scores: dict[str, float]
    """Metrics on the dev examples; none where it does not answer what is asked."""
    speed: tuple[SpeedReport, ...]
    """Fewest threads first."""


@dataclass(frozen=True)
class BundleReport:
    """A benchmark of bundles."""

    machine: dict[str, str]
    """What it was measured on."""
    task: str
    """The task's name."""
    metric: str
    """The metric that decides of it."""
    examples: int
    """Dev examples that models were scored on."""
    rounds: int
    """Times everything was measured."""
    models: tuple[ModelReport, ...]
    """As they were named, the teacher's last."""

    def __repr__(self) -> str:
        lines = [f"<BundleReport of {self.task}, {self.examples:,} dev examples:"]
        for model in self.models:
            score = f"{self.metric} {model.scores[self.metric]:.1%}" if self.metric in model.scores else "-"
            lines.append(f"{model.name}: {model.bytes:,} bytes, {score}")
        return "\n  ".join(lines) + ">"

    @property
    def plotted(self) -> str:
        """The metric that decides or, if not all models that have any have it, the first that they have."""
        scored = [model.scores for model in self.models if model.scores]
        known = [self.metric, *(name for scores in scored for name in scores)]
        return next((name for name in known if all(name in scores for scores in scored)), self.metric)


def render(report: BundleReport) -> Group:
    """Returns the tables for the terminal: how large and how good models are, and how fast."""
    machine = f"{report.machine['processor']}, {report.machine['machine']}, medians of {report.rounds}"
    return Group(machine, "", quality_table(report), speed_table(report))


def quality_table(report: BundleReport) -> Sheet:
    """Returns how large and how good models are."""
    metrics = list(dict.fromkeys(name for model in report.models for name in model.scores))
    rows = []
    for model in report.models:
        form = f"{model.form} {model.quantization}" if model.quantization else model.form
        scores = (f"{model.scores[name]:.1%}" if name in model.scores else "" for name in metrics)
        rows.append((model.name, form, f"{model.bytes:,}", *scores))
    headings = ("model", "form", "bytes", *(name.replace("_", " ") for name in metrics))
    return Sheet(headings, rows, left=2, title=f"{report.task}: {report.examples:,} dev examples")


def speed_table(report: BundleReport) -> Sheet:
    """Returns how fast models are, and what memory they take."""
    times = tuple(f"ms, {length}" for length in LENGTHS)
    headings = ("model", "threads", "first, s", *times, "texts/s", "MB", "busy")
    return Sheet(headings, [_speed(model.name, speed) for model in report.models for speed in model.speed])


def _speed(model: str, speed: SpeedReport) -> tuple[str, ...]:
    times = {one.pieces: f"{one.seconds * 1e3:,.2f}" for one in speed.latency}
    return (
        model,
        f"{speed.threads}",
        f"{speed.first_seconds:.2f}",
        *(times.get(length, "") for length in LENGTHS),
        f"{speed.texts_per_second:,.0f}",
        f"{speed.memory / 1e6:,.0f}",
        f"{speed.busy:.0%}",
    )


def plot(report: BundleReport, out: Path) -> None:
    """Writes bundle.svg and bundle.png: scores against bytes, and against milliseconds, of every model."""
    figure = new_figure(11, 4.5)
    panels = by_bytes, by_time = figure.subplots(1, 2, sharey=True)
    metric = report.plotted
    for number, model in enumerate(report.models):
        if metric not in model.scores:
            continue
        times = {one.pieces: one.seconds * 1e3 for one in model.speed[0].latency}
        places = (model.bytes / 1e6, times.get(_SHOWN_LENGTH))
        for panel, place in zip(panels, places, strict=True):
            if place is not None:
                mark = _MARKS[number % len(_MARKS)]
                panel.plot(place, model.scores[metric], mark, color=f"C{number}", label=model.name)
    threads = report.models[0].speed[0].threads
    by_bytes.set(title=f"{report.task}: {metric}", xlabel="megabytes of all files")
    by_bytes.yaxis.set_major_formatter("{x:.1%}")
    by_time.set(
        title=f"one text of {_SHOWN_LENGTH} pieces, {threads} thread{'s' * (threads > 1)}",
        xlabel="milliseconds",
    )
    for panel in panels:
        panel.set_xscale("log", subs=())  # no marks between 1, 2 and 5
        panel.xaxis.get_major_locator().set_params(subs=(1, 2, 5))
        panel.xaxis.set_major_formatter("{x:g}")
        panel.margins(0.1)
    if by_bytes.lines:
        by_bytes.legend(frameon=False)
    tidy(panels)
    save_figure(figure, out, "bundle")
