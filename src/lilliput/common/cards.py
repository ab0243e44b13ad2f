"""What a checkpoint says of itself: in the metadata of its card, and in its place in the hub's cache."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

CARD = "README.md"
LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*|multilingual")
LICENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]*")
"""What the hub takes for a language, and for a licence."""
_OF_ANY = ("model", "student", "checkpoint", "bundle", "onnx", "best", "final", "output")
"""Names of folders that say nothing of what is in them."""
_MOST_BYTES = 1 << 20


class CardData(NamedTuple):
    """What stands in the metadata of a card."""

    languages: tuple[str, ...] = ()
    licence: str | None = None

    @property
    def only_language(self) -> tuple[str, ...]:
        """The language, where it is one: which of several a student of it has learnt nobody knows."""
        return self.languages if len(self.languages) == 1 and self.languages != ("multilingual",) else ()


def card_data(model: str) -> CardData:
    """Returns what the card of a checkpoint says, in its folder or in the hub's cache; asks no network.

    Args:
        model: Folder or hub name.
    """
    try:
        path = _card(model)
        if path is None or path.stat().st_size > _MOST_BYTES:
            return CardData()
        from huggingface_hub import ModelCard  # here, as it takes a quarter of a second

        data = ModelCard.load(path, ignore_metadata_errors=True).data
    except Exception:  # a card is free text: what is not metadata says nothing
        return CardData()
    languages = data.language if isinstance(data.language, list) else [data.language]
    known = all(isinstance(one, str) and LANGUAGE.fullmatch(one) for one in languages)
    licence = data.license if isinstance(data.license, str) and LICENCE.fullmatch(data.license) else None
    return CardData(tuple(languages) if known else (), licence)


def _card(model: str) -> Path | None:
    """Returns the card of a checkpoint, if it is on this machine."""
    if Path(model).is_dir():
        return Path(model) / CARD if (Path(model) / CARD).is_file() else None
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(model, CARD)
    return Path(found) if isinstance(found, str) else None


def hub_name_of(folder: Path) -> str | None:
    """Returns the name on the hub of a folder in the hub's cache; None for any other folder.

    >>> hub_name_of(Path("/cache/models--owner--name/snapshots/0123"))
    'owner/name'
    """
    parts = folder.parts
    if len(parts) < 3 or parts[-2] != "snapshots" or not parts[-3].startswith("models--"):
        return None
    return parts[-3].removeprefix("models--").replace("--", "/", 1)


def called(model: str | Path) -> str:
    """Returns what a card calls a model: its name on the hub, or what its folder is best known by.

    >>> called("owner/name"), called("/home/me/mine/student"), called("/home/me/runs/x/finetuned/sst2")
    ('owner/name', 'mine', 'x-sst2')
    """
    path = Path(model)
    if not (path.is_absolute() or path.is_dir()):
        return str(model)
    path = path.absolute()
    if (name := hub_name_of(path)) is not None:
        return name
    if path.parent.name == "finetuned":
        return f"{path.parent.parent.name}-{path.name}"
    return path.parent.name if path.name in _OF_ANY and path.parent.name else path.name


def data_sets_in(made_from: Mapping[str, Any]) -> Iterator[str]:
    """Yields the data sets of the hub among what something was made from, as a manifest has it."""
    for value in made_from.values():
        for source in value if isinstance(value, list) else []:
            if isinstance(source, dict) and isinstance(source.get("data_set"), str):
                yield source["data_set"]
