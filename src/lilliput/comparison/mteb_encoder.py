"""An encoder as mteb asks for one, so that its tasks judge a bundle as they judge any other model.

mteb is not a requirement of lilliput; whoever calls this has it.

Shape letters: N texts, M other texts, E width of vectors.
"""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lilliput.common.files import digest_file
from lilliput.comparison.embeddings import encoder_folder, open_encoder
from lilliput.inference.format import MANIFEST
from lilliput.inference.vectors import cosines, unit
from lilliput.models.any_sentence_encoder import find_sentence_encoder

_Floats = npt.NDArray[np.float32]
_STANDS_FOR_NOTHING = "."
"""Read where a text has no word, as a task may hold such texts and wants a vector of each."""


class MtebEncoder:
    """What mteb calls an `EncoderProtocol`.

    import mteb
    from lilliput.comparison.mteb_encoder import MtebEncoder
    mteb.evaluate(MtebEncoder("bundle"), mteb.get_tasks(tasks=["STSBenchmark"]))

    Each text gets the encoder's default prompt; mteb's own prompts are for encoders that follow instructions.
    """

    def __init__(
        self, model_name: str, revision: str | None = None, *, device: str | None = None, **kwargs: Any
    ) -> None:
        """Opens an encoder.

        Args:
            model_name: A bundle, the student of a run, or a folder or hub name.
            revision: Stands in mteb's results; by default what the files' digest is.
            device: Ignored, as bundles run on the processor.
            **kwargs: Ignored; mteb may pass settings of other models.

        Raises:
            BundleError: If a bundle cannot be opened.
            ModelError: If another encoder cannot.
        """
        path = Path(model_name)
        self._encode = open_encoder(path)
        self._name, self._revision = path.resolve().name, revision or _digest(path)

    def encode(self, inputs: Iterable[Mapping[str, Sequence[str]]], **kwargs: Any) -> _Floats:
        """Returns vectors of the texts of all batches [N, E].

        Args:
            inputs: Batches with their texts under `text`.
            **kwargs: What mteb says of the task, which vectors do not depend on.
        """
        texts = [text for batch in inputs for text in batch["text"]]
        if empty := [place for place, text in enumerate(texts) if not text.strip()]:
            warnings.warn(
                f"{len(empty):,} of {len(texts):,} texts have no word, the first of them number "
                f"{empty[0] + 1:,}; '{_STANDS_FOR_NOTHING}' is read in their place",
                stacklevel=2,
            )
            for place in empty:
                texts[place] = _STANDS_FOR_NOTHING
        return self._encode(texts)

    def similarity(self, embeddings1: npt.ArrayLike, embeddings2: npt.ArrayLike) -> _Floats:
        """Returns the cosine of each vector [N, E] with each of the others [N, M]."""
        return cosines(embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1: npt.ArrayLike, embeddings2: npt.ArrayLike) -> _Floats:
        """Returns the cosine of each vector [N, E] with the one at its place [N]."""
        one, other = (unit(np.asarray(vectors, np.float32)) for vectors in (embeddings1, embeddings2))
        found: _Floats = (one * other).sum(-1)
        return found

    @property
    def mteb_model_meta(self) -> Any:
        """What mteb writes beside scores; its cache of results goes by the name and the revision."""
        from mteb.models.model_meta import ModelMeta

        about = {"name": f"lilliput/{self._name}", "revision": self._revision, "modalities": ["text"]}
        return ModelMeta.create_empty(about)


def _digest(path: Path) -> str:
    """Returns what names the encoder's content."""
    if (path / MANIFEST).is_file():
        return digest_file(path / MANIFEST)
    return find_sentence_encoder(encoder_folder(path)).digest
