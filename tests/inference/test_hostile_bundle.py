"""Bundles from strangers: what would take memory or time without end, or panic, is refused before that."""

import contextlib
import itertools
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, example, given, settings, strategies as st
from onnx import TensorProto, helper, numpy_helper
from tokenizers import AddedToken, Tokenizer

import lilliput
from bundles import POSITIONS, Tiny, make_bundle, sign, tokenizer
from lilliput.errors import BundleError, ConfigError, LilliputError
from lilliput.inference.graph_size import check_sizes
from lilliput.inference.onnx_file import read_graph
from lilliput.pieces.tokenizer_file import build_tokenizer, read_layout

Change = Callable[[Any], Any]
anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from([-1, 0, 2**31, 2**63, 10**400, 1e308, "##", "[UNK]", "\ud800", "(a+)+$"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture
def tiny(tmp_path: Path) -> Tiny:
    return make_bundle(tmp_path / "bundle", "classification")


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """A bundle to be spoilt and mended again."""
    return make_bundle(tmp_path_factory.mktemp("spoilt") / "bundle", "classification")


def refused(folder: Path) -> str:
    with pytest.raises(BundleError) as error:
        lilliput.load(folder)
    return str(error.value)


def opens_or_refuses(folder: Path, name: str, content: bytes) -> None:
    """Writes a file, signs the bundle, and lets it answer; only a sentence may come out."""
    before = (folder / name).read_bytes()
    (folder / name).write_bytes(content)
    sign(folder)
    try:
        with contextlib.suppress(LilliputError):
            lilliput.load(folder).answer(["a good film", "MASK [MASK] café é\u0301", "x" * 5_000])
    finally:
        (folder / name).write_bytes(before)


# Graphs


def changed(folder: Path, change: Change) -> str:
    """Returns why a bundle is refused whose graph was changed."""
    model = onnx.load(folder / "model.onnx")
    change(model)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    sign(folder)
    return refused(folder)


def node(operator: str, *inputs: str, outputs: tuple[str, ...] = ("more",), **attributes: Any) -> Change:
    return lambda model: model.graph.node.append(helper.make_node(operator, inputs, outputs, **attributes))


def constant(name: str, value: Any) -> Change:
    return lambda model: model.graph.initializer.append(numpy_helper.from_array(np.array(value), name))


def all_of(*changes: Change) -> Change:
    return lambda model: [change(model) for change in changes]


BODY = helper.make_graph(
    [helper.make_node("Identity", ["x"], ["y"])], "body", [], [helper.make_empty_tensor_value_info("y")]
)


@pytest.mark.parametrize(
    "change",
    [
        node("If", "mask", then_branch=BODY, else_branch=BODY),
        node("Loop", "", "", body=BODY),
        node("Scan", "mask", body=BODY, num_scan_inputs=1),
        node("SequenceMap", "mask", body=BODY),
        node("Cast", "mask", to=1, more=BODY),
        node("Cast", "mask", to=1, more=numpy_helper.from_array(np.zeros(3), "x")),
    ],
    ids=["If", "Loop", "Scan", "SequenceMap", "a graph in a Cast", "a tensor in a Cast"],
)
def test_graphs_within_nodes_are_refused(tiny: Tiny, change: Change) -> None:
    assert "a graph or a tensor within a node" in changed(tiny.folder, change)


@pytest.mark.parametrize(
    ("operator", "attributes"),
    [
        ("ConstantOfShape", {}),
        ("Constant", {"value_ints": [1, 2]}),
        ("Tile", {}),
        ("Range", {}),
        ("Resize", {}),
        ("Pad", {}),
        ("OneHot", {}),
        ("EyeLike", {}),
        ("RandomNormal", {"shape": [10**6, 10**6]}),
        ("StringNormalizer", {}),
        ("Einsum", {"equation": "i,j->ij"}),
        ("", {}),
    ],
)
def test_operators_that_no_bundle_has_are_refused(tiny: Tiny, operator: str, attributes: Any) -> None:
    assert f"it has the operator {operator!r}" in changed(tiny.folder, node(operator, "mask", **attributes))


def of_domain(domain: str) -> Change:
    return all_of(
        node("Add", "mask", "mask", domain=domain),
        lambda model: model.opset_import.append(helper.make_opsetid(domain, 1)),
    )


@pytest.mark.parametrize("domain", ["com.microsoft", "ai.onnx.ml", "ai.onnx.contrib", "evil"])
def test_operators_of_other_domains_are_refused(tiny: Tiny, domain: str) -> None:
    assert f"operators of '{domain}'" in changed(tiny.folder, of_domain(domain))


def doubled(model: Any) -> None:
    names = ["mask", *(f"double{step}" for step in range(40))]
    model.graph.node.extend(
        helper.make_node("Concat", [before, before], [after], axis=0)
        for before, after in itertools.pairwise(names)
    )


LINE = np.zeros((1, 20_000), np.float32)


@pytest.mark.parametrize(
    "change",
    [
        all_of(constant("wide", [10**8, 1, 1]), node("Expand", "column", "wide")),
        all_of(constant("wide", [2**40, 1, 1]), node("Expand", "last", "wide")),
        all_of(constant("row", LINE), constant("line", LINE.T), node("MatMul", "line", "row")),
        all_of(constant("row", LINE), constant("line", LINE.T), node("Mul", "line", "row")),
        all_of(
            constant("row", LINE), constant("many", np.zeros(20_000, np.int64)), node("Gather", "row", "many")
        ),
        doubled,
    ],
    ids=["Expand", "Expand of a constant", "MatMul", "Mul", "Gather", "Concat"],
)
def test_small_files_that_grow_without_end_are_refused(tiny: Tiny, change: Change) -> None:
    assert "it computes too much" in changed(tiny.folder, change)


def test_a_graph_that_grows_with_the_square_of_the_batch_is_bounded(tiny: Tiny) -> None:
    """Each text's mask beside each other's, again and again: small for one text, terabytes for 256."""
    change = all_of(
        constant("none", [0]),
        constant("second", [1]),
        node("ReduceSum", "mask", "second", outputs=("sums",), keepdims=0),
        node("Unsqueeze", "sums", "none", outputs=("a2",)),
        node("Unsqueeze", "sums", "second", outputs=("b2",)),
        node("Mul", "a2", "b2", outputs=("c2",)),
        node("Unsqueeze", "c2", "none", outputs=("a3",)),
        node("Unsqueeze", "sums", "second", outputs=("b3",)),
        node("Unsqueeze", "b3", "second", outputs=("d3",)),
        node("Mul", "a3", "d3", outputs=("c3",)),
        node("Unsqueeze", "c3", "none", outputs=("a4",)),
        node("Unsqueeze", "d3", "second", outputs=("d4",)),
        node("Mul", "a4", "d4", outputs=("c4",)),
    )
    assert "it computes too much for 256 x 2 pieces" in changed(tiny.folder, change)


def test_a_shape_that_hangs_on_the_text_is_refused(tiny: Tiny) -> None:
    change = node("Expand", "mask", "input_ids")
    assert "a shape that is not known before it runs" in changed(tiny.folder, change)


def claims(model: Any) -> None:
    weights = model.graph.initializer[0]
    weights.dims[:] = [10**9, 10**9]
    weights.ClearField("raw_data")


def typed(model: Any) -> None:
    weights = model.graph.initializer[0]
    weights.float_data[:] = numpy_helper.to_array(weights).flatten().tolist()
    weights.ClearField("raw_data")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (claims, "says that it has 1,000,000,000,000,000,000 elements, but has 0 bytes"),
        (typed, "not stored as raw bytes"),
        (lambda model: model.graph.initializer[0].dims.append(-1), "a negative size"),
        (lambda model: model.graph.initializer.append(model.graph.initializer[0]), "uses the name"),
        (lambda model: model.graph.node.append(model.graph.node[0]), "two of its nodes make"),
        (lambda model: model.functions.add(name="f", domain="x"), "functions"),
        (lambda model: model.training_info.add(), "functions or training"),
        (lambda model: model.graph.sparse_initializer.add(), "sparse constants"),
        (lambda model: model.ClearField("graph"), "it holds no graph"),
        (node("Cast", "nowhere", to=1), "reads 'nowhere', which no earlier node makes"),
        (node("Cast", "mask", to=TensorProto.STRING), "its Cast is to a type that is not a number"),
        (lambda model: model.graph.node[0].input.clear(), "lacks inputs"),
    ],
)
def test_what_no_exporter_writes_is_refused(tiny: Tiny, change: Change, reason: str) -> None:
    assert reason in changed(tiny.folder, change)


