"""The commands that make a student: text, vocabulary, training, and all of it."""

import dataclasses
import json
from typing import Annotated, Any

import tyro

from lilliput.cli.options import (
    Column,
    Corpus,
    Count,
    Folder,
    Minutes,
    Names,
    RecipeName,
    Settings,
    Task,
    Teacher,
    names_of,
    pairs_of,
    recipe_of,
    show,
    show_report,
)
from lilliput.errors import ConfigError
from lilliput.run import RunDir


def build_corpus(
    teacher: Teacher,
    corpus: Corpus,
    out: Folder,
    text_column: Column = "text",
    workers: Count = None,
    ray: Annotated[str | None, tyro.conf.arg(metavar="ADDRESS")] = None,
    overwrite: bool = False,
) -> None:
    """Read text into word ids, in OUT/corpus.

        lilliput build-corpus bert-base-uncased --corpus text.txt --out runs/x

    Args:
        teacher: Folder or hub name of the teacher; its tokenizer decides what a word is.
        corpus: Text files, .jsonl, .csv, .parquet (also compressed), folders, globs, or hub data sets such as
            wikimedia/wikipedia:20231101.en.
        out: The run's folder.
        text_column: Which column of tables and data sets holds the text.
        workers: Processes; by default as many as there are cores.
        ray: Share the work on a Ray cluster: HOST:PORT, auto for the cluster of this machine, or local for
            Ray on this machine alone.
        overwrite: Replace results that were made from other inputs.
    """
    from lilliput.preparation import build_corpus as build

    made = build(corpus, teacher, out, text_column=text_column, workers=workers, ray=ray, overwrite=overwrite)
    show(
        f"{made.words:,} words, {made.documents:,} documents, {len(made.counts) - 2:,} word types "
        f"in {made.path}"
    )


def build_lexicon(
    teacher: Teacher,
    out: Folder,
    recipe: RecipeName = "lilliput",
    set_: Settings = (),
    overwrite: bool = False,
) -> None:
    """Learn the student's vocabulary and segment every word, in OUT/lexicon.

        lilliput build-lexicon bert-base-uncased --out runs/x --set lexicon.size=2000

    Args:
        teacher: Folder or hub name of the teacher.
        out: The run's folder, with its corpus.
        recipe: Name of a recipe, or a .toml or .json file; only its lexicon settings matter here.
        set_: Settings to change, such as lexicon.size=2000.
        overwrite: Replace results that were made from other inputs.
    """
    from lilliput.preparation import build_lexicon as build

    chosen = recipe_of(recipe, set_)
    made = build(out, teacher, chosen.lexicon, overwrite=overwrite)
    show(made.report.describe(chosen.student.width))


def vocabulary(
    teacher: Teacher,
    out: Folder,
    sizes: Annotated[str, tyro.conf.arg(metavar="N,N,...")] = "1000,2000,5000,10000",
    width: int = 120,
    overwrite: bool = False,
) -> None:
    """Compare sizes of vocabulary before training, as a table and a plot in OUT/vocabulary.

        lilliput vocabulary bert-base-uncased --out runs/x --sizes 1000,5000

    Args:
        teacher: Folder or hub name of the teacher.
        out: The run's folder, with its corpus.
        sizes: Vocabulary sizes to try.
        width: The student's width, for the size of its embeddings.
        overwrite: Replace results that were made from other inputs.
    """
    from lilliput.pieces.sizes import render
    from lilliput.preparation import vocabulary as compare

    try:
        numbers = [int(size) for size in sizes.split(",")]
    except ValueError as error:
        raise ConfigError(f"--sizes takes whole numbers separated by commas, found '{sizes}'") from error
    show(render(compare(out, teacher, numbers, width=width, overwrite=overwrite)))
    show(f"table and plot in {RunDir(out).vocabulary}")


def train(
    teacher: Teacher,
    stage: Annotated[str, tyro.conf.arg(metavar="STAGE")],
    out: Folder,
    recipe: RecipeName = "lilliput",
    set_: Settings = (),
    minutes: Minutes = None,
    words: Count = None,
    checkpoint_minutes: float = 5.0,
    overwrite: bool = False,
) -> None:
    """Train one stage of a recipe, in OUT/training/STAGE.

        lilliput train bert-base-uncased --stage student --out runs/x

    Args:
        teacher: Folder or hub name of the teacher.
        stage: Name of the stage in the recipe, such as teacher, dual or student.
        out: The run's folder, with its corpus and lexicon.
        recipe: Name of a recipe, or a .toml or .json file.
        set_: Settings to change, such as student.width=96 or stages.student.optimizer.student_rate=0.001.
        minutes: Minutes of training, all stages of the recipe together.
        words: Words of training, all stages of the recipe together.
        checkpoint_minutes: Minutes between checkpoints.
        overwrite: Replace results that were made from other inputs.
    """
    from lilliput.training.loop import train as run_stage

    results = run_stage(
        out,
        recipe_of(recipe, set_, minutes, words),
        stage,
        teacher,
        overwrite=overwrite,
        checkpoint_minutes=checkpoint_minutes,
    )
    show(json.dumps(results, indent=2))


