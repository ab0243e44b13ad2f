"""Compares an exported model with torch on sentences before any file is written.

It checks two things. First, the graph must compute the same as torch with the weights in the file, and
inputs of linear layers rounded where the file rounds them, up to the order of float sums. Second,
it measures how far all rounding moves the scores from those of the model's own weights: the cost of
quantization, as a share of the spread (standard deviation) of the scores.
"""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from lilliput.errors import ModelError
from lilliput.export.source import Source
from lilliput.inference.format import MODEL
from lilliput.inference.session import open_session
from lilliput.inference.vectors import unit
from lilliput.models.blocks import embeddings_of
from lilliput.models.fake_quantization import as_stored, input_grids
from lilliput.models.pretrained import longest_input
from lilliput.models.quantization import NARROWEST, InputGrid, QuantizationScheme

LARGEST_DIFFERENCE = 1e-4
"""The largest difference allowed to torch with the same weights, times the spread if that exceeds 1."""

LARGEST_STRAY = 0.2
"""The same if inputs of linear layers are rounded too. A number that differs in its last digit may round the
other way, a whole step of eight bits, which all later layers see."""

LARGEST_MEAN_STRAY = 0.05
"""The same for the root mean squared difference, which says more of many scores: of 35,000 scores of a joint
student the largest difference was 0.35, their root mean square 0.03, at a spread of 2.7."""

_LARGEST_ROUNDING = 0.05
"""How far rounding the inputs of linear layers may move the scores: the root mean squared difference as a
share of the spread. Where it moves them further, inputs are not rounded."""

_LARGEST_NOISE = {32: 1e-3, 16: 0.01, 8: 0.15, 4: 1.0}
"""The largest difference allowed to scores with the model's own weights, by the fewest bits of a scheme: the
root mean squared difference as a share of the spread."""

LEAST_COSINE = 0.98
"""The mean cosine that vectors of texts must have with those of the model's own weights."""

_LEAST_AGREEMENT = 0.95
"""The share of clear answers that must stay the same; the best score of a clear answer leads by more than the
largest noise."""

SENTENCES = (
    "Yes.",
    "Why not?",
    "The train leaves at seven.",
    "A child ran across the wet grass, laughing.",
    "Nobody in the village had expected rain in the middle of July.",
    "This is, without any doubt, the dullest film that I have seen in years!",
    "This film is wonderful, and so are its actors.",
    "Book a table for four at an Italian restaurant near the station tomorrow at 8 pm.",
    "In 1997 the company sold 2,000 of its 3,500 shops to a bank in Zürich for $4.5 billion.",
    "She didn't say where she was going; he didn't ask, for he had known it all along.",
    "Two men are playing chess in a park while a dog sleeps under their table.",
    "The committee, which had met only twice since the spring, decided by a narrow majority that the bridge "
    "over the river should be closed to lorries until an engineer had looked at every one of its pillars.",
)
"""The texts that are compared if the caller gives none."""


Scores = Callable[[dict[str, Tensor]], NDArray[np.float32]]
"""A batch -> the scores of a model."""


@dataclass(frozen=True)
class Parity:
    """How closely an exported model matches torch."""

    difference: float
    """The largest difference of a score to torch with the file's weights."""
    noise: float
    """The root mean squared difference to torch with the model's own weights, or with the file's if it was
    fine-tuned with these, as a share of the spread of the scores."""
    agreement: float | None
    """The share of answers with the same best class as with the model's own weights; None without classes."""
    cosine: float | None = None
    """The mean cosine of the vectors of texts with those of the model's own weights; None where a model is no
    sentence encoder."""


@dataclass(frozen=True)
class _Answers:
    """Scores of all sentences, alone and in batches, in one row for each text or piece."""

    scores: NDArray[np.float32]
    """One row for each answer."""
    places: tuple[tuple[str, int], ...]
    """The text and the piece that each row belongs to."""