def test_a_graph_of_very_many_nodes_is_refused(tiny: Tiny) -> None:
    def grown(model: Any) -> None:
        model.graph.node.extend(
            helper.make_node("Tanh", ["mask"], [f"out{number}"]) for number in range(20_001)
        )

    assert "more than 20,000 nodes" in changed(tiny.folder, grown)


@pytest.mark.parametrize(
    "content",
    [
        b"\x3a\x02ORTM" + bytes(100),  # onnxruntime's own format says ORTM at the fourth byte
        bytes([8, 10, 0, 0]) + b"ORTM",
        b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x08" + b"\xff" * 100,
        b"\x08\x01" * 200_000,
    ],
)
def test_what_is_no_graph_at_all_is_refused(tiny: Tiny, content: bytes) -> None:
    (tiny.folder / "model.onnx").write_bytes(content)
    sign(tiny.folder)
    assert "model.onnx is not a graph" in refused(tiny.folder)


def test_a_second_graph_behind_the_first_is_refused(tiny: Tiny) -> None:
    """Readers of protobuf join the two, so that a checker of one would not see the other."""
    content = (tiny.folder / "model.onnx").read_bytes()
    (tiny.folder / "model.onnx").write_bytes(content + content)
    sign(tiny.folder)
    assert "two values for the graph" in refused(tiny.folder)


