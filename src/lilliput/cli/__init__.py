"""The command line: one function per subcommand, each parses, calls one stage and prints its result.

What needs torch is imported inside the functions, so that help, refusals and the processes that read the
corpus start at once.
"""

import logging
import os
import sys
import time
from collections.abc import Callable

import tyro
from rich.console import Console

from lilliput.cli.making import (
    build_corpus,
    build_lexicon,
    compress,
    recipes,
    train,
    vocabulary,
)
from lilliput.cli.measuring import benchmark, plan
from lilliput.cli.running import bundle, run
from lilliput.cli.tasks import evaluate, finetune
from lilliput.errors import Interrupted, LilliputError, extra_named
from lilliput.progress import console, is_main

_COMMANDS: dict[str, Callable[..., None]] = {
    "compress": compress,
    "build-corpus": build_corpus,
    "build-lexicon": build_lexicon,
    "vocabulary": vocabulary,
    "train": train,
    "evaluate": evaluate,
    "finetune": finetune,
    "plan": plan,
    "benchmark": benchmark,
    "bundle": bundle,
    "run": run,
    "recipes": recipes,
}


def main() -> None:
    """Runs the command line; a refusal is one printed sentence and exits with 1, an interruption with 130."""
    # Two processes that share cores stall each other for seconds where OpenMP threads wait by spinning.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    _quiet_libraries()
    if not is_main and sys.argv[1:2] not in (["compress"], ["train"]):
        return  # of several processes that a launcher started, one is enough for the other commands
    try:
        with extra_named():
            tyro.extras.subcommand_cli_from_dict(
                _COMMANDS,
                prog="lilliput",
                description="Makes a model of a few megabytes, with a small vocabulary of its own, of a BERT "
                "encoder.",
            )
    except Interrupted as error:
        _refuse(error, "yellow")
        sys.exit(130)
    except LilliputError as error:
        _refuse(error, "red")
        sys.exit(1)
    except KeyboardInterrupt:
        console.print("lilliput: interrupted; finished parts are kept, run the same command again to go on")
        sys.exit(130)


def _quiet_libraries() -> None:
    """Silences what transformers, the hub and ExecuTorch's torchao print on loading, which is normal here."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    for name in ("torchao", "torch.utils._pytree"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _refuse(error: LilliputError, style: str) -> None:
    """Prints what an error says as it stands: brackets in names of files are no markup."""
    if error.shared and not is_main:
        time.sleep(1)  # for the main process to say it: launchers end all processes as soon as one has ended
        return
    name = "lilliput" if is_main else f"lilliput, process {os.environ['RANK']}"
    Console(stderr=True).print(f"{name}: {error}", style=style, highlight=False, markup=False, soft_wrap=True)
