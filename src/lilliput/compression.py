"""The main job: from a teacher and a corpus to a student, each stage done once, and what it came to."""

import contextlib
import dataclasses
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lilliput.common.arguments import PathLike, Texts, path_of, renamed, text_of, texts_of
from lilliput.common.files import write_json
from lilliput.common.folders import clear_removed
from lilliput.common.memory import peak_memory
from lilliput.common.progress import console
from lilliput.common.sheet import Sheet, size
from lilliput.common.stage_dir import StageDir
from lilliput.config import Recipe
from lilliput.models.any_masked_lm import open_masked_lm
from lilliput.models.student import load_student, parameter_count
from lilliput.models.weights import weight_bytes
from lilliput.preparation import is_prepared, prepare
from lilliput.recipes import find_recipe
from lilliput.run import RunDir, has_student, place_student, summary_there
from lilliput.training.checkpoint import minutes_between
from lilliput.training.data import stage_inputs
from lilliput.training.loop import train
from lilliput.training.processes import launch

BERT_BASE_PARAMETERS, BERT_BASE_BYTES = 109_500_000, 438_000_000
"""What everyone compares with: BERT_BASE uncased without heads, as float32."""


@dataclass(frozen=True)
class Summary:
    """What a run did."""

    recipe: dict[str, Any]
    """The recipe, as plain values."""
    teacher: str
    """Folder or hub name of the teacher."""
    student_parameters: int
    """Parameters of the student with its tied masked-LM head."""
    student_bytes: int
    """Size of the student's weights on disk."""
    folder_bytes: int
    """Size of everything in the student's folder, tokenizer included."""
    teacher_parameters: int
    """Parameters of the teacher with its tied masked-LM head, its own vocabulary only."""
    teacher_bytes: int
    """Size of the teacher's checkpoint on disk."""
    stages: dict[str, dict[str, Any]]
    """What each training stage reported."""
    words: int
    """Words read in training."""
    training_seconds: float
    """Time all stages took to train, over all interruptions."""
    total_seconds: float
    """Time this call took, everything included."""
    memory_bytes: int
    """Memory of the process of this call at its peak."""
    estimate: dict[str, Any] | None
    """What training was expected to take, as `planning.estimate.Estimate`. The command line passes it on
    (`compress(before_training=...)`); None where a program called, or where processes share the steps."""
    student_files: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Bytes and digests of the files in the student's folder."""

    def __repr__(self) -> str:
        lines = [
            f"<Summary of {_short(self.teacher)} compressed by recipe '{self.recipe['name']}': "
            f"{self.student_parameters:,} parameters of {self.teacher_parameters:,}, "
            f"{self.student_bytes:,} bytes of {self.teacher_bytes:,}",
            *(stage_line(name, results) for name, results in self.stages.items()),
        ]
        return "\n  ".join(lines) + ">"