@given(st.data())
def test_a_spoilt_graph_opens_or_is_refused(spoilt: Tiny, data: st.DataObject) -> None:
    content = bytearray((spoilt.folder / "model.onnx").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        piece = data.draw(st.binary(max_size=4))
        content[place : place + data.draw(st.integers(0, 4))] = piece
    opens_or_refuses(spoilt.folder, "model.onnx", bytes(content))


@given(st.binary(max_size=200))
def test_random_bytes_are_no_graph(content: bytes) -> None:
    with contextlib.suppress(ValueError):
        check_sizes(read_graph(content), len(content), 1, POSITIONS)


# Tokenizers


def layout() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(tokenizer().to_str())
    return found


PATTERN = {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False}
WORDPIECE = {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##"}


@pytest.mark.parametrize(
    ("part", "value", "reason"),
    [
        ("pre_tokenizer", PATTERN, "its pre_tokenizer is 'Split', expected BertPreTokenizer"),
        ("pre_tokenizer", {"type": "Sequence", "pretokenizers": [PATTERN]}, "'Sequence'"),
        ("pre_tokenizer", {"type": "BertPreTokenizer", "pattern": "x"}, "has 'pattern'"),
        ("normalizer", {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 99}, "'Replace'"),
        ("normalizer", {"type": "Prepend", "prepend": "x" * 99}, "'Prepend'"),
        ("normalizer", {"type": "Precompiled", "precompiled_charsmap": "AAAA"}, "'Precompiled'"),
        ("normalizer", None, "its normalizer is None"),
        ("normalizer", {"type": "BertNormalizer"}, "its normalizer has no clean_text"),
        ("model", {"type": "BPE", "vocab": {}, "merges": []}, "its model is 'BPE'"),
        ("model", {"type": "Unigram", "vocab": [["a", -1.0]], "unk_id": 5}, "its model is 'Unigram'"),
        ("model", {**WORDPIECE, "max_input_chars_per_word": 10**9, "vocab": {"a": 0}}, "its longest word"),
        ("model", {**WORDPIECE, "max_input_chars_per_word": 100, "vocab": {"a": 2**40}}, "different ids"),
        ("model", {**WORDPIECE, "max_input_chars_per_word": 100, "vocab": {"a": True}}, "a whole number"),
        (
            "model",
            {**WORDPIECE, "max_input_chars_per_word": 100, "vocab": {"a" * 9999: 1}},
            "1,000 characters",
        ),
        ("decoder", {"type": "Sequence", "decoders": []}, "its decoder is 'Sequence'"),
        ("post_processor", {"type": "ByteLevel"}, "its post_processor puts other pieces"),
        ("added_tokens", {}, "its added pieces are not a list"),
        ("added_tokens", [{"id": 1}] * 10_001, "its added pieces are not a list of at most 10,000"),
        ("more", 1, "it has 'more', which is not supported"),
    ],
)
def test_parts_that_no_bundle_has_are_refused(tiny: Tiny, part: str, value: Any, reason: str) -> None:
    (tiny.folder / "tokenizer.json").write_text(json.dumps(layout() | {part: value}))
    sign(tiny.folder)
    assert reason in refused(tiny.folder)


def test_added_pieces_that_take_minutes_are_refused() -> None:
    found = layout()
    one, first = found["added_tokens"][0], len(found["model"]["vocab"])
    found["added_tokens"] += [one | {"id": first + n, "content": f"{n:0999}"} for n in range(101)]
    with pytest.raises(ValueError, match="characters, at most 100,000"):
        build_tokenizer(json.dumps(found).encode())


def test_a_key_that_stands_twice_is_refused(tiny: Tiny) -> None:
    """Which of the two counts is not the same for all readers."""
    evil = json.dumps({"normalizer": {"type": "Prepend", "prepend": "x"}})
    text = json.dumps(layout())
    (tiny.folder / "tokenizer.json").write_text(f"{evil[:-1]}, {text[1:]}")
    sign(tiny.folder)
    assert "it has a key twice" in refused(tiny.folder)


def test_a_vocabulary_without_the_piece_for_unknown_words_is_refused(tiny: Tiny) -> None:
    """The library finds that out at the first unknown word."""
    found = layout()
    del found["model"]["vocab"]["[UNK]"]
    (tiny.folder / "tokenizer.json").write_text(json.dumps(found))
    sign(tiny.folder)
    assert "its vocabulary lacks [UNK]" in refused(tiny.folder)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"content": ""}, "expected text"),
        ({"content": 3}, "expected text"),
        ({"special": "yes"}, "flags that are not true or false"),
        ({"id": -1}, "has no id"),
        ({"id": 1}, "has the id of another"),
        ({"id": 10**5}, "has the id 100000, where 29 is the next"),
        ({"content": "good"}, "or two ids"),
    ],
)
def test_added_pieces_that_cannot_be_are_refused(changes: dict[str, Any], reason: str) -> None:
    found = layout()
    one = found["added_tokens"][0] | {"id": len(found["model"]["vocab"]), "content": "<user>"}
    found["added_tokens"].append(one | changes)
    with pytest.raises(ValueError, match=reason):
        build_tokenizer(json.dumps(found).encode())


