"""The command line: one function per subcommand, each parses, calls one stage and prints its result.

What needs torch is imported inside the functions, so that help, refusals and the processes that read the
corpus start at once.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from lilliput.config import Recipe
from lilliput.errors import ConfigError, Interrupted, LilliputError, extra_named
from lilliput.progress import console, is_main
from lilliput.run import RunDir

Teacher = Annotated[str, tyro.conf.Positional]
Corpus = Annotated[tuple[str, ...], tyro.conf.arg(metavar="TEXT")]
Settings = Annotated[
    tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(name="set", metavar="KEY=VALUE")
]


def build_corpus(
    teacher: Teacher,
    corpus: Corpus,
    out: Path,
    text_column: str = "text",
    workers: int | None = None,
    ray: str | None = None,
    overwrite: bool = False,
) -> None:
    """Read text into word ids, in OUT/corpus.

    Args:
        teacher: Folder or hub name of the teacher, whose tokenizer says what a word is.
        corpus: Text files, .jsonl, .csv, .parquet (also compressed), folders, globs, or hub data sets such as
            wikimedia/wikipedia:20231101.en.
        out: The run's folder.
        text_column: Which column of tables and data sets holds the text.
        workers: Processes; by default as many as there are cores.
        ray: Share the work on a Ray cluster: its HOST:PORT, or auto for the one this machine belongs to, or
            local for Ray on this machine alone.
        overwrite: Make anew what was made from other inputs.
    """
    from lilliput.corpus import build_corpus as build
    from lilliput.tokenizer import load_tokenizer

    made = build(
        corpus,
        load_tokenizer(teacher),
        RunDir(out).corpus,
        text_column=text_column,
        workers=workers,
        ray=ray,
        overwrite=overwrite,
    )
    _print(
        f"{made.words:,} words, {made.documents:,} documents, {len(made.counts) - 2:,} word types "
        f"in {made.path}"
    )


def build_lexicon(
    teacher: Teacher, out: Path, recipe: str = "lilliput", set_: Settings = (), overwrite: bool = False
) -> None:
    """Learn the student's vocabulary and segment every word, in OUT/lexicon.

    Args:
        teacher: Folder or hub name of the teacher.
        out: The run's folder, with its corpus.
        recipe: Name of a recipe, or a .toml or .json file; its lexicon settings are used.
        set_: Settings to change, such as lexicon.size=2000.
        overwrite: Make anew what was made from other inputs.
    """
    from lilliput.corpus import Corpus
    from lilliput.lexicon import build_lexicon as build
    from lilliput.tokenizer import load_tokenizer

    run, chosen = RunDir(out), _recipe(recipe, set_)
    made = build(
        Corpus.open(run.corpus), load_tokenizer(teacher), chosen.lexicon, run.lexicon, overwrite=overwrite
    )
    _print(made.report.describe(chosen.student.width))


def vocabulary(
    teacher: Teacher,
    out: Path,
    sizes: Annotated[str, tyro.conf.arg(metavar="N,N,...")] = "1000,2000,5000,10000",
    width: int = 120,
    overwrite: bool = False,
) -> None:
    """Show what a vocabulary's size costs and saves, as a table and a plot, in OUT/vocabulary.

    Args:
        teacher: Folder or hub name of the teacher.
        out: The run's folder, with its corpus.
        sizes: Vocabulary sizes to try.
        width: The student's width, for the size of its embeddings.
        overwrite: Make anew what was made from other inputs.
    """
    from lilliput.corpus import Corpus
    from lilliput.tokenizer import load_tokenizer
    from lilliput.vocabularies import render, vocabulary as compare

    try:
        numbers = [int(size) for size in sizes.split(",")]
    except ValueError as error:
        raise ConfigError(f"--sizes takes whole numbers separated by commas, found '{sizes}'") from error
    run = RunDir(out)
    rows = compare(
        Corpus.open(run.corpus), load_tokenizer(teacher), numbers, run.vocabulary, width, overwrite=overwrite
    )
    _print(render(rows))
    _print(f"table and plot in {run.vocabulary}")


def train(
    teacher: Teacher,
    stage: str,
    out: Path,
    recipe: str = "lilliput",
    set_: Settings = (),
    minutes: float | None = None,
    words: int | None = None,
    checkpoint_minutes: float = 5.0,
    overwrite: bool = False,
) -> None:
    """Train one stage of a recipe, in OUT/training/STAGE.

    Args:
        teacher: Folder or hub name of the teacher.
        stage: Name of the stage in the recipe, such as teacher, dual or student.
        out: The run's folder, with its corpus and lexicon.
        recipe: Name of a recipe, or a .toml or .json file.
        set_: Settings to change, such as student.width=96 or stages.student.optimizer.student_rate=0.001.
        minutes: Minutes of training, all stages of the recipe together.
        words: Words of training, all stages of the recipe together.
        checkpoint_minutes: Minutes between checkpoints.
        overwrite: Make anew what was made from other inputs.
    """
    from lilliput.training import train as run_stage

    results = run_stage(
        RunDir(out),
        _recipe(recipe, set_, minutes, words),
        stage,
        teacher,
        overwrite=overwrite,
        checkpoint_minutes=checkpoint_minutes,
    )
    _print(json.dumps(results, indent=2))


def evaluate(
    run: Annotated[Path, tyro.conf.Positional],
    text: Corpus = (),
    text_column: str = "text",
    rows: int = 1024,
) -> None:
    """Evaluate a run's student and its trained teacher on masked words, in RUN/evaluation.json.

    Args:
        run: The run's folder, with its finished student.
        text: Text to evaluate on; without it the run's held-out text.
        text_column: Which column of tables and data sets holds the text.
        rows: Rows of text to evaluate on at most.
    """
    from lilliput.compression import evaluate as run_evaluation

    qualities = run_evaluation(run, text, text_column=text_column, rows=rows)
    for name, quality in qualities.items():
        _print(
            f"{name}: {quality.bits_per_character:.3f} bits per character, {quality.accuracy:.1%} of the "
            f"masked pieces right ({quality.words:,} words, {quality.pieces:,} pieces masked)"
        )


def compress(
    teacher: Teacher,
    corpus: Corpus,
    out: Path,
    recipe: str = "lilliput",
    set_: Settings = (),
    minutes: float | None = None,
    words: int | None = None,
    held_out: Corpus = (),
    text_column: str = "text",
    workers: int | None = None,
    checkpoint_minutes: float = 5.0,
    overwrite: bool = False,
) -> None:
    """Make a small student of a teacher: every stage in its order, each done once.

    Run it again to go on after an interruption. The student lies in OUT/student as a plain transformers
    checkpoint.

    Args:
        teacher: Folder or hub name of a BERT checkpoint, such as bert-base-uncased.
        corpus: Text files, .jsonl, .csv, .parquet (also compressed), folders, globs, or hub data sets such as
            wikimedia/wikipedia:20231101.en.
        out: The run's folder.
        recipe: Name of a recipe (lilliput, paper48, paper96, paper192, mixed_vocabulary, tiny), or a .toml or
            .json file.
        set_: Settings to change, such as student.width=96 or stages.student.optimizer.student_rate=0.001.
        minutes: Minutes of training, all stages together.
        words: Words of training, all stages together.
        held_out: Separate text to evaluate on; without it documents of the corpus are held out.
        text_column: Which column of tables and data sets holds the text.
        workers: Processes that read the corpus; by default as many as there are cores.
        checkpoint_minutes: Minutes between checkpoints.
        overwrite: Make anew what was made from other inputs.
    """
    from lilliput.compression import compress as run_all, render

    summary = run_all(
        teacher,
        corpus,
        out,
        _recipe(recipe, set_, minutes, words),
        held_out=held_out,
        text_column=text_column,
        workers=workers,
        checkpoint_minutes=checkpoint_minutes,
        overwrite=overwrite,
    )
    _print(render(summary))
    _print(f"the student is in {RunDir(out).student}; load it with transformers' AutoModelForMaskedLM")


def plan(
    teacher: Teacher,
    corpus: Corpus,
    recipe: str = "lilliput",
    set_: Settings = (),
    minutes: float | None = None,
    words: int | None = None,
    gpu: str | None = None,
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
        gpu: A GPU that is not here: T4, L4, A10G, A100, H100 or RTX4090; without it this machine is measured.
        text_column: Which column of tables holds the text.
        workers: Processes that will read the corpus; by default as many as there are cores.
        checkpoint_minutes: Minutes between checkpoints.
    """
    from lilliput.planning.estimate import render
    from lilliput.planning.plan import plan as run_plan

    found = run_plan(
        teacher,
        corpus if (number := _number(corpus)) is None else number,
        _recipe(recipe, set_, minutes, words),
        gpu=gpu,
        text_column=text_column,
        workers=workers,
        checkpoint_minutes=checkpoint_minutes,
    )
    _print(render(found))


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
    from lilliput.benchmark.training import benchmark_recipe, benchmark_training as measure
    from lilliput.benchmark.training_report import render

    chosen = _changed(benchmark_recipe(), set_) if recipe is None else _recipe(recipe, set_)
    _print(render(measure(teacher, out, chosen, run=run, shape=shape, stages=stages, rounds=rounds)))
    _print(f"figures and plot in {out}")


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
    from lilliput.benchmark.corpus import benchmark_corpus as measure, render

    report = measure(teacher, corpus, out, text_column=text_column, workers=workers, rounds=rounds)
    _print(render(report))
    _print(f"figures and plot in {out}")