@renamed(out="run")
def compress(
    teacher: PathLike,
    corpus: Texts,
    run: PathLike,
    recipe: PathLike | Recipe = "lilliput",
    *,
    held_out: Texts = (),
    text_column: str = "text",
    workers: int | None = None,
    checkpoint_minutes: float = 5.0,
    overwrite: bool = False,
    before_training: Callable[[], dict[str, Any] | None] | None = None,
) -> Summary:
    """Makes a student of a teacher and returns what was done; the student lies in `run`/student.

    What a former call finished from the same inputs is not done again; an interrupted call goes on. Of the
    processes of one launch the main one prepares, all train together, and all return the same.

    Args:
        teacher: Folder or hub name of a BERT checkpoint.
        corpus: Text files, .jsonl, .csv, .parquet (also compressed), folders, globs, or hub data sets such as
            wikimedia/wikipedia:20231101.en.
        run: The run's folder.
        recipe: Name of a recipe, a .toml or .json file, or a Recipe.
        held_out: Separate text to evaluate on; without it, documents of the corpus are held out.
        text_column: Which column of tables and data sets holds the text.
        workers: Processes that read the corpus; as many as there are cores by default.
        checkpoint_minutes: Minutes between checkpoints.
        overwrite: Whether what was made from other inputs is made anew.
        before_training: Called when corpus and lexicon are there and before the first step, where one process
            trains. What it returns is `Summary.estimate`: the command line estimates time and memory here.

    Raises:
        InputError: If teacher, corpus or recipe cannot be used.
        StorageError: If `run` holds something else or cannot be written.
    """
    started, processes, minutes = time.monotonic(), launch(), minutes_between(checkpoint_minutes)
    teacher, recipe = text_of("teacher", teacher, "the folder or hub name of a teacher"), find_recipe(recipe)
    place = RunDir(path_of("run", run))
    texts: dict[str, Any] = {"held_out": texts_of("held_out", held_out), "text_column": text_column}
    sources = texts_of("corpus", corpus)
    done = processes.on_main(_finished, place, recipe, teacher, sources, **texts)
    if done is not None:
        console.print(f"{place.path} is finished, from the same inputs", highlight=False, markup=False)
        return Summary(**done)

    def prepared() -> str:
        options = texts | {"workers": workers, "overwrite": overwrite}
        return prepare(teacher, sources, place, recipe, **options).report.describe(recipe.student.width)

    with contextlib.ExitStack() as held:
        with processes.together():
            if processes.is_main:
                held.enter_context(place.locked())
                clear_removed(place.summary)
                clear_removed(place.student)
        console.print(processes.on_main(prepared), highlight=False)
        estimate = before_training() if before_training is not None and processes.count == 1 else None
        stages = {}
        for stage in recipe.stages:
            stages[stage.name] = train(
                place, recipe, stage.name, teacher, overwrite=overwrite, checkpoint_minutes=minutes
            )
            console.print(stage_line(stage.name, stages[stage.name]), highlight=False)
        return Summary(**processes.on_main(_finish, place, recipe, teacher, stages, started, estimate))


def _finished(
    run: RunDir,
    recipe: Recipe,
    teacher: str,
    corpus: Sequence[str],
    *,
    held_out: Sequence[str],
    text_column: str,
) -> dict[str, Any] | None:
    """Returns the summary of a run that is finished and whole, from the same inputs; else None.

    Writes nothing. What costs least is looked at first.
    """
    folders = [run.corpus, run.lexicon, *(run.training(stage.name) for stage in recipe.stages)]
    folders += [run.held_out(part) for part in ("corpus", "lexicon") if held_out]
    parts = [StageDir(folder, {}) for folder in folders]
    if any(part.leftovers() or not part.manifest_path.exists() for part in parts):
        return None
    if bool(held_out) != run.held_out("lexicon").exists():
        return None
    done = summary_there(run.summary)  # a damaged one is written anew
    fields = {field.name for field in dataclasses.fields(Summary)}
    if not fields - {"student_files"} <= done.keys() <= fields:  # of another version
        return None
    if (done["recipe"], done["teacher"]) != (json.loads(json.dumps(recipe.to_dict())), teacher):
        return None
    stages = (
        StageDir(run.training(one.name), stage_inputs(run, recipe, one, teacher)) for one in recipe.stages
    )
    if not (all(stage.is_whole(overwrite=True) for stage in stages) and has_student(run, recipe)):
        return None
    is_same = is_prepared(teacher, corpus, run, recipe, held_out=held_out, text_column=text_column)
    return done if is_same else None


def _finish(
    run: RunDir,
    recipe: Recipe,
    teacher: str,
    stages: dict[str, dict[str, Any]],
    started: float,
    estimate: dict[str, Any] | None,
) -> dict[str, Any]:
    """Puts the student in its place, and writes and returns the fields of the summary."""
    files = place_student(run, recipe)
    model, _ = open_masked_lm(teacher)
    summary = Summary(
        recipe=recipe.to_dict(),
        teacher=teacher,
        student_parameters=parameter_count(load_student(run.student)),
        student_bytes=(run.student / "model.safetensors").stat().st_size,
        folder_bytes=sum(entry["bytes"] for entry in files.values()),
        teacher_parameters=parameter_count(model),
        teacher_bytes=weight_bytes(teacher),
        stages=stages,
        words=sum(results["words"] for results in stages.values()),
        training_seconds=sum(results["seconds"] for results in stages.values()),
        total_seconds=time.monotonic() - started,
        memory_bytes=peak_memory(),
        estimate=estimate,
        student_files=files,
    )
    write_json(run.summary, dataclasses.asdict(summary))
    return dataclasses.asdict(summary)


