"""`python -m benchmarks.training` and `python -m benchmarks.corpus`: their options, and how they end."""

import sys
from collections.abc import Callable
from pathlib import Path

import tyro

from lilliput.cli import prepare
from lilliput.cli.options import Corpus, Settings, Teacher, changed, recipe_of, show
from lilliput.common.ending import ended


def main(command: Callable[..., None]) -> None:
    """Runs a command with the arguments of the process, and ends it as `lilliput` ends."""
    prepare()
    if code := ended(lambda: tyro.cli(command, prog=f"python -m benchmarks.{command.__name__}")):
        sys.exit(code)


def training(
    teacher: Teacher,
    out: Path,
    run: Path | None = None,
    recipe: str | None = None,
    set_: Settings = (),
    shape: str | None = None,
    stages: tuple[str, ...] = (),
    rounds: int = 5,
) -> None:
    """Time training steps part by part, against the machine's limits and transformers' own modules.

    Table, plot and training.json are in OUT. OMP_NUM_THREADS says how many threads work.

    Args:
        teacher: Folder or hub name of the teacher; its shape and its tokenizer are used, its weights are not.
        out: Folder to write.
        run: A run's folder with the corpus and lexicon to read; without it a made-up text is read.
        recipe: Name of a recipe, or a .toml or .json file; without it lilliput with a stage of dual training.
        set_: Settings to change, such as student.heads=4 or stages.dual.batch.rows=16.
        shape: Another shape for the teacher: bert-base, bert-large, minilm-6 or minilm-12.
        stages: Names of the stages to measure; by default all.
        rounds: Times everything is measured.
    """
    from benchmarks.training import benchmark_recipe, benchmark_training
    from benchmarks.training_report import render

    chosen = changed(benchmark_recipe(), set_) if recipe is None else recipe_of(recipe, set_)
    show(render(benchmark_training(teacher, out, chosen, run=run, shape=shape, stages=stages, rounds=rounds)))
    show(f"figures and plot in {out}")


def corpus(
    teacher: Teacher,
    corpus: Corpus,
    out: Path,
    text_column: str = "text",
    workers: tuple[int, ...] = (),
    rounds: int = 3,
) -> None:
    """Time text into word ids, by one process and by several.

    Table, plot and corpus.json are in OUT.

    Args:
        teacher: Folder or hub name of the teacher, whose tokenizer says what a word is.
        corpus: Text, as `build-corpus` takes it; 100 MB or more, as starting processes takes seconds.
        out: Folder to write, on the disk that runs are on.
        text_column: Which column of tables and data sets holds the text.
        workers: Numbers of processes to try; by default 1, and as many as there are cores.
        rounds: Times everything is measured.
    """
    from benchmarks.corpus import benchmark_corpus, render

    report = benchmark_corpus(teacher, corpus, out, text_column=text_column, workers=workers, rounds=rounds)
    show(render(report))
    show(f"figures and plot in {out}")