def grids_of(source: Source, scheme: QuantizationScheme, sentences: Sequence[str]) -> dict[str, InputGrid]:
    """Returns how the layers' linear layers round what they read, from texts and random pieces.

    There are grids only where integers are multiplied faster, with weights of eight bits in a wide model, and
    where scores tolerate it: those of a MiniLM, a teacher, moved by 9 % of their spread, those of students
    made of it by 1 to 3 %.
    """
    width = embeddings_of(source.model).pieces.embedding_dim
    if scheme.weights != 8 or width < NARROWEST:
        return {}
    scores = _scores_of(source)

    def read() -> None:
        _answers(source, sentences, scores, alone=True)
        source.scores(_random_pieces(source))  # of a language that the sentences are not in, too

    with as_stored(source.model, scheme, {}):
        grids = input_grids(source.model, read)
        exact = _answers(source, sentences, scores).scores
    with as_stored(source.model, scheme, grids):
        moved = _answers(source, sentences, scores).scores - exact
    fits = float(np.sqrt(np.square(moved).mean())) <= _LARGEST_ROUNDING * float(exact.std())
    return grids if fits else {}


def _random_pieces(source: Source) -> dict[str, Tensor]:
    """Returns a batch of rows of random pieces, the same ones each time."""
    shape = 32, min(64, longest_input(source.config))
    pieces = np.random.default_rng(0).integers(0, source.tokenizer.get_vocab_size(), shape)
    ids = torch.from_numpy(pieces)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "token_type_ids": torch.zeros_like(ids)}


def _scores_of(source: Source) -> Scores:
    return lambda inputs: source.scores(inputs).numpy()


def compare(
    onnx: bytes,
    source: Source,
    scheme: QuantizationScheme,
    sentences: Sequence[str],
    *,
    grids: Mapping[str, InputGrid] | None = None,
    is_learnt: bool = False,
) -> Parity:
    """Returns how closely an ONNX model matches its source.

    Args:
        onnx: The model.
        source: The model that it was made from.
        scheme: How its weights are stored.
        sentences: The texts that both read.
        grids: How it rounds what its linear layers read (`grids_of`).
        is_learnt: Whether the source was fine-tuned with weights rounded by this scheme: then its own scores
            are those with rounded weights.

    Raises:
        ModelError: If it differs by more than the bounds above; the message says where it differs most.
    """
    session = open_session(Path(MODEL), 1, onnx)

    def run(inputs: dict[str, Tensor]) -> NDArray[np.float32]:
        (scores,) = session.run(None, {name: value.numpy() for name, value in inputs.items()})
        found: NDArray[np.float32] = scores
        return found

    found, scores = _answers(source, sentences, run), _scores_of(source)
    with as_stored(source.model, scheme, grids or {}):
        same = _answers(source, sentences, scores)
    with as_stored(source.model, scheme, {}) if is_learnt else contextlib.nullcontext():
        own = _answers(source, sentences, scores)
    made_by = f"the ONNX model in onnxruntime {onnxruntime.__version__} differs from torch"
    if grids:
        return _judged(source, scheme, found, same, own, LARGEST_MEAN_STRAY, made_by, of_mean=True)
    return _judged(source, scheme, found, same, own, LARGEST_DIFFERENCE, made_by)


def compare_program(
    run: Scores, same: Scores, source: Source, scheme: QuantizationScheme, sentences: Sequence[str]
) -> Parity:
    """Returns how closely a program of ExecuTorch matches its source.

    Args:
        run: A batch -> the program's scores.
        same: A batch -> torch's scores with the weights and rounding of the program.
        source: The model that it was made from.
        scheme: How its weights are stored.
        sentences: The texts that both read.

    Raises:
        ModelError: If it differs by more than the bounds above; the message says where it differs most.
    """
    found, ours = _answers(source, sentences, run), _answers(source, sentences, same)
    own = _answers(source, sentences, _scores_of(source))
    bound = LARGEST_DIFFERENCE if scheme.weights == 32 else LARGEST_STRAY
    return _judged(source, scheme, found, ours, own, bound, "the program differs from torch")


def _judged(
    source: Source,
    scheme: QuantizationScheme,
    found: _Answers,
    same: _Answers,
    own: _Answers,
    bound: float,
    claim: str,
    *,
    of_mean: bool = False,
) -> Parity:
    """Returns how far scores are from torch's with the same weights and with the model's own weights.

    Raises ModelError if either is too far.
    """
    spread = float(own.scores.std())
    difference = _equal(found, same, bound * max(1.0, spread), claim, of_mean=of_mean)
    noise = float(np.sqrt(np.square(found.scores - own.scores).mean())) / max(spread, 1e-12)
    largest = _LARGEST_NOISE[min(scheme.weights, scheme.embeddings)]
    if not noise <= largest:
        raise ModelError(
            f"quantization moves the scores by {noise:.2g} of their spread, where {largest:g} is allowed, "
            f"most {_where(found, own)}; use more bits, or fine-tune with this quantization"
        )
    if not source.answers.chooses:
        return Parity(difference, noise, None, None if source.sentences is None else _cosine(found, own))
    return Parity(difference, noise, _agreement(found, own, largest * spread))


