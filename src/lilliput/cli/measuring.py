"""The commands that measure this machine, and say what a run will take on it."""

from pathlib import Path
from typing import Annotated

import tyro

from lilliput.cli.options import Corpus, Settings, Teacher, changed, recipe_of, show


def plan(
    teacher: Teacher,
    corpus: Corpus,
    recipe: str = "lilliput",
    set_: Settings = (),
    minutes: float | None = None,
    words: int | None = None,
    text_column: str = "text",
    workers: int | None = None,
    checkpoint_minutes: float = 5.0,
) -> None:
    """Say what a run will take, before it: words per second, hours, memory and disk.

    Args:
        teacher: Folder or hub name of the teacher, or a shape, for which nothing is fetched: bert-base,
            bert-large, minilm-6 or minilm-12.
        corpus: Text files, as `compress` takes them, or a number of words, such as 3e9.
        recipe: Name of a recipe, or a .toml or .json file.
        set_: Settings to change, such as student.width=96.
        minutes: Minutes of training, all stages together.
        words: Words of training, all stages together.
        text_column: Which column of tables holds the text.
        workers: Processes that will read the corpus; by default as many as there are cores.
        checkpoint_minutes: Minutes between checkpoints.
    """
    from lilliput.planning.estimate import render
    from lilliput.planning.plan import plan as run_plan

    found = run_plan(
        teacher,
        corpus if (number := _number(corpus)) is None else number,
        recipe_of(recipe, set_, minutes, words),
        text_column=text_column,
        workers=workers,
        checkpoint_minutes=checkpoint_minutes,
    )
    show(render(found))


def _number(corpus: tuple[str, ...]) -> int | None:
    """Returns the number of words that a corpus is given by, if it is."""
    try:
        (text,) = corpus
        return int(float(text))
    except (ValueError, OverflowError):
        return None


def benchmark_training(
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
    from benchmarks.training import benchmark_recipe, benchmark_training as measure
    from benchmarks.training_report import render

    chosen = changed(benchmark_recipe(), set_) if recipe is None else recipe_of(recipe, set_)
    show(render(measure(teacher, out, chosen, run=run, shape=shape, stages=stages, rounds=rounds)))
    show(f"figures and plot in {out}")


def benchmark_corpus(
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
    from benchmarks.corpus import benchmark_corpus as measure, render

    report = measure(teacher, corpus, out, text_column=text_column, workers=workers, rounds=rounds)
    show(render(report))
    show(f"figures and plot in {out}")


def benchmark_bundle(
    models: Annotated[tuple[Path, ...], tyro.conf.Positional],
    task: str,
    out: Path,
    teacher: Path | None = None,
    threads: tuple[int, ...] = (1, 2),
    rounds: int = 5,
) -> None:
    """Compare bundles by size, quality and speed, also with their teacher and with models of other makes.

    Tables, plot and bundle.json are in OUT.

    Args:
        models: Bundles; beside them any file.onnx, or file.safetensors with static embeddings, that has its
            tokenizer.json beside it.
        task: The task that they are scored on and whose texts they answer, as `finetune` takes it.
        out: Folder to write.
        teacher: Folder of a teacher fine-tuned for the task; its bundles are made in OUT/teacher, once.
        threads: Numbers of threads.
        rounds: Times everything is measured.
    """
    from lilliput.comparison.bundle_report import render
    from lilliput.comparison.bundles import benchmark_bundle as measure
    from lilliput.tasks.loading import load_task

    report = measure(models, load_task(task), out, teacher=teacher, threads=threads, rounds=rounds)
    show(render(report))
    show(f"figures and plot in {out}")


_Benchmark = (
    Annotated[None, tyro.conf.subcommand("training", constructor=benchmark_training)]
    | Annotated[None, tyro.conf.subcommand("corpus", constructor=benchmark_corpus)]
    | Annotated[None, tyro.conf.subcommand("bundle", constructor=benchmark_bundle)]
)


def benchmark(of: tyro.conf.OmitArgPrefixes[tyro.conf.OmitSubcommandPrefixes[_Benchmark]]) -> None:
    """Measure how fast this machine trains, reads text, or answers with bundles."""