@pytest.mark.parametrize(
    "content",
    [
        b'{"a":' * 100_000,
        b"[" + b"[]," * 3_000_000 + b"[]]",
        b"[" + b'"a",' * 5_000_000 + b'"a"]',
        b"9" * 5_000,
    ],
    ids=["deep", "lists", "texts", "a number"],
)
def test_json_that_takes_gigabytes_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"deep|pieces|Exceeds|object"):
        read_layout(content)


@pytest.mark.parametrize("lowercase", [True, False])
@pytest.mark.parametrize("accents", [True, False, None])
@pytest.mark.parametrize("chinese", [True, False])
def test_every_bert_passes_as_it_is(lowercase: bool, accents: bool | None, chinese: bool) -> None:
    made = tokenizer()
    made.normalizer.lowercase, made.normalizer.strip_accents = lowercase, accents
    made.normalizer.handle_chinese_chars = chinese
    made.add_tokens([AddedToken("<user>", lstrip=True), AddedToken("[E1]", special=True), "good"])
    made.enable_truncation(9)
    made.enable_padding()
    built, _ = build_tokenizer(made.to_str().encode())
    assert (built.truncation, built.padding) == (None, None)
    made.no_truncation()
    made.no_padding()
    assert built.to_str() == made.to_str()


@st.composite
def spoilt_layouts(draw: st.DrawFn) -> str:
    """Returns a tokenizer.json of which a few values, keys or letters are others."""
    found = layout()
    for _ in range(draw(st.integers(1, 3))):
        inner: Any = found
        while isinstance(inner, dict | list) and inner:
            keys = list(inner) if isinstance(inner, dict) else list(range(len(inner)))
            key = draw(st.sampled_from(keys))
            if isinstance(inner[key], dict | list) and inner[key] and draw(st.integers(0, 3)):
                inner = inner[key]
                continue
            inner[key] = draw(anything)
            if isinstance(inner, dict) and draw(st.booleans()):
                inner[draw(st.text(max_size=4))] = inner.pop(key)
            break
    return json.dumps(found)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(spoilt_layouts())
@example('{"model": {}}')
def test_a_spoilt_tokenizer_opens_or_is_refused(spoilt: Tiny, text: str) -> None:
    opens_or_refuses(spoilt.folder, "tokenizer.json", text.encode())


