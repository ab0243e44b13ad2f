"""What a benchmark of training found, as values, a table and a plot."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Group

from benchmarks.limits import Limits
from lilliput.common.charts import new_figure, save_figure, tidy
from lilliput.common.sheet import Sheet

PARTS = {
    "batches": "making batches",
    "teacher_forward": "teacher forward",
    "student_forward": "student forward",
    "heads": "heads and losses",
    "projections": "shared projections",
    "backward": "backward",
    "update": "clipping, optimiser",
    "evaluation": "evaluation",
}
"""What each part is called in tables and plots."""
_BESIDE = ("batches", "evaluation")
"""Parts that are not in a step."""


@dataclass(frozen=True)
class PartReport:
    """One part of a step, or beside it: medians."""

    name: str
    """One of PARTS."""
    seconds: float
    """By the clock."""
    words_per_second: float
    """Running words the part would do if nothing else were to do."""
    share_of_peak: float | None
    """Of the machine's best matrix products; None where the part has none."""
    kept: float | None
    """Bytes it allocated and did not free, negative where it freed more; None where that is not measured."""


@dataclass(frozen=True)
class OperationReport:
    """All calls of one operation of torch in a step: medians."""

    name: str
    """torch's, forward and backward apart; the last one is the rest of the step."""
    calls: int
    """In a step."""
    seconds: float
    """By the clock, without those of the operations that it calls."""
    share: float
    """Of the step."""
    at_limits: float | None
    """Seconds at the machine's limits: the longer of its products at their peak, and of its tensors read and
    written at the speed of copies. What stays in the caches may be faster. None for the rest."""


@dataclass(frozen=True)
class WayReport:
    """One way to take a stage's steps: medians."""

    name: str
    """lilliput, the same with masked LM as its only objective, or transformers in one precision."""
    seconds: float
    """Of a step, by the clock."""
    words_per_second: float
    """Running words of a step over its seconds; batches are made before."""
    share_of_peak: float
    """Operations that the objectives need, over seconds and the machine's best matrix products."""
    busy: float
    """Share of the threads' time that they worked; below 1 where they waited or had to share the machine."""
    memory: int | None
    """Most bytes the process ever had, libraries included; None where it is the process of the way before."""
    lilliput_times: float | None
    """How many times as fast lilliput takes the same steps with the same objectives; None for lilliput."""
    samples: tuple[float, ...]
    """Seconds of every step."""


@dataclass(frozen=True)
class LoopReport:
    """Steps as the loop takes them, one after the other with their batches: medians."""

    words_per_second: float
    """Running words over seconds, everything included."""
    waiting: float
    """Share of the seconds that the loop waited for batches."""


@dataclass(frozen=True)
class StageReport:
    """What was measured of one stage."""

    name: str
    """The stage's name in the recipe."""
    rows: int
    """Sequences of a step."""
    length: int
    """Pieces of a sequence at most."""
    words: float
    """Running words of a step."""
    operations: float
    """Floating-point operations of the matrix products of a step."""
    kernels: dict[str, dict[str, str]]
    """How each model of lilliput's steps computes (`models.kernels.Kernels`)."""
    parts: tuple[PartReport, ...]
    """In the order of PARTS."""
    torch_operations: tuple[OperationReport, ...]
    """Those of more than a hundredth of a step, the slowest first, and the rest."""
    ways: tuple[WayReport, ...]
    """lilliput first."""
    loop: LoopReport
    """What the loop makes of it."""


@dataclass(frozen=True)
class TrainingReport:
    """A benchmark of training."""

    machine: dict[str, str]
    """What it was measured on."""
    limits: Limits
    """What the machine can do at best."""
    teacher: str
    """Folder or hub name of the teacher."""
    shape: str | None
    """Name of the shape that stood in for the teacher's own."""
    recipe: dict[str, Any]
    """The recipe, as plain values."""
    stages: tuple[StageReport, ...]
    """One for each stage."""


