"""What comes before training: a run's corpus, its lexicon, and how large its vocabulary should be.

These functions take names and paths. They load the teacher's tokenizer, lock the run, and call
`text.corpus`, `pieces.lexicon` and `pieces.sizes`, which do the work.
"""

import contextlib
import warnings
from collections.abc import Sequence
from typing import Any

from tokenizers import Tokenizer

from lilliput.common.arguments import PathLike, Texts, path_of, renamed, text_of, texts_of, wrong_type
from lilliput.common.progress import console
from lilliput.common.stage_dir import StageDir
from lilliput.config import LexiconConfig, Recipe
from lilliput.errors import ConfigError, StorageError
from lilliput.pieces import corpus as corpora, lexicon as lexicons, sizes as all_sizes
from lilliput.pieces.family import TeacherTokenizer
from lilliput.pieces.legibility import legibility
from lilliput.pieces.lexicon import Lexicon
from lilliput.pieces.sizes import VocabularyReport
from lilliput.pieces.teacher_tokenizer import load_teacher_tokenizer, teachers
from lilliput.run import RunDir, check_ours
from lilliput.text.corpus import Corpus

SIZES = (1000, 2000, 5000, 10000)
"""Vocabulary sizes that are compared where none are named."""


@renamed(sources="corpus", tokenizer="teacher", out="run")
def build_corpus(
    corpus: Texts,
    teacher: PathLike | Tokenizer,
    run: PathLike,
    *,
    text_column: str = "text",
    workers: int | None = None,
    ray: str | None = None,
    overwrite: bool = False,
) -> Corpus:
    """Returns the corpus of a run, read from text into word ids unless it is there.

    A build that was stopped goes on. The result is the same byte for byte with any number of workers and
    machines.

    Args:
        corpus: Text files, .jsonl, .csv, .parquet (also compressed), folders, globs, or hub data sets such as
            wikimedia/wikipedia:20231101.en.
        teacher: Folder or hub name of the teacher, whose tokenizer says what a word is. With a Tokenizer, as
            in version 0.1, `run` is the corpus's own folder.
        run: The run's folder, which takes the corpus.
        text_column: Which column of tables and data sets holds the text.
        workers: Processes; by default as many as there are cores.
        ray: Shares the work on a Ray cluster: its HOST:PORT, "auto" for the one this machine belongs to, or
            "local" for Ray on this machine alone.
        overwrite: Whether a corpus made from anything else is replaced.

    Raises:
        InputError: A source is missing, damaged, not text or empty; what was built before it is kept.
        StorageError: The folder holds something else, cannot be written or is not shared by the cluster.
        ConfigError: There is no such cluster, Ray is not installed, or an argument has a wrong type.
        LaunchError: The cluster failed; what was built before it is kept.
    """
    sources = texts_of("corpus", corpus)
    reading: dict[str, Any] = {"text_column": text_column, "workers": workers, "overwrite": overwrite}
    if isinstance(teacher, Tokenizer) and not isinstance(run, RunDir):
        warnings.warn(
            "build_corpus with a Tokenizer takes the corpus's own folder; give the teacher's name and the "
            "run's folder instead, as the next release takes nothing else",
            DeprecationWarning,
            stacklevel=3,
        )
        return corpora.build_corpus(sources, teacher, path_of("run", run), ray=ray, **reading)
    place = RunDir(path_of("run", run))
    with place.locked():
        return corpora.build_corpus(sources, _tokenizer(teacher), place.corpus, ray=ray, **reading)


def build_lexicon(
    corpus: PathLike | Corpus,
    teacher: PathLike | Tokenizer,
    config: LexiconConfig | None = None,
    out: PathLike | None = None,
    *,
    overwrite: bool = False,
) -> Lexicon:
    """Returns the lexicon of a run: its vocabulary, and every word in the teacher's and in these pieces.

    Args:
        corpus: The run's folder, with its corpus, or that corpus.
        teacher: Folder or hub name of the teacher, or its tokenizer.
        config: How to make the vocabulary; by default as recipe `lilliput` does.
        out: The lexicon's own folder; by default the run's.
        overwrite: Whether a lexicon made from anything else is replaced.

    Raises:
        InputError: The text is too small for such a vocabulary.
        StorageError: There is no corpus, or `out` holds something else or cannot be written.
    """
    run, config = _run_of(corpus), LexiconConfig() if config is None else config
    if not isinstance(config, LexiconConfig):
        raise wrong_type("config", "a LexiconConfig", config)
    place = run.lexicon if out is None else path_of("out", out)
    with run.locked() if out is None else contextlib.nullcontext():
        words = corpus if isinstance(corpus, Corpus) else Corpus.open(run.corpus, whole=True)
        tokenizer = _tokenizer(teacher)
        _warn(words, tokenizer)
        return lexicons.build_lexicon(words, tokenizer, config, place, overwrite=overwrite)


