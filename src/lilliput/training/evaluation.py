"""How good models are: masked-LM quality on held-out text, the same words for every model.

15 % of the words are masked whole, every piece of them [MASK], none kept, none random, fixed by a seed.
Vocabularies differ, so the loss is given in bits per character of the masked words; beside it stands the
share of masked pieces predicted right.
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from lilliput.common.arguments import PathLike, Texts, path_of, renamed, texts_of
from lilliput.common.files import digest_value, write_json
from lilliput.common.folders import clear_removed
from lilliput.common.locks import beside, locked
from lilliput.config import BatchConfig, LexiconConfig
from lilliput.errors import ConfigError, bounded
from lilliput.models.kernels import PLAIN_BOTH, DualKernels
from lilliput.models.masked_lm import MaskedLM
from lilliput.models.sentence_modules import has_modules
from lilliput.models.student import load_student
from lilliput.models.teacher import Teacher
from lilliput.pieces.corpus import build_corpus
from lilliput.pieces.lexicon import Lexicon, build_lexicon
from lilliput.run import RunDir
from lilliput.text.corpus import Corpus
from lilliput.training.batches import Batch, BatchSource, Reading
from lilliput.training.data import Data
from lilliput.training.processes import ALONE, Processes
from lilliput.training.rows import Rows, cut_rows

_ROWS_PER_BATCH = 16
_MASKED = 0.15
_SEED = 20191011
_MOST_ROWS = 10_000_000


@dataclass(frozen=True)
class Quality:
    """Masked-LM quality of one model on one text."""

    bits_per_character: float
    """Bits the model needs for a character of a masked word, given the rest of the row."""
    accuracy: float
    """Share of the masked pieces predicted right."""
    loss: float
    """Nats per masked piece."""
    pieces: int
    """Masked pieces."""
    words: int
    """Masked words."""

    def __repr__(self) -> str:
        return (
            f"<Quality: {self.bits_per_character:.3f} bits per character, {self.accuracy:.1%} of the masked "
            f"pieces right ({self.words:,} words, {self.pieces:,} pieces masked)>"
        )


def evaluation_source(rows: Rows, lexicon: Lexicon, length: int) -> BatchSource:
    """Returns the batches every model is evaluated on: each word in its reader's own segmentation."""
    config = BatchConfig(rows=min(_ROWS_PER_BATCH, len(rows)), length=length, masked=_MASKED, mixing=0.0)
    return BatchSource(rows, lexicon, config, (_SEED,))


