"""Export: the file answers as transformers does, holds what quantize says, and is as small as claimed."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper
from tokenizers import Tokenizer
from transformers import (
    BertForMaskedLM,
    BertModel,
    PreTrainedModel,
)

from checkpoints import (
    KINDS,
    POSITIONS,
    SENTENCES,
    TAGS,
    compared,
    inputs,
    load_torch,
    save_small,
    small_config,
)
from conftest import World
from lilliput.errors import ConfigError, ModelError, StorageError
from lilliput.export import parity
from lilliput.export.encoder import encoder_model
from lilliput.export.export import export
from lilliput.models.blocks import classifier_of
from lilliput.models.fake_quantization import quantization_aware
from lilliput.models.quantization import (
    SCHEMES,
    dequantize,
    find_scheme,
    grid_of,
    packed,
    quantize,
)
from lilliput.models.student import random_student, save_student, student_config
from lilliput.pieces.bert_tokenizer import complete, load_tokenizer, student_tokenizer
from lilliput.pieces.tokenizer_file import SpecialPieces
from lilliput.recipes import paper48, paper192


@pytest.fixture(scope="module")
def checkpoint(world: World, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Gives the folder of a small checkpoint of a kind."""
    made: dict[str, Path] = {}

    def find(kind: str) -> Path:
        if kind not in made:
            made[kind] = save_small(world, kind, tmp_path_factory.mktemp("checkpoint") / kind)
        return made[kind]

    return find


