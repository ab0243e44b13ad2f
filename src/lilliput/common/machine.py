"""Describes the machine that figures were measured on."""

import platform
import re
from pathlib import Path

from lilliput.common.provenance import versions

MOST_ROUNDS = 1000
"""The most rounds that a benchmark may measure."""


def describe_machine() -> dict[str, str]:
    """Returns the processor's name, its cores and the versions of libraries."""
    info = Path("/proc/cpuinfo")  # on Linux only; elsewhere `platform` names the processor
    name = re.search(r"model name\s*:\s*(.+)", info.read_text()) if info.exists() else None
    return {"processor": name[1] if name else platform.processor(), **versions()}