def render(report: TrainingReport) -> Group:
    """Returns the tables for the terminal: the machine, and for each stage its parts and its ways."""
    limits = report.limits
    machine = (
        f"{report.machine['processor']}, {limits.threads} threads: fp32 {limits.fp32_gflops:,.0f} GFLOP/s, "
        f"bf16 {limits.bf16_gflops:,.0f} GFLOP/s, copies {limits.copy_gigabytes:,.1f} GB/s"
    )
    shown: list[Sheet | str] = [machine]
    if limits.emulates_bf16:
        shown.append("bf16 is emulated here, so transformers is measured in fp32 alone")
    for stage in report.stages:
        shown += ["", _parts_table(stage), _operations_table(stage), _ways_table(stage)]
        shown += [_kernels_line(stage), _loop_line(stage)]
    return Group(*shown)


def _parts_table(stage: StageReport) -> Sheet:
    rows = [
        (
            PARTS[part.name],
            f"{part.seconds * 1e3:,.1f}",
            f"{part.words_per_second:,.0f}",
            "" if part.share_of_peak is None else f"{part.share_of_peak:.1%}",
            "" if part.kept is None else f"{part.kept / 1e6:,.0f}",
        )
        for part in stage.parts
    ]
    title = (
        f"{stage.name}: {stage.rows} x {stage.length} pieces, {stage.words:,.0f} words, "
        f"{stage.operations / 1e9:,.0f} GFLOP a step"
    )
    return Sheet(("part", "ms", "words/s", "of peak", "keeps MB"), rows, title=title)


def _operations_table(stage: StageReport) -> Sheet:
    rows = [
        (
            one.name,
            f"{one.calls:,}" if one.calls else "",
            f"{one.seconds * 1e3:,.1f}",
            f"{one.share:.1%}",
            "" if one.at_limits is None else f"{one.at_limits * 1e3:,.1f}",
        )
        for one in stage.torch_operations
    ]
    return Sheet(("operation", "calls", "ms", "of the step", "ms at limits"), rows)


def _kernels_line(stage: StageReport) -> str:
    told = (
        f"{model}: " + ", ".join(f"{what} {how}" for what, how in kernels.items())
        for model, kernels in stage.kernels.items()
    )
    return "kernels of the " + "; of the ".join(told)


def _ways_table(stage: StageReport) -> Sheet:
    rows = [
        (
            way.name,
            f"{way.seconds * 1e3:,.0f}",
            f"{way.words_per_second:,.0f}",
            f"{way.share_of_peak:.1%}",
            f"{way.busy:.0%}",
            "" if way.memory is None else f"{way.memory / 1e6:,.0f}",
            "" if way.lilliput_times is None else f"{way.lilliput_times:.2f} x",
        )
        for way in stage.ways
    ]
    return Sheet(("a step by", "ms", "words/s", "of peak", "busy", "MB", "lilliput is"), rows)


def _loop_line(stage: StageReport) -> str:
    speed, waiting = stage.loop.words_per_second, stage.loop.waiting
    return f"in the loop {speed:,.0f} words/s, {waiting:.1%} of the time waiting for batches"


def plot(report: TrainingReport, out: Path) -> None:
    """Writes training.svg and training.png: where a step's time goes, and words a second of every way."""
    figure = new_figure(11, 1.8 + 0.32 * sum(1 + len(stage.ways) for stage in report.stages))
    shares, speeds = figure.subplots(1, 2)
    names = [name for name in PARTS if name not in _BESIDE]
    left = [0.0] * len(report.stages)
    labels = [stage.name for stage in report.stages]
    for number, name in enumerate(names):
        widths = [
            sum(part.seconds for part in stage.parts if part.name == name)
            / sum(part.seconds for part in stage.parts if part.name not in _BESIDE)
            for stage in report.stages
        ]
        shares.barh(labels, widths, left=left, color=f"C{number}", label=PARTS[name])
        left = [start + width for start, width in zip(left, widths, strict=True)]
    shares.set(title="Where the time of a step goes", xlim=(0, 1))
    shares.xaxis.set_major_formatter("{x:.0%}")
    shares.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2)
    for stage in report.stages:
        bars = speeds.barh(
            [f"{stage.name}: {way.name}" for way in stage.ways], [way.words_per_second for way in stage.ways]
        )
        speeds.bar_label(bars, fmt="{:,.0f}", padding=3)
    speeds.set(title="Words a second")
    speeds.xaxis.set_major_formatter("{x:,.0f}")
    speeds.margins(x=0.15)
    for panel in (shares, speeds):
        panel.invert_yaxis()
        panel.set_axisbelow(True)
    tidy((shares, speeds))
    save_figure(figure, out, "training")
