"""What each ingredient adds, on the same words: one teacher, one student shape, seven ways to train.

    python experiments/ablation.py TEACHER --corpus TEXT --held-out TEXT --out FOLDER [--words N]

Corpus, lexicon and the teacher's own stage are made once and shared. Every way then trains on the same words.
The qualities before and after go to FOLDER/ablation.json and to standard output as a Markdown table.
"""

import argparse
import dataclasses
import os
from pathlib import Path

from lilliput.common.files import write_json
from lilliput.config import (
    BatchConfig,
    Budget,
    ObjectiveWeights,
    OptimizerConfig,
    Recipe,
    StageConfig,
    StartConfig,
    StudentConfig,
)
from lilliput.preparation import prepare
from lilliput.recipes import lilliput
from lilliput.run import RunDir
from lilliput.training.loop import train

DUAL = ObjectiveWeights(teacher_masked_lm=1.0, student_masked_lm=1.0)
SOFT = dataclasses.replace(DUAL, student_masked_lm=0.5, soft_labels=0.5)
WAYS = {
    "random start, no teacher": ("random", ObjectiveWeights(student_masked_lm=1.0)),
    "dual": ("random", DUAL),
    "dual + down": ("random", dataclasses.replace(DUAL, projection_down=1e-3)),
    "dual + up": ("random", dataclasses.replace(DUAL, projection_up=1e-3)),
    "warm start, no teacher": ("teacher", ObjectiveWeights(student_masked_lm=1.0)),
    "warm start + dual + soft labels": ("teacher", SOFT),
    "warm start + dual + soft labels + down": ("teacher", dataclasses.replace(SOFT, projection_down=1e-3)),
}


def recipe(start: str, objectives: ObjectiveWeights, words: int, teacher_words: int) -> Recipe:
    """Returns the teacher's stage of `teacher_words` and then one of `words` words."""
    total = words + teacher_words
    batch, rates = BatchConfig(rows=16), OptimizerConfig(student_rate=2e-3, teacher_rate=3e-4)
    stages = (
        StageConfig("teacher", teacher_words / total, ObjectiveWeights(teacher_masked_lm=1.0), batch, rates),
        StageConfig("way", words / total, objectives, batch, rates),
    )
    return dataclasses.replace(
        lilliput(),
        name="ablation",
        budget=Budget(words=total),
        stages=stages,
        student=StudentConfig(heads=12),
        start=StartConfig(student=start),
    )


def main() -> None:
    """Trains every way and writes the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("teacher")
    parser.add_argument("--corpus", nargs="+", required=True)
    parser.add_argument("--held-out", nargs="+", default=[])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--words", type=int, default=350_000)
    parser.add_argument("--teacher-words", type=int, default=350_000)
    options = parser.parse_args()
    shared = RunDir(options.out / "shared")
    first = recipe("teacher", DUAL, options.words, options.teacher_words)
    prepare(options.teacher, options.corpus, shared, first, held_out=options.held_out)
    taught = train(shared, first, "teacher", options.teacher)
    figures = {"teacher": taught}
    print(
        "| way | bits per character | right | minutes |\n|---|---|---|---|\n"
        + row("teacher", "teacher", taught),
        flush=True,
    )
    for number, (name, (start, objectives)) in enumerate(WAYS.items()):
        run = RunDir(options.out / f"way{number}")
        (run.path / "training").mkdir(parents=True, exist_ok=True)
        for part in ("corpus", "lexicon", "held_out", "training/teacher"):
            if (shared.path / part).exists() and not (run.path / part).exists():
                os.symlink((shared.path / part).resolve(), run.path / part)
        figures[name] = train(
            run, recipe(start, objectives, options.words, options.teacher_words), "way", options.teacher
        )
        print(row(name, "student", figures[name]), flush=True)
        write_json(options.out / "ablation.json", figures)


def row(name: str, model: str, results: dict) -> str:
    """Returns one line of the table."""
    qualities = (f"{results[when][f'{model}/bits_per_character']:.3f}" for when in ("before", "after"))
    shares = (f"{results[when][f'{model}/accuracy']:.1%}" for when in ("before", "after"))
    return f"| {name} | {' -> '.join(qualities)} | {' -> '.join(shares)} | {results['seconds'] / 60:.1f} |"


if __name__ == "__main__":
    main()
