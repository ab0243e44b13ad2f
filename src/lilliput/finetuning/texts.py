"""Texts without labels on which a teacher teaches a task: the user's, the corpus's, and variations."""

from collections.abc import Iterator, Sequence

from lilliput.config import DistillationConfig
from lilliput.corpus import Corpus
from lilliput.errors import ConfigError, StorageError
from lilliput.lexicon import Lexicon
from lilliput.models.teacher import Teacher
from lilliput.run import RunDir
from lilliput.tasks.task import Examples, TaskData
from lilliput.unlabelled.own import read_texts
from lilliput.unlabelled.recombination import recombined
from lilliput.unlabelled.sentences import near_sentences
from lilliput.unlabelled.substitution import substituted

_SEED = 20210427
_OWN_AT_MOST = 1_000_000
"""Texts of the user's own that are read."""


def more_texts(
    data: TaskData, config: DistillationConfig, run: RunDir, own: Sequence[str]
) -> Examples | None:
    """Returns the texts besides the labelled ones that a teacher is to label, or None where there are none.

    Args:
        data: The task, whose texts the others are to be like.
        config: How many of which kind.
        run: Holds the corpus and the masked-LM teacher that near sentences and substitutions come from.
        own: The user's text files, folders or data sets.

    Raises:
        StorageError: If the run has no such corpus or teacher.
    """
    parts = list(_parts(data, config, run, own))
    if not parts:
        return None
    return Examples(
        tuple(text for part in parts for text in part.texts),
        tuple(text for part in parts for text in part.pairs),
    )


def _parts(data: TaskData, config: DistillationConfig, run: RunDir, own: Sequence[str]) -> Iterator[Examples]:
    task, labelled = data.task, data.train
    similar: tuple[str, ...] = read_texts(own, limit=_OWN_AT_MOST) if own else ()
    if config.near:
        similar += near_sentences(
            Corpus.open(run.corpus), labelled.texts + labelled.pairs, config.near, _SEED
        )
    near = _as_examples(similar, data) if similar else None
    if near is not None:
        yield near
    if config.recombined and not task.pairs:
        raise ConfigError(
            f"the task '{task.name}' has no pairs to recombine; leave distillation.recombined at 0"
        )
    if config.recombined:
        yield recombined(labelled, config.recombined, _SEED)
    if config.substitutions:
        teacher, tokenizer = _masked_lm_teacher(run), Lexicon.open(run.lexicon).teacher_tokenizer()
        yield substituted(labelled, teacher, tokenizer, config.substitutions, _SEED)
        if near is not None and task.pairs:  # of a pair of equal texts one becomes a variation of the other
            yield substituted(near, teacher, tokenizer, 1, _SEED)


def _as_examples(texts: Sequence[str], data: TaskData) -> Examples:
    """Returns texts as examples of a task: alone, as pairs of equal texts, or as their words."""
    if data.task.pairs:
        return Examples(tuple(texts), tuple(texts))
    return Examples(tuple(tuple(text.split()) for text in texts) if data.task.tags else tuple(texts))


def _masked_lm_teacher(run: RunDir) -> Teacher:
    """Returns the run's teacher as it was trained last."""
    trained = run.trained_teacher()
    if trained is None:
        raise StorageError(
            f"{run.path} holds no teacher that was trained to predict words, so nothing can be substituted; "
            "fine-tune the student of a run of `lilliput compress`, or leave distillation.substitutions at 0"
        )
    return Teacher.load(trained)
