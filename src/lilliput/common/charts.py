"""Figures as files: one look for all of them, one way to save them."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from lilliput.common.files import writing
from lilliput.errors import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def new_figure(width: float, height: float) -> "Figure":
    """Returns an empty figure; width and height are in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # here, as matplotlib is slow to import
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def tidy(panels: Iterable["Axes"]) -> None:
    """Adds a faint grid to each panel and removes its top and right frame."""
    for panel in panels:
        panel.grid(alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)


def save_figure(figure: "Figure", out: Path, name: str) -> None:
    """Writes a figure as `name`.svg and `name`.png into a folder; equal figures give an equal SVG.

    Names in it are shown as they are: `$` does not start a formula.
    """
    import matplotlib as mpl

    legends = [*figure.legends, *(axes.get_legend() for axes in figure.axes)]
    named = [text for legend in legends if legend for text in legend.get_texts()]
    for text in (*named, *(axes.title for axes in figure.axes)):
        text.set_parse_math(False)
        text.set_text("\n".join(map(printable, text.get_text().split("\n"))))
    with mpl.rc_context({"svg.hashsalt": "lilliput"}), writing(out / f"{name}.svg") as file:
        figure.savefig(file, format="svg", metadata={"Date": None})
    with writing(out / f"{name}.png") as file:
        figure.savefig(file, format="png", dpi=150)
