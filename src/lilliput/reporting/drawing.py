"""Charts as SVG, drawn here: lines and dots over two axes. The page's style has the colours."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

_WIDTH, _HEIGHT = 340, 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 12, 10, 34
_TICKS = 4
"""About so many numbers on an axis."""
_MOST_POINTS = 160
"""Points of a line; of more, means of neighbours are drawn."""
COLOURS = 6
"""Colours that the page's style has for series."""


@dataclass(frozen=True)
class Series:
    """Points of one colour."""

    name: str
    points: tuple[tuple[float, float], ...]
    is_line: bool = True
    """Whether points are joined; else each is a dot."""


def chart(series: Sequence[Series], across: str, *, percent: bool = False, log: bool = False) -> Markup:
    """Returns series over common axes, as an element of HTML.

    Args:
        series: At least one, with at least one point together; values are finite.
        across: What the horizontal axis counts.
        percent: Whether heights are shares, shown in percent.
        log: Whether the horizontal axis is logarithmic; its values are then above 0.
    """
    every = [point for one in series for point in one.points]
    scale: Callable[[float], float] = math.log10 if log else float
    x_axis = _Axis.of([scale(x) for x, _ in every], _LEFT, _WIDTH - _RIGHT, margin=0.06 if log else 0.0)
    y_axis = _Axis.of([y for _, y in every], _HEIGHT - _BOTTOM, _TOP, margin=0.06)
    parts = [_grid(y_axis, percent), _below(x_axis, across, log)]
    for number, one in enumerate(series):
        places = [(x_axis(scale(x)), y_axis(y)) for x, y in one.points]
        parts.append(_line(places, number) if one.is_line else _dots(places, one, number, percent))
    names = ", ".join(one.name for one in series)
    return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        _WIDTH, _HEIGHT, f"{names} by {across}", Markup("").join(parts)
    )


def thinned(points: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """Returns at most so many points as a line shows, each the mean of neighbours."""
    if len(points) <= _MOST_POINTS:
        return tuple(points)
    found = []
    for number in range(_MOST_POINTS):
        start, end = (edge * len(points) // _MOST_POINTS for edge in (number, number + 1))
        some = points[start:end]
        found.append((sum(x for x, _ in some) / len(some), sum(y for _, y in some) / len(some)))
    return tuple(found)


def short(value: float) -> str:
    """Returns a number with few digits, and a letter for thousands and millions.

    >>> short(0.25), short(1500), short(44_000_000), short(2e9), short(0)
    ('0.25', '1.5k', '44M', '2G', '0')
    """
    for least, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= least:
            return f"{value / least:.3g}{letter}"
    return f"{value:.3g}"


@dataclass(frozen=True)
class _Axis:
    """From values to places in the drawing."""

    least: float
    most: float
    start: float
    end: float

    @classmethod
    def of(cls, values: Sequence[float], start: float, end: float, margin: float) -> "_Axis":
        least, most = min(values), max(values)
        room = (most - least) * margin or (abs(most) * 0.1 if most == least else 0.0)
        if most == least:
            room = room or 1.0
        return cls(least - room, most + room, start, end)

    def __call__(self, value: float) -> float:
        return self.start + (value - self.least) / (self.most - self.least) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Returns round numbers between both ends."""
        rough = (self.most - self.least) / _TICKS
        power = 10.0 ** math.floor(math.log10(rough))
        step = min(
            (power * times for times in (1, 2, 5, 10)), key=lambda one: abs(_TICKS - _TICKS * rough / one)
        )
        first = math.ceil(self.least / step)
        return [number * step for number in range(first, math.floor(self.most / step) + 1)]


def _grid(axis: _Axis, percent: bool) -> Markup:
    form = Markup(
        '<line class="grid" x1="{left}" x2="{right}" y1="{y}" y2="{y}"/>'
        '<text class="y" x="{at}" y="{text_y}">{text}</text>'
    )
    return Markup("").join(
        form.format(
            left=_LEFT,
            right=_WIDTH - _RIGHT,
            y=f"{axis(tick):.1f}",
            at=_LEFT - 6,
            text_y=f"{axis(tick) + 4:.1f}",
            text=f"{tick * 100:.4g} %" if percent else short(tick),
        )
        for tick in axis.ticks()
    )


def _below(axis: _Axis, across: str, log: bool) -> Markup:
    ticks = _log_ticks(axis) if log else [(tick, tick) for tick in axis.ticks()]
    form = Markup('<text class="x" x="{}" y="{}">{}</text>')
    numbers = [form.format(f"{axis(at):.1f}", _HEIGHT - _BOTTOM + 14, short(value)) for at, value in ticks]
    base = Markup('<line class="base" x1="{}" x2="{}" y1="{y}" y2="{y}"/>').format(
        _LEFT, _WIDTH - _RIGHT, y=_HEIGHT - _BOTTOM
    )
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    return base + Markup("").join(numbers) + form.format(middle, _HEIGHT - 4, across)


def _log_ticks(axis: _Axis) -> list[tuple[float, float]]:
    """Returns where 1, 2 and 5 times powers of ten stand between both ends, and these numbers."""
    powers = range(math.floor(axis.least), math.ceil(axis.most) + 1)
    every = [times * 10.0**power for power in powers for times in (1, 2, 5)]
    return [(math.log10(one), one) for one in every if axis.least <= math.log10(one) <= axis.most]


def _line(places: Sequence[tuple[float, float]], number: int) -> Markup:
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    return Markup('<polyline class="s{}" points="{}"/>').format(number % COLOURS, points)


def _dots(places: Sequence[tuple[float, float]], series: Series, number: int, percent: bool) -> Markup:
    form = Markup('<circle class="s{}" cx="{}" cy="{}" r="4"><title>{}</title></circle>')
    shown = [f"{y:.2%}" if percent else f"{y:.4g}" for _, y in series.points]
    return Markup("").join(
        form.format(number % COLOURS, f"{x:.1f}", f"{y:.1f}", f"{series.name}: {value}")
        for (x, y), value in zip(places, shown, strict=True)
    )
