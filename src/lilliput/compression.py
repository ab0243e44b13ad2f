"""The main job: from a teacher and a corpus to a student, stage by stage, each done once."""

import contextlib
import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers.utils.hub import cached_file

from lilliput.common.files import digest_value, write_json
from lilliput.common.folders import clear_removed
from lilliput.common.locks import beside, locked
from lilliput.common.memory import peak_memory
from lilliput.common.progress import console
from lilliput.common.stage_dir import StageDir
from lilliput.config import LexiconConfig, Recipe
from lilliput.errors import ConfigError, StorageError, bounded
from lilliput.models.pretrained import load_config, load_masked_lm
from lilliput.models.shape import EncoderShape
from lilliput.models.student import load_student, parameter_count
from lilliput.models.teacher import Teacher
from lilliput.pieces.corpus import build_corpus, is_built as corpus_is_built
from lilliput.pieces.lexicon import Lexicon, build_lexicon, is_built as lexicon_is_built
from lilliput.pieces.teacher_tokenizer import load_tokenizer
from lilliput.placing import check_ours, has_student, place_student
from lilliput.planning.estimate import Estimate
from lilliput.planning.expectation import announce
from lilliput.run import RunDir, summary_there
from lilliput.summary import Summary, stage_line
from lilliput.text.corpus import Corpus
from lilliput.training.checkpoint import minutes_between
from lilliput.training.data import Data, check_student, stage_inputs
from lilliput.training.evaluation import Quality, evaluate_masked_lm, evaluation_source
from lilliput.training.loop import train
from lilliput.training.processes import launch
from lilliput.training.rows import cut_rows

_MOST_ROWS = 10_000_000


def compress(
    teacher: str,
    corpus: Sequence[str],
    out: Path,
    recipe: Recipe,
    *,
    held_out: Sequence[str] = (),
    text_column: str = "text",
    workers: int | None = None,
    checkpoint_minutes: float = 5.0,
    overwrite: bool = False,
) -> Summary:
    """Makes a student of a teacher and returns what was done; the student lies in `out`/student.

    What a former call finished from the same inputs is not done again; an interrupted call goes on. Of the
    processes of one launch the main one prepares, all train together, and all return the same.

    Args:
        teacher: Folder or hub name of a BERT checkpoint.
        corpus: Text: files, folders, globs, or hub data sets (see `corpus.build_corpus`).
        out: The run's folder.
        recipe: What to do.
        held_out: Separate text to evaluate on; without it, documents of the corpus are held out.
        text_column: Which column of tables and data sets holds the text.
        workers: Processes that read the corpus; as many as there are cores by default.
        checkpoint_minutes: Minutes between checkpoints.
        overwrite: Whether what was made from other inputs is made anew.

    Raises:
        InputError: If teacher, corpus or recipe cannot be used.
        StorageError: If `out` holds something else or cannot be written.
    """
    started, processes, minutes = time.monotonic(), launch(), minutes_between(checkpoint_minutes)
    run = RunDir(out)
    reading: dict[str, Any] = {"text_column": text_column, "workers": workers, "overwrite": overwrite}
    done = processes.on_main(_finished, run, recipe, teacher, corpus, held_out, text_column)
    if done is not None:
        console.print(f"{run.path} is finished, from the same inputs", highlight=False, markup=False)
        return Summary(**done)

    def prepared() -> str:
        lexicon = prepare(teacher, corpus, run, recipe, held_out=held_out, **reading)
        return lexicon.report.describe(recipe.student.width)

    with contextlib.ExitStack() as held:
        with processes.together():
            if processes.is_main:
                held.enter_context(run.locked())
                clear_removed(run.summary)
                clear_removed(run.student)
        console.print(processes.on_main(prepared), highlight=False)
        estimate = announce(run, recipe, teacher, minutes) if processes.count == 1 else None
        stages = {}
        for stage in recipe.stages:
            stages[stage.name] = train(
                run, recipe, stage.name, teacher, overwrite=overwrite, checkpoint_minutes=minutes
            )
            console.print(stage_line(stage.name, stages[stage.name]), highlight=False)
        return Summary(**processes.on_main(_finish, run, recipe, teacher, stages, started, estimate))


