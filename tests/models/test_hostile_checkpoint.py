"""Checkpoints from strangers: nothing that they name is followed, and what no BERT can have is a sentence."""

import contextlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from hypothesis import HealthCheck, given, settings, strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForMaskedLM, BertForMaskedLM, BertModel

from any_checkpoints import save_masked_lm
from conftest import World, stir
from lilliput.common.hub import checkpoint_folder, hub_revision, read_settings
from lilliput.errors import LilliputError, ModelError, StorageError
from lilliput.export.export import export
from lilliput.models import weights
from lilliput.models.any_masked_lm import open_masked_lm
from lilliput.models.pretrained import load_config, load_masked_lm, load_weights, longest_input
from lilliput.models.student import load_student
from lilliput.models.teacher import build_teacher
from lilliput.pieces.bert_tokenizer import load_tokenizer

odd_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 2000)
    | st.floats()
    | st.text(max_size=6)
    | st.sampled_from([2**31, 2**63, 10**400, 1e308, "768", "gelu", "org/kernel", "\ud800"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=5,
)


@pytest.fixture
def copy(world: World, tmp_path: Path) -> Path:
    """A copy of the teacher's folder to be spoilt."""
    return Path(shutil.copytree(world.teacher, tmp_path / "teacher"))


@pytest.fixture(scope="module")
def spoilt(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, to be spoilt and mended again."""
    return Path(shutil.copytree(world.teacher, tmp_path_factory.mktemp("spoilt") / "teacher"))


def change(folder: Path, **changes: Any) -> None:
    """Changes config.json; None stands for a key that is taken away."""
    config = json.loads((folder / "config.json").read_text()) | changes
    kept = {key: value for key, value in config.items() if value is not None}
    (folder / "config.json").write_text(json.dumps(kept))


def refused(folder: Path) -> str:
    with pytest.raises(ModelError) as error:
        load_masked_lm(str(folder))
    return str(error.value)


def sharded(folder: Path) -> dict[str, Any]:
    """Saves a checkpoint anew in several files and returns its index."""
    AutoModelForMaskedLM.from_pretrained(folder).save_pretrained(folder, max_shard_size="50KB")
    (folder / "model.safetensors").unlink(missing_ok=True)
    found: dict[str, Any] = json.loads((folder / "model.safetensors.index.json").read_text())
    return found


def equal(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    ours, theirs = first.state_dict(), second.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


class _Memory:
    """A machine with hardly any memory left."""

    available = 50_000


def test_weights_larger_than_memory_are_refused_before_they_are_read(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(*_: object) -> None:
        raise AssertionError("weights were read")

    monkeypatch.setattr(psutil, "virtual_memory", _Memory)
    monkeypatch.setattr(weights, "_is_finite", read)  # of each that was read
    other = save_masked_lm(tmp_path / "other", "distilbert", load_tokenizer(world.teacher))
    said = refused(Path(world.teacher))
    model = BertForMaskedLM.from_pretrained(world.teacher)
    numbers = sum(parameter.numel() for parameter in model.parameters())
    table = 4 * model.get_input_embeddings().weight.numel()
    assert f"take {4 * numbers:,} bytes in float32" in said
    assert f"bert.embeddings.word_embeddings.weight alone {table:,})" in said
    assert "and 50,000 bytes of memory are free" in said
    with pytest.raises(ModelError, match="50,000 bytes of memory are free"):
        open_masked_lm(str(other))


# What may be in a checkpoint is loaded as transformers loads it


@pytest.mark.parametrize("kind", [BertForMaskedLM, BertModel])
@pytest.mark.parametrize("source", ["teacher", "headless"])
def test_weights_are_those_that_transformers_loads(world: World, kind: Any, source: str) -> None:
    name = getattr(world, source)
    torch.manual_seed(3)
    expected = kind.from_pretrained(name)
    torch.manual_seed(3)
    found, _ = load_weights(kind, name, head=("cls.", "pooler"))
    assert equal(found, expected)
    assert found.config.to_dict() | {"architectures": None} == expected.config.to_dict() | {
        "architectures": None
    }


def test_several_files_are_one_checkpoint(world: World, copy: Path) -> None:
    assert len(set(sharded(copy)["weight_map"].values())) > 3
    assert equal(load_masked_lm(str(copy))[0], load_masked_lm(world.teacher)[0])


def test_links_of_the_hubs_cache_are_followed(world: World, copy: Path) -> None:
    snapshot = copy.parent / "models--a--b" / "snapshots" / "0123abc"
    snapshot.mkdir(parents=True)
    for path in copy.iterdir():
        (snapshot / path.name).symlink_to(os.path.relpath(path, snapshot))
    assert equal(load_masked_lm(str(snapshot))[0], load_masked_lm(world.teacher)[0])
    assert hub_revision(snapshot) == load_config(str(snapshot))._commit_hash == "0123abc"
    assert hub_revision(copy) is load_config(str(copy))._commit_hash is None


def test_a_name_on_the_hub_is_fetched_file_by_file(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fetch(name: str, *, allow_patterns: list[str]) -> str:
        asked.append((name, tuple(allow_patterns)))
        return str(copy)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    sharded(copy)
    load_masked_lm("someone/bert")
    assert {name for name, _ in asked} == {"someone/bert"}
    assert {pattern for _, patterns in asked for pattern in patterns if "*" in pattern} == set()
    assert any({"config.json", "tokenizer_config.json"} <= set(patterns) for _, patterns in asked)


@pytest.mark.parametrize("old", ["gamma", "prefix", "half"])
def test_checkpoints_of_former_days_are_read(world: World, copy: Path, old: str) -> None:
    weights = load_file(copy / "model.safetensors")
    changed: dict[str, Callable[[], dict[str, Tensor]]] = {
        "gamma": lambda: {
            key.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
                "LayerNorm.bias", "LayerNorm.beta"
            ): value
            for key, value in weights.items()
        },
        "prefix": lambda: {key.removeprefix("bert."): value for key, value in weights.items()},
        "half": lambda: {key: value.half().float().half() for key, value in weights.items()},
    }
    save_file(changed[old](), copy / "model.safetensors", metadata={"format": "pt"})
    found, _ = load_weights(BertModel, str(copy), head=("pooler",))
    expected, _ = load_weights(BertModel, world.teacher, head=("pooler",))
    table = found.embeddings.LayerNorm.weight, expected.embeddings.LayerNorm.weight
    torch.testing.assert_close(*table, rtol=1e-3, atol=1e-3)
    assert found.dtype == torch.float32


# What a checkpoint names is not followed


@pytest.mark.parametrize(
    "name",
    [
        "pytorch_model.bin",
        "../teacher/model.safetensors",
        "/etc/passwd.safetensors",
        "sub/model.safetensors",
        "..\\x.safetensors",
        "C:x.safetensors",
        ".safetensors",
        "*.safetensors",
        "model.safetensors\0.safetensors",
        "",
    ],
)
def test_an_index_names_files_in_its_own_folder_alone(copy: Path, name: str) -> None:
    index = sharded(copy)
    torch.save({}, copy / "pytorch_model.bin")
    index["weight_map"][next(iter(index["weight_map"]))] = name
    (copy / "model.safetensors.index.json").write_text(json.dumps(index))
    assert f"names {name!r}; only .safetensors files" in refused(copy)


@pytest.mark.parametrize(
    "content", ["{}", "[]", "{", '{"weight_map": []}', '{"weight_map": {"a": 3}}', "[" * 100_000]
)
def test_a_damaged_index_is_refused(copy: Path, content: str) -> None:
    sharded(copy)
    (copy / "model.safetensors.index.json").write_text(content)
    assert "model.safetensors.index.json" in refused(copy)


def test_a_file_that_the_index_names_and_is_not_there_is_named(copy: Path) -> None:
    index = sharded(copy)
    name = next(iter(index["weight_map"].values()))
    (copy / name).unlink()
    assert f"{name} is missing" in refused(copy)


@pytest.mark.parametrize(
    "changes",
    [
        {"attn_implementation": "org/kernel"},
        {"_attn_implementation": "org/kernel"},
        {"_attn_implementation_internal": "org/kernel@main:attention"},
        {"experts_implementation": "org/kernel", "use_kernels": True},
        {"_name_or_path": "/etc", "transformers_weights": "../other.safetensors"},
        {"torch_dtype": "no_such_type", "dtype": "float8_e4m3fn"},
        {"fusion_config": {"x": True}, "trust_remote_code": True},
        {"return_dict": False, "torchscript": True, "output_attentions": True, "output_hidden_states": True},
        {"custom_generate": "x", "generation_config": {"a": 1}, "num_labels": 10**9},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_a_config_asks_for_is_not_done(world: World, copy: Path, changes: dict[str, Any]) -> None:
    change(copy, **changes)
    found, _ = load_masked_lm(str(copy))
    expected, _ = load_masked_lm(world.teacher)
    assert equal(found, expected)
    assert found.config._attn_implementation == "sdpa"
    found.config.name_or_path = expected.config.name_or_path
    assert found.config.to_dict() == expected.config.to_dict()


@pytest.mark.parametrize("key", ["auto_map", "quantization_config", "pruned_heads", "per_layer_config"])
def test_what_is_no_plain_bert_is_refused_by_name(copy: Path, key: str) -> None:
    change(copy, **{key: {"AutoModel": "evil.Model"}})
    assert f"config.json has '{key}': " in refused(copy)


def test_an_adapter_is_refused(copy: Path) -> None:
    (copy / "adapter_config.json").write_text('{"base_model_name_or_path": "someone/else"}')
    assert "holds an adapter of another model" in refused(copy)


# What a config says and cannot be


@pytest.mark.parametrize(
    "key",
    [
        *("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"),
        *(
            "max_position_embeddings",
            "type_vocab_size",
            "hidden_act",
            "hidden_dropout_prob",
            "layer_norm_eps",
        ),
        *("attention_probs_dropout_prob", "initializer_range", "tie_word_embeddings"),
    ],
)
@pytest.mark.parametrize(
    "value",
    ["x", [], {}, -1, 1e308, float("nan"), float("inf"), 10**400, [[1]], 10**9],
    ids=lambda value: repr(value)[:9],
)
def test_impossible_values_are_named(copy: Path, key: str, value: Any) -> None:
    change(copy, **{key: value})
    found = refused(copy)
    assert f"has '{key}': " in found
    assert "expected is " in found
    assert len(found) < 700


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"num_hidden_layers": 1_000_000}, "expected is a whole number from 1 to 1,000"),
        ({"num_hidden_layers": 999}, "'num_hidden_layers': 999, and its weights are of 3 layers"),
        ({"num_hidden_layers": 2}, "'num_hidden_layers': 2, and its weights are of 3 layers"),
        ({"num_attention_heads": 0}, "has 'num_attention_heads': 0, expected"),
        ({"num_attention_heads": 5}, "does not divide 'hidden_size': 32"),
        ({"num_attention_heads": None}, "lacks 'num_attention_heads'"),
        ({"hidden_size": 64}, "embeddings.word_embeddings.weight has the shape ["),
        ({"intermediate_size": 65_536}, "in model.safetensors it has [64"),
        ({"vocab_size": 599}, "embeddings.word_embeddings.weight has the shape [599, 32]"),
        (
            {"max_position_embeddings": 512},
            "has the shape [512, 32], and in model.safetensors it has [48, 32]",
        ),
        ({"type_vocab_size": 1}, "embeddings.token_type_embeddings.weight"),
        ({"pad_token_id": 600}, "whose ids end before that"),
        ({"hidden_act": "prelu"}, "has 'hidden_act': 'prelu', expected is one of gelu, "),
        ({"hidden_dropout_prob": 1.0}, "less than 1"),
        ({"layer_norm_eps": 0}, "a number above 0"),
        ({"classifier_dropout": "0.1"}, "expected is null or a number"),
        ({"id2label": {"x": "y"}}, "the numbers from 0 on and their labels"),
        ({"id2label": {"0": 3}}, "the numbers from 0 on and their labels"),
        ({"id2label": {"-1": "a"}}, "the numbers from 0 on and their labels"),
        ({"label2id": {"a": "b"}}, "an object of labels and their numbers"),
        ({"architectures": "BertModel"}, "expected is null or a list of names"),
        ({"problem_type": "x"}, "expected is null or one of regression"),
        ({"model_type": None}, "does not say of which kind the model is"),
        ({"model_type": ["bert"]}, "only a plain BERT is read here"),
        ({"position_embedding_type": "relative_key"}, "only a plain BERT is read here"),
    ],
)
def test_a_config_that_is_not_that_of_the_weights_is_refused(
    copy: Path, changes: dict[str, Any], reason: str
) -> None:
    change(copy, **changes)
    assert reason in refused(copy)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_a_spoilt_config_loads_or_is_refused(spoilt: Path, data: st.DataObject) -> None:
    path = spoilt / "config.json"
    before = path.read_text()
    keys = [
        *json.loads(before),
        "id2label",
        "quantization_config",
        "attn_implementation",
        "dtype",
        "auto_map",
    ]
    changes = data.draw(st.dictionaries(st.sampled_from(keys), odd_values, min_size=1, max_size=2))
    path.write_text(json.dumps(json.loads(before) | changes))
    try:
        with contextlib.suppress(ModelError):
            assert load_masked_lm(str(spoilt))[0].config.hidden_size == 32
    finally:
        path.write_text(before)


@given(st.binary(max_size=50) | odd_values.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_a_config_or_refused(spoilt: Path, content: bytes) -> None:
    path = spoilt / "config.json"
    before = path.read_text()
    path.write_bytes(content)
    try:
        with pytest.raises(ModelError):
            load_config(str(spoilt))
    finally:
        path.write_text(before)


# What weights are


@given(st.data())
def test_spoilt_weights_load_or_are_refused(spoilt: Path, data: st.DataObject) -> None:
    """Most of what is spoilt is the header, as that is what says how large everything is."""
    path = spoilt / "model.safetensors"
    before = path.read_bytes()
    content = bytearray(before)
    size = int.from_bytes(before[:8], "little")
    place = data.draw(st.integers(0, size + 50))
    content[place : place + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=8))
    path.write_bytes(content)
    try:
        with contextlib.suppress(ModelError):
            load_masked_lm(str(spoilt))
    finally:
        path.write_bytes(before)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_numbers_are_refused(copy: Path, value: float) -> None:
    weights = load_file(copy / "model.safetensors")
    weights["bert.encoder.layer.2.output.dense.weight"][3, 5] = value
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    assert "bert.encoder.layer.2.output.dense.weight" in (found := refused(copy))
    assert "not numbers, or infinite" in found


def test_quantised_weights_are_refused(copy: Path) -> None:
    weights = load_file(copy / "model.safetensors")
    weights["bert.encoder.layer.2.output.dense.weight"] = torch.ones(32, 64, dtype=torch.int8)
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    assert "is stored as I8, so it is quantised" in refused(copy)


def test_a_header_of_gigabytes_is_not_read(copy: Path) -> None:
    (copy / "model.safetensors").write_bytes((1 << 40).to_bytes(8, "little") + b"{}")
    assert "cut short, damaged, or no safetensors file" in refused(copy)


def test_a_pooler_of_another_width_is_refused(world: World, copy: Path) -> None:
    shutil.copytree(world.headless, copy, dirs_exist_ok=True)
    weights = load_file(copy / "model.safetensors")
    weights["pooler.dense.weight"] = torch.zeros(3, 3)
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    assert "pooler.dense.weight has the shape [32, 32]" in refused(copy)


def test_a_head_with_a_table_of_its_own_teaches_nothing(copy: Path) -> None:
    change(copy, tie_word_embeddings=False)
    weights = load_file(copy / "model.safetensors")
    weights["cls.predictions.decoder.weight"] = torch.randn(600, 32)
    weights["cls.predictions.decoder.bias"] = torch.randn(600)
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    model, _ = load_masked_lm(str(copy))
    with pytest.raises(ModelError, match="a table of its own"):
        build_teacher(model, [[0]], "pieces", 16, seed=0)


def test_a_damaged_student_is_a_sentence(copy: Path) -> None:
    (copy / "model.safetensors").write_bytes(b"x")
    with pytest.raises(
        StorageError, match=r"no student could be loaded .* run the command that made it again"
    ):
        load_student(copy)


# How much is read


@pytest.mark.parametrize(
    ("said", "longest"),
    [({}, 48), ({"model_max_length": 20}, 20), ({"max_len": 20}, 20), ({"model_max_length": 10**30}, 48)],
)
def test_texts_are_as_long_as_the_tokenizer_says(copy: Path, said: dict[str, Any], longest: int) -> None:
    (copy / "tokenizer_config.json").write_text(json.dumps(said))
    model, _ = load_masked_lm(str(copy))
    assert longest_input(load_config(str(copy))) == longest_input(model.config) == longest
    assert export(copy, copy / "bundle").kind == "fill"
    assert json.loads((copy / "bundle" / "config.json").read_text())["positions"] == longest


@pytest.mark.parametrize("value", ["20", 2, -1, True, [20], float("nan")])
def test_an_impossible_length_is_refused(copy: Path, value: Any) -> None:
    (copy / "tokenizer_config.json").write_text(json.dumps({"model_max_length": value}))
    assert "has 'model_max_length': " in refused(copy)


# Folders


@pytest.mark.parametrize("name", ["x" * 5_000, "a\0b", "\ud800", "a b", "/nowhere/at/all", "..", ""])
def test_no_name_ends_in_a_traceback(name: str) -> None:
    with pytest.raises(LilliputError):
        load_config(name)


def test_a_file_is_no_checkpoint(copy: Path) -> None:
    with pytest.raises(ModelError, match="is a file; name the folder"):
        checkpoint_folder(str(copy / "config.json"))


def test_a_config_without_measure_is_not_read(copy: Path) -> None:
    os.truncate(copy / "config.json", 1 << 40)
    assert "where at most" in refused(copy)
    assert read_settings(copy / "nowhere.json") == {}


def test_stirred_weights_differ(world: World) -> None:
    """Else the comparisons above would hold of any weights."""
    model, _ = load_masked_lm(world.teacher)
    other, _ = load_masked_lm(world.teacher)
    stir(other, seed=5)
    assert not equal(model, other)
