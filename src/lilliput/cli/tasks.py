"""The commands of tasks and of quality: an encoder learns a task, and how good models are."""

from pathlib import Path
from typing import Annotated

import tyro

from lilliput.cli.options import (
    Column,
    ColumnOrNone,
    Corpus,
    File,
    FileOrNone,
    FolderOrNone,
    Model,
    Names,
    Settings,
    Task,
    Teachers,
    names_of,
    pairs_of,
    show,
    show_report,
)
from lilliput.errors import ConfigError, StorageError
from lilliput.inference.format import CONFIG, is_config
from lilliput.run import RunDir


def finetune(
    model: Model,
    task: Task = None,
    train: FileOrNone = None,
    dev: FileOrNone = None,
    test: FileOrNone = None,
    text: ColumnOrNone = None,
    pair: ColumnOrNone = None,
    label: ColumnOrNone = None,
    tags: ColumnOrNone = None,
    negative: ColumnOrNone = None,
    kind: Annotated[str | None, tyro.conf.arg(metavar="KIND")] = None,
    metric: Annotated[str | None, tyro.conf.arg(metavar="METRIC")] = None,
    out: FolderOrNone = None,
    teacher: Teachers = (),
    teacher_labels: Names = (),
    unlabelled: Corpus = (),
    seeds: int = 1,
    search_minutes: float = 0.0,
    set_: Settings = (),
    overwrite: bool = False,
) -> None:
    """Fine-tune a student, or any BERT, for a task; the model is in OUT/finetuned/TASK.

        lilliput finetune runs/x --task data/mine

    It is a plain transformers checkpoint. After an interruption, run the same command again to go on.

    Args:
        model: A run with its finished student, or folder or hub name of a BERT encoder.
        task: cola, sst2, mrpc, stsb, qqp, mnli, qnli, rte, wnli, sick, snips, atis or conll2003 from the hub;
            or local files by the beginning of their names: data/sst2 for data/sst2_train.parquet and
            data/sst2_dev.parquet. With --train, the name of the task.
        train: Labelled examples: .csv, .tsv, .jsonl, .parquet, or CoNLL columns (.conll).
        dev: Examples to score on; by default a tenth of the training examples, of each class.
        test: Examples on which the kept model is scored once, at the end; nothing is chosen by them.
        text: Column of the texts, or of their words if these have tags; a number for CoNLL columns.
        pair: Column of the second texts.
        label: Column of the classes or scores; or with commas between them columns of 0 and 1, one for each
            class of which a text may have several.
        tags: Column of the words' tags; a number for CoNLL columns.
        negative: Column of a wrong answer to each query, for the kind retrieval.
        kind: What is predicted, if the columns do not show it: classification, multilabel (any number of
            classes for a text), regression, tagging or joint. Two more make a two-tower model (bi-encoder),
            which reads each text of a pair alone and compares their vectors: similarity learns pairs with
            scores, retrieval queries with their answers.
        metric: Score on dev by which the best state and seed are kept, such as accuracy, macro-f1, matthews,
            spearman or slot_f1; by default the usual one of the task.
        out: The run's folder; by default MODEL, if that is a run.
        teacher: What teaches the task: a run or folder fine-tuned for it, or folder or hub name of any
            fine-tuned encoder of transformers (RoBERTa, DeBERTa, ...), for similarity also any sentence
            encoder. Repeat it to average several.
        teacher_labels: Names of the teacher's labels and of those that they stand for, where they differ.
        unlabelled: More texts, which only the teacher labels; the same formats as for `compress`. Without a
            task's examples the teacher says what the task is, and agreement with it is the score.
        seeds: Number of seeds; the best model is kept, mean and deviation are reported.
        search_minutes: Minutes to try learning rates first.
        set_: Settings to change, such as epochs=10, rate=0.0003, balance=0.5, distillation.near=20000 or
            quantization=int4.
        overwrite: Replace results that were made from other inputs.
    """
    from lilliput.finetuning.config import FinetuningConfig
    from lilliput.finetuning.finetune import finetune as run_finetuning
    from lilliput.finetuning.inputs import result_run
    from lilliput.finetuning.results import render
    from lilliput.finetuning.taught import is_taught
    from lilliput.tasks.kinds import KINDS
    from lilliput.tasks.loading import load_task
    from lilliput.tasks.preview import preview
    from lilliput.tasks.task import TaskData

    run = result_run(model, out)
    named = names_of(teacher_labels)
    learnt: str | TaskData | None = task
    files = (train, dev, test, text, pair, label, tags, negative, kind, metric)
    if any(files) or not is_taught(task, teacher=teacher, unlabelled=unlabelled):
        learnt = load_task(
            task,
            train=train,
            dev=dev,
            test=test,
            text=text,
            pair=pair,
            label=label,
            tags=tags,
            negative=negative,
            kind=kind,
            metric=metric,
        )
        show(preview(learnt))
    found = run_finetuning(
        model,
        learnt,
        run,
        FinetuningConfig().replace(pairs_of(set_)),
        teacher=teacher,
        teacher_labels=named,
        unlabelled=unlabelled,
        seeds=seeds,
        search_minutes=search_minutes,
        overwrite=overwrite,
    )
    show(render(found))
    loader = "sentence-transformers" if KINDS[found.task.kind].is_two_tower else "transformers' Auto classes"
    show(f"the model is in {run.finetuned(found.task.name)}; load it with {loader}")
    show_report(run.path)


