"""What a process took of memory; imports nothing that would take some itself."""

import re
import resource
import sys
from pathlib import Path


def peak_memory() -> int:
    """Returns the most bytes that this process ever had in memory."""
    status = Path("/proc/self/status")
    if status.exists():  # on Linux, where ru_maxrss begins with the parent's
        found = re.search(r"VmHWM:\s*(\d+) kB", status.read_text())
        assert found is not None
        return int(found[1]) << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << (0 if sys.platform == "darwin" else 10)
