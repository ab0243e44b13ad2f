"""Splits examples into train and dev if there is no dev set, and checks both for what spoils a score."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from lilliput.errors import InputError
from lilliput.tasks.columns import Columns
from lilliput.tasks.kinds import KINDS
from lilliput.tasks.retrieval import groups
from lilliput.tasks.tables import Table
from lilliput.tasks.task import Examples, Labels, Task, plain, spelled

_HELD_OUT, _MOST = 0.1, 4
"""Of all examples the share that is held out, and the part of them that is so at most for small classes."""
_SINGLE = 5
"""This many examples, each with its own class, are not a small data set but names or free text."""


def hold_out(task: Task, examples: Examples, table: Table) -> tuple[list[int], list[int]]:
    """Returns the rows of train and of dev: about a tenth, and of each class a tenth if there are classes.

    Of a small class it is one example, as long as not more than a quarter of all are held out. Rows are
    chosen by digests of their texts, so the split depends neither on their order nor on chance. Equal texts
    stay together, and train keeps every class and tag.
    """
    groups: dict[str, list[int]] = {}
    for row in range(len(examples)):
        groups.setdefault(key_of(examples, row), []).append(row)
    order = sorted(groups, key=lambda key: hashlib.sha256(key.encode()).digest())
    labels = {key: Counter(label for row in groups[key] for label in labels_at(task, examples, row))
              for key in order}  # fmt: skip
    left = Counter[tuple[str, float]]()
    for of_group in labels.values():
        left.update(of_group)
    chosen: set[str] = set()
    held: list[int] = []
    for keys, wanted, most in _shares(order, labels, len(examples)):
        count = sum(len(groups[key]) for key in keys if key in chosen)
        for key in keys:
            rows, lost = groups[key], labels[key]
            fits = count + len(rows) <= wanted and len(held) + len(rows) <= most
            if fits and key not in chosen and len(groups) > 1 and all(left[one] > lost[one] for one in lost):
                chosen.add(key)
                held += rows
                left.subtract(lost)
                count += len(rows)
    if not held or _is_one_group(task, some(examples, held)):
        raise InputError(
            f"{table.name} has too few examples ({len(examples):,}) to hold out some for scoring; name a dev "
            "set with --dev, or add examples"
        )
    apart = set(held)
    return [row for row in range(len(examples)) if row not in apart], sorted(held)


def _shares(
    order: Sequence[str], labels: Mapping[str, Counter[tuple[str, float]]], count: int
) -> Iterator[tuple[Sequence[str], int, int]]:
    """Yields texts of which a share is held out, how many of them, and how many of all texts at most.

    These are the texts of each class, the most frequent first, or all.
    """
    wanted = max(1, round(count * _HELD_OUT))
    of_class: dict[tuple[str, float], list[str]] = {}
    sizes = Counter[tuple[str, float]]()
    for key in order:
        for label, found in labels[key].items():
            if label[0] == "class":
                of_class.setdefault(label, []).append(key)
                sizes[label] += found
    without = [key for key in order if not any(label[0] == "class" for label in labels[key])]
    if of_class and without:  # texts may have any number of classes
        of_class["none", 0.0], sizes["none", 0.0] = without, len(without)
    for label in sorted(of_class, key=lambda one: (-sizes[one], one)):
        yield of_class[label], max(1, round(sizes[label] * _HELD_OUT)), max(wanted, count // _MOST, 2)
    if not of_class:
        yield order, wanted, wanted


def some(examples: Examples, rows: Sequence[int]) -> Examples:
    """Returns the examples in some rows."""
    assert examples.labels is not None
    every = vars(examples.labels)
    labels = Labels(**{what: tuple(of[row] for row in rows) if of else () for what, of in every.items()})
    pairs = tuple(examples.pairs[row] for row in rows) if examples.pairs else ()
    negatives = tuple(examples.negatives[row] for row in rows) if examples.negatives else ()
    return Examples(tuple(examples.texts[row] for row in rows), pairs, labels, negatives)


def asked(examples: Examples) -> Examples:
    """Returns examples to be scored on, for which wrong answers do not count."""
    return replace(examples, negatives=())


def overlap(
    train: Examples, dev: Examples, train_table: Table, dev_table: Table, what: str = "dev"
) -> str | None:
    """Returns a warning about texts in both dev and train, ignoring case and spacing; None without any.

    Args:
        train: What is learnt from.
        dev: What is scored on.
        train_table: Where train was read.
        dev_table: Where dev was read.
        what: What dev is called.
    """
    rows = {key_of(train, row): row for row in reversed(range(len(train)))}
    both = [row for row in range(len(dev)) if key_of(dev, row) in rows]
    if not both:
        return None
    first = both[0]
    text = " ".join(dev.texts[first]) if isinstance(dev.texts[first], tuple) else str(dev.texts[first])
    return (
        f"{len(both):,} of {len(dev):,} {what} examples ({len(both) / len(dev):.1%}) are also in train, the "
        f"first in {dev_table.where(first)} and {train_table.where(rows[key_of(dev, first)])} "
        f"('{text[:60]}{'...' * (len(text) > 60)}'), so scores are better than on new text; leave them out "
        "of one of the two"
    )


def check_varied(task: Task, examples: Examples, table: Table) -> None:
    """Raises InputError if there is nothing to learn.

    That is: one text, one class, one score, no tag except O, or a class of its own for every text; or one
    answer, or one that is right and wrong for the same query.
    """
    assert examples.labels is not None
    if KINDS[task.kind].implied is not None:
        _check_answers(task, examples, table)
        return
    values = set(examples.labels.values)
    if len(set(examples.labels.several)) == 1:
        names = ", ".join(task.classes[one] for one in examples.labels.several[0]) or "no class"
        raise InputError(
            f"all {len(examples):,} examples of {table.name} have the same classes ({names}), so there is "
            "nothing to learn; add examples of others, or name another column with --label"
        )
    if len(values) == 1:
        value = values.pop()
        what = f"the class '{task.classes[int(value)]}'" if task.classes else f"the score {value:g}"
        raise InputError(
            f"all {len(examples):,} examples of {table.name} have {what}, so there is nothing to learn; add "
            "examples of others, or name another column with --label"
        )
    if task.classes and len(values) == len(examples) >= _SINGLE:
        raise InputError(
            f"each of the {len(examples):,} examples of {table.name} has a class of its own, so none can be "
            "learnt; name another column with --label, or use --kind regression if it holds scores"
        )
    if len(set(examples.texts)) == 1 and len(examples) > 2 and not (examples.pairs or task.tags):
        raise InputError(
            f"all {len(examples):,} examples of {table.name} have the same text, so there is nothing to "
            "learn; name another column with --text"
        )
    if task.tags and not any(tag != task.tags.index("O") for tags in examples.labels.tags for tag in tags):
        raise InputError(
            f"no word of {table.name} has a tag other than O, so there is nothing to learn; add examples "
            "that have, or name another column with --tags"
        )


def _is_one_group(task: Task, examples: Examples) -> bool:
    """Whether answers are to be told from wrong ones, and there are none."""
    return KINDS[task.kind].implied is not None and len(set(groups(examples).tolist())) < 2


def _one_group(examples: Examples, table: Table) -> InputError:
    return InputError(
        f"all {len(examples):,} pairs of {table.name} have a query or an answer in common, so none has a "
        "wrong answer to be told from; add others, or name the columns with --text and --pair"
    )


def _check_answers(task: Task, examples: Examples, table: Table) -> None:
    """Raises InputError where no query has a wrong answer, or one has its right answer for a wrong one."""
    if _is_one_group(task, examples):
        raise _one_group(examples, table)
    right = {
        (plain(spelled(query)), plain(answer))
        for query, answer in zip(examples.texts, examples.pairs, strict=True)
    }
    for row, negative in enumerate(examples.negatives):
        if (plain(spelled(examples.texts[row])), plain(negative)) in right:
            raise InputError(
                f"{table.where(row)} has a wrong answer that is a right one to the same query in "
                f"{table.name}: '{negative[:60]}'; give another, or leave the {table.unit} out"
            )


def doubts(task: Task, examples: Examples, table: Table, columns: Columns) -> list[str]:
    """Returns warnings about columns that may be wrong: all texts are equal, or many classes occur once."""
    assert examples.labels is not None
    found = []
    for texts, column in ((examples.texts, columns.text), (examples.pairs, columns.pair)):
        if examples.pairs and len(set(texts)) == 1 and len(texts) > 2:
            found.append(
                f"column '{column}' of {table.name} has the same text in all {len(texts):,} examples"
            )
    counts = Counter(one for row in range(len(examples)) for one in labels_at(task, examples, row))
    counts = Counter({one: count for one, count in counts.items() if one[0] == "class"})
    once = sum(count == 1 for count in counts.values())
    if len(counts) > _SINGLE and 2 * once > len(counts):
        found.append(
            f"{once:,} of the {len(counts):,} classes in column '{columns.label}' of {table.name} have only "
            "one example each, so none is left to score them; does this column hold the classes?"
        )
    return found


def check_told_apart(task: Task, dev: Examples, table: Table) -> None:
    """Raises InputError if answers are to be told from wrong ones, and dev has none."""
    if _is_one_group(task, dev):
        raise _one_group(dev, table)


def key_of(examples: Examples, row: int) -> str:
    """Returns a key that is equal for texts that differ only in case and spacing."""
    parts = (spelled(examples.texts[row]), examples.pairs[row] if examples.pairs else "")
    return "\n".join(map(plain, parts))


def labels_at(task: Task, examples: Examples, row: int) -> list[tuple[str, float]]:
    """Returns the classes and tags of an example, each as what it is and its index."""
    assert examples.labels is not None
    several = examples.labels.several
    values = several[row] if several else examples.labels.values[row : row + 1] if task.classes else ()
    tags = examples.labels.tags[row] if task.tags else ()
    return [*(("class", value) for value in values), *(("tag", tag) for tag in tags)]
