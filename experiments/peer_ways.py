"""How peers.py prepares and takes steps with lilliput and with transformers' Trainer."""

import itertools
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from datasets import Dataset, load_from_disk
from transformers import (
    AutoTokenizer,
    DataCollatorForLanguageModeling,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from lilliput.config import BatchConfig, LexiconConfig, ObjectiveWeights, OptimizerConfig, StudentConfig
from lilliput.models.pretrained import load_masked_lm
from lilliput.models.student import random_student, student_config
from lilliput.models.teacher import build_teacher
from lilliput.pieces.bert_tokenizer import load_tokenizer
from lilliput.pieces.corpus import build_corpus
from lilliput.pieces.lexicon import Lexicon, build_lexicon
from lilliput.run import RunDir
from lilliput.training.batches import BatchSource
from lilliput.training.data import Data
from lilliput.training.step import DualModel, Stepper

SHAPE = StudentConfig(heads=12)
WARM_UP = 3
LILLIPUT = {
    "lilliput, dual": ObjectiveWeights(teacher_masked_lm=1.0, student_masked_lm=1.0, projection_down=1e-4),
    "lilliput, fixed teacher": ObjectiveWeights(student_masked_lm=0.5, soft_labels=0.5),
    "lilliput, teacher": ObjectiveWeights(teacher_masked_lm=1.0),
    "lilliput, student": ObjectiveWeights(student_masked_lm=1.0),
}
TRAINER = ("Trainer, teacher", "Trainer, student")


@dataclass(frozen=True)
class Setting:
    """What every way has in common."""

    teacher: Path
    tinybert: Path | None
    folder: Path
    """Holds text.jsonl and text.txt, and takes what is prepared."""
    rows: int
    length: int
    steps: int
    threads: int
    bfloat16: bool = False

    def autocast(self) -> torch.autocast:
        """Returns the precision of a peer."""
        return torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16)


class Clock:
    """Notes when each step ends, by the wall and by the processor time of all threads."""

    def __init__(self, steps: int) -> None:
        self.steps, self.marks = WARM_UP + steps, [now()]

    def mark(self) -> bool:
        """Notes the end of a step and returns whether it was the last."""
        self.marks.append(now())
        return len(self.marks) > self.steps

    def per_step(self) -> tuple[float, float]:
        """Returns the median of both, without the steps of the warm-up."""
        return tuple(np.median(np.diff(self.marks[WARM_UP:], axis=0), axis=0).tolist())


def now() -> tuple[float, float]:
    """Returns seconds by the wall, and of this process and those it waited for by the processor."""
    return time.perf_counter(), sum(os.times()[:4])


def lilliput_prepared(way: str, setting: Setting) -> Callable[[], object]:
    """Returns the work that makes the corpus and the lexicon."""

    def work() -> None:
        run, tokenizer = RunDir(setting.folder / "lilliput"), load_tokenizer(str(setting.teacher))
        corpus = build_corpus([str(setting.folder / "text.jsonl")], tokenizer, run.corpus, workers=1)
        build_lexicon(corpus, tokenizer, LexiconConfig(), run.lexicon)

    return work


def lilliput_steps(way: str, setting: Setting, clock: Clock) -> tuple[float, float]:
    """Returns words and pieces of a step; the student's pieces, or the teacher's where it is alone."""
    weights, run = LILLIPUT[way], RunDir(setting.folder / "lilliput")
    data = Data.open(run, setting.length, SHAPE.positions)
    lexicon = data.lexicon
    source = BatchSource(data.train, lexicon, BatchConfig(rows=setting.rows, length=setting.length), (0,))
    theirs = ours = None
    if weights.uses_teacher:
        second = lexicon.teacher_tokenizer().spell(lexicon.student_tokenizer())
        theirs = build_teacher(load_masked_lm(str(setting.teacher))[0], second, "pieces", SHAPE.width, 0)
    if weights.trains_student:
        ours = random_student(student_config(SHAPE, lexicon.student_size, lexicon.student_special), 0)
    stepper = Stepper(DualModel(theirs, ours, weights), OptimizerConfig(), Accelerator(cpu=True))
    stepper.dtype = torch.bfloat16 if setting.bfloat16 else torch.float32
    words = pieces = 0
    for step in itertools.count():
        batch = source.batch(step)
        stepper.step([batch], step + 1, 0.5)
        reading = batch.student if weights.trains_student else batch.teacher
        words += batch.words
        pieces += reading.pieces.numel() - (0 if reading.padding is None else int(reading.padding.sum()))
        if clock.mark():
            return words / (step + 1), pieces / (step + 1)
    raise AssertionError


def tokenizer_folder(way: str, setting: Setting) -> Path:
    """Returns whose vocabulary the Trainer takes: the teacher's, or the one lilliput has learnt."""
    if way == "Trainer, teacher":
        return setting.teacher
    return Lexicon.open(RunDir(setting.folder / "lilliput").lexicon).tokenizer_folder


def trainer_prepared(way: str, setting: Setting) -> Callable[[], object]:
    """Returns the work of transformers' example run_mlm.py: pieces, end to end, cut into full rows."""
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder(way, setting))

    def cut(texts: dict[str, list[str]]) -> dict[str, list[list[int]]]:
        read = tokenizer(texts["text"], return_special_tokens_mask=True, verbose=False)
        joined = {key: list(itertools.chain(*values)) for key, values in read.items()}
        whole = len(joined["input_ids"]) // setting.length * setting.length
        return {
            key: [values[start : start + setting.length] for start in range(0, whole, setting.length)]
            for key, values in joined.items()
        }

    def work() -> None:
        cache = str(setting.folder / f"cache of {way}")
        text = Dataset.from_json(str(setting.folder / "text.jsonl"), cache_dir=cache)
        text.map(cut, batched=True, remove_columns=["text"]).save_to_disk(setting.folder / way)

    return work


class Marker(TrainerCallback):
    """Tells a clock when a step ends."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_step_end(self, *arguments: object, **named: object) -> None:
        self.clock.mark()


def trainer_steps(way: str, setting: Setting, clock: Clock) -> tuple[float, float]:
    """Returns words and pieces of a step of transformers' Trainer."""
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder(way, setting))
    rows = load_from_disk(setting.folder / way)
    if way == "Trainer, teacher":
        model, _ = load_masked_lm(str(setting.teacher))
    else:
        lexicon = Lexicon.open(RunDir(setting.folder / "lilliput").lexicon)
        model = random_student(student_config(SHAPE, lexicon.student_size, lexicon.student_special), 0)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    arguments = TrainingArguments(
        str(setting.folder / "trained"),
        max_steps=clock.steps,
        per_device_train_batch_size=setting.rows,
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
    )
    collator = DataCollatorForLanguageModeling(tokenizer)
    trainer = Trainer(model, arguments, train_dataset=rows, data_collator=collator, callbacks=[Marker(clock)])
    trainer.remove_callback(PrinterCallback)  # standard output is for the tables
    with setting.autocast():
        trainer.train()
    share = setting.rows / len(rows)
    pieces = list(tokenizer.convert_ids_to_tokens(itertools.chain(*rows["input_ids"])))
    return count_words(pieces) * share, setting.rows * setting.length


def count_words(pieces: list[str]) -> int:
    """Returns how many of the pieces begin a word."""
    return sum(not piece.startswith("##") and piece not in {"[CLS]", "[SEP]", "[PAD]"} for piece in pieces)