@pytest.fixture(scope="module")
def bundle(checkpoint: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """Gives the folder of an export of that checkpoint in a quantization."""
    made: dict[tuple[str, str], Path] = {}

    def find(kind: str, quantization: str) -> Path:
        if (kind, quantization) not in made:
            made[kind, quantization] = tmp_path_factory.mktemp("bundle")
            export(checkpoint(kind), made[kind, quantization], quantization=quantization, sentences=SENTENCES)
        return made[kind, quantization]

    return find


def answer(folder: Path, given: dict[str, torch.Tensor]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    (scores,) = session.run(None, {name: value.numpy() for name, value in given.items()})
    return scores


def constants(folder: Path, name: str = "model.onnx") -> dict[str, NDArray[Any]]:
    graph = onnx.load(folder / name).graph
    return {item.name: numpy_helper.to_array(item) for item in graph.initializer}


# Equal to transformers


@pytest.mark.parametrize("length", [2, 9, POSITIONS])
@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_a_float32_file_answers_as_transformers_does(
    checkpoint: Any, bundle: Any, kind: str, rows: int, length: int
) -> None:
    given = inputs(rows, length)
    with torch.inference_mode():
        theirs = load_torch(checkpoint(kind), kind)(**given)[0].numpy()
    ours = answer(bundle(kind, "float32"), given)
    assert ours.shape == theirs.shape
    assert ours.dtype == np.float32
    assert np.abs(compared(ours, given) - compared(theirs, given)).max() < 2e-5
    assert np.abs(theirs).max() > 0.02  # or equal would say nothing


@pytest.mark.parametrize("quantization", SCHEMES)
@pytest.mark.parametrize("kind", ["pairs", "joint", "fill"])
def test_a_file_answers_as_a_model_that_trains_under_its_plan(
    checkpoint: Any, bundle: Any, kind: str, quantization: str
) -> None:
    given, model = inputs(3, 15), load_torch(checkpoint(kind), kind)
    with torch.inference_mode(), quantization_aware(model, find_scheme(quantization)):
        theirs = model(**given)[0].numpy()
    ours = answer(bundle(kind, quantization), given)
    assert np.abs(compared(ours, given) - compared(theirs, given)).max() < 2e-5


def test_what_else_is_in_a_batch_changes_nothing(bundle: Any) -> None:
    folder, given = bundle("classification", "int8"), inputs(3, 15)
    alone = {name: value[1:2, : int(given["attention_mask"][1].sum())] for name, value in given.items()}
    assert np.abs(answer(folder, given)[1] - answer(folder, alone)[0]).max() < 1e-5


def test_a_task_model_can_be_exported_as_its_encoder(checkpoint: Any, tmp_path: Path) -> None:
    found = export(checkpoint("tagging"), tmp_path, quantization="float32", kind="encode")
    given = inputs(2, 7)
    encoder = BertModel.from_pretrained(checkpoint("tagging"), add_pooling_layer=False)
    with torch.inference_mode():
        theirs = encoder(**given)[0].numpy()
    assert found.kind == "encode"
    assert np.abs(compared(answer(tmp_path, given) - theirs, given)).max() < 2e-5


# What the file holds


@pytest.mark.parametrize("quantization", ["int8", "mixed", "int4"])
def test_the_file_holds_exactly_what_quantize_says(checkpoint: Any, bundle: Any, quantization: str) -> None:
    weights = {
        name: value.numpy() for name, value in load_torch(checkpoint("fill"), "fill").state_dict().items()
    }
    own = "bert.encoder.layer.1.attention.self"
    matrices = {
        "pieces": [f"bert.embeddings.{'word'}_embeddings.weight"],
        "positions": ["bert.embeddings.position_embeddings.weight"],
        "1.query_key_value": [f"{own}.{part}.weight" for part in ("query", "key", "value")],
        "0.down": ["bert.encoder.layer.0.output.dense.weight"],
        "head": ["cls.predictions.transform.dense.weight"],
    }
    stored = constants(bundle("fill", quantization))
    for name, parameters in matrices.items():
        grid = grid_of(parameters[0], find_scheme(quantization))
        for index, parameter in enumerate(parameters):
            ours = quantize(weights[parameter], grid)
            rows = slice(index * len(weights[parameter]), (index + 1) * len(weights[parameter]))
            integers, scales = (stored[part] for part in (name, f"{name}.scale"))
            if name not in ("pieces", "positions") and integers.ndim == 2:  # a row has one scale
                integers, scales = integers.T, scales.T
            integers, scales = integers[rows], scales[rows]
            assert integers.dtype == packed(ours, grid.bits).dtype
            assert (integers.astype(np.int8).reshape(ours.values.shape) == ours.values).all()
            assert scales.tobytes() == ours.scales.tobytes()
            back = integers.astype(np.float32) * scales.astype(np.float32)
            assert (back.reshape(weights[parameter].shape) == dequantize(ours)).all()


@pytest.mark.parametrize("quantization", SCHEMES)
def test_the_table_of_pieces_is_held_once(world: World, bundle: Any, quantization: str) -> None:
    size = world.lexicon.student_size
    tables = [
        name for name, value in constants(bundle("fill", quantization)).items() if value.size >= size * 24
    ]
    assert tables == ["pieces"]


def test_the_graph_has_one_node_for_each_part_and_standard_ones_only(bundle: Any) -> None:
    model = onnx.load(bundle("fill", "int4") / "model.onnx")
    kinds = [node.op_type for node in model.graph.node]
    assert {
        operators: kinds.count(operators) for operators in ("Attention", "Gelu", "LayerNormalization")
    } == {
        "Attention": 2,
        "Gelu": 2 + 1,
        "LayerNormalization": 1 + 2 * 2 + 1,
    }
    assert [(item.domain, item.version) for item in model.opset_import] == [("", 23)]
    assert {node.domain for node in model.graph.node} == {""}


@pytest.mark.parametrize("quantization", SCHEMES)
def test_weights_are_decoded_once_when_the_file_is_loaded(
    bundle: Any, tmp_path: Path, quantization: str
) -> None:
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "loaded.onnx")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    onnxruntime.InferenceSession(bundle("fill", quantization) / "model.onnx", options)
    loaded = [node.op_type for node in onnx.load(tmp_path / "loaded.onnx").graph.node]
    assert loaded.count("Cast") == 1  # the mask
    assert not {"Mul", "Transpose", "Reshape"} & set(loaded)


@pytest.mark.parametrize(("quantization", "bits"), [("int8", np.int8), ("float16", np.float16)])
def test_only_the_pieces_that_are_read_are_decoded(
    bundle: Any, tmp_path: Path, quantization: str, bits: Any
) -> None:
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "loaded.onnx")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    onnxruntime.InferenceSession(bundle("joint", quantization) / "model.onnx", options)
    graph = onnx.load(tmp_path / "loaded.onnx").graph
    (read,) = [node for node in graph.node if node.op_type == "Gather" and "pieces" in node.input]
    assert "input_ids" in read.input
    assert constants(tmp_path, "loaded.onnx")["pieces"].dtype == bits