_Benchmark = (
    Annotated[None, tyro.conf.subcommand("training", constructor=benchmark_training)]
    | Annotated[None, tyro.conf.subcommand("corpus", constructor=benchmark_corpus)]
)


def benchmark(of: tyro.conf.OmitArgPrefixes[tyro.conf.OmitSubcommandPrefixes[_Benchmark]]) -> None:
    """Measure how fast this machine trains, or reads text."""


def run(
    bundle: Annotated[Path, tyro.conf.Positional],
    top: int | None = None,
    json_: Annotated[bool, tyro.conf.arg(name="json")] = False,
) -> None:
    """Answer texts with a bundle: each line of standard input is a text, each of the output its answer.

    Two texts that are read together have a tab between them. A line that cannot be answered has an empty line
    for an answer and a sentence on standard error.

    Args:
        bundle: The bundle's folder.
        top: How many classes, or pieces for each [MASK]; by default the best class, or 5 pieces.
        json_: Write JSON objects, with all that is known of the answer.
    """
    from lilliput.lines import run as answer

    sys.exit(answer(bundle, top, json_))


def recipes(name: Annotated[str, tyro.conf.Positional] = "") -> None:
    """List the recipes, or print one as JSON, ready to be edited and given to --recipe.

    Args:
        name: The recipe to print.
    """
    from lilliput.recipes import RECIPES, find_recipe

    if name:
        _print(json.dumps(find_recipe(name).to_dict(), indent=2))
    else:
        for recipe, make in RECIPES.items():
            _print(f"{recipe:18}{(make.__doc__ or '').splitlines()[0]}")


