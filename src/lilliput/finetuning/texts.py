"""Texts without labels on which a teacher teaches a task: the user's, the corpus's, and variations."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lilliput.common.files import digest_folder, digest_value, write_json
from lilliput.common.folders import MANIFEST, clear_removed, read_manifest
from lilliput.common.locks import beside, locked
from lilliput.common.settings import require, valid
from lilliput.common.stored import intact, stored
from lilliput.errors import ConfigError, StorageError
from lilliput.finetuning.config import DistillationConfig
from lilliput.finetuning.unlabelled.exchange import exchanged
from lilliput.finetuning.unlabelled.own import read_texts
from lilliput.finetuning.unlabelled.recombination import recombined
from lilliput.finetuning.unlabelled.sentences import near_sentences
from lilliput.finetuning.unlabelled.substitution import substituted
from lilliput.models.teacher import Teacher
from lilliput.pieces.lexicon import Lexicon
from lilliput.pieces.teacher_tokenizer import digest_tokenizer
from lilliput.run import RunDir
from lilliput.tasks.task import Examples, TaskData
from lilliput.text.corpus import Corpus
from lilliput.text.sources import Source, describe

_SEED = 20210427
_OWN_AT_MOST = 1_000_000
"""Texts of the user's own that are read."""


def texts_from(config: DistillationConfig, run: RunDir, own: Sequence[Source]) -> dict[str, Any]:
    """Returns what identifies the content of everything that `more_texts` reads, as JSON values.

    Raises StorageError if the run has no such corpus or teacher.
    """
    read: dict[str, Any] = {"unlabelled": [describe(source) for source in own]}
    if config.near:
        corpus = Corpus.open(run.corpus, whole=True)
        read["near"] = read_manifest(corpus.path / MANIFEST)["digest"]
    if config.substitutions:
        tokenizer = Lexicon.open(run.lexicon).teacher_tokenizer()
        read["substitutions"] = [digest_folder(_masked_lm(run)), digest_tokenizer(tokenizer)]
    return read


def _masked_lm(run: RunDir) -> Path:
    """Returns the folder of the run's teacher, as it was trained last; StorageError where there is none."""
    trained = run.trained_teacher()
    if trained is None:
        raise StorageError(
            f"{run.path} holds no teacher that was trained to predict words, so nothing can be substituted; "
            "fine-tune the student of a run of `lilliput compress`, or leave distillation.substitutions at 0"
        )
    return trained


def more_texts(
    data: TaskData, config: DistillationConfig, run: RunDir, own: Sequence[str | Source], cache: Path
) -> Examples | None:
    """Returns the texts besides the labelled ones that a teacher is to label, or None where there are none.

    Args:
        data: The task, whose texts the others are to be like.
        config: How many of which kind.
        run: Holds the corpus and the masked-LM teacher that near sentences and substitutions come from.
        own: The user's text files, folders or data sets, by name or as found.
        cache: Folder of what teachers said; substitutions of an earlier call are read from there.

    Raises:
        StorageError: If the run has no such corpus or teacher.
    """
    parts = list(_parts(data, config, run, own, cache))
    if not parts:
        return None
    return Examples(
        tuple(text for part in parts for text in part.texts),
        tuple(text for part in parts for text in part.pairs),
    )


def _parts(
    data: TaskData, config: DistillationConfig, run: RunDir, own: Sequence[str | Source], cache: Path
) -> Iterator[Examples]:
    task, labelled = data.task, data.train
    similar: tuple[str, ...] = read_texts(own, limit=_OWN_AT_MOST) if own else ()
    if config.near:
        similar += near_sentences(
            Corpus.open(run.corpus), labelled.texts + labelled.pairs, config.near, _SEED
        )
    near = _as_examples(similar, data) if similar else None
    if near is not None:
        yield near
    if config.recombined and not (task.pairs or task.tags):
        raise ConfigError(
            f"the task '{task.name}' has neither pairs nor tags to recombine; leave distillation.recombined "
            "at 0"
        )
    if config.recombined and task.tags:
        yield exchanged(labelled, task, config.recombined, _SEED)
    elif config.recombined:
        yield recombined(labelled, config.recombined, _SEED)
    if config.substitutions:
        yield _substituted(labelled, run, config.substitutions, cache)
        if near is not None and task.pairs:  # of a pair of equal texts one becomes a variation of the other
            yield _substituted(near, run, 1, cache)


def _as_examples(texts: Sequence[str], data: TaskData) -> Examples:
    """Returns texts as examples of a task: alone, as pairs of equal texts, or as their words."""
    if data.task.pairs:
        return Examples(tuple(texts), tuple(texts))
    return Examples(tuple(tuple(text.split()) for text in texts) if data.task.tags else tuple(texts))


def _substituted(examples: Examples, run: RunDir, copies: int, cache: Path) -> Examples:
    """Returns copies of examples in which the run's teacher, as it was trained last, replaced some words."""
    trained, tokenizer = _masked_lm(run), Lexicon.open(run.lexicon).teacher_tokenizer()
    made_from = {
        "teacher": digest_folder(trained),
        "tokenizer": digest_tokenizer(tokenizer),
        "copies": copies,
        "seed": _SEED,
        "texts": examples.texts,
        "pairs": examples.pairs,
    }
    place = cache / f"{digest_value(made_from)}.json"
    if not place.exists():
        with locked(beside(place), place, wait=True):
            clear_removed(place)
            if not place.exists():  # else by a process that held the lock before
                made = substituted(examples, Teacher.load(trained), tokenizer, copies, _SEED)
                said = {"texts": made.texts, "pairs": made.pairs}
                write_json(place, said | {"digest": digest_value(said)})
    remedy = f"remove {place} to make it again"
    found: dict[str, Any] = stored(dict[str, Any], place, remedy)
    if found.pop("digest", None) != digest_value(found):
        raise StorageError(f"{place} was altered; {remedy}")
    with intact(place, remedy):
        texts = tuple(
            valid(str if isinstance(text, str) else tuple[str, ...], text) for text in found["texts"]
        )
        pairs = valid(tuple[str, ...], found["pairs"])
        require(len(pairs) in (0, len(texts)), "texts are missing")
    return Examples(texts, pairs)
