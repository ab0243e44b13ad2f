"""What a teacher says of texts, read once and kept: a vector for each, and states of words.

Of a word's last state the leading directions alone are kept, as eight-bit integers: with 120 of them and 14
words to a text, 400,000 texts take 1 GB, vectors included.

Shape letters: N texts, W words of all texts, B texts of a batch, L length, T teacher width, E width of
vectors, K directions.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel

from lilliput.common.files import read_json, write_json, writing
from lilliput.common.progress import bar, console
from lilliput.common.ragged import Ints, Ragged
from lilliput.common.sheet import size
from lilliput.common.stage_dir import StageDir
from lilliput.common.stored import intact, stored_array
from lilliput.errors import Interrupted
from lilliput.models.any_masked_lm import open_masked_lm, outline
from lilliput.models.autotune import choose
from lilliput.models.fits import leading_directions, moments
from lilliput.models.kernels import Kernels
from lilliput.models.masked_lm import MaskedLM
from lilliput.models.sentence_modules import SentenceModules, read_modules
from lilliput.models.shape import EncoderShape
from lilliput.objectives import DIRECTIONS
from lilliput.pieces.lexicon import Lexicon
from lilliput.text.corpus import START
from lilliput.training.layout import Layout, Words, plain
from lilliput.training.processes import signals
from lilliput.training.rows import Rows

CHUNK = 8192
"""Texts of a file."""
_PIECES = 4096
"""Read at once."""
_BASIS_TEXTS = 1024
"""Texts whose words' states give the leading directions."""
_DEVIATIONS = 4.0
"""Beyond so many of its standard deviations a number of a state is cut off."""
STEP = _DEVIATIONS / 127
"""What an integer of a state stands for, in deviations of its direction."""
_LENGTH = 32
"""Pieces of a typical text, for which kernels are chosen."""
_AGAIN = "remove the folder of the texts: they are read again"


@dataclass(frozen=True)
class TaughtTexts:
    """Texts that a teacher has read."""

    path: Path
    """Their folder."""
    rows: Rows
    """Where they stand in the corpus."""
    vector_width: int
    """Numbers of a vector."""
    state_width: int
    """Directions of a state that are kept."""

    def __len__(self) -> int:
        return len(self.rows)

    def vectors(self, chunk: int) -> npt.NDArray[np.float16]:
        """Returns the vectors of a chunk's texts, of length 1 [N, E]."""
        shape = (self.texts(chunk), self.vector_width)
        return stored_array(_of(self.path, "vectors", chunk), "float16", shape, _AGAIN, mode=None)

    def states(self, chunk: int) -> npt.NDArray[np.int8]:
        """Returns the states of a chunk's words, text by text [W, K]."""
        first = chunk * CHUNK
        words = int((self.rows.end - self.rows.start)[first : first + CHUNK].sum())
        return stored_array(
            _of(self.path, "states", chunk), "int8", (words, self.state_width), _AGAIN, mode=None
        )

    def texts(self, chunk: int) -> int:
        """Returns the number of texts in a chunk."""
        return min(CHUNK, len(self) - chunk * CHUNK)

    @classmethod
    def open(cls, stage: StageDir, rows: Rows) -> "TaughtTexts":
        """Opens the texts that a stage has read (`read_texts`), the first ones of `rows`.

        Raises StorageError where what the stage recorded is damaged.
        """
        results = stage.results()
        with intact(stage.manifest_path, _AGAIN):
            count, *widths = (int(results[name]) for name in ("texts", "vector_width", "state_width"))
        return cls(stage.path, rows.take(np.arange(count)), *widths)