@torch.no_grad()
def evaluate_masked_lm(
    source: BatchSource,
    *,
    teacher: Teacher | None = None,
    student: PreTrainedModel | None = None,
    kernels: DualKernels = PLAIN_BOTH,
    rows: int = 512,
    processes: Processes = ALONE,
) -> Iterator[tuple[str, Quality]]:
    """Yields `("teacher", quality)` and `("student", quality)` for the models given.

    Args:
        source: Made by `evaluation_source`.
        teacher: Reads and predicts its own vocabulary.
        student: Reads and predicts its own.
        kernels: How each model computes; by default in float32.
        rows: Rows to evaluate on at most.
        processes: Share the rows among them; each yields the quality on all.
    """
    readers: dict[str, _Tally] = {}
    if teacher is not None:
        readers["teacher"] = _Tally()
    if student is not None:
        readers["student"] = _Tally()
    steps = max(1, min(rows, len(source.rows)) // source.config.rows)
    for step in range(processes.index, steps, processes.count):
        batch = source.batch(step)
        if teacher is not None:
            reading = batch.teacher.to(teacher.own_table.device)
            hidden = teacher.hidden(reading.pieces, reading.padding, kernels.teacher, reading.positions)
            scores = teacher.masked_lm.scores(hidden, kernels.teacher)
            readers["teacher"].add(scores, reading, batch)
        if student is not None:
            reading = batch.student.to(student.device)
            model = MaskedLM(student)
            hidden = model.read(reading.pieces, reading.padding, kernels.student, reading.positions)
            readers["student"].add(model.scores(hidden, kernels.student), reading, batch)
    for name, tally in readers.items():
        yield name, tally.quality(processes)


class _Tally:
    """Sums over batches."""

    def __init__(self) -> None:
        self.nats, self.right, self.pieces, self.words, self.characters = 0.0, 0, 0, 0, 0

    def add(self, scores: Tensor, reading: Reading, batch: Batch) -> None:
        """Counts one batch in."""
        self.nats += float(torch.nn.functional.cross_entropy(scores, reading.targets, reduction="sum"))
        self.right += int((scores.argmax(-1) == reading.targets).sum())
        self.pieces += reading.targets.shape[0]
        self.words += reading.words.unique().shape[0]  # type: ignore[no-untyped-call]
        self.characters += batch.masked_characters

    def quality(self, processes: Processes) -> Quality:
        """Returns what the sums of all processes come to."""
        total = processes.add_up(vars(self))
        pieces = max(total["pieces"], 1)
        return Quality(
            bits_per_character=total["nats"] / math.log(2) / max(total["characters"], 1),
            accuracy=total["right"] / pieces,
            loss=total["nats"] / pieces,
            pieces=int(total["pieces"]),
            words=int(total["words"]),
        )


@renamed(out="run")
def evaluate(
    run: PathLike, text: Texts = (), *, text_column: str = "text", rows: int = 1024
) -> dict[str, Quality]:
    """Returns the masked-LM quality of a run's student, and of its teacher if the run trained it.

    Args:
        run: The run's folder, with its finished student.
        text: Text to evaluate on, as `compress` takes it, which is indexed beside the run; without it the
            run's held-out text.
        text_column: Which column of tables and data sets holds the text.
        rows: Rows of text to evaluate on at most.

    Raises:
        StorageError: If the run has no finished student.
        ConfigError: If its student gives vectors and has learnt no masked LM.
    """
    place, rows = RunDir(path_of("run", run)), bounded("--rows", rows, 1, _MOST_ROWS)
    place.require_student()
    if has_modules(place.student):
        raise ConfigError(
            f"the student in {place.student} gives vectors of texts and has learnt no masked LM; evaluate it "
            "with --pairs FILE or --retrieval FOLDER"
        )
    student = load_student(place.student)
    length = student.config.max_position_embeddings
    if sources := texts_of("text", text):
        words, lexicon = _indexed(place, sources, text_column)
        held_out, _ = cut_rows(words, lexicon, length, hold_out=False)
    else:
        data = Data.open(place, length, length)
        lexicon, held_out = data.held_out_lexicon, data.held_out
    trained = place.trained_teacher()
    found = dict(
        evaluate_masked_lm(
            evaluation_source(held_out, lexicon, length),
            teacher=Teacher.load(trained) if trained else None,
            student=student,
            rows=rows,
        )
    )
    written = place.path / "evaluation.json"
    with locked(beside(written), written, wait=True):
        clear_removed(written)
        write_json(written, {name: dataclasses.asdict(quality) for name, quality in found.items()})
    return found


def _indexed(run: RunDir, text: Sequence[str], text_column: str) -> tuple[Corpus, Lexicon]:
    """Returns the corpus and the lexicon of a text to evaluate on, kept beside the run."""
    # Names give a place alone; what lies there is known by its digests.
    folder = run.evaluation(digest_value([*text, text_column]))
    trained_on = Lexicon.open(run.lexicon)
    tokenizer = trained_on.teacher_tokenizer()
    given = LexiconConfig(tokenizer=str(trained_on.tokenizer_folder))
    with locked(beside(folder), folder, wait=True):
        words = build_corpus(text, tokenizer, folder / "corpus", text_column=text_column, overwrite=True)
        return words, build_lexicon(words, tokenizer, given, folder / "lexicon", overwrite=True)
