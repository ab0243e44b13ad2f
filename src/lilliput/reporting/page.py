"""Parts of a page -> one file of HTML that needs nothing else: no script, no network, no font."""

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from lilliput import reporting
from lilliput.common.files import writing
from lilliput.common.folders import not_ours
from lilliput.errors import printable
from lilliput.reporting.blocks import Part

_MARK = '<meta name="generator" content="lilliput">'
"""What every page has near its beginning, and only a page that has it is replaced."""
_LOOKED_AT = 1000


def write_page(path: Path, title: str, parts: Sequence[Part]) -> None:
    """Writes a page; raises StorageError where another file is in its place, or it cannot be written.

    Every text is escaped where it is put into the template, and no control character passes.
    """
    check_page(path)
    environment = Environment(
        loader=PackageLoader(reporting.__name__, "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_plain,
    )
    page = environment.get_template("page.html").render(title=title, parts=parts)
    with writing(path) as file:
        file.write(page.encode(errors="backslashreplace"))


def check_page(path: Path) -> None:
    """Raises StorageError where a file that is there is none of these pages."""
    if path.is_file():
        with path.open("rb") as file:
            if _MARK.encode() in file.read(_LOOKED_AT):
                return
    if path.exists():
        raise not_ours(path.absolute().parent, [path.name])


def _plain(value: object) -> object:
    """Returns what stands in a page of a value: of a text all lines without characters that steer."""
    if type(value) is str:  # not Markup, which is drawn here
        return "\n".join(map(printable, value.split("\n")))
    return value
