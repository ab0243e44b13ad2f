"""What `lilliput --help` says: the commands in groups, each with its first sentence and one example."""

import inspect
import re
from collections.abc import Callable, Mapping

_EXAMPLE = re.compile(r"^ *((?:echo .+ \| )?lilliput .+)", re.MULTILINE)
"""The line of a command's description that is an example of it."""


def overview(groups: Mapping[str, Mapping[str, Callable[..., None]]]) -> str:
    """Returns the help of the whole command line."""
    lines = ["Makes a model of a few megabytes, with a small vocabulary of its own, of a BERT encoder.", ""]
    for group, commands in groups.items():
        lines += [f"{group}:"]
        for name, command in commands.items():
            first = (inspect.getdoc(command) or "").partition("\n")[0]
            lines += [f"  {name:14}{first}", f"{'':18}{example(command)}"]
        lines += [""]
    lines += [
        "`lilliput COMMAND --help` lists what a command takes, `lilliput settings` what --set changes, and",
        "`lilliput --version` says the version.",
    ]
    return "\n".join(lines)


def example(command: Callable[..., None]) -> str:
    """Returns the example in the description of a command."""
    found = _EXAMPLE.search(inspect.getdoc(command) or "")
    assert found is not None, f"{command.__name__} has no example"
    return found[1]