def compress(
    teacher: Teacher,
    corpus: Corpus,
    out: Folder,
    recipe: RecipeName = "lilliput",
    set_: Settings = (),
    minutes: Minutes = None,
    words: Count = None,
    held_out: Corpus = (),
    text_column: Column = "text",
    workers: Count = None,
    checkpoint_minutes: float = 5.0,
    overwrite: bool = False,
) -> None:
    """Compress a teacher into a small student: corpus, lexicon and all stages, each done once.

        lilliput compress bert-base-uncased --corpus text.txt --out runs/x

    After an interruption, run the same command again to go on. The student is in OUT/student, a plain
    transformers checkpoint.

    Args:
        teacher: Folder or hub name of a BERT checkpoint, such as bert-base-uncased.
        corpus: Text files, .jsonl, .csv, .parquet (also compressed), folders, globs, or hub data sets such as
            wikimedia/wikipedia:20231101.en.
        out: The run's folder.
        recipe: Name of a recipe (lilliput, sentence, paper48, paper96, paper192, mixed_vocabulary, tiny), or
            a .toml or .json file.
        set_: Settings to change, such as student.width=96 or stages.student.optimizer.student_rate=0.001.
        minutes: Minutes of training, all stages together.
        words: Words of training, all stages together.
        held_out: Separate text to evaluate on; by default some documents of the corpus are held out.
        text_column: Which column of tables and data sets holds the text.
        workers: Processes that read the corpus; by default as many as there are cores.
        checkpoint_minutes: Minutes between checkpoints.
        overwrite: Replace results that were made from other inputs.
    """
    from lilliput.compression import compress as run_all, render
    from lilliput.planning.expectation import announce, compared

    run, chosen = RunDir(out), recipe_of(recipe, set_, minutes, words)

    def expected() -> dict[str, Any] | None:
        found = announce(run, chosen, teacher, checkpoint_minutes)
        return None if found is None else dataclasses.asdict(found)

    summary = run_all(
        teacher,
        corpus,
        run,
        chosen,
        held_out=held_out,
        text_column=text_column,
        workers=workers,
        checkpoint_minutes=checkpoint_minutes,
        overwrite=overwrite,
        before_training=expected,
    )
    show(render(summary).with_rows(compared(summary)))
    gives_vectors = chosen.stages[-1].objectives.reads_sentences
    masked, vectors = "transformers' AutoModelForMaskedLM", "sentence-transformers' SentenceTransformer"
    opener = vectors if gives_vectors else masked
    show(f"the student is in {run.student}; load it with {opener}")
    show_report(run.path)


def distill(
    classifier: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="CLASSIFIER")],
    texts: Corpus,
    out: Folder,
    minutes: float = 15.0,
    corpus: Corpus = (),
    task: Task = None,
    teacher_labels: Names = (),
    text_column: Column = "text",
    set_: Settings = (),
    overwrite: bool = False,
) -> None:
    """Make a bundle of 2 MB that answers as a fine-tuned classifier does, in OUT/bundle.

        lilliput distill my-org/my-classifier --texts pile.txt --out runs/mine

    Vocabulary, student, learning from the classifier's answers to the texts, bundle and scores: all of it.
    After an interruption, run the same command again to go on.

    Args:
        classifier: Folder or hub name of a fine-tuned encoder with a head for texts or words. Of several the
            answers are averaged.
        texts: Texts such as those that will be asked, without labels: files with one to a line, .jsonl, .csv,
            .parquet (also compressed), folders, globs, or hub data sets.
        out: The run's folder.
        minutes: Minutes of all of it, about.
        corpus: More text to learn the vocabulary from; of use where there are few texts.
        task: Labelled examples of the same task, where there are some: a known task's name, or local files by
            the beginning of their names, as for `finetune`.
        teacher_labels: Names of the classifier's labels and of those that they stand for, where they differ.
        text_column: Which column of tables and data sets holds the text.
        set_: Settings to change, such as student.width=96, lexicon.size=3000 or finetuning.quantization=int4.
        overwrite: Replace results that were made from other inputs.
    """
    from lilliput.distillation import DistillConfig, distill as run_all, render

    found = run_all(
        classifier,
        texts,
        out,
        minutes=minutes,
        corpus=corpus,
        task=task,
        teacher_labels=names_of(teacher_labels),
        config=DistillConfig().replace(pairs_of(set_)),
        text_column=text_column,
        overwrite=overwrite,
    )
    show(render(found))
    show_report(out)
    show(f"try it: echo 'a text' | lilliput run {found.folder}")


def recipes(name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")] = "") -> None:
    """List the recipes, or print one as JSON, ready to be edited and given to --recipe.

        lilliput recipes tiny > mine.json

    Args:
        name: The recipe to print.
    """
    from lilliput.recipes import RECIPES, find_recipe

    if name:
        show(json.dumps(find_recipe(name).to_dict(), indent=2))
    else:
        for recipe, make in RECIPES.items():
            show(f"{recipe:18}{(make.__doc__ or '').splitlines()[0]}")