def _answers(source: Source, sentences: Sequence[str], run: Scores, *, alone: bool = False) -> _Answers:
    """Returns the scores of all texts in padded batches, and of some texts alone; or all alone, unpadded."""
    pairs = source.labels.pairs
    texts: list[Any] = list(sentences)
    if pairs:  # each with the next and, for scores at the other end, with itself
        texts = list(zip(texts, texts[1:] + texts[:1], strict=True)) + [(text, text) for text in texts]
    tokenizer = Tokenizer.from_str(source.tokenizer.to_str())
    tokenizer.enable_truncation(longest_input(source.config))
    tokenizer.enable_padding(pad_id=source.config.pad_token_id or 0)
    longest = " ".join(sentences)
    batches = [[text] for text in (texts if alone else texts[:4])]
    if not alone:
        batches += [texts[start : start + 8] for start in range(0, len(texts), 8)]
    batches.append([(longest, longest)] if pairs else [longest])
    rows, places = [], []
    for batch in batches:
        encodings = tokenizer.encode_batch(batch)
        ids, mask, types = (
            torch.tensor([getattr(item, name) for item in encodings])
            for name in ("ids", "attention_mask", "type_ids")
        )
        scores = run({"input_ids": ids, "attention_mask": mask, "token_type_ids": types})
        if scores.ndim == 3:
            scores, found = scores[mask.numpy() == 1], mask.nonzero().tolist()
        else:
            found = [(row, 0) for row in range(len(batch))]
        rows.append(scores)
        places += [(str(batch[row]), place) for row, place in found]
    return _Answers(np.concatenate(rows), tuple(places))


def _equal(found: _Answers, same: _Answers, bound: float, claim: str, *, of_mean: bool) -> float:
    """Returns the largest difference; raises ModelError if it, or the root mean squared one, is too large."""
    distance = np.abs(found.scores - same.scores)
    difference = float(distance.max())
    judged = float(np.sqrt(np.square(distance).mean())) if of_mean else difference
    if not judged <= bound:
        how = " in the mean square" if of_mean else ""
        raise ModelError(
            f"{claim} by {judged:.2g}{how}, where {bound:.2g} is allowed, {_where(found, same)}; try another "
            "version of this runtime"
        )
    return difference


def _where(found: _Answers, other: _Answers) -> str:
    """Returns where two answers differ most, as the end of a sentence."""
    distance = np.nan_to_num(np.abs(found.scores - other.scores), nan=np.inf)
    row, column = np.unravel_index(distance.argmax(), distance.shape)
    text, place = found.places[row]
    values = f"{found.scores[row, column]:.4g} for {other.scores[row, column]:.4g}"
    return f"at piece {place} of '{text[:40]}', column {column} ({values})"


def _cosine(found: _Answers, own: _Answers) -> float:
    """Returns the mean cosine of the vectors of texts; raises ModelError if it is too small."""
    starts = [row for row, (_, place) in enumerate(found.places) if place == 0]
    vectors, wanted = (unit(np.add.reduceat(one.scores, starts)) for one in (found, own))
    cosine = float((vectors * wanted).sum(1).mean())
    if not cosine >= LEAST_COSINE:
        raise ModelError(
            f"quantization turns the vectors: their mean cosine with the model's own is {cosine:.3f}, where "
            f"{LEAST_COSINE:g} is needed; use more bits"
        )
    return cosine


def _agreement(found: _Answers, own: _Answers, lead: float) -> float:
    """Returns the share of equal answers; raises ModelError if too many clear ones changed."""
    same = found.scores.argmax(-1) == own.scores.argmax(-1)
    best, second = -np.partition(-own.scores, 1, axis=-1)[:, :2].T
    clear = same[best - second > lead]
    if len(clear) and clear.mean() < _LEAST_AGREEMENT:
        raise ModelError(
            f"quantization changes {100 * (1 - clear.mean()):.0f} % of the clear answers, most "
            f"{_where(found, own)}; use more bits, or fine-tune with this quantization"
        )
    return float(same.mean())
