"""The forward pass of any masked LM by transformers' own modules, with pieces embedded outside.

What is asked of an architecture: it reads `inputs_embeds`, gives its last states, and has an output layer
that `get_output_embeddings` returns. `any_masked_lm` opens none whose scores do not come out so.

Shape letters: B batch, L length, D width, E width of the table, N positions.
"""

import contextlib
from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from lilliput.models.kernels import Kernels


def modules_states(
    model: PreTrainedModel, embedded: Tensor, padding: Tensor | None, kernels: Kernels
) -> Tensor:
    """Returns the last states [B, L, D] of embedded pieces [B, L, E], as `encoder.encode` does.

    Of kernels the precision of passes is followed: attention is transformers' own.
    """
    there = torch.ones(embedded.shape[:2], dtype=torch.long, device=embedded.device)
    if padding is not None:
        there = there.masked_fill(padding, 0)
    short = kernels.dtype != torch.float32
    with torch.autocast(embedded.device.type, dtype=torch.bfloat16, enabled=short):
        found = model.base_model(inputs_embeds=embedded, attention_mask=there)
    states: Tensor = found[0]
    return states


def modules_traces(
    model: PreTrainedModel, embedded: Tensor, *, attention: bool = False
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Returns the states of embedded pieces [B, L, E] before, between and behind the layers [B, L, D].

    Args:
        model: Reads them without padding.
        embedded: The pieces.
        attention: Whether the weights of attention [B, H, L, L] are returned too, layer by layer; of a model
            that gives none they are none anyway.
    """
    usual = model.config._attn_implementation
    if attention:  # others than the plain way do not keep weights
        model.set_attn_implementation("eager")
    try:
        there = torch.ones(embedded.shape[:2], dtype=torch.long, device=embedded.device)
        found = model.base_model(
            inputs_embeds=embedded,
            attention_mask=there,
            output_hidden_states=not attention,
            output_attentions=attention,
        )
    finally:
        model.set_attn_implementation(usual)
    weights = (found.attentions or ()) if attention else ()
    return found.hidden_states or (), tuple(each for each in weights if each is not None)


def modules_transform(model: PreTrainedModel, states: Tensor) -> Tensor:
    """Returns what the head multiplies with the table [N, E], from states [N, D]."""
    with _head_alone(model):
        found: Tensor = model(inputs_embeds=states[None].float()).logits[0]
    return found


def output_of(model: PreTrainedModel) -> nn.Linear | None:
    """Returns the layer that multiplies with the table of pieces; None where a model has none."""
    found: nn.Linear | None = cast(Any, model).get_output_embeddings()
    return found


class _Given(nn.Module):
    """Stands in for an encoder: gives back the states that it is handed."""

    def forward(self, *_: Any, inputs_embeds: Tensor, **__: Any) -> BaseModelOutput:
        return BaseModelOutput(last_hidden_state=cast(Any, inputs_embeds))


@contextlib.contextmanager
def _head_alone(model: PreTrainedModel) -> Iterator[None]:
    """Takes encoder and output layer out of a model, so that its head's transform is left."""
    encoder, output = model.base_model, output_of(model)
    path = next(name for name, module in model.named_modules() if module is output)
    parent, _, leaf = path.rpartition(".")
    holder = model.get_submodule(parent)
    model._modules[model.base_model_prefix], holder._modules[leaf] = _Given(), nn.Identity()
    try:
        yield
    finally:
        model._modules[model.base_model_prefix], holder._modules[leaf] = encoder, output
