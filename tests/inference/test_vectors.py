"""Vectors of texts: their form, their space, and what cannot be compared."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from onnx import helper, numpy_helper

import lilliput
from bundles import WIDTH, make_bundle
from lilliput.errors import BundleError, ConfigError, InputError
from lilliput.inference.bundle import Bundle
from lilliput.inference.space import Space, axes
from lilliput.inference.vectors import cosines, stored, unit

TEXTS = ["good film", "the film is bad", "miles davis in new york"]


def bundle_of(folder: Path, **changes: Any) -> Bundle:
    return lilliput.load(make_bundle(folder, "encode", **changes).folder)


def test_a_bundle_that_normalises_does_unless_it_is_asked_not_to(tmp_path: Path) -> None:
    bundle, plain = bundle_of(tmp_path / "a", normalize=True), bundle_of(tmp_path / "b")
    np.testing.assert_allclose(np.linalg.norm(bundle.encode(TEXTS), axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(bundle.encode(TEXTS, normalize=False), plain.encode(TEXTS))
    assert bundle.config.normalize  # as ever
    (answer,) = bundle.answer(TEXTS[:1])
    np.testing.assert_array_equal(answer.vector, bundle.encode(TEXTS)[0])  # type: ignore[union-attr]


def test_a_prompt_stands_before_each_text(tmp_path: Path) -> None:
    prompted = bundle_of(tmp_path / "a", prompt="the good ", format=3)
    plain = bundle_of(tmp_path / "b")
    np.testing.assert_array_equal(prompted.encode(TEXTS), plain.encode([f"the good {x}" for x in TEXTS]))
    assert [answer.cut for answer in prompted.answer(["film " * 28, "film " * 29])] == [False, True]  # type: ignore[union-attr]
    with pytest.raises(InputError, match="text 1 has no words"):
        prompted.encode(["\x00"])


@pytest.mark.parametrize(
    ("kind", "changes", "sentence"),
    [
        ("encode", {"prompt": 1}, "'prompt' is 1"),
        ("encode", {"normalize": "yes"}, "'normalize' is 'yes'"),
        (
            "classification",
            {"normalize": True},
            "'normalize' is True, expected is .*false where there are no",
        ),
        (
            "classification",
            {"prompt": "x"},
            "'prompt' is 'x', expected is .*empty where there are no vectors",
        ),
    ],
)
def test_settings_of_vectors_are_checked(tmp_path: Path, kind: str, changes: Any, sentence: str) -> None:
    with pytest.raises(BundleError, match=sentence):
        lilliput.load(make_bundle(tmp_path / "a", kind, **changes).folder)


def test_fewer_numbers_of_an_encoder_without_a_map_are_the_first(tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path / "a")
    whole = bundle.encode(TEXTS)
    np.testing.assert_array_equal(bundle.encode(TEXTS, truncate_dim=4), whole[:, :4])
    np.testing.assert_allclose(bundle.truncate(whole, 4), unit(whole[:, :4]))
    with pytest.raises(ConfigError, match=f"truncate_dim must be a whole number from 1 to {WIDTH}, found 7"):
        bundle.encode(TEXTS, truncate_dim=7)
    with pytest.raises(InputError, match=f"not of the space of .*have {WIDTH} numbers"):
        bundle.truncate(whole[:, :4], 2)
    with pytest.raises(BundleError, match="has no encode"):
        lilliput.load(make_bundle(tmp_path / "b", "regression").folder).truncate([[1.0]], 1)


def test_axes_hold_all_of_a_map_first_and_come_out_the_same_however_it_is_written() -> None:
    rng = np.random.default_rng(0)
    weight, bias = rng.normal(size=(16, 4)).astype(np.float32), rng.normal(size=16).astype(np.float32)
    found = axes(weight, bias)
    np.testing.assert_allclose(found.T @ found, np.eye(16), atol=1e-6)
    vectors = rng.normal(size=(9, 4)) @ weight.T + bias
    np.testing.assert_allclose((vectors @ found)[:, 5:], 0, atol=1e-5)  # 4 and the bias
    spread = np.square(np.column_stack([weight, bias]).T @ found).sum(0)
    assert (np.diff(spread[:5]) < 0).all()
    np.testing.assert_allclose(axes(weight[:, ::-1], bias), found, atol=1e-5)
    np.testing.assert_allclose(axes(-weight, bias), found, atol=1e-5)


def test_fewer_bytes_keep_the_direction(tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path / "a", normalize=True)
    whole = bundle.encode(TEXTS)
    small = bundle.encode(TEXTS, precision="int8")
    assert (small.dtype, small.shape) == (np.int8, whole.shape)
    assert np.diag(bundle.similarity(small, whole)) == pytest.approx(1, abs=1e-3)
    bits = bundle.encode(TEXTS, precision="binary")
    assert (bits.dtype, bits.shape) == (np.uint8, (3, 1))
    np.testing.assert_array_equal(np.unpackbits(bits, axis=1)[:, :WIDTH], whole > 0)
    with pytest.raises(ConfigError, match=r"no precision 'int4'.*did you mean 'int8'"):
        bundle.encode(TEXTS, precision="int4")  # type: ignore[arg-type]


@given(st.lists(st.floats(-1024, 1024, width=32, allow_subnormal=False), min_size=1, max_size=9))
def test_int8_is_within_half_a_step(values: list[float]) -> None:
    vector = np.array(values, np.float32)
    step = float(np.abs(vector).max()) / 127
    found = stored(vector, "int8").astype(np.float64) * step
    assert np.abs(found - vector).max() <= step * 0.5001


def test_alike_is_the_cosine(tmp_path: Path) -> None:
    one, other = np.array([[3.0, 4.0], [0.0, 0.0]]), [[4.0, 3.0], [-3.0, -4.0], [8.0, 6.0]]
    found = bundle_of(tmp_path / "a").similarity(one, other)
    np.testing.assert_allclose(found, [[0.96, -1, 0.96], [0, 0, 0]], atol=1e-6)


@pytest.mark.parametrize(
    ("one", "other", "sentence"),
    [
        (
            [[1.0, 2.0]],
            [[1.0, 2.0, 3.0]],
            "vectors of 2 numbers cannot be compared with vectors of 3: .*space",
        ),
        ([[1.0], [np.nan]], [[1.0]], "vector 2 of the first ones has values that are no numbers"),
        ([[1.0]], [[np.inf]], "vector 1 of the second ones"),
        ([[1.0]], [[1.0], [1.0, 2.0]], "the second vectors are not all of one width"),
        (["a text"], [[1.0]], "the first vectors are an array of the shape .* expected are numbers"),
        (np.zeros((1, 1), np.uint8), [[1.0]], "the first vectors are bits"),
    ],
)
def test_what_cannot_be_compared_is_said(one: Any, other: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        cosines(one, other)


def test_a_map_that_cannot_be_one_is_refused(tmp_path: Path) -> None:
    def space(weight: Any, width: int) -> Space:
        arrays = {"vectors": np.asarray(weight, np.float32), "vectors.bias": np.ones(width, np.float32)}
        tensors = [numpy_helper.from_array(value, name) for name, value in arrays.items()]
        graph = helper.make_graph([], "map", [], [], tensors)
        return Space(tmp_path, helper.make_model(graph).SerializeToString(), width)

    assert space(np.eye(3), 3).turned(np.ones((2, 3)), 2).shape == (2, 2)
    for weight, width in ((np.full((2, 3), np.nan), 3), (np.ones(3), 3), (np.ones((2, 4)), 3)):
        with pytest.raises(BundleError, match=r"map to vectors of the shape .* cannot be used"):
            space(weight, width).turned(np.ones((1, width)), 1)