def stage_line(name: str, results: dict[str, Any]) -> str:
    """Returns one line on a finished stage."""
    qualities = [
        f"{model} {_change(results, f'{model}/bits_per_character', '.3f')} bits per character, "
        f"{_change(results, f'{model}/accuracy', '.1%')} right"
        for model in ("teacher", "student")
        if {f"{model}/accuracy", f"{model}/bits_per_character"} <= results["after"].keys()
    ]
    if "student/similarity" in results["after"]:
        qualities.append(
            f"cosine of vectors to the teacher's {_change(results, 'student/cosine', '.3f')}, correlation of "
            f"texts' similarities to its own {_change(results, 'student/similarity', '.3f')}"
        )
    return (
        f"{name}: {results['words']:,} words in {results['seconds'] / 60:.1f} minutes; {'; '.join(qualities)}"
    )


def _change(results: Mapping[str, Any], key: str, form: str) -> str:
    """Returns a quality before and after a stage; of a stage whose beginning is not known, only after it."""
    known = [results[when][key] for when in ("before", "after") if key in results[when]]
    return " -> ".join(f"{value:{form}}" for value in known)


def render(summary: Summary) -> Sheet:
    """Returns the summary as a table."""
    ours, theirs = summary.student_parameters, summary.teacher_parameters
    sizes = (summary.student_bytes, summary.teacher_bytes, BERT_BASE_BYTES)
    rows = [
        ("parameters", f"{ours:,}", f"{theirs:,}", f"{BERT_BASE_PARAMETERS:,}"),
        ("  smaller", "", f"{theirs / ours:.1f}x", f"{BERT_BASE_PARAMETERS / ours:.1f}x"),
        ("weights, file bytes", *(f"{size:,}" for size in sizes)),
        ("  smaller", "", *(f"{size / summary.student_bytes:.1f}x" for size in sizes[1:])),
        ("with tokenizer, bytes", f"{summary.folder_bytes:,}", "", ""),
    ]
    for name, key, form in (
        ("bits per character", "bits_per_character", "{:.3f}"),
        ("masked pieces right", "accuracy", "{:.1%}"),
        ("cosine to the teacher's vectors", "cosine", "{:.3f}"),
        ("correlation of similarities", "similarity", "{:.3f}"),
    ):
        if all(_extreme(summary, f"student/{key}", when) is None for when in ("before", "after")):
            continue
        for when in ("before", "after"):
            values = [_extreme(summary, f"{model}/{key}", when) for model in ("student", "teacher")]
            shown = ["-" if value is None else form.format(value) for value in values]
            rows.append((f"{name}, {when}", *shown, ""))
    rows += [
        ("words read", f"{summary.words:,}", "", ""),
        ("minutes of training", f"{summary.training_seconds / 60:.1f}", "", ""),
        ("minutes in all, this call", f"{summary.total_seconds / 60:.1f}", "", ""),
        ("memory, this call at its peak", size(summary.memory_bytes), "", ""),
    ]
    title = f"{_short(summary.teacher)} compressed by recipe '{summary.recipe['name']}'"
    return Sheet(("", "student", "teacher", "BERT_BASE"), rows, title=title)


def _short(teacher: str) -> str:
    """Returns the last part of a teacher's name."""
    return teacher.rstrip("/").split("/")[-1]


def _extreme(summary: Summary, key: str, when: str) -> float | None:
    """Returns a quality before the first or after the last stage that reports it."""
    found = [results[when][key] for results in summary.stages.values() if key in results[when]]
    return (found[0] if when == "before" else found[-1]) if found else None