def _finished(
    run: RunDir,
    recipe: Recipe,
    teacher: str,
    corpus: Sequence[str],
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
    tokenizer = load_tokenizer(teacher)
    texts = [(corpus, run.corpus, run.lexicon, recipe.lexicon)]
    if held_out:
        given = LexiconConfig(tokenizer=str(run.lexicon / "tokenizer"))
        texts.append((held_out, run.held_out("corpus"), run.held_out("lexicon"), given))
    is_same = all(
        corpus_is_built(sources, tokenizer, words, text_column)
        and lexicon_is_built(Corpus.open(words), tokenizer, config, lexicon)
        for sources, words, lexicon, config in texts
    )
    return done if is_same else None


def prepare(
    teacher: str,
    corpus: Sequence[str],
    run: RunDir,
    recipe: Recipe,
    *,
    held_out: Sequence[str] = (),
    text_column: str = "text",
    workers: int | None = None,
    overwrite: bool = False,
) -> Lexicon:
    """Does everything that comes before training, and returns the run's lexicon.

    Refuses what cannot work first: a tokenizer or a teacher that is not supported, a student larger than the
    teacher. The arguments are those of `compress`.
    """
    if not any(stage.objectives.trains_student for stage in recipe.stages):
        raise ConfigError(
            f"no stage of recipe '{recipe.name}' trains a student; give one of them "
            "objectives.student_masked_lm, or train its stages one by one with `lilliput train`"
        )
    tokenizer = load_tokenizer(teacher)
    check_student(recipe, EncoderShape.of_config(load_config(teacher)))
    check_ours(run)
    _check_held_out(run, bool(held_out), overwrite)
    reading: dict[str, Any] = {"text_column": text_column, "workers": workers, "overwrite": overwrite}
    words = build_corpus(corpus, tokenizer, run.corpus, **reading)
    lexicon = build_lexicon(words, tokenizer, recipe.lexicon, run.lexicon, overwrite=overwrite)
    if held_out:
        other = build_corpus(held_out, tokenizer, run.held_out("corpus"), **reading)
        given = LexiconConfig(tokenizer=str(lexicon.tokenizer_folder))
        build_lexicon(other, tokenizer, given, run.held_out("lexicon"), overwrite=overwrite)
    return lexicon


def _check_held_out(run: RunDir, wanted: bool, overwrite: bool) -> None:
    """Raises StorageError where a run begun with separate held-out text goes on without, or vice versa."""
    folders = [StageDir(run.held_out(part), {}) for part in ("corpus", "lexicon")]
    there = any(folder.path.exists() for folder in folders)
    if there and not wanted and overwrite:
        for folder in folders:
            folder.clear()
    elif there and not wanted:
        raise StorageError(
            f"{run.path} was begun with separate held-out text; give it again with --held-out, or choose "
            "another --out"
        )
    elif wanted and not there and not overwrite and any(run.path.glob("training/*")):
        raise StorageError(
            f"{run.path} was begun without separate held-out text; leave --held-out away, or choose another "
            "--out"
        )


def evaluate(
    out: Path, text: Sequence[str] = (), *, text_column: str = "text", rows: int = 1024
) -> dict[str, Quality]:
    """Returns the masked-LM quality of a run's student, and of its teacher if the run trained it.

    Args:
        out: The run's folder, with its finished student.
        text: Text to evaluate on (see `corpus.build_corpus`), indexed beside the run; without it the run's
            held-out text.
        text_column: Which column of tables and data sets holds the text.
        rows: Rows of text to evaluate on at most.

    Raises:
        StorageError: If the run has no finished student.
    """
    run, rows = RunDir(out), bounded("--rows", rows, 1, _MOST_ROWS)
    run.require_student()
    student = load_student(run.student)
    length = student.config.max_position_embeddings
    if text:
        words, lexicon = _indexed(run, text, text_column)
        held_out, _ = cut_rows(words, lexicon, length, hold_out=False)
    else:
        data = Data.open(run, length, length)
        lexicon, held_out = data.held_out_lexicon, data.held_out
    trained = run.trained_teacher()
    found = dict(
        evaluate_masked_lm(
            evaluation_source(held_out, lexicon, length),
            teacher=Teacher.load(trained) if trained else None,
            student=student,
            rows=rows,
        )
    )
    place = run.path / "evaluation.json"
    with locked(beside(place), place, wait=True):
        clear_removed(place)
        write_json(place, {name: dataclasses.asdict(quality) for name, quality in found.items()})
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


def _finish(
    run: RunDir,
    recipe: Recipe,
    teacher: str,
    stages: dict[str, dict[str, Any]],
    started: float,
    estimate: Estimate | None,
) -> dict[str, Any]:
    """Puts the student in its place, and writes and returns the fields of the summary."""
    files = place_student(run, recipe)
    checkpoint = Path(str(cached_file(teacher, "config.json"))).parent
    model, _ = load_masked_lm(teacher)
    summary = Summary(
        recipe=recipe.to_dict(),
        teacher=teacher,
        student_parameters=parameter_count(load_student(run.student)),
        student_bytes=(run.student / "model.safetensors").stat().st_size,
        folder_bytes=sum(file.stat().st_size for file in run.student.iterdir()),
        teacher_parameters=parameter_count(model),
        teacher_bytes=sum(file.stat().st_size for file in checkpoint.glob("*.safetensors")),
        stages=stages,
        words=sum(results["words"] for results in stages.values()),
        training_seconds=sum(results["seconds"] for results in stages.values()),
        total_seconds=time.monotonic() - started,
        memory_bytes=peak_memory(),
        estimate=None if estimate is None else dataclasses.asdict(estimate),
        student_files=files,
    )
    write_json(run.summary, dataclasses.asdict(summary))
    return dataclasses.asdict(summary)
