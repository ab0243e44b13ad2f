"""The command that uploads to the hub."""

from pathlib import Path
from typing import Annotated

import tyro

from lilliput.cli.options import Task, show


def push(
    model: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")],
    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="OWNER/NAME")],
    task: Task = None,
    private: bool = False,
    revision: Annotated[str | None, tyro.conf.arg(metavar="BRANCH")] = None,
) -> None:
    """Upload a bundle, or a run's model, to the Hugging Face hub, with its card.

        lilliput push bundle my-org/my-bundle

    The repository is made if there is none. The token is that of `hf auth login`, or of HF_TOKEN. What was
    uploaded opens with `lilliput run my-org/my-bundle` and lilliput.load.

    Args:
        model: A bundle, a folder for transformers.js, a run, or the folder of a checkpoint.
        name: The repository.
        task: The task of the fine-tuned model in a run; without it, the student is uploaded.
        private: Make the repository private; one that is there must be so already.
        revision: The branch to write, which is made if there is none.
    """
    from lilliput.export.push import push as upload

    show(f"uploaded to {upload(model, name, task=task, private=private, revision=revision)}")
