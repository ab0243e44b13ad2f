"""Records the versions that made a result, and tells how two records differ."""

import contextlib
import importlib.metadata
import json
import os
import platform
from collections.abc import Mapping
from typing import Any

_RECORDED_PACKAGES = ("lilliput", "torch", "transformers", "tokenizers", "numpy", "accelerate", "datasets")


def versions() -> dict[str, str]:
    """Returns the versions and the hardware that a result depends on."""
    found = {"python": platform.python_version(), "machine": f"{platform.machine()}, {os.cpu_count()} cores"}
    for name in _RECORDED_PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, Mapping):
        items = value.items()
    elif isinstance(value, (list, tuple)):
        items = {str(index): item for index, item in enumerate(value)}.items()
    else:
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, item in items:
        flat |= _flatten(item, f"{prefix}.{key}" if prefix else str(key))
    return flat


def difference(there: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Returns a short text on how recorded JSON values differ from the current ones."""
    old, new = _flatten(there), _flatten(json.loads(json.dumps(now)))
    changed = [key for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)]
    shown = [f"{key}: {old.get(key, 'nothing')} there, {new.get(key, 'nothing')} now" for key in changed[:3]]
    return "; ".join(shown) + (f"; and {len(changed) - 3} more" if len(changed) > 3 else "")
