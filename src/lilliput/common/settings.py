"""Converts nested JSON values to frozen dataclasses, strictly: unknown names and wrong types are refused."""

import dataclasses
import functools
import json
import math
import sys
import types
import typing
from collections.abc import Hashable, Mapping
from typing import Annotated, Any, Literal, NamedTuple

from lilliput.errors import ConfigError, bounded, nearest, shown


def build(kind: type[Any], values: Any, where: str) -> Any:
    """Returns a dataclass of type `kind` from JSON values; `where` is the dotted path for messages."""
    if not isinstance(values, dict):
        named = f"'{where}' must be a table of settings" if where else "expected a table of settings"
        raise ConfigError(f"{named}, found {shown(values)}")
    fields = {item.name: item for item in dataclasses.fields(kind)}
    prefix = f"{where}." if where else ""
    for name in values:
        if name not in fields:
            raise ConfigError(f"unknown key '{prefix}{name}'; {nearest(name, fields)}")
    hints = typing.get_type_hints(kind)
    for name, item in fields.items():
        required = item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
        if required and name not in values:
            raise ConfigError(f"key '{prefix}{name}' is missing")
    return kind(**{name: _value(hints[name], value, f"{prefix}{name}") for name, value in values.items()})


def valid(hint: Any, value: Any, where: str = "") -> Any:
    """Returns a JSON value as a value of a type: a dataclass, or a hint such as dict[str, float].

    Raises ConfigError if it does not fit.
    """
    return _value(hint, value, where)


class Within(NamedTuple):
    """The bounds of a number, declared beside its field: Annotated[int, Within(1, 10)]."""

    least: float
    most: float
    excluded: tuple[float, ...] = ()


def check_bounds(values: Any, prefix: str = "") -> None:
    """Raises ConfigError if a bounded field of a frozen dataclass is not a number or is out of bounds.

    Converts numbers of NumPy and torch to Python's own, so that they can be written as JSON.
    """
    for name, (bounds, optional) in _bounds(values.__class__).items():
        value = getattr(values, name)
        if not (optional and value is None):
            found = bounded(prefix + name, value, bounds.least, bounds.most, *bounds.excluded)
            object.__setattr__(values, name, found)


@functools.cache
def _bounds(kind: Hashable) -> dict[str, tuple[Within, bool]]:
    """Returns the bounds of a dataclass's fields, and whether each may be None."""
    found = {}
    for name, hint in typing.get_type_hints(kind, include_extras=True).items():
        if typing.get_origin(hint) is Annotated:
            of, bounds = typing.get_args(hint)
            found[name] = bounds, type(None) in typing.get_args(of)
    return found


def require(condition: bool, message: str) -> None:
    """Raises ConfigError with a message unless a condition holds."""
    if not condition:
        raise ConfigError(message)


def replaced(config: Any, settings: Mapping[str, str]) -> Any:
    """Returns a dataclass with some settings replaced, as `--set` gives them: `{"student.width": "96"}`."""
    values = dataclasses.asdict(config)
    for key, text in settings.items():
        assign(values, key, text)
    return build(type(config), values, "")


def assign(values: dict[str, Any], key: str, text: str) -> None:
    """Sets one `--set` value in the nested values of a recipe."""
    *parents, last = key.split(".")
    node: Any = values
    for depth, part in enumerate(parents):
        if isinstance(node, (list, tuple)):
            tables = (stage for stage in node if isinstance(stage, dict))
            node = {stage["name"]: stage for stage in tables if isinstance(stage.get("name"), str)}
        if not isinstance(node, dict) or part not in node:
            known = node if isinstance(node, dict) else ()
            raise ConfigError(f"unknown setting '{'.'.join(parents[: depth + 1])}'; {nearest(part, known)}")
        node = node[part]
    if not isinstance(node, dict) or last not in node:
        known = node if isinstance(node, dict) else ()
        raise ConfigError(f"unknown setting '{key}'; {nearest(last, known)}")
    try:
        node[last] = json.loads(text)
    except (ValueError, RecursionError):  # as in `files.parse_json`
        node[last] = text
    if parents == ["budget"]:
        node["minutes" if last == "words" else "words"] = None


def _value(hint: Any, value: Any, where: str) -> Any:
    """Returns one JSON value as the type of a hint, checked against it."""
    origin = typing.get_origin(hint)
    if origin is types.UnionType and isinstance(value, dict):  # a dataclass, or nothing
        hint = next(filter(dataclasses.is_dataclass, typing.get_args(hint)), hint)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return build(hint, value, where)
    if origin in (tuple, dict):
        return _collection(origin, typing.get_args(hint), value, where)
    if origin is Literal:
        choices = typing.get_args(hint)
        if value in choices:
            return value
        raise ConfigError(f"'{where}' must be one of {', '.join(choices)}, found {shown(value)}")
    if hint is Any or (hint is bool and isinstance(value, bool)):
        return value
    accepted = typing.get_args(hint) if origin is types.UnionType else (hint,)
    if isinstance(value, bool) or (isinstance(value, float) and not math.isfinite(value)):
        pass
    elif isinstance(value, int) and float in accepted and int not in accepted:
        if abs(value) <= sys.float_info.max:
            return float(value)
    elif isinstance(value, accepted):
        return value
    names = " or ".join("nothing" if kind is type(None) else kind.__name__ for kind in accepted)
    raise ConfigError(f"'{where or 'all of it'}' must be {names}, found {shown(value)}")


def _collection(origin: Any, hints: tuple[Any, ...], value: Any, where: str) -> Any:
    """Returns a JSON list or table as a tuple or dict, checked against the hints of its items."""
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise ConfigError(f"'{where or 'all of it'}' must be a list, found {shown(value)}")
        return tuple(_value(hints[0], item, f"{where}[{index}]") for index, item in enumerate(value))
    if not isinstance(value, dict):
        raise ConfigError(f"'{where or 'all of it'}' must be a table, found {shown(value)}")
    return {name: _value(hints[1], item, f"{where}.{name}") for name, item in value.items()}
