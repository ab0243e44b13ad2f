"""The encoder's own forward pass equals that of transformers."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import BertConfig, BertForMaskedLM

from conftest import World, stir, teacher_config
from lilliput.models.encoder import encode
from lilliput.models.kernels import PLAIN, Attention, Kernels, Precision
from lilliput.models.masked_lm import MaskedLM
from lilliput.models.pretrained import load_masked_lm

VOCABULARY = 50


def twin(**changes: int | str) -> BertForMaskedLM:
    config = BertConfig(**{**teacher_config(VOCABULARY).to_dict(), **changes})
    model = BertForMaskedLM(config)
    stir(model)
    return model.eval()


def our_scores(model: BertForMaskedLM, pieces: Tensor, padding: Tensor | None) -> Tensor:
    ours = MaskedLM(model)
    return ours.scores(ours.read(pieces, padding).flatten(0, 1)).view(*pieces.shape, -1)


def drawn(rows: int, length: int) -> Tensor:
    """Returns pieces without 0, to which transformers gives no gradient as it is [PAD]."""
    return torch.randint(1, VOCABULARY, (rows, length), generator=torch.Generator().manual_seed(1))


SHAPES = [
    {},
    {"num_hidden_layers": 1},
    {"hidden_size": 24, "num_attention_heads": 12},
    {"num_attention_heads": 1},
    {"intermediate_size": 17},
    {"hidden_act": "relu"},
    {"hidden_act": "gelu_new"},
    {"layer_norm_eps": 1e-3},
]


@pytest.mark.parametrize("changes", SHAPES, ids=str)
@torch.no_grad()
def test_equals_transformers(changes: dict[str, int]) -> None:
    model, pieces = twin(**changes), drawn(3, 20)
    expected = model(pieces).logits
    assert expected.std() > 0.5, "the twin must say something"
    torch.testing.assert_close(our_scores(model, pieces, None), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("rows", "length"), [(1, 1), (1, 48), (5, 7)])
@torch.no_grad()
def test_equals_transformers_at_any_size(rows: int, length: int) -> None:
    model, pieces = twin(), drawn(rows, length)
    torch.testing.assert_close(our_scores(model, pieces, None), model(pieces).logits, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_equals_transformers_where_rows_are_padded() -> None:
    model, pieces = twin(), drawn(4, 20)
    padding = torch.arange(20) >= torch.tensor([20, 13, 5, 1])[:, None]
    expected = model(pieces, attention_mask=(~padding).long()).logits
    found = our_scores(model, pieces, padding)
    torch.testing.assert_close(found[~padding], expected[~padding], rtol=1e-4, atol=1e-4)
    other = torch.where(padding, 3, pieces)
    assert torch.equal(our_scores(model, other, padding)[~padding], found[~padding]), (
        "padding must not be read"
    )


def test_gradients_equal_those_of_transformers() -> None:
    ours, theirs, pieces = twin(), twin(), drawn(4, 12)
    targets = drawn(4, 12).flip(0).flatten()
    F.cross_entropy(our_scores(ours, pieces, None).flatten(0, 1), targets).backward()
    F.cross_entropy(theirs(pieces).logits.flatten(0, 1), targets).backward()
    for (name, mine), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert mine.grad is not None, name
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-3, atol=1e-5, msg=name)


@torch.no_grad()
def test_a_teacher_from_disk_equals_transformers(world: World) -> None:
    model, has_head = load_masked_lm(world.teacher)
    assert has_head
    pieces = torch.randint(0, 600, (2, 30), generator=torch.Generator().manual_seed(2))
    reference = BertForMaskedLM.from_pretrained(Path(world.teacher)).eval()
    torch.testing.assert_close(
        our_scores(model, pieces, None), reference(pieces).logits, rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("norm", ["float32", "bfloat16"])
@pytest.mark.parametrize("attention", ["fused", "products"])
@torch.no_grad()
def test_bfloat16_stays_near(attention: Attention, norm: Precision) -> None:
    model, pieces = twin(), drawn(2, 16)
    embedded = F.embedding(pieces, MaskedLM(model).table)
    near = encode(model, embedded.bfloat16(), None, Kernels("bfloat16", attention, norm))
    assert near.dtype == torch.bfloat16
    exact = encode(model, embedded, None)
    assert (near.float() - exact).abs().mean() < 0.05 * exact.abs().mean()


@pytest.mark.parametrize("kernels", [PLAIN, Kernels(attention="products")], ids=repr)
@pytest.mark.parametrize("length", [1, 20, 32])
def test_some_states_are_those_of_all_and_so_are_their_gradients(kernels: Kernels, length: int) -> None:
    model, other, pieces = twin(), twin(), drawn(3, length)
    padding = torch.arange(length) >= torch.tensor([length, length // 2 + 1, 1])[:, None]
    at = torch.tensor([0, length, 2 * length, length // 2])
    every = MaskedLM(model).read(pieces, padding).flatten(0, 1)[at]
    some = MaskedLM(other).read(pieces, padding, kernels, at)
    torch.testing.assert_close(some, every, rtol=1e-4, atol=1e-5)
    every.square().sum().backward()
    some.square().sum().backward()
    for (name, ours), theirs in zip(other.named_parameters(), model.parameters(), strict=True):
        if theirs.grad is not None:
            torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-4, msg=name)


def test_types_are_added_as_transformers_adds_them() -> None:
    model, pieces = twin(), drawn(2, 12)
    types = (torch.arange(12) > 5).long().expand(2, -1)
    expected = model.bert(pieces, token_type_ids=types).last_hidden_state
    found = encode(model, F.embedding(pieces, MaskedLM(model).table), None, types=types)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
