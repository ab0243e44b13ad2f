"""Weights on a grid: the law of half a step, torch's twin bit for bit, and training on it."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from torch import nn
from transformers import BertConfig, BertForMaskedLM, BertForSequenceClassification

from conftest import stir
from lilliput.errors import ConfigError
from lilliput.models.fake_quantization import fake_quantize, quantization_aware
from lilliput.models.quantization import (
    SCHEMES,
    Bits,
    Grid,
    dequantize,
    find_scheme,
    grid_of,
    packed,
    quantize,
)

Matrix = NDArray[np.float32]
GRIDS = [Grid(8, 32), Grid(4, 32), Grid(4, 16)]


@st.composite
def matrices(draw: st.DrawFn) -> Matrix:
    """Matrices of all sizes of weight, also with rows of zeros and of one sign."""
    shape = draw(st.tuples(st.integers(1, 4), st.sampled_from([1, 7, 16, 48, 74, 120])))
    values = draw(arrays.arrays(np.float32, shape, elements=st.floats(-1, 1, width=32)))
    size = draw(st.sampled_from([1e-6, 1e-3, 0.05, 1.0, 300.0]))
    offset = draw(st.sampled_from([0.0, 0.0, 0.5, -3.0]))
    return ((values + np.float32(offset)) * np.float32(size)).astype(np.float32)


def weights(rows: int, columns: int, seed: int = 0) -> Matrix:
    return (0.05 * np.random.default_rng(seed).standard_normal((rows, columns))).astype(np.float32)


# The law


@given(matrices(), st.sampled_from(GRIDS))
def test_a_weight_comes_back_within_half_a_step(matrix: Matrix, grid: Grid) -> None:
    quantized = quantize(matrix, grid)
    steps = np.broadcast_to(np.abs(quantized.scales.astype(np.float64)), quantized.values.shape)
    error = np.abs(dequantize(quantized).astype(np.float64) - matrix)
    assert (error <= steps.reshape(matrix.shape) * (0.5 + 1e-4)).all()
    assert (np.abs(quantized.values.astype(int) + 0.5) <= 2 ** (grid.bits - 1)).all()
    assert np.isfinite(quantized.scales).all()


@given(matrices(), st.sampled_from(GRIDS))
def test_what_is_on_the_grid_stays(matrix: Matrix, grid: Grid) -> None:
    once = dequantize(quantize(matrix, grid))
    step = np.abs(quantize(matrix, grid).scales.astype(np.float32)).max()
    assert np.abs(dequantize(quantize(once, grid)) - once).max() <= step


def test_each_integer_is_the_nearest() -> None:
    matrix, grid = weights(3, 60), Grid(4, 32)
    quantized = quantize(matrix, grid)
    flat = quantized.values.reshape(3, 60)
    for row, column in np.ndindex(3, 60):
        scale = Fraction(float(quantized.scales[row, column // 30, 0]))
        exact = Fraction(float(matrix[row, column])) / scale
        assert flat[row, column] == min(range(-8, 8), key=lambda whole: abs(whole - exact))


@pytest.mark.parametrize(
    ("grid", "columns", "length"),
    [
        (Grid(8, 32), 120, 120),
        (Grid(4, 32), 128, 32),
        (Grid(4, 32), 120, 30),
        (Grid(4, 32), 48, 24),
        (Grid(4, 32), 16, 16),
        (Grid(4, 16), 96, 16),
        (Grid(4, 32), 37, 37),
    ],
)
def test_a_scale_knows_only_its_own_group(grid: Grid, columns: int, length: int) -> None:
    matrix = weights(4, columns)
    before = quantize(matrix, grid)
    assert before.scales.shape == (4, columns // length, 1)
    changed = matrix.copy()
    changed[2, columns - 1] = 5
    after = quantize(changed, grid)
    differing = (before.scales != after.scales)[..., 0]
    assert differing.sum() == 1
    assert differing[2, -1]
    same = np.ones_like(before.values, bool)
    same[2, -1] = False
    assert (before.values == after.values)[same].all()


def test_a_scale_is_negative_where_the_largest_weight_is_positive() -> None:
    quantized = quantize(np.array([[0.8, -0.1], [0.1, -0.8]], np.float32), Grid(4, 32))
    assert quantized.scales[0] < 0 < quantized.scales[1]
    assert quantized.values[:, 0].tolist() == [[-8, 1], [1, -8]]


def test_four_bits_lose_less_than_with_as_many_integers_above_zero_as_below() -> None:
    matrix = weights(64, 128)
    groups = matrix.reshape(64, 4, 32)
    scales = np.abs(groups).max(-1, keepdims=True) / 7
    symmetric = (np.rint(groups / scales) * scales).reshape(matrix.shape)
    error = np.square(dequantize(quantize(matrix, Grid(4, 32))) - matrix).mean()
    assert error < 0.8 * np.square(symmetric - matrix).mean()


def test_zeros_stay_zeros() -> None:
    assert not dequantize(quantize(np.zeros((2, 16), np.float32), Grid(4, 32))).any()


@pytest.mark.parametrize(("bits", "nbytes"), [(8, 64), (4, 32)])
def test_integers_are_packed_as_tightly_as_they_can_be(bits: Bits, nbytes: int) -> None:
    from onnx import numpy_helper

    quantized = quantize(weights(2, 32), Grid(bits, 32))
    stored = numpy_helper.from_array(packed(quantized, bits))
    assert len(stored.raw_data) == nbytes
    assert (numpy_helper.to_array(stored).astype(np.int8) == quantized.values).all()


# Plans


def test_plans_by_name() -> None:
    assert find_scheme("mixed").weights == 8
    assert find_scheme("mixed").embeddings == 4
    with pytest.raises(ConfigError, match=r"no quantization is called 'int'; did you mean 'int[48]'"):
        find_scheme("int")


@pytest.mark.parametrize(
    ("parameter", "bits"),
    [
        ("bert.embeddings.word_embeddings.weight", 4),
        ("embeddings.position_embeddings.weight", 4),
        ("cls.predictions.decoder.weight", 4),
        ("bert.embeddings.token_type_embeddings.weight", 32),
        ("bert.embeddings.LayerNorm.weight", 32),
        ("bert.encoder.layer.0.attention.self.query.weight", 8),
        ("bert.encoder.layer.0.attention.self.query.bias", 32),
        ("bert.encoder.layer.11.output.dense.weight", 8),
        ("bert.pooler.dense.weight", 8),
        ("classifier.weight", 8),
        ("classifier.bias", 32),
    ],
)
def test_bits_of_a_parameter(parameter: str, bits: int) -> None:
    assert grid_of(parameter, find_scheme("mixed")).bits == bits


def test_what_classifies_keeps_eight_bits() -> None:
    assert grid_of("classifier.weight", find_scheme("int4")).bits == 8
    assert grid_of("bert.pooler.dense.weight", find_scheme("int4")).bits == 4


# Torch's twin


@given(matrices(), st.sampled_from(GRIDS))
def test_torch_rounds_bit_for_bit_alike(matrix: Matrix, grid: Grid) -> None:
    ours = dequantize(quantize(matrix, grid))
    assert np.array_equal(fake_quantize(torch.tensor(matrix), grid).numpy(), ours)


def test_sixteen_bits_are_plain_floats() -> None:
    matrix = weights(3, 8)
    found = fake_quantize(torch.tensor(matrix), Grid(16, 32)).numpy()
    assert (found == matrix.astype(np.float16)).all()


@pytest.mark.parametrize("grid", [*GRIDS, Grid(16, 32), Grid(32, 32)])
def test_gradients_pass_the_rounding_unchanged(grid: Grid) -> None:
    weight = torch.tensor(weights(4, 48), requires_grad=True)
    fake_quantize(weight, grid).mul(torch.arange(48.0)).sum().backward()
    assert weight.grad is not None
    assert (weight.grad == torch.arange(48.0)).all()


# Training on a grid


def small(kind: type[nn.Module]) -> nn.Module:
    config = BertConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=12, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    model = kind(config)
    stir(model)
    return model


@pytest.mark.parametrize("name", SCHEMES)
def test_a_model_computes_with_what_the_file_will_hold(name: str) -> None:
    model, plan = small(BertForSequenceClassification), find_scheme(name)
    rounded = small(BertForSequenceClassification)
    with torch.no_grad():
        for parameter, value in rounded.named_parameters():
            grid = grid_of(parameter, plan)
            if grid.bits in (4, 8):
                value.copy_(torch.tensor(dequantize(quantize(value.detach().numpy(), grid))))
            if grid.bits == 16:
                value.copy_(value.half())
    pieces = torch.arange(1, 11)[None]
    own = model(pieces)[0]
    with quantization_aware(model, plan):
        inside = model(pieces)[0]
    assert torch.equal(inside, rounded(pieces)[0])
    assert torch.equal(inside, own) == (name == "float32")
    assert torch.equal(model(pieces)[0], own)


def test_parameters_are_the_same_objects_inside_and_after() -> None:
    model = small(BertForMaskedLM)
    before, names = list(model.parameters()), list(model.state_dict())
    with quantization_aware(model, find_scheme("int8")):
        assert {id(item) for item in model.parameters()} == {id(item) for item in before}
    assert [id(item) for item in model.parameters()] == [id(item) for item in before]
    assert list(model.state_dict()) == names
    assert model.cls.predictions.decoder.weight is model.bert.embeddings.word_embeddings.weight  # type: ignore


def test_a_tied_table_learns_from_both_its_ends() -> None:
    model = small(BertForMaskedLM)
    pieces = torch.arange(1, 11)[None]
    table = model.bert.embeddings.word_embeddings.weight  # type: ignore[union-attr]
    with quantization_aware(model, find_scheme("int4")):
        model(pieces, labels=pieces).loss.backward()
    assert isinstance(table, torch.Tensor)
    assert table.grad is not None
    assert table.grad[1:11].abs().min(1).values.max() > 0  # read
    assert table.grad[20:].abs().max() > 0  # only scored


def test_a_model_learns_to_live_with_four_bits() -> None:
    pieces = torch.randint(1, 50, (32, 10), generator=torch.Generator().manual_seed(0))
    labels, plan = pieces[:, 0] % 2, find_scheme("int4")
    model = small(BertForSequenceClassification)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    with quantization_aware(model, plan):
        first = model(pieces, labels=labels).loss
        for _ in range(30):
            loss = model(pieces, labels=labels).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        last = model(pieces, labels=labels).loss
    assert last < 0.3 * first


def test_a_model_is_itself_again_after_an_error() -> None:
    model = small(BertForMaskedLM)
    names = list(model.state_dict())
    with pytest.raises(KeyError), quantization_aware(model, find_scheme("int8")):
        raise KeyError
    assert list(model.state_dict()) == names