def evaluate(
    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN")],
    text: Corpus = (),
    text_column: Column = "text",
    rows: int = 1024,
    teacher: FolderOrNone = None,
    out: FolderOrNone = None,
    pairs: File = None,
    label: ColumnOrNone = None,
    retrieval: FolderOrNone = None,
    task: File = None,
    pair: ColumnOrNone = None,
    tags: ColumnOrNone = None,
) -> None:
    """Evaluate runs on masked words and tasks, a bundle on a labelled file, or vectors.

        lilliput evaluate runs/x --text other.txt

    Results on masked words are in RUN/evaluation.json. OUT has the comparison of fine-tuned models: table,
    figures, confusions, and the examples on which model and teacher differ. With --task a bundle answers a
    labelled file: scores, also of each class, what is taken for what, whether probabilities can be believed,
    and the worst answers. With --pairs or --retrieval the vectors of texts are evaluated, also those of
    bundles and of other sentence encoders.

    Args:
        runs: Runs with a finished student, with fine-tuned models, or with both; with --task a bundle. For
            vectors also bundles, and folders or hub names of sentence encoders.
        text: Text to evaluate on; by default each run's held-out text. With --task the column of the texts.
        text_column: Which column of tables and data sets holds the text.
        rows: At most this many rows of text are read.
        teacher: The run with the teacher's fine-tuned models; other models are compared with it.
        out: Folder for the comparison of fine-tuned models; by default FIRST_RUN/comparison. With --task a
            file for the bundle's answers: .csv, .jsonl or .parquet.
        pairs: A table of two texts and a score: how well cosines follow the scores.
        label: Column of the scores in PAIRS, or of the classes or scores in TASK.
        retrieval: A folder of BEIR's files (corpus.jsonl, queries.jsonl, qrels/test.tsv): how well documents
            are found.
        task: Labelled examples for a bundle: .csv, .tsv, .jsonl, .parquet, or CoNLL columns (.conll).
        pair: Column of the second texts in TASK.
        tags: Column of the words' tags in TASK.
    """
    if not runs:
        raise ConfigError("no run was named; give the folders of one or more: lilliput evaluate runs/x")
    if pairs is not None or retrieval is not None:
        _evaluate_vectors(runs, pairs, label, retrieval)
        return
    if task is not None:
        _evaluate_bundle(runs, task, (_one(text), pair, label, tags), out)
        return
    if bundles := [run for run in runs if is_config(run / CONFIG)]:
        raise ConfigError(f"{bundles[0]} is a bundle; name a labelled file for it with --task FILE")
    with_student = [run for run in runs if RunDir(run).student.is_dir()]
    with_tasks = [run for run in runs if RunDir(run).finetuned_models()]
    if unknown := [run for run in runs if run not in (*with_student, *with_tasks)]:
        raise StorageError(
            f"{unknown[0]} holds neither a finished student nor a fine-tuned model; make one with `lilliput "
            "compress` or `lilliput finetune`"
        )
    if with_student:
        from lilliput.training.evaluation import evaluate as run_evaluation

        for run in with_student:
            if run in with_tasks and (why := _no_masked_words(RunDir(run), text)):
                show(f"{run}: no words are masked, as {why}; its fine-tuned models are compared")
                continue
            for model, quality in run_evaluation(run, text, text_column=text_column, rows=rows).items():
                name = model if len(runs) == 1 else f"{run.name}, {model}"
                show(
                    f"{name}: {quality.bits_per_character:.3f} bits per character, "
                    f"{quality.accuracy:.1%} of the masked pieces right ({quality.words:,} words, "
                    f"{quality.pieces:,} pieces masked)"
                )
    if with_tasks:
        from lilliput.comparison.run_report import render
        from lilliput.comparison.runs import compare

        place = with_tasks[0] / "comparison" if out is None else out
        show(render(compare(with_tasks, place, teacher=teacher)))
        show(f"table, figures and differences in {place}")


def _no_masked_words(run: RunDir, text: tuple[str, ...]) -> str:
    """Returns why a run's student cannot be evaluated on masked words, or nothing."""
    from lilliput.models.sentence_modules import has_modules

    if has_modules(run.student):
        return "its student gives vectors of texts"
    if not text and not (run.corpus.is_dir() and run.lexicon.is_dir()):
        return "it has no corpus, and --text names none"
    return ""


def _one(column: tuple[str, ...]) -> str | None:
    """Returns the column that --text names, if it names one."""
    if len(column) > 1:
        raise ConfigError(f"with --task, --text names one column, found {len(column)}")
    return column[0] if column else None


def _evaluate_bundle(
    runs: tuple[Path, ...], file: Path, columns: tuple[str | None, ...], out: Path | None
) -> None:
    """Shows how good a bundle is on a labelled file."""
    from lilliput.comparison.bundle_evaluation import evaluate_bundle
    from lilliput.comparison.evaluation_report import render
    from lilliput.comparison.predictions import check_ending, write_predictions
    from lilliput.tasks.columns import Columns

    if len(runs) > 1:
        raise ConfigError(
            f"--task evaluates one bundle, found {len(runs)}; `lilliput benchmark bundle` compares several"
        )
    if out is not None:
        check_ending(out)
    found = evaluate_bundle(runs[0], file, Columns(*columns))
    show(render(found))
    if out is not None:
        write_predictions(out, found.predictions)
        show(f"its answers are in {out}")


def _evaluate_vectors(
    models: tuple[Path, ...], pairs: Path | None, label: str | None, retrieval: Path | None
) -> None:
    """Shows how good the vectors of models are, and on what."""
    from lilliput.comparison.embeddings import evaluate_vectors, read_collection, render
    from lilliput.tasks.loading import load_pairs

    examples, collection = None, None
    if pairs is not None:
        examples, origin = load_pairs(pairs, label)
        show(f"{len(examples):,} pairs of {origin}")
    if retrieval is not None:
        collection = read_collection(retrieval)
        show(f"{len(collection.queries):,} queries, {len(collection.documents):,} documents of {retrieval}")
    show(render(evaluate_vectors(models, pairs=examples, collection=collection)))
