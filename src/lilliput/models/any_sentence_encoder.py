"""A sentence encoder of any architecture that lilliput reads, which only reads: the vectors of texts.

Shape letters: B batch, L length, E width of vectors, K pairs of texts.
"""

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lilliput.common.files import digest_value
from lilliput.errors import ModelError
from lilliput.models.any_encoder import any_config
from lilliput.models.any_masked_lm import open_masked_lm, outline
from lilliput.models.any_tokenizer import AnyTokenizer, load_any_tokenizer
from lilliput.models.masked_lm import MaskedLM
from lilliput.models.pretrained import checkpoint_digest
from lilliput.models.sentence_modules import SentenceModules, read_modules


class AnySentenceEncoder(nn.Module):
    """A sentence encoder ready to read."""

    def __init__(self, name: str, modules: SentenceModules) -> None:
        super().__init__()
        self.model, _ = open_masked_lm(name)
        self._name, self._made_by, self._reader = name, modules, MaskedLM(self.model)

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        device: torch.device = self.model.device
        return device

    def vectors(self, pieces: Tensor, padding: Tensor | None) -> Tensor:
        """Returns a vector for each text [B, E] in float32, of its pieces [B, L] and what is padding."""
        return self._made_by.to(self.device).vectors(self._reader.read(pieces, padding), padding)

    def scores(
        self, inputs: Mapping[str, Tensor], positions: Tensor, *, states: bool = False
    ) -> tuple[Tensor, None]:
        """Returns the cosines of pairs of texts [K, 1]; raises ModelError where there are none.

        Args:
            inputs: `input_ids` and `attention_mask` [2 K, L]: all first texts, and then all second ones.
            positions: One for each pair [K].
            states: Must be False: a word of a pair has no state that both texts make.
        """
        assert not states
        padding = inputs["attention_mask"] == 0
        padded = padding if bool(padding.any()) else None
        first, second = F.normalize(self.vectors(inputs["input_ids"], padded), dim=-1).chunk(2)
        found = (first * second).sum(-1, keepdim=True)
        assert len(found) == len(positions)
        if not bool(found.isfinite().all()):
            raise ModelError(
                f"'{self._name}' makes vectors with values that are no numbers (NaN or infinite), which have "
                "no cosine; take another encoder, or fetch it again"
            )
        return found, None


@dataclass(frozen=True)
class SentenceCheckpoint:
    """A sentence encoder whose weights are not read yet."""

    name: str
    """Folder or hub name."""
    modules: SentenceModules
    """What makes a vector of states."""
    positions: int
    """Pieces that it reads of a text at most, special ones included."""

    def load(self) -> AnySentenceEncoder:
        """Loads the model in float32; raises ModelError where weights are missing or damaged."""
        return AnySentenceEncoder(self.name, self.modules).train(False)

    def tokenizer(self) -> AnyTokenizer:
        """Loads its tokenizer; raises ModelError where there is none that says where its pieces stand."""
        return load_any_tokenizer(self.name, any_config(self.name))

    @property
    def digest(self) -> str:
        """Identifies its files."""
        return digest_value([checkpoint_digest(self.name), modules_digest(self.modules)])


def find_sentence_encoder(name: str) -> SentenceCheckpoint:
    """Returns a sentence encoder in a folder or on the hub; the mean of its states where nothing says more.

    Raises ModelError where it is no encoder that lilliput reads, or has modules that lilliput does not have.
    """
    modules = read_modules(name)
    return SentenceCheckpoint(name, modules, modules.positions(outline(name).shape.positions))


def modules_digest(modules: SentenceModules) -> str:
    """Returns what identifies how vectors are made of states."""
    layers = [
        [hashlib.sha256(part.numpy().tobytes()).hexdigest() for part in (layer.weight, layer.bias)]
        + [list(layer.weight.shape), layer.activation]
        for layer in modules.dense
    ]
    return digest_value(dataclasses.asdict(dataclasses.replace(modules, dense=())) | {"dense": layers})
