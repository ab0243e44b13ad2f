"""A teacher's columns -> those of a task: by their names, whatever their order and the notation of its tags.

Scores are logits, so the score of several columns together is the logarithm of the sum of their exponentials:
the probability of the whole is then the sum of the probabilities. That is how five stars become two classes,
and how S- and E- tags become B- and I-.

Shape letters: K slots, T columns of a teacher, C columns of a task.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lilliput.common.progress import console
from lilliput.common.ragged import Ragged
from lilliput.errors import ConfigError, ModelError
from lilliput.finetuning.heads import Averages
from lilliput.finetuning.sets import Floats
from lilliput.inference.outputs import softmax
from lilliput.inference.tags import Notation
from lilliput.tasks.task import Task, plain

Named = Mapping[str, str]
"""For names of a teacher those that the task has for them, as a user gives them; empty ones are left out."""

_NEVER = 30.0
"""How far below the others the score of a column is that a teacher does not have: a share of 1e-13."""
_LISTED = 12
_BEGINS, _CLOSES = "BSUW", "ESLUW"
"""Letters of the first word of a span, and those of its last."""


def option(names: Mapping[str, str]) -> str:
    """Returns the option that says which names belong together."""
    return " ".join(["--teacher-labels", *(f"{theirs}={ours}" for theirs, ours in names.items())])


def matched(
    theirs: Sequence[str], ours: Sequence[str], named: Named, teacher: str, what: str, *, tell: bool = False
) -> list[int]:
    """Returns for each name of a teacher the index of the task's name that it stands for; -1 for none.

    Names belong together where the user says so, where they are equal or, if that is unambiguous, where they
    are equal but for capitals and white space.

    Args:
        theirs: The teacher's names.
        ours: The task's names.
        named: What the user says.
        teacher: The teacher, for messages.
        what: What the names are of, such as "classes".
        tell: Whether to say which names are not quite equal.

    Raises:
        ModelError: If a name on either side has none on the other.
    """
    found: dict[str, int] = {}
    folded: dict[str, str] = {}
    for name in theirs:
        wanted = named.get(name, name)
        alike = [other for other in ours if plain(other) == plain(wanted)]
        if name in named and not wanted:
            found[name] = -1
        elif wanted in ours:
            found[name] = ours.index(wanted)
        elif len(alike) == 1:
            found[name] = ours.index(alike[0])
            folded |= {} if name in named else {name: alike[0]}
    by_name = [found[name] for name in theirs if name in found and name not in named]
    is_whole = len(found) == len(set(theirs)) and {*found.values()} - {-1} == {*range(len(ours))}
    if not is_whole or len(set(by_name)) < len(by_name):
        example = option({name: ours[min(place, len(ours) - 1)] for place, name in enumerate(theirs[:2])})
        raise ModelError(
            f"the {what} of the teacher {teacher} are not those of the task: it has {_listed(theirs)}, and "
            f"the task has {_listed(ours)}; say which belong together ({example}; one that the task lacks is "
            "left out by NAME=), or take a teacher of this task"
        )
    if folded and tell:
        pairs = ", ".join(f"{name!r} for {other!r}" for name, other in folded.items())
        console.print(
            f"{teacher}: {what} taken for each other: {pairs}", highlight=False, markup=False, soft_wrap=True
        )
    return [found[name] for name in theirs]


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED:,} more" if len(names) > _LISTED else ""
    return f"{', '.join(map(repr, names[:_LISTED])) or 'none'}{more}"


def renamed(names: Sequence[str], named: Named) -> list[str]:
    """Returns a teacher's names as a user says them; where nothing is said of a name it stays."""
    return [named.get(name, name) for name in names]


def require_used(named: Named, teachers: Mapping[str, Sequence[str]]) -> None:
    """Raises ConfigError where no teacher has a name that the user gives another.

    Args:
        named: What the user says.
        teachers: The names of each teacher's columns and kinds of spans.
    """
    every = [name for names in teachers.values() for name in names]
    for name in named:
        if name not in every:
            raise ConfigError(
                f"--teacher-labels names {name!r}, which {' and '.join(teachers)} "
                f"{'do' if len(teachers) > 1 else 'does'} not have, but {_listed(every)}"
            )


def summed(scores: Floats, columns: Sequence[int], count: int) -> Floats:
    """Returns the scores [K, C] of what several columns stand for together.

    Args:
        scores: A teacher's scores [K, T].
        columns: For each of its columns one of the task's; -1 for one that is left out.
        count: The task's columns, C.
    """
    if list(columns) == list(range(count)):
        return scores
    found = np.empty((len(scores), count), np.float32)
    floor = np.min(scores, axis=1, initial=np.inf) - _NEVER
    for column in range(count):
        those = [place for place, other in enumerate(columns) if other == column]
        if len(those) == 1:
            found[:, column] = scores[:, those[0]]
        else:
            found[:, column] = np.logaddexp.reduce(scores[:, those], axis=1) if those else floor
    return found


def tag_names(tags: Sequence[str], named: Named) -> list[str]:
    """Returns the names of the spans, or of the plain tags, of a teacher's tags, O not among them."""
    turned = own_tags(tags, named)
    notation = Notation.of(turned)
    return [name for name in dict.fromkeys(notation.parts(tag)[1] for tag in turned) if name not in ("O", "")]


