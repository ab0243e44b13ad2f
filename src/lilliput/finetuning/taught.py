"""A task without labels: what a teacher says of unlabelled texts, some of which are held out.

What the teacher says of these counts as right, so the scores are the student's agreement with it.
"""

import hashlib
from collections.abc import Sequence

from tokenizers import Tokenizer

from lilliput.common.names import folder_name
from lilliput.errors import InputError
from lilliput.finetuning.unlabelled.own import read_texts
from lilliput.finetuning.words import text_words
from lilliput.tasks.places import stands_for_examples
from lilliput.tasks.task import Examples, Labels, Task, TaskData, Words, plain
from lilliput.text.sources import Source

_SHARE, _LEAST, _MOST = 0.1, 50, 1_000
"""Of all texts those held out, at least and at most so many."""


def is_taught(task: str | None, *, teacher: Sequence[str], unlabelled: Sequence[str]) -> bool:
    """Whether a task is what teachers say of texts: there are both, and no labelled examples of its name."""
    if not (teacher and unlabelled):
        return False
    if task is None:
        return True
    try:
        folder_name(task, "", "")
    except InputError:
        return False
    return not stands_for_examples(task)


def unread(task: Task) -> TaskData:
    """Returns a task whose texts are not read yet."""
    return TaskData(task, Examples((), labels=Labels()), Examples(()))


def taught_data(task: Task, sources: Sequence[Source], tokenizer: Tokenizer) -> TaskData:
    """Returns a task with unlabelled examples to learn from, and some held out.

    Texts whose words have tags are given as the words that the tokenizer finds in them.

    Args:
        task: What the teacher says.
        sources: The texts.
        tokenizer: The student's.

    Raises:
        InputError: If there are too few texts.
    """
    train, dev = held_out(read_texts(sources))
    if not task.tags:
        return TaskData(task, Examples(train, labels=Labels()), Examples(dev))
    rows = [_as_words(texts, tokenizer) for texts in (train, dev)]
    return TaskData(task, Examples(rows[0], labels=Labels()), Examples(rows[1]))


def _as_words(texts: Sequence[str], tokenizer: Tokenizer) -> tuple[Words, ...]:
    longest = max(map(len, texts), default=0) + 2  # no text has more pieces
    found = text_words(texts, tokenizer, longest)
    rows = zip(texts, found, strict=True)
    words = (tuple(text[word.start : word.end].strip() for word in row) for text, row in rows)
    return tuple(kept for row in words if (kept := tuple(filter(None, row))))


def held_out(texts: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Returns the texts to learn from, and about a tenth of them to be scored on: 50 at least, 1,000 at most.

    Texts are chosen by their digests, so the split depends neither on their order nor on chance. Texts that
    are equal but for capitals and spaces stay together.

    Raises:
        InputError: If there are fewer than 100 different texts.
    """
    groups: dict[str, list[str]] = {}
    for text in texts:
        groups.setdefault(plain(text), []).append(text)
    if len(groups) < 2 * _LEAST:
        raise InputError(
            f"there are {len(groups):,} different unlabelled texts, of which at least {_LEAST} are held out "
            f"to be scored on; give at least {2 * _LEAST}, better thousands"
        )
    wanted = min(max(round(len(groups) * _SHARE), _LEAST), _MOST)
    order = sorted(groups, key=lambda key: hashlib.sha256(key.encode(errors="surrogatepass")).digest())
    apart = set(order[:wanted])
    train = tuple(text for key, group in groups.items() if key not in apart for text in group)
    return train, tuple(groups[key][0] for key in groups if key in apart)
