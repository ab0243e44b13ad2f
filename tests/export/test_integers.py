"""Products of integers: a wide bundle of eight bits rounds what its linear layers read, and says so."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given as random, strategies as st
from onnx import helper
from transformers import BertConfig, BertForSequenceClassification

import lilliput
from checkpoints import SENTENCES, TASKS
from conftest import World, stir
from lilliput.errors import BundleError, ModelError
from lilliput.export import parity
from lilliput.export.encoder import encoder_model
from lilliput.export.export import export
from lilliput.export.source import load_source
from lilliput.finetuning.model import labels_of, save_task_model
from lilliput.inference import session
from lilliput.inference.session import open_session, sums_exactly
from lilliput.models.fake_quantization import as_stored
from lilliput.models.quantization import InputGrid, find_scheme

TEXTS = (*SENTENCES, "a man sat in the street and every child was laughing under a red roof")


def wide(world: World, folder: Path, *, outlier: float = 1.0, width: int = 48) -> Path:
    """Writes a checkpoint whose first inner neuron is so many times larger than it was."""
    task = TASKS["classification"]
    labels = dict(enumerate(labels_of(task)))
    config = BertConfig(
        vocab_size=world.lexicon.student_size, hidden_size=width, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=2 * width, max_position_embeddings=24, id2label=labels,
        label2id={name: index for index, name in labels.items()},
    )  # fmt: skip
    model = BertForSequenceClassification(config)
    stir(model)
    with torch.no_grad():
        model.bert.encoder.layer[0].intermediate.dense.weight[0] *= outlier
    save_task_model(model, world.lexicon.student_tokenizer(), task, folder)
    return folder


@pytest.fixture(scope="module")
def checkpoint(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wide(world, tmp_path_factory.mktemp("wide"), outlier=8.0)


@pytest.fixture
def bundle(checkpoint: Path, tmp_path: Path) -> Path:
    lilliput.bundle(checkpoint, tmp_path / "bundle")
    return tmp_path / "bundle"


def probabilities(folder: Path, texts: tuple[str, ...]) -> list[float]:
    return [answer.probability for answer in lilliput.load(folder).classify(texts)]


def test_a_wide_bundle_multiplies_integers_and_says_so(bundle: Path) -> None:
    graph = onnx.load(bundle / "model.onnx").graph
    products = [node for node in graph.node if node.op_type == "MatMulIntegerToFloat"]
    assert len(products) == 4 + 5  # in the last layer the query is one of its own, of [CLS] alone
    config = lilliput.load(bundle).config
    assert (config.products, config.quantization, config.format) == ("int8", "int8", 2)
    assert "products: of integers" in (bundle / "README.md").read_text()
    assert '"format": 2' in (bundle / "manifest.json").read_text()


@pytest.mark.parametrize(("width", "quantization"), [(24, "int8"), (48, "int4"), (48, "float32")])
def test_others_multiply_floats(world: World, tmp_path: Path, width: int, quantization: str) -> None:
    lilliput.bundle(
        wide(world, tmp_path / "made", width=width), tmp_path / "bundle", quantization=quantization
    )
    config = lilliput.load(tmp_path / "bundle").config
    assert (config.products, config.format) == ("float32", 1)


def test_a_model_that_does_not_tolerate_it_multiplies_floats(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parity, "_LARGEST_ROUNDING", 1e-6)
    lilliput.bundle(checkpoint, tmp_path / "bundle")
    assert lilliput.load(tmp_path / "bundle").config.products == "float32"


def test_the_file_has_the_same_bytes_within_those_of_its_grids(checkpoint: Path) -> None:
    source, scheme = load_source(checkpoint, None), find_scheme("int8")
    grids = parity.grids_of(source, scheme, TEXTS)
    sizes = [encoder_model(source.model, "text", scheme, found).ByteSize() for found in (grids, {})]
    assert 0 < sizes[0] - sizes[1] < 400 * len(grids)


def test_the_file_computes_what_torch_does_with_the_same_rounding(checkpoint: Path) -> None:
    source, scheme = load_source(checkpoint, None), find_scheme("int8")
    grids = parity.grids_of(source, scheme, TEXTS)
    finer = grids["0.down"].scale / 3
    grids["0.down"] = InputGrid(finer, round(0.2 / finer), large=(0, 0))
    content = encoder_model(source.model, "text", scheme, grids).SerializeToString()
    ids = torch.tensor([[2, 9, 17, 33, 3]])
    given = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "token_type_ids": 0 * ids}
    (ours,) = open_session(Path("x"), 1, content).run(
        None, {name: item.numpy() for name, item in given.items()}
    )
    with as_stored(source.model, scheme, grids):
        theirs = source.scores(given).numpy()
    grids["0.down"] = InputGrid(finer, round(0.2 / finer))  # what is beyond it is lost
    with as_stored(source.model, scheme, grids):
        others = source.scores(given).numpy()
    assert np.abs(ours - theirs).max() < 0.1 * np.abs(others - theirs).max()


def test_what_else_is_in_a_batch_changes_nothing(bundle: Path) -> None:
    alone = [probabilities(bundle, (text,))[0] for text in TEXTS]
    assert np.abs(np.array(alone) - probabilities(bundle, TEXTS)).max() < 1e-5


def test_a_processor_that_overflows_gives_the_same_answers(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = probabilities(bundle, TEXTS)
    asked = []
    monkeypatch.setattr(session, "sums_exactly", lambda: bool(asked.append("once")))
    assert np.abs(np.array(before) - probabilities(bundle, TEXTS)).max() < 1e-3
    assert asked == ["once"]


def test_whether_sums_are_exact_is_asked_of_a_graph_that_onnx_reads() -> None:
    probe = onnx.load_from_string(session._PROBE)
    onnx.checker.check_model(probe, full_check=True)
    assert [node.op_type for node in probe.graph.node] == ["MatMulInteger"]
    assert isinstance(sums_exactly(), bool)


def test_a_graph_that_rounds_wrongly_is_refused(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, scheme = load_source(checkpoint, None), find_scheme("int8")
    grids = parity.grids_of(source, scheme, TEXTS)
    wrong = grids | {"1.in": InputGrid(grids["1.in"].scale / 8, grids["1.in"].zero)}
    content = encoder_model(source.model, "text", scheme, wrong).SerializeToString()
    with pytest.raises(ModelError, match=r"differs from torch by .* in the mean square, where"):
        parity.compare(content, source, scheme, TEXTS, grids=grids)


def changed(folder: Path, change: Any) -> str:
    """Returns why a bundle is refused whose graph was changed."""
    from lilliput.export.card import Card, finish

    model = onnx.load(folder / "model.onnx")
    change(model)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    finish(folder, Card("x", "x", "x", "x", {}, (), (), "x"))
    with pytest.raises(BundleError) as caught:
        lilliput.load(folder)
    return str(caught.value)


def product(model: Any) -> Any:
    return next(node for node in model.graph.node if node.op_type == "MatMulIntegerToFloat")


def of_standard_domain(model: Any) -> None:
    product(model).domain = ""


def another_own(model: Any) -> None:
    model.graph.node.append(helper.make_node("Gelu", ["mask"], ["more"], domain="com.microsoft"))


def scales_of_another(model: Any) -> None:
    product(model).input[3] = "0.in.bias"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (of_standard_domain, "operators of ''"),
        (another_own, "operators of 'com.microsoft'"),
        (scales_of_another, "do not fit a matrix of (48, 144)"),
    ],
)
def test_only_the_one_own_operator_is_let_through(bundle: Path, change: Any, reason: str) -> None:
    assert reason in changed(bundle, change)


def test_an_earlier_format_still_opens(checkpoint: Path, tmp_path: Path) -> None:
    export(checkpoint, tmp_path, quantization="float32")
    text = (tmp_path / "config.json").read_text()
    assert '"format": 1' in text
    (tmp_path / "config.json").write_text(text.replace(',\n  "products": "float32"', ""))
    from lilliput.inference.format import parse_config

    assert parse_config(Path("config.json"), (tmp_path / "config.json").read_bytes()).products == "float32"
    assert "products" not in (tmp_path / "config.json").read_text()


@random(st.lists(st.floats(-20, 20, width=32), min_size=8, max_size=40), st.floats(1, 1000, width=32))
def test_what_was_seen_is_a_step_from_what_its_columns_sum_to(row: list[float], large: float) -> None:
    read = np.float32([*row, large])
    neurons = F.gelu(torch.from_numpy(read)).numpy()
    size = float(np.sqrt(np.square(neurons).mean()))
    grid = InputGrid.around(np.minimum(neurons, 0), np.maximum(neurons, 0), size, after_gelu=True)
    if grid is None:
        return
    assert 0 <= grid.zero <= 255
    assert grid.scale / np.sqrt(12) <= 0.0501 * size
    rows, bias = grid.with_pairs(np.eye(len(read), dtype=np.float32), np.zeros(len(read), np.float32))
    columns = F.gelu(torch.from_numpy(rows @ read + bias)).numpy()
    back = (np.clip(np.rint(columns / np.float32(grid.scale)) + grid.zero, 0, 255) - grid.zero) * grid.scale
    own, first, second = np.split(back, [len(read), len(read) + len(grid.large)])
    np.add.at(own, list(grid.large), first - second + grid.most)
    far = np.isin(np.arange(len(read)), grid.large)
    assert np.abs(own - neurons)[~far].max(initial=0) <= 0.501 * grid.scale + 1e-4
    assert np.abs(own - neurons)[far].max(initial=0) <= 1.5 * grid.scale + 1e-3


def test_only_inner_neurons_get_further_columns() -> None:
    most = np.float32([3, 20, 4])
    assert InputGrid.around(-most, most, 0.2) is None
    grid = InputGrid.around(0 * most, most, 0.2, after_gelu=True)
    assert grid == InputGrid(pytest.approx(4 / 255), 0, large=(1, 1))