def own_tags(tags: Sequence[str], named: Named) -> list[str]:
    """Returns a teacher's tags with the names that a user gives to whole tags, or to their spans."""
    notation, found = Notation.of(tags), []
    for tag in tags:
        letter, name = notation.parts(tag)
        other = named.get(name, name)
        lettered = f"{letter}-{other}" if letter and other not in ("O", "") else other
        found.append(named.get(tag, lettered))
    return found


def tag_columns(
    tags: Sequence[str], task: Task, named: Named, teacher: str, *, tell: bool = False
) -> tuple[list[int], list[str]]:
    """Returns for each tag of a teacher the index of the task's tag (-1: none), and its tags as named.

    Raises ModelError where the names of spans do not match.
    """
    turned = own_tags(tags, named)
    theirs, ours = Notation.of(turned), Notation.of(task.tags)
    names = [name for name in dict.fromkeys(ours.parts(tag)[1] for tag in task.tags) if name != "O"]
    spans = tag_names(tags, named)
    of_span = dict(zip(spans, matched(spans, names, {}, teacher, "tags", tell=tell), strict=True))
    index_of = {tag: index for index, tag in enumerate(task.tags)}
    columns = []
    for tag in turned:
        letter, name = theirs.parts(tag)
        if name in ("O", ""):
            columns.append(index_of["O"] if name else -1)
            continue
        wanted = names[of_span[name]]
        begins, inside = f"B-{wanted}", f"I-{wanted}"
        if wanted in index_of and ours.is_plain:
            columns.append(index_of[wanted])
        else:
            columns.append(index_of[begins if letter and letter in _BEGINS else inside])
    return columns, turned


def in_notation(
    scores: Floats, slots: Ragged, columns: Sequence[int], tags: Sequence[str], task: Task
) -> Floats:
    """Returns a teacher's scores of tags [K, T] as those of the task's tags [K, C], by the rules of `tags`.

    A word whose span does not go on from the word before begins one, whatever the teacher calls it: there
    the scores of I-x belong to B-x. So IOB1 and tags without B- become the task's B- and I-.

    Args:
        scores: The teacher's scores of all words; NaN where one was cut off.
        slots: The words of each text.
        columns: What `tag_columns` returns first.
        tags: What it returns second.
        task: Has the tags.
    """
    found = summed(scores, columns, len(task.tags))
    theirs, ours = Notation.of(tags), Notation.of(task.tags)
    if ours.is_plain or not len(scores):
        return found
    found = found.copy() if found is scores else found
    letters, names = zip(*map(theirs.parts, tags), strict=True)
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    known = ~np.isnan(scores).any(1)
    said = np.nan_to_num(scores, nan=-np.inf).argmax(1)
    open_for = np.where(known, np.array([numbers[name] for name in names])[said], -1)
    closes = np.array([bool(letter) and letter in _CLOSES for letter in letters])[said]
    open_for = np.where(closes, -1, open_for)
    before = np.concatenate([[-1], open_for[:-1]])
    before[slots.offsets[:-1][slots.lengths > 0]] = -1
    of_task: dict[int, set[int]] = {}
    for column, name in zip(columns, names, strict=True):
        of_task.setdefault(column, set()).add(numbers[name])
    for inside, tag in enumerate(task.tags):
        begins = f"B-{tag[2:]}"
        if ours.parts(tag)[0] != "I" or begins not in task.tags:
            continue
        first = task.tags.index(begins)
        same = of_task.get(inside, set()) | of_task.get(first, set())
        rows = known & ~np.isin(before, [*same])
        found[rows, first] = np.logaddexp(found[rows, first], found[rows, inside])
        found[rows, inside] = found[rows].min(1) - _NEVER
    return found


def together(every: Sequence[Floats], averages: Averages) -> Floats:
    """Returns what several teachers say [K, C]; NaN where none of them read the slot.

    Of classes and tags it is the logarithm of the mean of their probabilities. Hinton et al. (2015,
    arXiv 1503.02531, section 1) take an arithmetic or geometric mean of an ensemble's distributions as soft
    targets; the arithmetic one does not let a teacher with larger logits outvote the others. Scores are first
    brought to the mean and the deviation of the first teacher's, then averaged.

    Args:
        every: The scores of each teacher, in the order of the task's columns [K, C].
        averages: What is averaged of them.
    """
    if len(every) == 1:
        return every[0]
    stacked: npt.NDArray[np.floating[Any]] = np.stack(every).astype(np.float64)
    if averages == "shares":
        stacked = 1 / (1 + np.exp(-stacked))
    elif averages == "choices":
        stacked = softmax(stacked)
    else:
        read = ~np.isnan(stacked).any((0, 2))
        mean = stacked[:, read].mean(1, keepdims=True)
        deviation = stacked[:, read].std(1, keepdims=True)
        deviation = np.where(deviation > 0, deviation, 1.0)
        stacked = (stacked - mean) / deviation * deviation[:1] + mean[:1]
    count = (~np.isnan(stacked)).sum(0)
    total = np.where(count, np.nansum(stacked, 0) / np.maximum(count, 1), np.nan)
    if averages == "shares":
        total = np.log(np.clip(total, 1e-30, 1)) - np.log(np.clip(1 - total, 1e-30, 1))
    elif averages == "choices":
        total = np.log(np.maximum(total, 1e-30))
    found: Floats = total.astype(np.float32)
    return found
