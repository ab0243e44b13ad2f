"""Texts without labels on which a teacher teaches a task: the user's, the corpus's, and variations."""

from collections.abc import Iterator, Sequence
from typing import Any

from lilliput.common.folders import MANIFEST, read_manifest
from lilliput.common.progress import console
from lilliput.errors import ConfigError
from lilliput.finetuning.config import DistillationConfig
from lilliput.finetuning.unlabelled.exchange import exchanged
from lilliput.finetuning.unlabelled.own import read_texts
from lilliput.finetuning.unlabelled.recombination import recombined
from lilliput.finetuning.unlabelled.sentences import near_sentences
from lilliput.run import RunDir
from lilliput.tasks.kinds import KINDS
from lilliput.tasks.task import Examples, Task, TaskData, plain, spelled
from lilliput.text.corpus import Corpus
from lilliput.text.sources import Source, describe

_SEED = 20210427


def texts_from(config: DistillationConfig, run: RunDir, own: Sequence[Source]) -> dict[str, Any]:
    """Returns what identifies the content of everything that `more_texts` reads, as JSON values.

    Raises StorageError if the run has no such corpus.
    """
    read: dict[str, Any] = {"unlabelled": [describe(source) for source in own]}
    if config.near:
        corpus = Corpus.open(run.corpus, whole=True)
        read["near"] = read_manifest(corpus.path / MANIFEST)["digest"]
    return read


def more_texts(
    data: TaskData, config: DistillationConfig, run: RunDir, own: Sequence[str | Source]
) -> Examples | None:
    """Returns the texts besides the labelled ones that a teacher is to label, or None where there are none.

    Args:
        data: The task, whose texts the others are to be like.
        config: How many of which kind.
        run: Holds the corpus that near sentences come from.
        own: The user's text files, folders or data sets, by name or as found.

    Raises:
        StorageError: If the run has no such corpus.
    """
    parts = list(_parts(data, config, run, own))
    if not parts:
        return None
    return Examples(
        tuple(text for part in parts for text in part.texts),
        tuple(text for part in parts for text in part.pairs),
    )


def _parts(
    data: TaskData, config: DistillationConfig, run: RunDir, own: Sequence[str | Source]
) -> Iterator[Examples]:
    task, labelled = data.task, data.train
    similar: tuple[str, ...] = _not_labelled(read_texts(own), data) if own else ()
    if config.near:
        similar += near_sentences(
            Corpus.open(run.corpus), labelled.texts + labelled.pairs, config.near, _SEED
        )
    if similar and KINDS[task.kind].is_two_tower:
        raise ConfigError(
            f"the task '{task.name}' compares two texts, and unlabelled texts and near sentences are single; "
            "leave out --unlabelled and distillation.near, or make new pairs with distillation.recombined"
        )
    if similar:
        yield as_examples(similar, data.task)
    if config.recombined and not (task.pairs or task.tags):
        raise ConfigError(
            f"the task '{task.name}' has neither pairs nor tags to recombine; leave distillation.recombined "
            "at 0"
        )
    if config.recombined and task.tags:
        yield exchanged(labelled, task, config.recombined, _SEED)
    elif config.recombined:
        yield recombined(labelled, config.recombined, _SEED)


def _not_labelled(texts: Sequence[str], data: TaskData) -> tuple[str, ...]:
    """Returns the texts that are no labelled ones: those are learnt from anyway, or kept for scores.

    Texts that differ only in case and spacing are one.
    """
    sets = [data.train, data.dev, *([] if data.test is None else [data.test])]
    labelled = {plain(spelled(text)) for one in sets for text in (*one.texts, *one.pairs)}
    kept = tuple(text for text in texts if plain(text) not in labelled)
    if left := len(texts) - len(kept):
        console.print(
            f"{left:,} of {len(texts):,} unlabelled texts are among the labelled ones, and left out",
            highlight=False,
            soft_wrap=True,
        )
    return kept


def as_examples(texts: Sequence[str], task: Task) -> Examples:
    """Returns texts as examples of a task: alone, as pairs of equal texts, or as their words."""
    if task.pairs:
        return Examples(tuple(texts), tuple(texts))
    return Examples(tuple(tuple(text.split()) for text in texts) if task.tags else tuple(texts))