@given(st.binary(max_size=60) | anything.map(lambda value: json.dumps(value).encode()))
def test_random_values_are_no_tokenizer(content: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - any sentence will do
        read_layout(content)


# Numbers, names and files


@pytest.mark.parametrize(
    "changes",
    [
        {"positions": 10**9},
        {"positions": 1e308},
        {"positions": 65_537},
        {"opset": 10**9},
        {"quantization": "x" * 1_001},
        {"task": "x" * 1_001},
        {"lilliput": "x" * 1_001},
        {"classes": [str(number) for number in range(100_001)]},
        {"classes": ["x" * 1_001, "y", "z"]},
        {"kind": "tagging", "classes": [], "tags": ["O", "B", "I"], "pairs": True},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_numbers_and_names_have_bounds(tiny: Tiny, changes: dict[str, Any]) -> None:
    config = json.loads((tiny.folder / "config.json").read_text())
    (tiny.folder / "config.json").write_text(json.dumps(config | changes))
    sign(tiny.folder)
    found = refused(tiny.folder)
    assert "expected is" in found
    assert len(found) < 1_000


def test_positions_that_the_table_has_not_are_refused_before_a_long_text_comes(tiny: Tiny) -> None:
    model = onnx.load(tiny.folder / "model.onnx")
    table = numpy_helper.from_array(np.zeros((1, POSITIONS - 1, 6), np.float32), "places")
    model.graph.initializer.append(table)
    model.graph.node[2].output[0] = "sum"
    model.graph.node.insert(3, helper.make_node("Shape", ["input_ids"], ["length"], start=1, end=2))
    model.graph.node.insert(4, helper.make_node("Slice", ["places", "middle", "length", "middle"], ["some"]))
    model.graph.node.insert(5, helper.make_node("Add", ["sum", "some"], ["added"]))
    (tiny.folder / "model.onnx").write_bytes(model.SerializeToString())
    sign(tiny.folder)
    assert "do not fit each other" in refused(tiny.folder)


@pytest.mark.parametrize("threads", [0, -1, 100_000, 1.5, "2", True, None])
def test_threads_have_bounds(tiny: Tiny, threads: Any) -> None:
    with pytest.raises(ConfigError, match="from 1 to 1,024, found"):
        lilliput.load(tiny.folder, threads)


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "config.json", "manifest.json"])
def test_a_huge_file_is_refused_before_it_is_read(tiny: Tiny, name: str) -> None:
    size = 1 << 40
    os.truncate(tiny.folder / name, size)  # a hole, which takes no room
    manifest = json.loads((tiny.folder / "manifest.json").read_bytes()) if name != "manifest.json" else {}
    if manifest:
        manifest["files"][name]["bytes"] = size
        (tiny.folder / "manifest.json").write_text(json.dumps(manifest))
    assert f"{name} has {size:,} bytes, in a bundle it has at most" in refused(tiny.folder)


def test_a_manifest_of_very_many_files_is_refused(tiny: Tiny) -> None:
    manifest = json.loads((tiny.folder / "manifest.json").read_text())
    manifest["files"] |= {f"x{number}": manifest["files"]["model.onnx"] for number in range(100)}
    (tiny.folder / "manifest.json").write_text(json.dumps(manifest))
    assert "names 103 files, a bundle has at most 100" in refused(tiny.folder)


def test_a_name_that_no_disk_takes_is_refused(tiny: Tiny) -> None:
    manifest = json.loads((tiny.folder / "manifest.json").read_text())
    manifest["files"]["x" * 5_000] = manifest["files"]["model.onnx"]
    (tiny.folder / "manifest.json").write_text(json.dumps(manifest))
    assert "cannot be read: File name too long" in refused(tiny.folder)
    assert "cannot be read: File name too long" in refused(tiny.folder / ("x" * 5_000))


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(
        st.sampled_from([*"abc", "kind", "positions", "classes", "tags", "pairs", "format"]), anything
    )
)
def test_a_spoilt_config_opens_or_is_refused(spoilt: Tiny, changes: dict[str, Any]) -> None:
    config = json.loads((spoilt.folder / "config.json").read_text())
    opens_or_refuses(spoilt.folder, "config.json", json.dumps(config | changes).encode())


@given(anything | st.dictionaries(st.sampled_from(["format", "files", "x"]), anything))
def test_a_spoilt_manifest_is_refused(spoilt: Tiny, value: Any) -> None:
    (spoilt.folder / "manifest.json").write_text(json.dumps(value))
    assert "manifest.json" in refused(spoilt.folder)


def test_a_tokenizer_of_the_library_itself_stays_what_it_is() -> None:
    content = tokenizer().to_str()
    assert Tokenizer.from_str(content).to_str() == build_tokenizer(content.encode())[0].to_str()
