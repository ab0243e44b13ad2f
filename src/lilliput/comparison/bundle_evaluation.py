"""A bundle on a labelled file: what it answers, as a user has it, and how good that is."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lilliput.comparison.evaluation_report import Evaluation, Prediction
from lilliput.errors import BundleError, InputError, LilliputError, nearest
from lilliput.export.scoring import Compared, compared, texts_of
from lilliput.inference.answers import Answer, Classification, Labelling, Tagging
from lilliput.inference.bundle import Bundle, load
from lilliput.inference.format import BundleConfig
from lilliput.inference.kinds import KINDS as ANSWERED
from lilliput.tasks.calibration import Calibration, calibration
from lilliput.tasks.classes import of_classes
from lilliput.tasks.columns import Columns, recognise
from lilliput.tasks.examples import examples_of
from lilliput.tasks.kinds import KINDS
from lilliput.tasks.known import KNOWN, numbers_named
from lilliput.tasks.lists import with_lists
from lilliput.tasks.metrics import confusion
from lilliput.tasks.multilabel import BETWEEN, Multilabel
from lilliput.tasks.tables import Table, find_table, is_missing
from lilliput.tasks.tagged import bio_task, tag_reading, tag_row
from lilliput.tasks.task import Examples, Task, spelled
from lilliput.text.tables import brief
from lilliput.text.unpacking import SPACES


@dataclass(frozen=True)
class _Labelled:
    """A labelled file, as a bundle's task has it."""

    task: Task
    examples: Examples
    table: Table
    origin: str


def evaluate_bundle(folder: Path, file: Path, columns: Columns | None = None) -> Evaluation:
    """Returns how good a bundle's answers to a labelled file are.

    The texts go the way that a user's go: through the bundle's own tokenizer and graph, in windows.

    Args:
        folder: The bundle, of a kind that has classes, scores or tags.
        file: .csv, .tsv, .jsonl, .parquet or CoNLL columns, also compressed.
        columns: The names of its columns; those that are None are found by usual names.

    Raises:
        BundleError: If the bundle is damaged, or has vectors or fills gaps.
        InputError: If the file cannot be read, has not the columns, or labels that the bundle does not have.
    """
    opened = load(folder)
    _check_kind(folder, opened.config)
    labelled = _read(folder, opened.config, file, columns or Columns())
    answers = _answers(opened, labelled)
    found = compared(opened, labelled.task, labelled.examples, answers)
    classes = of_classes(found.task, found.gold, found.said)
    scores = dict(found.scores)
    if classes and not found.task.tags:
        scores["macro_f1"] = math.fsum(one.f1 for one in classes.values()) / len(classes)
    predictions = tuple(
        _prediction(found, labelled.examples, index, answer) for index, answer in enumerate(answers)
    )
    return Evaluation(
        bundle=folder,
        origin=labelled.origin,
        task=found.task,
        scores=scores,
        classes=classes,
        confusion=confusion(found.task, found.gold, found.said),
        calibration=_calibration(predictions, found.task.kind),
        predictions=predictions,
    )


def _check_kind(folder: Path, config: BundleConfig) -> None:
    """Raises BundleError where a bundle has no answers that labels could be compared with."""
    if config.kind not in KINDS:
        does = "makes vectors" if ANSWERED[config.kind].head == "states" else "fills in pieces of words"
        raise BundleError(
            f"{folder} {does}, and has no classes, scores or tags to compare with labels; name a bundle that "
            "was made for a task, or evaluate vectors with --pairs FILE or --retrieval FOLDER"
        )