def test_two_exports_are_the_same_to_the_byte(checkpoint: Any, bundle: Any, tmp_path: Path) -> None:
    export(checkpoint("joint"), tmp_path, sentences=SENTENCES)
    for name in ("model.onnx", "tokenizer.json", "config.json"):
        assert (tmp_path / name).read_bytes() == (bundle("joint", "int8") / name).read_bytes()


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (
            "pairs",
            {"kind": "classification", "task": "same", "pairs": True, "classes": ["no", "yes", "perhaps"]},
        ),
        ("joint", {"kind": "joint", "task": "orders", "classes": ["book", "play"], "tags": list(TAGS)}),
        ("regression", {"kind": "regression", "task": "likeness", "pairs": True, "classes": [], "tags": []}),
        ("encode", {"kind": "encode", "task": None, "pairs": False, "classes": [], "tags": []}),
    ],
)
def test_the_config_says_what_is_answered(bundle: Any, kind: str, expected: dict[str, Any]) -> None:
    found = json.loads((bundle(kind, "int8") / "config.json").read_text())
    assert expected.items() <= found.items()
    assert found["format"] == 1
    assert (found["positions"], found["opset"], found["quantization"]) == (POSITIONS, 23, "int8")


def test_the_tokenizer_is_the_same_without_its_spaces(checkpoint: Any, bundle: Any) -> None:
    theirs, ours = (folder / "tokenizer.json" for folder in (checkpoint("fill"), bundle("fill", "int8")))
    text = "A naïve child ran; 3.14 中文!"
    assert (
        Tokenizer.from_file(str(ours)).encode(text).ids == Tokenizer.from_file(str(theirs)).encode(text).ids
    )
    assert ours.stat().st_size <= theirs.stat().st_size
    assert b'": ' not in ours.read_bytes()


# Sizes


@pytest.mark.parametrize(("recipe", "largest"), [(paper48, 900_000), (paper192, 7_000_000)])
def test_the_published_sizes_fit(
    world: World, tmp_path: Path, recipe: Callable[[], Any], largest: int
) -> None:
    shape = recipe()
    names = [*("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"), *"abcdefghijklmnopqrstuvwxyz"]
    names += [f"##piece{index}"[:8] + str(index) for index in range(shape.lexicon.size - len(names))]
    vocabulary = {name: index for index, name in enumerate(names)}
    assert len(vocabulary) == shape.lexicon.size == 4928
    tokenizer = student_tokenizer(world.lexicon.teacher_tokenizer().tokenizer, vocabulary)
    config = student_config(shape.student, len(vocabulary), SpecialPieces(0, 1, 2, 3, 4))
    save_student(random_student(config, seed=0), tokenizer, tmp_path / "student")
    found = export(tmp_path / "student", tmp_path / "bundle", sentences=SENTENCES[:2])
    assert sum(found.files.values()) == sum(item.stat().st_size for item in (tmp_path / "bundle").iterdir())
    assert sum(found.files.values()) <= largest


def test_fewer_bits_make_smaller_files(bundle: Any) -> None:
    sizes = [(bundle("fill", name) / "model.onnx").stat().st_size for name in SCHEMES]
    assert sizes == sorted(sizes, reverse=True)


# What is measured


def test_a_report_says_how_close_the_file_is(checkpoint: Any, tmp_path: Path) -> None:
    exact = export(checkpoint("fill"), tmp_path, quantization="float32").parity
    coarse = export(checkpoint("fill"), tmp_path, quantization="int8").parity
    assert exact.difference < 1e-4 > coarse.difference
    assert exact.noise < 1e-5 < coarse.noise < 0.15
    assert exact.agreement == 1.0
    assert coarse.agreement is not None
    assert coarse.agreement > 0.9
    assert export(checkpoint("regression"), tmp_path, sentences=SENTENCES).parity.agreement is None