def vocabulary(
    corpus: PathLike | Corpus,
    teacher: PathLike | Tokenizer,
    sizes: Sequence[int] = SIZES,
    out: PathLike | None = None,
    width: int = 120,
    *,
    overwrite: bool = False,
) -> tuple[VocabularyReport, ...]:
    """Returns what each size of vocabulary costs and saves, and writes vocabulary.json, .svg and .png.

    Args:
        corpus: The run's folder, with its corpus, or that corpus.
        teacher: Folder or hub name of the teacher, or its tokenizer.
        sizes: Pieces of each vocabulary, special ones included.
        out: The folder to write; by default the run's.
        width: Width of the student's embeddings.
        overwrite: Whether a folder made from anything else is replaced.

    Raises:
        ConfigError: There are no sizes, or a size or the width is not positive.
        InputError: The text is too small for one of the sizes, or a size too small for its characters.
        StorageError: There is no corpus, or `out` holds something else or cannot be written.
    """
    run = _run_of(corpus)
    place = run.vocabulary if out is None else path_of("out", out)
    words = corpus if isinstance(corpus, Corpus) else Corpus.open(run.corpus)
    return all_sizes.vocabulary(words, _tokenizer(teacher), sizes, place, width, overwrite=overwrite)


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
    from lilliput.training.data import check_teacher  # torch takes seconds; the functions above need none

    if not any(stage.objectives.trains_student for stage in recipe.stages):
        raise ConfigError(
            f"no stage of recipe '{recipe.name}' trains a student; give one of them "
            "objectives.student_masked_lm, or train its stages one by one with `lilliput train`"
        )
    tokenizer = load_teacher_tokenizer(teacher)
    found = check_teacher(recipe, teacher)
    if recipe.start.student == "teacher" and not found.has_blocks:
        console.print(
            f"Of a '{found.kind}' lilliput does not know which matrix does what, so the student starts from "
            "what it computes: that is better than a random start, and less than the start from a BERT",
            highlight=False,
        )
    check_ours(run)
    _check_held_out(run, bool(held_out), overwrite)
    reading: dict[str, Any] = {"text_column": text_column, "workers": workers, "overwrite": overwrite}
    words = corpora.build_corpus(corpus, tokenizer, run.corpus, **reading)
    _warn(words, tokenizer)
    lexicon = lexicons.build_lexicon(words, tokenizer, recipe.lexicon, run.lexicon, overwrite=overwrite)
    if held_out:
        other = corpora.build_corpus(held_out, tokenizer, run.held_out("corpus"), **reading)
        place = run.held_out("lexicon")
        lexicons.build_lexicon(other, tokenizer, _given(run), place, overwrite=overwrite)
    return lexicon


def is_prepared(
    teacher: str,
    corpus: Sequence[str],
    run: RunDir,
    recipe: Recipe,
    *,
    held_out: Sequence[str],
    text_column: str,
) -> bool:
    """Returns whether all that `prepare` makes is there, from the same inputs; writes nothing."""
    tokenizer = load_teacher_tokenizer(teacher)
    texts = [(corpus, run.corpus, run.lexicon, recipe.lexicon)]
    if held_out:
        texts.append((held_out, run.held_out("corpus"), run.held_out("lexicon"), _given(run)))
    return all(
        corpora.is_built(sources, tokenizer, words, text_column)
        and lexicons.is_built(Corpus.open(words), tokenizer, config, lexicon)
        for sources, words, lexicon, config in texts
    )


def _given(run: RunDir) -> LexiconConfig:
    """Returns the settings by which another text gets the run's own vocabulary."""
    return LexiconConfig(tokenizer=str(run.lexicon / "tokenizer"))


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


def _run_of(corpus: PathLike | Corpus) -> RunDir:
    """Returns the run that a corpus belongs to, given by its folder or by the corpus in it."""
    if isinstance(corpus, Corpus):
        return RunDir(corpus.path.parent)
    return RunDir(path_of("corpus", corpus, "the path of a run, or a Corpus"))


def _warn(words: Corpus, tokenizer: TeacherTokenizer) -> None:
    """Says loudly where a teacher cannot read a text, before time is spent on it."""
    if (sentence := legibility(words, tokenizer).warning()) is not None:
        console.print(
            f"WARNING: {sentence}", style="bold yellow", highlight=False, markup=False, soft_wrap=True
        )


def _tokenizer(teacher: PathLike | Tokenizer) -> TeacherTokenizer:
    if isinstance(teacher, Tokenizer):
        return teachers(teacher)
    return load_teacher_tokenizer(text_of("teacher", teacher, "the folder or hub name of a teacher"))