def read_texts(
    stage: StageDir, rows: Rows, lexicon: Lexicon, teacher: str, prompt: str, seconds: float
) -> StageDir:
    """Lets a teacher read texts, unless they are read; an interrupted call goes on.

    Args:
        stage: Takes what the teacher says.
        rows: The texts, in random order.
        lexicon: The teacher's pieces of their words.
        teacher: Folder or hub name.
        prompt: Read before each text.
        seconds: Time after which no further chunk is begun, over all calls.

    Raises:
        ModelError: If the teacher cannot be used.
        StorageError: If the disk does not take it.
        Interrupted: If SIGTERM or SIGINT came; what is read is kept.
    """

    def build() -> dict[str, Any]:
        reader = Reader.open(teacher, lexicon, rows, prompt)
        width = reader.modules.dense[-1].weight.shape[0] if reader.modules.dense else reader.width
        directions = min(DIRECTIONS, reader.width)
        needed = len(rows) * width * 2 + int((rows.end - rows.start).sum()) * directions
        console.print(
            f"The teacher reads up to {len(rows):,} texts, once; what it says takes {size(needed)} on disk "
            f"at most, in {stage.path}",
            highlight=False,
            soft_wrap=True,
        )
        done, spent = _read_chunks(stage.path, reader, seconds)
        return {"texts": done, "vector_width": width, "state_width": directions, "seconds": spent}

    return stage.make(build)


def _read_chunks(folder: Path, reader: "Reader", seconds: float) -> tuple[int, float]:
    """Reads chunk after chunk; returns how many texts are read, and the seconds of all calls."""
    parts = folder / "parts" / "progress.json"
    count, chunks = len(reader.rows), -(-len(reader.rows) // CHUNK)
    begun = read_json(parts, _AGAIN) if parts.exists() else {"chunks": 0, "seconds": 0.0}
    with intact(parts, _AGAIN):
        done, spent = int(begun["chunks"]), float(begun["seconds"])
    with signals() as asked, bar("The teacher reads texts, once", count) as shown:
        while done < chunks and (not done or spent < seconds):
            started = time.monotonic()
            chosen = np.arange(done * CHUNK, min((done + 1) * CHUNK, count))
            if not done:
                _write_basis(folder, reader, chosen[:_BASIS_TEXTS])
            vectors, states = reader.read(chosen, folder)
            _write(_of(folder, "vectors", done), vectors)
            _write(_of(folder, "states", done), states)
            done, spent = done + 1, spent + time.monotonic() - started
            write_json(parts, {"chunks": done, "seconds": spent})
            shown.update(min(done * CHUNK, count))
            if asked and done < chunks:
                raise Interrupted(
                    f"{asked[0]} stopped the teacher after {done * CHUNK:,} texts; what it said is saved, "
                    "and the same command goes on from there"
                )
    return min(done * CHUNK, count), spent


@dataclass(frozen=True)
class Reader:
    """A teacher and what it reads."""

    model: MaskedLM
    modules: SentenceModules
    kernels: Kernels
    device: torch.device
    rows: Rows
    streams: list[npt.NDArray[Any]]
    segmentation: Ragged
    """The teacher's pieces of words; after all words comes START with the prompt."""
    pad: int
    positions: int
    """Pieces that the teacher reads at most."""

    @property
    def width(self) -> int:
        """Width of the teacher's states."""
        width: int = self.model.model.config.hidden_size
        return width

    @classmethod
    def open(cls, teacher: str, lexicon: Lexicon, rows: Rows, prompt: str) -> "Reader":
        """Opens a teacher's folder, or loads it from the hub."""
        model, _ = open_masked_lm(teacher)
        return cls.of(model, read_modules(teacher), lexicon, rows, prompt, outline(teacher).shape.positions)

    @classmethod
    def of(
        cls,
        model: PreTrainedModel,
        modules: SentenceModules,
        lexicon: Lexicon,
        rows: Rows,
        prompt: str,
        positions: int,
    ) -> "Reader":
        """Returns the reader of a model that is open, and moves that to the device that there is."""
        device = Accelerator().device
        model.to(device).train(False)
        shape = EncoderShape.of_config(model.config, positions=_LENGTH)
        kernels = choose(shape, _LENGTH, device, goes_backward=False)
        before = lexicon.teacher_tokenizer().tokenizer.encode(prompt.rstrip(), add_special_tokens=False).ids
        first = [*lexicon.teacher[START], *before]
        own = lexicon.teacher
        segmentation = Ragged(
            np.concatenate([own.values, np.array(first, own.values.dtype)]),
            np.append(own.offsets, own.offsets[-1] + len(first)),
        )
        return cls(
            MaskedLM(model),
            modules.to(device),
            kernels,
            device,
            rows,
            plain(rows.shards),
            segmentation,
            lexicon.teacher_special.pad,
            positions,
        )

    @torch.inference_mode()
    def states(self, chosen: Ints) -> Iterator[tuple[Ints, Tensor, Tensor]]:
        """Yields for batches of like length their places in `chosen` [B], vectors [B, E], and states [W, T].

        States are those of the first pieces of words.
        """
        every = self._words(chosen)
        pieces = np.add.reduceat(self.segmentation.lengths[every.ids], every.first)
        order = np.argsort(pieces, kind="stable")
        while len(order):
            texts = max(1, _PIECES // int(pieces[order[-1]]))
            batch, order = order[-texts:], order[:-texts]
            words = self._words(chosen[batch])
            layout = Layout.of(self.segmentation, words.ids, words, self.pad, self.positions)
            padding = None if layout.padding is None else layout.padding.to(self.device)
            found = self.model.read(torch.from_numpy(layout.pieces).to(self.device), padding, self.kernels)
            vectors = torch.nn.functional.normalize(self.modules.vectors(found, padding), dim=-1)
            is_word = np.ones(len(words.ids), np.bool_)
            is_word[words.first] = is_word[words.last] = False
            first = torch.from_numpy(layout.places[is_word]).to(self.device)
            yield batch, vectors.cpu(), found.flatten(0, 1).index_select(0, first).float().cpu()

    def _words(self, chosen: Ints) -> Words:
        """Returns the words of texts, each text with the prompt in its START."""
        words = Words.of_rows(self.streams, self.rows, chosen)
        words.ids[words.first] = len(self.segmentation) - 1
        return words

    def read(self, chosen: Ints, folder: Path) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.int8]]:
        """Returns the vectors of texts [N, E], and the states of their words by the basis in a folder."""
        basis = _load_basis(folder)
        lengths = (self.rows.end - self.rows.start)[chosen]
        begins = np.append(0, np.cumsum(lengths))
        states = np.empty((begins[-1], basis["directions"].shape[1]), np.int8)
        vectors: npt.NDArray[np.float16] | None = None
        for batch, of_texts, of_words in self.states(chosen):
            if vectors is None:
                vectors = np.empty((len(chosen), of_texts.shape[1]), np.float16)
            vectors[batch] = of_texts.numpy()
            places, _ = Ragged(states, begins).places(batch)
            states[places] = _rounded(of_words, basis).numpy()
        assert vectors is not None, "texts are to be read"
        return vectors, states