_COMMANDS: dict[str, Callable[..., None]] = {
    "compress": compress,
    "build-corpus": build_corpus,
    "build-lexicon": build_lexicon,
    "vocabulary": vocabulary,
    "train": train,
    "evaluate": evaluate,
    "plan": plan,
    "benchmark": benchmark,
    "run": run,
    "recipes": recipes,
}


def main() -> None:
    """Runs the command line; a refusal is one printed sentence and exits with 1, an interruption with 130."""
    # Two processes that share cores stall each other for seconds where OpenMP threads wait by spinning.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    _quiet_libraries()
    if not is_main and sys.argv[1:2] not in (["compress"], ["train"]):
        return  # of several processes that a launcher started, one is enough for the other commands
    try:
        with extra_named():
            tyro.extras.subcommand_cli_from_dict(
                _COMMANDS,
                prog="lilliput",
                description="Makes a model of a few megabytes, with a small vocabulary of its own, of a BERT "
                "encoder.",
            )
    except Interrupted as error:
        _refuse(error, "yellow")
        sys.exit(130)
    except LilliputError as error:
        _refuse(error, "red")
        sys.exit(1)
    except KeyboardInterrupt:
        console.print("lilliput: interrupted; finished parts are kept, run the same command again to go on")
        sys.exit(130)


def _quiet_libraries() -> None:
    """Silences what transformers and the hub print on loading, which is normal here."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")


def _recipe(
    name: str, settings: tuple[str, ...], minutes: float | None = None, words: int | None = None
) -> Recipe:
    """Returns the recipe of that name with what the command line changes."""
    from lilliput.recipes import find_recipe

    if minutes is not None and words is not None:
        raise ConfigError("a run's cost is either --minutes or --words, not both")
    if minutes is not None:
        settings = (*settings, f"budget.minutes={minutes}")
    if words is not None:
        settings = (*settings, f"budget.words={words}")
    return _changed(find_recipe(name), settings)


def _changed(recipe: Recipe, settings: tuple[str, ...]) -> Recipe:
    """Returns a recipe with what --set changes."""
    wrong = [item for item in settings if "=" not in item]
    if wrong:
        raise ConfigError(f"--set takes KEY=VALUE, found '{wrong[0]}', for instance student.width=96")
    return recipe.replace(dict(item.split("=", 1) for item in settings))


def _refuse(error: LilliputError, style: str) -> None:
    """Prints what an error says as it stands: brackets in names of files are no markup."""
    if error.shared and not is_main:
        time.sleep(1)  # for the main process to say it: launchers end all processes as soon as one has ended
        return
    name = "lilliput" if is_main else f"lilliput, process {os.environ['RANK']}"
    Console(stderr=True).print(f"{name}: {error}", style=style, highlight=False, markup=False, soft_wrap=True)


def _print(result: object) -> None:
    Console(quiet=not is_main).print(result, highlight=False, markup=False, soft_wrap=isinstance(result, str))
