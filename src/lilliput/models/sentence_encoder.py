"""A BERT that makes one vector of a text and can learn: its encoder, pooling and one linear map.

Shape letters: B batch, L length, E width of vectors.
"""

from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import BertModel

from lilliput.errors import ModelError
from lilliput.models.blocks import embeddings_of
from lilliput.models.dropout import NO_DROPOUT, Dropout
from lilliput.models.encoder import encode
from lilliput.models.kernels import PLAIN, Kernels
from lilliput.models.pretrained import load_weights
from lilliput.models.sentence_modules import Dense, SentenceModules, pooled, read_modules, write_modules


class SentenceEncoder(BertModel):  # type: ignore[no-untyped-call]
    """An encoder with what makes a vector of its states."""

    modules_of_text: SentenceModules
    """How states are pooled, and what is put before a text; without dense layers."""
    vectors: nn.Linear | None
    """The map from pooled states to vectors; None where there is none."""

    @property
    def width(self) -> int:
        """The width of vectors, E."""
        return self.config.hidden_size if self.vectors is None else self.vectors.out_features

    def text_vectors(
        self, pieces: Tensor, padding: Tensor | None, kernels: Kernels = PLAIN, dropout: Dropout = NO_DROPOUT
    ) -> Tensor:
        """Returns a vector of length 1 for each text [B, E] in float32.

        Args:
            pieces: Ids of pieces [B, L].
            padding: True where a piece is padding [B, L], or None where nothing is.
            kernels: How to compute.
            dropout: What is left out.
        """
        embedded = F.embedding(pieces, embeddings_of(self).pieces.weight).to(kernels.dtype)
        states = encode(self, embedded, padding, kernels, dropout=dropout)
        found = pooled(states, padding, self.modules_of_text.pooling)
        return F.normalize(found if self.vectors is None else self.vectors(found), dim=-1)

    def save(self, folder: Path) -> None:
        """Writes the encoder as a plain checkpoint, and beside it what makes vectors of its states."""
        plain = BertModel(self.config, add_pooling_layer=False)
        plain.load_state_dict(
            {key: value for key, value in self.state_dict().items() if not key.startswith("vectors.")}
        )
        plain.save_pretrained(folder)
        dense = () if self.vectors is None else (Dense.of(self.vectors),)
        modules = replace(self.modules_of_text, dense=dense, normalize=True)
        write_modules(modules, folder, self.config.hidden_size)


def load_sentence_encoder(name: str) -> SentenceEncoder:
    """Loads a sentence encoder with its dense layers as one; the mean of states where nothing says otherwise.

    Args:
        name: Folder or hub name.

    Raises:
        ModelError: If it is no BERT, or makes vectors by what is not linear.
    """
    modules = read_modules(name)
    if modules.pooling == "max":
        raise ModelError(
            f"{name} pools by the largest of the states, and a bundle by their mean or the first one; load "
            "it with sentence-transformers"
        )
    if layers := [layer.activation for layer in modules.dense if layer.activation != "Identity"]:
        raise ModelError(
            f"{name} has a dense layer with the activation '{layers[0]}', and a bundle's graph has linear "
            "ones alone, which the mean of states passes through; load it with sentence-transformers"
        )
    model = load_weights(SentenceEncoder, name, add_pooling_layer=False)[0]
    model.vectors = _as_one(modules, model.config.hidden_size) if modules.dense else None
    model.modules_of_text = replace(modules, dense=())
    return model


def _as_one(modules: SentenceModules, width: int) -> nn.Linear:
    """Returns several dense layers as the one linear map that they are."""
    weight, bias = torch.eye(width), torch.zeros(width)
    for layer in modules.dense:
        if layer.weight.shape[1] != len(weight):
            raise ModelError(
                f"a dense layer reads vectors of {layer.weight.shape[1]:,} numbers, and those before it have "
                f"{len(weight):,}; fetch the encoder again"
            )
        weight, bias = layer.weight @ weight, layer.weight @ bias + layer.bias
    dense = nn.Linear(width, len(weight))
    with torch.no_grad():
        dense.weight.copy_(weight)
        dense.bias.copy_(bias)
    return dense