def _rounded(states: Tensor, basis: dict[str, Tensor]) -> Tensor:
    """Returns states [W, T] in the leading directions [W, K], as integers of their deviations."""
    along = (states - basis["mean"]) @ basis["directions"]
    return (along / basis["deviations"] / STEP).round().clamp(-127, 127).to(torch.int8)


def _write_basis(folder: Path, reader: Reader, chosen: Ints) -> None:
    """Writes the leading directions of the states of words in the first texts."""
    count, total, energy = 0, torch.zeros(reader.width), torch.zeros(reader.width, reader.width).double()
    for _, _, states in reader.states(chosen):
        count, total = count + len(states), total + states.sum(0)
        energy += moments(states) * len(states)
    mean = total / count
    covariance = energy / count - torch.outer(mean, mean).double()
    directions = leading_directions(covariance, min(DIRECTIONS, reader.width))
    deviations = (directions.double() * (covariance @ directions.double())).sum(0).clamp(min=1e-12).sqrt()
    tensors = {"mean": mean, "directions": directions, "deviations": deviations.float()}
    folder.mkdir(parents=True, exist_ok=True)
    save_file({key: value.contiguous() for key, value in tensors.items()}, folder / "basis.safetensors")


def _load_basis(folder: Path) -> dict[str, Tensor]:
    path = folder / "basis.safetensors"
    with intact(path, _AGAIN):
        return load_file(path)


def _write(path: Path, array: npt.NDArray[Any]) -> None:
    with writing(path) as file:
        np.save(file, array, allow_pickle=False)


def _of(folder: Path, name: str, chunk: int) -> Path:
    return folder / f"{name}-{chunk:05d}.npy"
