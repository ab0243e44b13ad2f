"""A pile of texts in a folder of a run, one to a line: all of them, or some drawn."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from lilliput.common.files import digest_value, writing
from lilliput.common.stage_dir import StageDir
from lilliput.finetuning.unlabelled.own import read_texts
from lilliput.text.sources import describe, find_sources

TEXTS = "texts.txt"
"""The file with the texts."""


def gather(folder: Path, names: Sequence[str], column: str, *, overwrite: bool) -> StageDir:
    """Writes the different texts of some sources into a folder, unless they are there.

    Args:
        folder: Where to write.
        names: Files, folders, patterns and data sets.
        column: The column of tables and data sets that holds the text.
        overwrite: Whether what was made from other inputs is made anew.
    """
    sources = find_sources(names)
    read = [describe(source) for source in sources]
    stage = StageDir(folder, {"texts": read, "text_column": column})
    return stage.make(lambda: _write(stage, read_texts(sources, column)), overwrite)


def draw(pile: StageDir, folder: Path, most: int, *, overwrite: bool) -> StageDir:
    """Writes so many texts of a pile, drawn by their digests, into a folder, unless they are there."""
    stage = StageDir(folder, {"texts": digest_value(pile.files()), "most": most})

    def drawn() -> list[str]:
        return sorted(texts_of(pile), key=lambda text: hashlib.sha256(text.encode()).digest())[:most]

    return stage.make(lambda: _write(stage, drawn()), overwrite)


def texts_of(pile: StageDir) -> list[str]:
    """Returns the texts of a pile."""
    return (pile.path / TEXTS).read_text(encoding="utf-8").split("\n")[:-1]


def _write(stage: StageDir, texts: Sequence[str]) -> dict[str, int]:
    with writing(stage.path / TEXTS) as file:
        file.writelines(text.encode() + b"\n" for text in texts)
    return {"texts": len(texts)}
