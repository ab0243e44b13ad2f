"""What a page consists of: parts with sections of blocks, all plain text that `page` escapes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from markupsafe import Markup

from lilliput.common.sheet import Sheet


@dataclass(frozen=True)
class Tile:
    """One figure that a reader looks for first."""

    name: str
    value: str
    beneath: str = ""


@dataclass(frozen=True)
class Tiles:
    """Figures side by side."""

    shape: ClassVar[str] = "tiles"
    tiles: tuple[Tile, ...]


@dataclass(frozen=True)
class Facts:
    """Names with what they stand for."""

    shape: ClassVar[str] = "facts"
    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Grid:
    """A table; its title stands above it."""

    shape: ClassVar[str] = "grid"
    sheet: Sheet


@dataclass(frozen=True)
class Bar:
    """One of several lengths that are compared."""

    name: str
    share: float
    """Its length as a share of the longest."""
    text: str


@dataclass(frozen=True)
class Bars:
    """Lengths below each other."""

    shape: ClassVar[str] = "bars"
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class Chart:
    """A drawing with its title, and the names of its series in the order of their colours."""

    title: str
    drawing: Markup
    """From `drawing`; the only text on a page that is not escaped there."""
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Charts:
    """Drawings side by side."""

    shape: ClassVar[str] = "charts"
    charts: tuple[Chart, ...]


@dataclass(frozen=True)
class Heat:
    """A table of counts, coloured by their share of a row."""

    shape: ClassVar[str] = "heat"
    title: str
    names: tuple[str, ...]
    """Of the columns."""
    rows: tuple[tuple[str, tuple[int, ...]], ...]
    """Name and counts of each row."""


@dataclass(frozen=True)
class Guess:
    """What a model holds possible."""

    text: str
    probability: float
    is_right: bool


@dataclass(frozen=True)
class Gap:
    """A word left out of a text, with what each model puts there."""

    before: str
    word: str
    after: str
    said: tuple[tuple[str, tuple[Guess, ...]], ...]
    """For each model its name and its guesses."""


@dataclass(frozen=True)
class Gaps:
    """Words left out of texts."""

    shape: ClassVar[str] = "gaps"
    gaps: tuple[Gap, ...]


@dataclass(frozen=True)
class Example:
    """A text with what was said of it."""

    texts: tuple[str, ...]
    said: tuple[tuple[str, str], ...]
    """Who said it, and what."""


@dataclass(frozen=True)
class Examples:
    """Texts with what was said of them, folded under a title."""

    shape: ClassVar[str] = "examples"
    title: str
    examples: tuple[Example, ...]


@dataclass(frozen=True)
class Cut:
    """A word with the pieces that models make of it."""

    word: str
    count: int
    pieces: tuple[tuple[str, ...], ...]
    """Those of each model."""


@dataclass(frozen=True)
class Cuts:
    """Words with their pieces."""

    shape: ClassVar[str] = "cuts"
    models: tuple[str, ...]
    cuts: tuple[Cut, ...]


@dataclass(frozen=True)
class Code:
    """Lines to be typed, or JSON; folded under a title where there is one."""

    shape: ClassVar[str] = "code"
    text: str
    title: str = ""


@dataclass(frozen=True)
class Note:
    """A paragraph."""

    shape: ClassVar[str] = "note"
    text: str


Block = Tiles | Facts | Grid | Bars | Charts | Heat | Gaps | Examples | Cuts | Code | Note


@dataclass(frozen=True)
class Section:
    """Blocks about one subject."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Part:
    """All of one run or of what several have in common."""

    title: str
    beneath: str
    """Where it was read."""
    sections: tuple[Section, ...]


def section(title: str, *blocks: Block | None) -> list[Section]:
    """Returns a section of those blocks that there are; none where there are none."""
    there = tuple(block for block in blocks if block is not None)
    return [Section(title, there)] if there else []


def bars(values: Sequence[tuple[str, float, str]]) -> Bars:
    """Returns lengths that are compared: name, length and text of each."""
    longest = max(value for _, value, _ in values) or 1
    return Bars(tuple(Bar(name, value / longest, text) for name, value, text in values))