def _read(folder: Path, config: BundleConfig, file: Path, named: Columns) -> _Labelled:
    """Returns the examples of a file, whose labels are a bundle's."""
    kind, source = KINDS[config.kind], find_table(file)
    columns = recognise(source, named, kind)
    if config.pairs and columns.pair is None:
        raise InputError(
            f"{folder} reads two texts together, and {file} has no column known to hold the second; name it "
            "with --pair"
        )
    if not config.pairs:
        columns = Columns(columns.text, None, columns.label, columns.tags)
    table, _ = with_lists(source.read(columns.names), columns)
    if (known := KNOWN.get(config.task or "")) is not None:
        table = numbers_named(table, known, columns.label, columns.tags)
    task = bio_task(
        Task(
            config.task or folder.absolute().name,
            config.kind,
            config.pairs,
            config.classes,
            config.tags,
            kind.metric_names(config.tags)[0],
            known.positive if known is not None else None,
        )
    )
    if columns.tags is not None:
        table = tag_reading(table, columns.tags).read(table)
        _check_names(table, folder, "tag", task.tags, lambda row: tag_row(table, row, str(columns.tags)))
    if columns.label is not None and config.classes:
        label = columns.label
        _check_names(table, folder, "label", config.classes, lambda row: kind.names_at(table, row, label))
    return _Labelled(task, examples_of(task, table, columns), table, f"{file} ({columns})")


def _check_names(
    table: Table, folder: Path, what: str, names: Sequence[str], row_of: Callable[[int], Sequence[Any]]
) -> None:
    """Raises InputError at the first class or tag that a bundle does not have."""
    known = set(names)
    for row in range(len(table)):
        for place, value in enumerate(row_of(row)):
            name = str(value).strip(SPACES)
            whole = name.partition(".")[0] if name.rstrip("0").endswith(".") else name  # 1.0 stands for 1
            if not is_missing(value) and name and not {name, whole} & known:
                raise InputError(
                    f"{table.where(row, place if what == 'tag' else 0)} has the {what} {brief(value)}, which "
                    f"{folder} does not have; correct it or leave it out; {nearest(name, names)}"
                )


def _answers(opened: Bundle, labelled: _Labelled) -> list[Answer]:
    """Returns the answer to each example; raises what the bundle raises, with the line of the text."""
    answers: list[Answer] = []
    try:
        answers.extend(opened.stream(texts_of(labelled.task, labelled.examples)))
    except LilliputError as error:
        # extend keeps those before the one that has no answer
        error.args = (f"{error} ({labelled.table.where(len(answers))})",)
        raise
    return answers


def _prediction(found: Compared, examples: Examples, index: int, answer: Answer) -> Prediction:
    right, said = (KINDS[found.task.kind].named(found.task, one, index) for one in (found.gold, found.said))
    shares = [answer.probability] if isinstance(answer, Classification) else []
    whole = answer if isinstance(answer, Classification | Labelling) else None
    if isinstance(answer, Labelling):
        shares = [max(share, 1 - share) for share in answer.probabilities.values()]
    if isinstance(answer, Tagging):
        whole = answer.classification
        shares = [word.probability for word in answer.words] + ([whole.probability] if whole else [])
    text = spelled(examples.texts[index])
    words = found.words[index] if found.words else ()
    return Prediction(
        text=text,
        pair=examples.pairs[index] if examples.pairs else None,
        label=_label(right),
        answer=_label(said),
        probability=min(shares, default=None),
        probabilities=dict(whole.probabilities) if whole else {},
        words=tuple(text[word.start : word.end] for word in words),
        tags=tuple(right.get("tags", ())),
        said_tags=tuple(said.get("tags", ())),
        cut=answer.cut,
    )


def _label(named: Mapping[str, Any]) -> str | float | None:
    """Returns the label of an example, or its several classes as a table has them; None where it has none."""
    return BETWEEN.join(sorted(named["labels"])) if "labels" in named else named.get("label")


def _calibration(predictions: Sequence[Prediction], kind: str) -> Calibration | None:
    """Returns how far the probabilities of classes can be believed; None where there are no classes.

    Where a text may have several, each class is a question of its own: whether the text has it.
    """
    classed = [one for one in predictions if one.probabilities]
    if not classed:
        return None
    if kind == Multilabel.name:
        asked = [(one, *item) for one in classed for item in one.probabilities.items()]
        is_right = [(name in str(one.label).split(BETWEEN)) == (share >= 0.5) for one, name, share in asked]
        return calibration([max(share, 1 - share) for *_, share in asked], is_right)
    shares = [max(one.probabilities.values()) for one in classed]
    return calibration(shares, [one.label == one.answer for one in classed])
