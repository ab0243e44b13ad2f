"""Whether an exported model answers as torch does: compared on sentences before any file is written.

Two things are asked. Does the graph compute what torch computes with the weights that the file holds? That is
equality, up to the order of float sums. And how far do those weights move the scores from the model's own?
That is what quantization costs, as a share of the spread of the scores.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn.utils import parametrize

from lilliput.errors import ModelError
from lilliput.export.source import Source
from lilliput.inference.format import MODEL
from lilliput.inference.session import open_session
from lilliput.models.fake_quantization import quantization_aware
from lilliput.models.pretrained import longest_input
from lilliput.models.quantization import QuantizationPlan

LARGEST_DIFFERENCE = 1e-4
"""How far a score may lie from torch's with the same weights: this, or this share of a spread above one."""

LARGEST_STRAY = 0.2
"""The same where inputs of linear layers are rounded, too. A number that differs in its last digit may be
rounded the other way, which is a whole step of eight bits, and all layers after it see that."""

_LARGEST_NOISE = {32: 1e-3, 16: 0.01, 8: 0.15, 4: 1.0}
"""How far scores may lie from those of the model's own weights, by the fewest bits of a plan: the root of the
mean squared difference as a share of the spread."""

_LEAST_AGREEMENT = 0.95
"""Of the answers in which the best score leads by more than that, the share that must stay the same."""

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
"""What is compared where the caller gives no sentences."""


Scores = Callable[[dict[str, Tensor]], NDArray[np.float32]]
"""A batch -> what a model says to it."""


@dataclass(frozen=True)
class Parity:
    """How closely an exported model answers as torch does."""

    difference: float
    """The largest difference to torch with the file's weights, over all scores."""
    noise: float
    """The root of the mean squared difference to torch with its own weights, in spreads of the scores; 0
    where it was fine-tuned with the file's."""
    agreement: float | None
    """Share of answers whose best score is the same as with the model's own weights; None without classes."""


@dataclass(frozen=True)
class _Answers:
    """Scores of all sentences, alone and in batches, in one row for each text or piece."""

    scores: NDArray[np.float32]
    """One row for each answer."""
    places: tuple[tuple[str, int], ...]
    """The text and the piece that each row belongs to."""


def compare(
    onnx: bytes, source: Source, plan: QuantizationPlan, sentences: Sequence[str], *, is_learnt: bool = False
) -> Parity:
    """Returns how closely an ONNX model answers as its source does.

    Args:
        onnx: The model.
        source: What it was made from.
        plan: How its weights are stored.
        sentences: What both read.
        is_learnt: Whether the source was fine-tuned with weights rounded so: then it is to answer as with
            these, and what it says with those that were rounded is nothing to go by.

    Raises:
        ModelError: If it differs by more than the bounds above, saying where most.
    """
    session = open_session(Path(MODEL), 1, onnx)

    def run(inputs: dict[str, Tensor]) -> NDArray[np.float32]:
        (scores,) = session.run(None, {name: value.numpy() for name, value in inputs.items()})
        found: NDArray[np.float32] = scores
        return found

    found = _answers(source, sentences, run)
    with quantization_aware(source.model, plan), parametrize.cached():
        same = _answers(source, sentences, lambda inputs: source.scores(inputs).numpy())
    own = same if is_learnt else _answers(source, sentences, lambda inputs: source.scores(inputs).numpy())
    made_by = f"the ONNX model differs from torch, onnxruntime being {onnxruntime.__version__},"
    return _judged(source, plan, found, same, own, LARGEST_DIFFERENCE, made_by)


def compare_program(
    run: Scores, same: Scores, source: Source, plan: QuantizationPlan, sentences: Sequence[str]
) -> Parity:
    """Returns how closely a program of ExecuTorch answers as its source does.

    Args:
        run: What the program says to a batch.
        same: What torch says with the weights, and the rounding, that the program has.
        source: What it was made from.
        plan: How its weights are stored.
        sentences: What both read.

    Raises:
        ModelError: If it differs by more than the bounds above, saying where most.
    """
    found, ours = _answers(source, sentences, run), _answers(source, sentences, same)
    own = _answers(source, sentences, lambda inputs: source.scores(inputs).numpy())
    bound = LARGEST_DIFFERENCE if plan.weights == 32 else LARGEST_STRAY
    return _judged(source, plan, found, ours, own, bound, "the program differs from torch")


def _judged(
    source: Source,
    plan: QuantizationPlan,
    found: _Answers,
    same: _Answers,
    own: _Answers,
    bound: float,
    claim: str,
) -> Parity:
    """Returns how far answers are from those with the same weights and with the model's own, or refuses."""
    spread = float(own.scores.std())
    difference = _equal(found, same, bound * max(1.0, spread), claim)
    noise = float(np.sqrt(np.square(found.scores - own.scores).mean())) / max(spread, 1e-12)
    largest = _LARGEST_NOISE[min(plan.weights, plan.embeddings)]
    if not noise <= largest:
        raise ModelError(
            f"quantization moves the scores by {noise:.2g} of their spread, where {largest:g} is allowed, "
            f"most {_where(found, own)}; take more bits, or fine-tune with quantization in view"
        )
    if not source.answers.chooses:
        return Parity(difference, noise, None)
    return Parity(difference, noise, _agreement(found, own, largest * spread))


def _answers(source: Source, sentences: Sequence[str], run: Scores) -> _Answers:
    """Returns the scores of every text, some alone and all in batches with padding."""
    pairs = source.labels.pairs
    texts: list[Any] = list(sentences)
    if pairs:  # each with the next and, for scores at the other end, with itself
        texts = list(zip(texts, texts[1:] + texts[:1], strict=True)) + [(text, text) for text in texts]
    tokenizer = Tokenizer.from_str(source.tokenizer.to_str())
    tokenizer.enable_truncation(longest_input(source.config))
    tokenizer.enable_padding(pad_id=source.config.pad_token_id or 0)
    longest = " ".join(sentences)
    batches = [[text] for text in texts[:4]] + [texts[start : start + 8] for start in range(0, len(texts), 8)]
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


def _equal(found: _Answers, same: _Answers, bound: float, claim: str) -> float:
    difference = float(np.abs(found.scores - same.scores).max())
    if not difference <= bound:
        raise ModelError(
            f"{claim} by {difference:.2g}, where {bound:.2g} is allowed, {_where(found, same)}; try another "
            "version of what runs it"
        )
    return difference


def _where(found: _Answers, other: _Answers) -> str:
    """Says where two answers differ most."""
    distance = np.nan_to_num(np.abs(found.scores - other.scores), nan=np.inf)
    row, column = np.unravel_index(distance.argmax(), distance.shape)
    text, place = found.places[row]
    values = f"{found.scores[row, column]:.4g} for {other.scores[row, column]:.4g}"
    return f"at piece {place} of '{text[:40]}', column {column} ({values})"


def _agreement(found: _Answers, own: _Answers, lead: float) -> float:
    """Returns the share of answers that are the same; raises ModelError when too many clear ones are not."""
    same = found.scores.argmax(-1) == own.scores.argmax(-1)
    best, second = -np.partition(-own.scores, 1, axis=-1)[:, :2].T
    clear = same[best - second > lead]
    if len(clear) and clear.mean() < _LEAST_AGREEMENT:
        raise ModelError(
            f"quantization changes {100 * (1 - clear.mean()):.0f} % of the clear answers, most "
            f"{_where(found, own)}; take more bits, or fine-tune with quantization in view"
        )
    return float(same.mean())
