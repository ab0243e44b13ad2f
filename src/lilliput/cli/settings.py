"""The command that lists what --set changes."""

import ast
import dataclasses
import inspect
import json
import textwrap
import types
import typing
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import tyro

from lilliput.cli.options import show
from lilliput.common.settings import Within
from lilliput.errors import ConfigError, nearest
from lilliput.objectives import OBJECTIVES, ObjectiveWeights

_TYPES = {int: "whole number", float: "number", str: "text", bool: "true or false", types.NoneType: "null"}


class Setting(typing.NamedTuple):
    """One key that --set takes."""

    key: str
    """Its dotted path."""
    value: Any
    """What it is without --set."""
    kind: str
    """Its type, with bounds or choices."""
    meaning: str
    """The first sentence of its description."""


def settings(
    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")] = "lilliput",
) -> None:
    """List what --set changes: each key with its value, type, bounds and meaning.

        lilliput settings sentence

    Args:
        name: A recipe, or a .toml or .json file, for `compress`, `build-lexicon`, `train` and `plan`; or
            finetune or distill, for the settings of these commands.
    """
    found = list(settings_of(_config(name)))
    width = max(len(f"{one.key}={_shown(one.value)}") for one in found)
    for one in found:
        show(f"{f'{one.key}={_shown(one.value)}':{width}}  {one.kind}. {one.meaning}")


def _config(name: str) -> Any:
    """Returns the settings of a recipe or a command; raises ConfigError where there is none of that name."""
    if name == "finetune":
        from lilliput.finetuning.config import FinetuningConfig

        return FinetuningConfig()
    if name == "distill":
        from lilliput.distillation import DistillConfig

        return DistillConfig()
    from lilliput.recipes import RECIPES, find_recipe

    if name not in RECIPES and not name.endswith((".toml", ".json")):
        known = [*RECIPES, "finetune", "distill"]
        raise ConfigError(f"there are no settings of '{name}'; {nearest(name, known)}")
    return find_recipe(name)


def settings_of(config: Any, prefix: str = "") -> Iterator[Setting]:
    """Yields every key of nested dataclasses that --set takes, with the values that stand in them."""
    hints, meanings = typing.get_type_hints(type(config), include_extras=True), _meanings(type(config))
    for item in dataclasses.fields(config):
        value, key = getattr(config, item.name), f"{prefix}{item.name}"
        if dataclasses.is_dataclass(value):
            yield from settings_of(value, f"{key}.")
        elif isinstance(value, tuple) and value and dataclasses.is_dataclass(value[0]):
            for one in value:
                yield from settings_of(one, f"{key}.{one.name}.")
        else:
            yield Setting(key, value, _kind(hints[item.name]), meanings[item.name])


def _kind(hint: Any) -> str:
    """Returns a type in words, with its bounds.

    >>> _kind(Annotated[int | None, Within(1, 1000)]), _kind(Annotated[float, Within(0.0, 1.0, (0.0,))])
    ('whole number from 1 to 1,000, or null', 'number in (0, 1]')
    """
    if typing.get_origin(hint) is Annotated:
        of, bounds = typing.get_args(hint)
        return _named(of, _interval(bounds, whole=int in (of, *typing.get_args(of))))
    return _named(hint)


def _named(hint: Any, bounds: str = "") -> str:
    if typing.get_origin(hint) is Literal:
        return f"one of {', '.join(typing.get_args(hint))}"
    kinds = typing.get_args(hint) if typing.get_origin(hint) is types.UnionType else (hint,)
    first, *others = (_TYPES[kind] for kind in kinds)
    return f"{first}{bounds}{''.join(f', or {other}' for other in others)}"


def _interval(bounds: Within, *, whole: bool) -> str:
    if whole:
        return f" from {bounds.least:,} to {bounds.most:,}"
    left = "(" if bounds.least in bounds.excluded else "["
    right = ")" if bounds.most in bounds.excluded else "]"
    return f" in {left}{bounds.least:,g}, {bounds.most:,.9g}{right}"


def _shown(value: Any) -> str:
    """Returns a value as --set takes it."""
    return value if isinstance(value, str) else json.dumps(value)


def _meanings(kind: type[Any]) -> dict[str, str]:
    """Returns the first sentence of what is said under each field of a dataclass."""
    if issubclass(kind, ObjectiveWeights):
        return {one.name: f"Weight of {one.meaning[0].lower()}{one.meaning[1:]}" for one in OBJECTIVES}
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(node, ast.ClassDef)
    found = {}
    for field, below in zip(node.body, node.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            assert isinstance(below, ast.Expr)
            assert isinstance(below.value, ast.Constant)
            found[field.target.id] = _first_sentence(str(below.value.value))
    return found


def _first_sentence(text: str) -> str:
    """Returns the first sentence of a text on one line.

    >>> _first_sentence("Pieces, e.g. words. Others too.")
    'Pieces, e.g. words.'
    """
    line = " ".join(text.split())
    for end, char in enumerate(line):
        if char == "." and line[end + 1 : end + 2] == " " and line[end + 2 : end + 3].isupper():
            return line[: end + 1]
    return line
