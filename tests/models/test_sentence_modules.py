"""Files of sentence-transformers, held to the library itself."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from sentence_transformers import SentenceTransformer
from torch.nn import functional as F
from transformers import BertModel

from lilliput.errors import ModelError
from lilliput.models.sentence_modules import (
    DENSE_FOLDER,
    LONGEST,
    MODULES,
    POOLING_FOLDER,
    SETTINGS,
    Dense,
    Pooling,
    SentenceModules,
    pooled,
    read_modules,
    write_modules,
)
from tests.conftest import World

TEXTS = ["ab cd", "one", "two words that nobody will see twice and some more"]


def sentence_folder(world: World, folder: Path, modules: SentenceModules) -> Path:
    """Returns a copy of the world's encoder with modules."""
    shutil.copytree(world.headless, folder)
    write_modules(modules, folder, BertModel.from_pretrained(folder).config.hidden_size)
    return folder


def dense(rows: int, columns: int, activation: str = "Identity") -> Dense:
    torch.manual_seed(1)
    return Dense(torch.randn(rows, columns), torch.randn(rows), activation)


@pytest.mark.parametrize(
    ("pooling", "activation", "normalize"),
    [("mean", "Identity", True), ("cls", "Tanh", False), ("max", None, True)],
)
def test_vectors_are_those_of_sentence_transformers(
    world: World, tmp_path: Path, pooling: Pooling, activation: str | None, normalize: bool
) -> None:
    width = BertModel.from_pretrained(world.headless).config.hidden_size
    layers = () if activation is None else (dense(8, width, activation),)
    modules = SentenceModules(
        pooling, layers, normalize, {"query": "ab: ", "passage": "cd: "}, "query", longest=12
    )
    folder = sentence_folder(world, tmp_path / "encoder", modules)
    found = read_modules(str(folder))
    theirs = SentenceTransformer(str(folder))
    inputs = theirs.tokenizer(
        [found.prompt() + text for text in TEXTS],
        padding=True, truncation=True, max_length=12, return_tensors="pt",
    )  # fmt: skip
    states = BertModel.from_pretrained(folder)(**inputs).last_hidden_state
    ours = found.vectors(states, inputs["attention_mask"] == 0)
    torch.testing.assert_close(ours, torch.tensor(theirs.encode(TEXTS)), rtol=1e-4, atol=1e-5)
    assert theirs.max_seq_length == found.longest == 12
    assert {name: theirs.prompts[name] for name in found.prompts} == found.prompts
    assert found.prompt("passage") == "cd: "


def test_without_files_the_mean_is_assumed_and_said(world: World) -> None:
    found = read_modules(world.headless)
    assert (found.pooling, found.normalize, found.is_stated) == ("mean", True, False)


def test_padding_changes_no_vector() -> None:
    states = torch.randn(2, 5, 4)
    padding = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    for pooling in ("mean", "cls", "max"):
        alone = pooled(states[1:, :3], None, pooling)
        torch.testing.assert_close(pooled(states, padding, pooling)[1:], alone)
    assert not F.normalize(pooled(states, padding, "max")).isnan().any()


def _change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def _modules(path: Path, kind: str, where: str = "") -> None:
    listed = json.loads(path.read_text())
    listed[-1] |= {"type": kind, "path": where or listed[-1]["path"]}
    path.write_text(json.dumps(listed))


DAMAGES = {
    "another module": (lambda at: _modules(at / MODULES, "x.models.LayerNorm"), "type 'LayerNorm'"),
    "a path out of the folder": (
        lambda at: _modules(at / MODULES, "x.Normalize", "../x"),
        "not a folder beside it",
    ),
    "a list that is none": (lambda at: (at / MODULES).write_text("{}"), "does not list the modules"),
    "no JSON": (lambda at: (at / MODULES).write_text("["), "is damaged"),
    "another order": (
        lambda at: (at / MODULES).write_text(json.dumps(json.loads((at / MODULES).read_text())[::-1])),
        "reads an encoder, its pooling",
    ),
    "two ways of pooling": (
        lambda at: _change(at / POOLING_FOLDER / "config.json", pooling_mode_cls_token=True),
        r"pools by 'cls\+mean'",
    ),
    "a weighted mean": (
        lambda at: _change(at / POOLING_FOLDER / "config.json", pooling_mode="weightedmean"),
        "pools by 'weightedmean'",
    ),
    "no pooling": (lambda at: (at / POOLING_FOLDER / "config.json").unlink(), "missing or empty"),
    "prompts left out": (
        lambda at: _change(at / POOLING_FOLDER / "config.json", include_prompt=False),
        "leaves prompts out",
    ),
    "another activation": (
        lambda at: _change(at / DENSE_FOLDER / "config.json", activation_function="torch.nn.Softmax"),
        "activation 'Softmax'",
    ),
    "no weights": (lambda at: (at / DENSE_FOLDER / "model.safetensors").unlink(), "cannot be read"),
    "prompts that are no texts": (lambda at: _change(at / SETTINGS, prompts={"query": 1}), "are no texts"),
    "a prompt that is not there": (
        lambda at: _change(at / SETTINGS, default_prompt_name="x"),
        "names the prompt 'x'",
    ),
    "no length": (lambda at: _change(at / LONGEST, max_seq_length=0), "'max_seq_length': 0"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_cannot_be_used_is_named(world: World, tmp_path: Path, damage: str) -> None:
    width = BertModel.from_pretrained(world.headless).config.hidden_size
    folder = sentence_folder(world, tmp_path / "x", SentenceModules(dense=(dense(4, width),)))
    harm, sentence = DAMAGES[damage]
    harm(folder)
    with pytest.raises(ModelError, match=sentence):
        read_modules(str(folder))


def test_an_unknown_prompt_is_refused_with_the_nearest() -> None:
    with pytest.raises(ModelError, match="did you mean 'query'"):
        SentenceModules(prompts={"query": "q: "}).prompt("qeury")
