"""Bundles by bytes and, where they were measured, by quality and milliseconds."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lilliput.common.sheet import Sheet
from lilliput.common.stored import stored
from lilliput.comparison.bundle_report import LENGTHS, BundleReport, quality_table, speed_table
from lilliput.inference.format import CONFIG, MANIFEST, MODEL, BundleConfig, is_config, parse_config, sizes
from lilliput.reporting.blocks import Block, Chart, Charts, Grid, Note, Section, bars, section
from lilliput.reporting.drawing import Series, chart
from lilliput.reporting.made import ratio

MEASURED = "bundle.json"
"""What `lilliput benchmark bundle` writes."""
_DEPTH = ("*", "*/*")
"""Folders of a run in which bundles are looked for."""
_SHOWN_LENGTH = 32
"""Pieces of the text whose time is drawn."""


@dataclass(frozen=True)
class _Bundle:
    """A bundle's files."""

    name: str
    config: BundleConfig
    files: dict[str, int]

    @property
    def total(self) -> int:
        """Bytes of all files."""
        return sum(self.files.values())


def is_bundle(path: Path) -> bool:
    """Returns whether a folder is a bundle."""
    return (path / MODEL).is_file() and (path / MANIFEST).is_file() and is_config(path / CONFIG)


def below(folder: Path) -> list[Path]:
    """Returns the bundles and the measurements of bundles in a run."""
    inside = [path for depth in _DEPTH for path in sorted(folder.glob(depth)) if path.is_dir()]
    shown = [path for path in inside if not path.name.startswith(".")]
    return [path for path in shown if is_bundle(path) or (path / MEASURED).is_file()]


def totals(folders: Sequence[Path]) -> list[tuple[str, int]]:
    """Returns the names and the bytes of the bundles among some folders."""
    places = [path for path in folders if is_bundle(path)]
    return [(_named(path, places), sum(sizes(path).values())) for path in places]


def of_folders(folders: Sequence[Path], student_bytes: int | None = None) -> list[Section]:
    """Returns what there is of some folders with bundles, or with measurements of bundles."""
    places = [path for path in folders if is_bundle(path)]
    found = _sections([_Bundle(_named(path, places), *_read(path)) for path in places], student_bytes)
    for path in (path for path in folders if (path / MEASURED).is_file()):
        report: BundleReport = stored(BundleReport, path / MEASURED, "run the same benchmark again")
        found += _measured(report)
    return found


def _named(path: Path, others: Sequence[Path]) -> str:
    """Returns the name of a folder, with that around it where others have it too."""
    whole = path.absolute()
    alike = [other for other in others if other.absolute().name == whole.name]
    return whole.name if len(alike) == 1 else f"{whole.parent.name}/{whole.name}"


def _read(path: Path) -> tuple[BundleConfig, dict[str, int]]:
    return parse_config(path / CONFIG, (path / CONFIG).read_bytes()), sizes(path)


def _sections(found: Sequence[_Bundle], student_bytes: int | None) -> list[Section]:
    if not found:
        return []
    rows = [
        (
            one.name,
            one.config.kind,
            one.config.task or "",
            one.config.quantization,
            f"{one.files[MODEL]:,}",
            f"{one.total:,}",
            *(() if student_bytes is None else (ratio(student_bytes, one.total),)),
        )
        for one in found
    ]
    headings = ["bundle", "kind", "task", "weights", "graph, bytes", "all files, bytes"]
    headings += [] if student_bytes is None else ["smaller than the student's weights"]
    lengths = bars([(one.name, one.total, f"{one.total / 1e6:,.2f} MB") for one in found])
    return section("Bundles", lengths, Grid(Sheet(headings, rows, left=4)))


def _measured(report: BundleReport) -> list[Section]:
    machine = ", ".join(f"{name} {value}" for name, value in report.machine.items())
    said = f"Scored on {report.examples:,} dev examples; medians of {report.rounds}. {machine}."
    blocks: list[Block] = [Note(said), *_charts(report)]
    tables = (quality_table(report), speed_table(report))
    return section(f"Bundles measured: {report.task}", *blocks, *map(Grid, tables))


def _charts(report: BundleReport) -> list[Charts]:
    """Returns scores by bytes and by milliseconds."""
    metric, by_bytes, by_time = report.plotted, list[Series](), list[Series]()
    for model in (model for model in report.models if metric in model.scores and model.speed):
        height = model.scores[metric]
        by_bytes.append(Series(model.name, ((max(model.bytes, 1) / 1e6, height),), False))
        times = {one.pieces: one.seconds * 1e3 for one in model.speed[0].latency}
        if times.get(_SHOWN_LENGTH, 0) > 0:
            by_time.append(Series(model.name, ((times[_SHOWN_LENGTH], height),), False))
    assert _SHOWN_LENGTH in LENGTHS
    charts = [
        Chart(f"{metric} by {what}", chart(series, across, percent=True, log=True), _names(series))
        for what, across, series in (
            ("size", "MB of all files", by_bytes),
            ("time", f"ms for a text of {_SHOWN_LENGTH} pieces", by_time),
        )
        if series
    ]
    return [Charts(tuple(charts))] if charts else []


def _names(series: Sequence[Series]) -> tuple[str, ...]:
    return tuple(one.name for one in series)
