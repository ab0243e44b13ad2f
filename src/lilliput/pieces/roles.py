"""Which pieces of a checkpoint's tokenizer are not text: by their roles, whatever they are called."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from lilliput.common.hub import read_settings
from lilliput.errors import ModelError
from lilliput.pieces.tokenizer_file import SpecialPieces

_USUAL = {
    "pad": ("[PAD]", "<pad>"),
    "unk": ("[UNK]", "<unk>"),
    "cls": ("[CLS]", "<s>", "<cls>", "<bos>"),
    "sep": ("[SEP]", "</s>", "<sep>", "<eos>"),
    "mask": ("[MASK]", "<mask>"),
}
"""What pieces of a role are called where no file says it."""
_ALSO = {"cls": "bos", "sep": "eos"}
"""Roles whose piece is taken where there is none."""
NO_PIECE = -1
"""The id of [UNK] where a tokenizer needs none, as it can write every text."""


def read_roles(folder: Path, settings: Mapping[str, Any], tokenizer: Tokenizer) -> dict[str, str]:
    """Returns the piece of each role: pad, unk (which may be missing), cls, sep and mask.

    Args:
        folder: Of the checkpoint.
        settings: Its tokenizer_config.json.
        tokenizer: Its tokenizer.

    Raises:
        ModelError: If one but unk is missing.
    """
    named = {**settings, **read_settings(folder / "special_tokens_map.json")}
    added = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    roles = {}
    for role, usual in _USUAL.items():
        said = [_content(named.get(f"{name}_token")) for name in (role, _ALSO.get(role, role))]
        candidates = [*said, *(name for name in usual if name in added)]
        found = [name for name in candidates if name and tokenizer.token_to_id(name) is not None]
        if found:
            roles[role] = found[0]
    if missing := [role for role in _USUAL if role not in roles and role != "unk"]:
        raise ModelError(
            f"the tokenizer in {folder} has no {missing[0]} piece, without which masked words cannot be "
            f"learnt; name one as '{missing[0]}_token' in tokenizer_config.json, or take a teacher that has "
            "one"
        )
    return roles


def pieces_of(roles: Mapping[str, str], tokenizer: Tokenizer) -> SpecialPieces:
    """Returns the ids of roles."""
    ids: dict[str, int] = {"unk": NO_PIECE}
    for role, piece in roles.items():
        ids[role] = tokenizer.token_to_id(piece)  # type: ignore[assignment]
    return SpecialPieces(**ids)


def _content(found: Any) -> str | None:
    content = found.get("content") if isinstance(found, dict) else found
    return content if isinstance(content, str) else None
