"""What commands share: the options they have in common, recipes with changes, and printing."""

from pathlib import Path
from typing import Annotated

import tyro

from lilliput.common.ending import printing
from lilliput.common.progress import Plain, is_main
from lilliput.config import Recipe
from lilliput.errors import ConfigError, first_line

Teacher = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="TEACHER")]
Model = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
Folder = Annotated[Path, tyro.conf.arg(metavar="FOLDER")]
File = Annotated[Path | None, tyro.conf.arg(metavar="FILE")]
RecipeName = Annotated[str, tyro.conf.arg(metavar="RECIPE")]
FolderOrNone = Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")]
FileOrNone = Annotated[str | None, tyro.conf.arg(metavar="FILE")]
ColumnOrNone = Annotated[str | None, tyro.conf.arg(metavar="COLUMN")]
Column = Annotated[str, tyro.conf.arg(metavar="COLUMN")]
Task = Annotated[str | None, tyro.conf.arg(metavar="TASK")]
Minutes = Annotated[float | None, tyro.conf.arg(metavar="MINUTES")]
Count = Annotated[int | None, tyro.conf.arg(metavar="NUMBER")]
Corpus = Annotated[tuple[str, ...], tyro.conf.arg(metavar="TEXT")]
Teachers = Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(metavar="MODEL")]
Names = Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=NAME")]
Settings = Annotated[
    tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(name="set", metavar="KEY=VALUE")
]


def recipe_of(
    name: str, settings: tuple[str, ...], minutes: float | None = None, words: int | None = None
) -> Recipe:
    """Returns the recipe of that name with what the command line changes."""
    from lilliput.recipes import find_recipe

    if minutes is not None and words is not None:
        raise ConfigError("a run's cost is either --minutes or --words, not both")
    if minutes is not None:
        settings = (*settings, f"budget.minutes={minutes}")
    if words is not None:
        settings = (*settings, f"budget.words={words}")
    return changed(find_recipe(name), settings)


def changed(recipe: Recipe, settings: tuple[str, ...]) -> Recipe:
    """Returns a recipe with what --set changes."""
    return recipe.replace(pairs_of(settings))


def pairs_of(settings: tuple[str, ...]) -> dict[str, str]:
    """Returns keys and values that --set gives; raises ConfigError where one is no such pair."""
    wrong = [item for item in settings if "=" not in item]
    if wrong:
        raise ConfigError(f"--set takes KEY=VALUE, found '{wrong[0]}', for instance student.width=96")
    return dict(item.split("=", 1) for item in settings)


def names_of(labels: tuple[str, ...]) -> dict[str, str]:
    """Returns names and what they stand for; raises ConfigError where one is no such pair, or given twice."""
    found: dict[str, str] = {}
    for item in labels:
        name, equals, other = item.partition("=")
        if not equals or found.get(name, other) != other:
            raise ConfigError(
                f"--teacher-labels takes NAME=NAME, once for each name of the teacher, found '{item}', for "
                "instance LABEL_0=negative LABEL_1=positive"
            )
        found[name] = other
    return found


def show(result: object) -> None:
    """Prints a result on standard output, by one of several processes."""
    with printing():
        Plain(quiet=not is_main).print(result, soft_wrap=isinstance(result, str))


def show_report(run: Path) -> None:
    """Writes the page of a run that is finished, and names it in a line.

    An error takes nothing from what is finished: the line then says why there is no page.
    """
    if not is_main:
        return
    from lilliput.reporting.report import report

    try:
        show(f"all of it on a page: {report(run)}")
    except Exception as error:  # whatever it is, the run is finished
        show(f"no page about the run was written ({first_line(error) or type(error).__name__})")
