"""The command that answers texts with a bundle."""

import sys
from pathlib import Path
from typing import Annotated

import tyro


def run(
    bundle: Annotated[Path, tyro.conf.Positional],
    top: int | None = None,
    json_: Annotated[bool, tyro.conf.arg(name="json")] = False,
) -> None:
    """Answer texts with a bundle: each line of standard input is a text, each of the output its answer.

    Two texts that are read together have a tab between them. A line that cannot be answered has an empty line
    for an answer and a sentence on standard error.

    Args:
        bundle: The bundle's folder.
        top: How many classes, or pieces for each [MASK]; by default the best class, or 5 pieces.
        json_: Write JSON objects, with all that is known of the answer.
    """
    from lilliput.lines import run as answer

    sys.exit(answer(bundle, top, json_))
