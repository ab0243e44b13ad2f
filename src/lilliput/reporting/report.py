"""Runs, bundles and measurements of bundles -> a page that shows them."""

from pathlib import Path

from lilliput.common.arguments import PathLike, Texts, path_of, texts_of
from lilliput.errors import ConfigError, StorageError
from lilliput.reporting import bundles, curves, made, masked, side_by_side, tasks, vocabulary
from lilliput.reporting.blocks import Part, Section
from lilliput.reporting.page import check_page, write_page
from lilliput.reporting.sources import Run, is_run, read_run

NAME = "report.html"
"""The page that commands write into a run."""


def report(runs: Texts, out: PathLike | None = None) -> Path:
    """Writes a page about runs and bundles, and returns where it is.

    The page is one file of HTML, which a browser shows without a network. All of it is read from the files of
    the runs; what they have not is left out. The first page of a run asks its student, and its teacher if the
    run trained it, for some masked words, and keeps what they say in the run.

    Args:
        runs: Runs; bundles, and folders that `lilliput benchmark bundle` wrote, too.
        out: The file to write; by default report.html in the first folder.

    Raises:
        ConfigError: If nothing is named.
        StorageError: If a folder holds nothing to report, a file is damaged, or `out` is another file.
    """
    paths = [Path(one) for one in texts_of("runs", runs)]
    if not paths:
        raise ConfigError("no run was named; give the folders of one or more: lilliput report runs/x")
    place = paths[0] / NAME if out is None else path_of("out", out)
    check_page(place)
    others = [path for path in paths if bundles.is_bundle(path) or (path / bundles.MEASURED).is_file()]
    for path in paths:
        if path not in others and not is_run(path):
            raise StorageError(
                f"{path} holds nothing to report; name a run, a bundle, or a folder that `lilliput benchmark "
                "bundle` wrote"
            )
    found = [read_run(path) for path in dict.fromkeys(paths) if is_run(path)]
    parts = []
    if len(found) > 1:
        parts.append(Part("Side by side", "", tuple(side_by_side.of_runs(found))))
    parts += [Part(run.title, str(run.place.path), tuple(_sections(run))) for run in found]
    if apart := [path for path in dict.fromkeys(others) if not is_run(path)]:
        parts.append(Part("Bundles", "", tuple(bundles.of_folders(apart))))
    title = found[0].title if len(found) == 1 else f"{len(found)} runs" if found else "Bundles"
    write_page(place, title, parts)
    return place


def _sections(run: Run) -> list[Section]:
    inside = bundles.below(run.place.path)
    found = made.made_of(run) + made.sizes(run, bundles.totals(inside)) + side_by_side.held_out(run)
    for stage in run.stages:
        found += curves.of_stage(stage)
    found += vocabulary.of_run(run.place) + masked.of_run(run)
    for one in run.tuned:
        found += tasks.of_task(one)
    found += tasks.beside_teacher(run)
    found += bundles.of_folders(inside, run.summary.get("student_bytes"))
    return found + made.cost(run) + made.again(run)
