"""A bundle, or a run's model -> a repository on the Hugging Face hub, with its card."""

import re
from pathlib import Path
from typing import Any

from lilliput.common.arguments import PathLike, path_of, text_of
from lilliput.common.repositories import endpoint, hub_errors, require_repository
from lilliput.errors import HubError, StorageError
from lilliput.export.bundling import find_checkpoint
from lilliput.export.checkpoint_card import checkpoint_card
from lilliput.export.transformers_js import FILES as OF_JAVASCRIPT, FLOAT
from lilliput.inference.format import CARD, MANIFEST, MODEL, files_of, read_bundle
from lilliput.run import STUDENT_FILES, RunDir

_OF_CHECKPOINT = (*STUDENT_FILES, "task.json", "vocab.txt", "special_tokens_map.json", CARD)
"""What is uploaded of a checkpoint. Examples and their predictions, and paths of this machine, stay here."""


def push(
    model: PathLike,
    name: str,
    *,
    task: str | None = None,
    private: bool = False,
    revision: str | None = None,
    token: str | None = None,
) -> str:
    """Uploads a model to the hub and returns its address; the repository is made if there is none.

    Args:
        model: A bundle, a folder for transformers.js, a run, or the folder of a checkpoint.
        name: The repository: owner/name.
        task: Of a run, the name of the task whose fine-tuned model is meant; without one, its student.
        private: Whether a repository that is made is private; one that is there must be so already.
        revision: The branch to write, which is made if there is none; by default the main one.
        token: The token to write with; by default that of HF_TOKEN or of `hf auth login`.

    Raises:
        BundleError: If the bundle is not whole.
        StorageError: If there is no such model.
        ConfigError: If the name is none of a repository.
        HubError: If the repository cannot be written, or no hub is reached.
    """
    name = text_of("name", name, "the name of a repository, owner/name")
    require_repository(name)
    files = _files(path_of("model", model), name, task)
    from huggingface_hub import CommitOperationAdd, HfApi, get_token

    with hub_errors(name, revision, "written"):
        api = HfApi(endpoint=endpoint(), token=token or get_token() or _no_token())
        api.create_repo(name, private=private or None, exist_ok=True)
        if private and not api.repo_info(name).private:
            raise HubError(
                f"'{name}' is there already and is public, so nothing was uploaded; make it private on its "
                "page, or take another name"
            )
        if revision is not None:
            api.create_branch(name, branch=revision, exist_ok=True)
        operations: list[Any] = [CommitOperationAdd(path, content) for path, content in files.items()]
        api.create_commit(name, operations, commit_message="Upload by lilliput", revision=revision)
    return f"{endpoint()}/{name}" + (f"/tree/{revision}" if revision else "")


def _no_token() -> str:
    from huggingface_hub.errors import LocalTokenNotFoundError

    raise LocalTokenNotFoundError("there is no token")


def _files(folder: Path, name: str, task: str | None) -> dict[str, str | bytes]:
    """Returns what is uploaded, by its name there: paths, and the card's content."""
    if task is None and (folder / MANIFEST).is_file() and (folder / MODEL).is_file():
        read_bundle(folder)
        paths, card = files_of(folder), _text(folder / CARD)
    elif task is None and (folder / FLOAT).is_file():
        paths, card = [path for path in OF_JAVASCRIPT if (folder / path).is_file()], _text(folder / CARD)
    else:
        run = RunDir(folder)
        folder = find_checkpoint(run, task)
        paths = [path for path in _OF_CHECKPOINT if (folder / path).is_file()]
        if "config.json" not in paths or "model.safetensors" not in paths:
            raise StorageError(
                f"{folder} is neither a bundle nor a checkpoint; name what `lilliput bundle`, `compress` or "
                "`finetune` made"
            )
        card = _text(folder / CARD) or checkpoint_card(folder, run)
    found: dict[str, str | bytes] = {path: str(folder / path) for path in paths if path != CARD}
    return found if card is None else found | {CARD: addressed(card, name).encode(errors="backslashreplace")}


def _text(card: Path) -> str | None:
    """Returns a card's text; None where there is none."""
    return card.read_text(encoding="utf-8", errors="replace") if card.is_file() else None


def addressed(card: str, name: str) -> str:
    """Returns a card whose lines of code name the repository in the place of the folder that they were in.

    >>> addressed("lilliput run .", "owner/name")
    'lilliput run owner/name'
    """
    for here, there in (
        ("In this folder, with `pip", "With `pip"),
        ('lilliput.load(".")', f'lilliput.load("{name}")'),
        ("lilliput run .", f"lilliput run {name}"),
        ('SentenceTransformer("FOLDER")', f'SentenceTransformer("{name}")'),
        ('model="."', f'model="{name}"'),
    ):
        card = card.replace(here, there)
    return re.sub(r'(await pipeline\("[a-z-]+", |\.from_pretrained\()"[^"\n]*"', rf'\1"{name}"', card)
