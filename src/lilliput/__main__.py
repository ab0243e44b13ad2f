"""`lilliput` and `python -m lilliput`: `lilliput run` at once, all else by `cli`."""

import gc
import sys
from pathlib import Path

from lilliput.common.ending import ended


def main() -> None:
    """Runs the command line."""
    sys.exit(ended(_command))


def _command() -> int | None:
    options = run_options(sys.argv[1:])
    if options is None:
        from lilliput.cli import run_command

        run_command()
        return None
    gc.disable()  # what is imported stays: to look for garbage in it takes a tenth of the start
    from lilliput.inference.lines import run

    gc.freeze()
    gc.enable()
    return run(*options)


def run_options(arguments: list[str]) -> tuple[Path, int | None, bool] | None:
    """Returns bundle, --top and --json of a plain `lilliput run`; None for all else, also help and mistakes.

    >>> run_options(["run", "bundle", "--top", "3"])
    (PosixPath('bundle'), 3, False)
    """
    match [argument for argument in arguments if argument != "--json"]:
        case ["run", folder]:
            top = None
        case ["run", folder, "--top", number] | ["run", "--top", number, folder] if (
            number.isascii() and number.isdecimal() and len(number) < 10
        ):
            top = int(number)
        case _:
            return None
    if folder.startswith("-") or top == 0:
        return None
    return Path(folder), top, "--json" in arguments


if __name__ == "__main__":
    main()