def test_a_wrong_graph_is_refused_before_anything_is_written(
    checkpoint: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(model: PreTrainedModel, *settings: Any, **more: Any) -> ModelProto:
        other = copy.deepcopy(model)
        classifier_of(other).bias.data[1] += 0.01
        return encoder_model(other, *settings, **more)

    monkeypatch.setattr("lilliput.export.export.encoder_model", wrong)
    with pytest.raises(
        ModelError, match=r"differs from torch by 0\.01, where 0\.000\d+ .* at piece 0 .*column 1"
    ):
        export(checkpoint("pairs"), tmp_path / "out", sentences=SENTENCES)
    assert not (tmp_path / "out").exists()


def test_scores_that_are_no_numbers_are_refused(
    checkpoint: Any, tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_torch(checkpoint("fill"), "fill")
    with torch.no_grad():
        next(model.parameters())[7] = torch.inf
    save_student(model, world.lexicon.student_tokenizer(), tmp_path / "broken")  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="not numbers, or infinite"):
        export(tmp_path / "broken", tmp_path / "out", quantization="float32", sentences=SENTENCES)
    monkeypatch.setattr("lilliput.models.weights._is_finite", lambda tensor: True)
    with pytest.raises(ModelError, match=r"where .* is allowed"):
        export(tmp_path / "broken", tmp_path / "out", quantization="float32", sentences=SENTENCES)


def test_weights_that_are_too_coarse_are_refused(
    checkpoint: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(parity._LARGEST_NOISE, 4, 0.05)
    with pytest.raises(
        ModelError, match=r"quantization moves the scores by .* where 0\.05 is allowed, most at piece"
    ):
        export(checkpoint("fill"), tmp_path, quantization="int4", sentences=SENTENCES)


def answers(*scores: list[float]) -> parity._Answers:
    return parity._Answers(
        np.array(scores, np.float32), tuple(("A text.", row) for row in range(len(scores)))
    )


def test_an_answer_that_was_close_may_change() -> None:
    own, found = answers([0.1, 0.0], [3.0, 0.0]), answers([0.0, 0.1], [2.8, 0.1])
    assert parity._agreement(found, own, lead=0.5) == 0.5


def test_a_clear_answer_must_stay() -> None:
    own, found = answers([3.0, 0.0], [0.0, 3.0]), answers([3.0, 0.0], [2.0, 1.0])
    with pytest.raises(ModelError, match=r"changes 50 % of the clear answers, most at piece 1 of 'A text\.'"):
        parity._agreement(found, own, lead=0.5)


# Refused


def test_unknown_names_are_refused(checkpoint: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no quantization is called 'int9'"):
        export(checkpoint("fill"), tmp_path, quantization="int9")
    with pytest.raises(ConfigError, match="'fill' or 'encode', not 'tagging'"):
        export(checkpoint("fill"), tmp_path, kind="tagging")  # type: ignore[arg-type]


def test_nothing_can_be_filled_in_without_a_head(checkpoint: Any, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="has no masked-LM head"):
        export(checkpoint("encode"), tmp_path, kind="fill")


def test_a_checkpoint_is_not_written_over(checkpoint: Any) -> None:
    with pytest.raises(StorageError, match="holds a checkpoint"):
        export(checkpoint("fill"), checkpoint("fill"))


def test_another_activation_is_refused(world: World, tmp_path: Path) -> None:
    config = small_config(world.lexicon.student_size)
    config.hidden_act = "relu"
    save_student(BertForMaskedLM(config), world.lexicon.student_tokenizer(), tmp_path)
    with pytest.raises(ModelError, match="has the activation 'relu'"):
        export(tmp_path, tmp_path / "out")


def test_an_encoder_that_lacks_weights_is_refused(checkpoint: Any, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    for item in checkpoint("encode").iterdir():
        (tmp_path / item.name).write_bytes(item.read_bytes())
    weights = load_file(tmp_path / "model.safetensors")
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks 1 weights, e\.g\. encoder\.layer\.1\.output\.dense\.weight"):
        export(tmp_path, tmp_path / "out")


def test_a_teacher_is_exported_too(world: World, tmp_path: Path) -> None:
    assert export(Path(world.headless), tmp_path / "encoder", sentences=SENTENCES).kind == "encode"
    assert export(Path(world.teacher), tmp_path / "filler", sentences=SENTENCES).kind == "fill"
    ids = complete(load_tokenizer(world.teacher)).encode("a child").ids
    assert Tokenizer.from_file(str(tmp_path / "filler" / "tokenizer.json")).encode("a child").ids == ids
