"""The command line: one function per subcommand, each parses, calls one stage and prints its result.

What needs torch is imported inside the functions, so that help, refusals and the processes that read the
corpus start at once.
"""

import logging
import os
import sys
from collections.abc import Callable
from importlib.metadata import version

import tyro

from lilliput.cli.making import (
    build_corpus,
    build_lexicon,
    compress,
    distill,
    recipes,
    train,
    vocabulary,
)
from lilliput.cli.measuring import benchmark, plan, refuse_moved, report
from lilliput.cli.options import show
from lilliput.cli.overview import overview
from lilliput.cli.publishing import push
from lilliput.cli.running import bundle, run
from lilliput.cli.settings import settings
from lilliput.cli.tasks import evaluate, finetune
from lilliput.common.ending import ended
from lilliput.common.progress import is_main
from lilliput.errors import extra_named

GROUPS: dict[str, dict[str, Callable[..., None]]] = {
    "make": {
        "compress": compress,
        "distill": distill,
        "finetune": finetune,
        "bundle": bundle,
        "build-corpus": build_corpus,
        "build-lexicon": build_lexicon,
        "train": train,
        "recipes": recipes,
        "settings": settings,
    },
    "measure": {
        "plan": plan,
        "vocabulary": vocabulary,
        "evaluate": evaluate,
        "benchmark": benchmark,
        "report": report,
    },
    "use": {"run": run, "push": push},
}
"""The commands by what they are for, each group in the order in which they are needed."""
_COMMANDS = {name: command for group in GROUPS.values() for name, command in group.items()}


def main() -> None:
    """Runs the command line; `ending` says how it ends."""
    if code := ended(run_command):
        sys.exit(code)


def run_command() -> None:
    """Runs the command that the arguments of the process name."""
    prepare()
    if sys.argv[1:] == ["--version"]:
        show(f"lilliput {version('lilliput')}")
        return
    if sys.argv[1:] in ([], ["-h"], ["--help"]):
        show(overview(GROUPS))
        return
    if sys.argv[1:2] == ["benchmark"]:
        refuse_moved("".join(sys.argv[2:3]))
    if not is_main and sys.argv[1:2] not in (["compress"], ["train"]):
        return  # of several processes that a launcher started, one is enough for the other commands
    with extra_named():
        tyro.extras.subcommand_cli_from_dict(
            _COMMANDS,
            prog="lilliput",
            description="Makes a model of a few megabytes, with a small vocabulary of its own, of a BERT "
            "encoder.",
        )


def prepare() -> None:
    """Sets how threads wait, and silences what transformers, the hub and torchao print on loading."""
    # Two processes that share cores stall each other for seconds where OpenMP threads wait by spinning.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    for name in ("torchao", "torch.utils._pytree"):
        logging.getLogger(name).setLevel(logging.ERROR)
