"""The commands that measure this machine, and say what a run will take on it."""

from pathlib import Path
from typing import Annotated

import tyro

from lilliput.cli.options import (
    Column,
    Corpus,
    Count,
    File,
    Folder,
    FolderOrNone,
    Minutes,
    RecipeName,
    Settings,
    Teacher,
    recipe_of,
    show,
)
from lilliput.errors import InputError


def plan(
    teacher: Teacher,
    corpus: Corpus,
    recipe: RecipeName = "lilliput",
    set_: Settings = (),
    minutes: Minutes = None,
    words: Count = None,
    text_column: Column = "text",
    workers: Count = None,
    checkpoint_minutes: float = 5.0,
) -> None:
    """Estimate what a run will take on this machine: words per second, hours, memory and disk.

        lilliput plan bert-base-uncased --corpus text.txt --minutes 60

    Args:
        teacher: Folder or hub name of the teacher; or a shape, which needs no download: bert-base,
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


def report(
    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN")],
    out: File = None,
) -> None:
    """Show runs and bundles on one page: sizes, curves, vocabulary, masked words, tasks, cost and commands.

        lilliput report runs/x

    The page is one file of HTML that any browser shows without a network. All of it is read from the files of
    the runs; what they have not is left out.

    Args:
        runs: Runs, also unfinished ones; bundles, and folders that `benchmark bundle` wrote, too.
        out: The file to write; by default report.html in the first folder.
    """
    from lilliput.reporting.report import report as write

    show(f"the page is {write(runs, out)}")


def benchmark_bundle(
    models: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="BUNDLE")],
    task: Annotated[str, tyro.conf.arg(metavar="TASK")],
    out: Folder,
    kind: Annotated[str | None, tyro.conf.arg(metavar="KIND")] = None,
    teacher: FolderOrNone = None,
    threads: tuple[int, ...] = (1, 2),
    rounds: int = 5,
) -> None:
    """Compare bundles by size, quality and speed, also with their teacher and other models.

        lilliput benchmark bundle bundle --task sst2 --out runs/speed

    Tables, plot and bundle.json are in OUT.

    Args:
        models: Bundles; beside them any file.onnx, or file.safetensors with static embeddings, that has its
            tokenizer.json beside it.
        task: The task to score on, as for `finetune`; its texts are also used to measure speed.
        out: Folder to write.
        kind: What the task asks, as for `finetune`; similarity and retrieval judge vectors by their cosines.
        teacher: Folder of a teacher fine-tuned for the task; its bundles are made once, in OUT/teacher.
        threads: Numbers of threads.
        rounds: How often everything is measured.
    """
    from lilliput.comparison.bundle_report import render
    from lilliput.comparison.bundles import benchmark_bundle as measure
    from lilliput.tasks.loading import load_task

    data = load_task(task, kind=kind)
    report = measure(models, data, out, teacher=teacher, threads=threads, rounds=rounds)
    show(render(report))
    show(f"figures and plot in {out}")


def refuse_moved(name: str) -> None:
    """Raises InputError where a benchmark is no longer a command of lilliput."""
    if name in ("training", "corpus"):
        raise InputError(
            f"`lilliput benchmark {name}` is now `python -m benchmarks.{name}`, with the same options; "
            "type it in a checkout of lilliput, as the package no longer has it"
        )


def _training() -> None:
    """Moved: type `python -m benchmarks.training` in a checkout of lilliput."""
    refuse_moved("training")


def _corpus() -> None:
    """Moved: type `python -m benchmarks.corpus` in a checkout of lilliput."""
    refuse_moved("corpus")


_Benchmark = (
    Annotated[None, tyro.conf.subcommand("bundle", constructor=benchmark_bundle)]
    | Annotated[None, tyro.conf.subcommand("training", constructor=_training)]
    | Annotated[None, tyro.conf.subcommand("corpus", constructor=_corpus)]
)


def benchmark(of: tyro.conf.OmitArgPrefixes[tyro.conf.OmitSubcommandPrefixes[_Benchmark]]) -> None:
    """Measure how good, how large and how fast finished bundles are.

    lilliput benchmark bundle bundle --task sst2 --out runs/speed
    """
