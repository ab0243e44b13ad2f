"""What a fine-tuned model learnt: its scores, what it takes for what, and where it is wrong."""

from collections.abc import Mapping, Sequence
from typing import Any

from lilliput.common.sheet import Sheet, duration
from lilliput.common.stored import stored
from lilliput.comparison.differences import label_in
from lilliput.comparison.run_report import Comparison, table
from lilliput.finetuning.results import FinetuneResult, bio_lines
from lilliput.reporting import curves
from lilliput.reporting.blocks import (
    Block,
    Chart,
    Charts,
    Example,
    Examples,
    Facts,
    Grid,
    Heat,
    Note,
    Section,
    section,
)
from lilliput.reporting.drawing import Series, chart
from lilliput.reporting.sources import Run, Tuned
from lilliput.tasks.classes import of_classes
from lilliput.tasks.kinds import KINDS
from lilliput.tasks.metrics import confusion, is_agreement, of_all
from lilliput.tasks.tagged import bio_task
from lilliput.tasks.task import Labels, Task, spelled

_ERRORS, _CLASSES, _DOTS = 20, 12, 400
"""Wrong answers, classes of a confusion, and pairs of scores that are shown."""

_Lines = Sequence[Mapping[str, Any]]


def of_task(one: Tuned) -> list[Section]:
    """Returns what is known of a fine-tuned model."""
    result = one.result
    task, lines = bio_task(result.task), bio_lines(result.task, one.lines)
    gold, said = (
        KINDS[task.kind].unnamed(task, (line[of] for line in lines)) for of in ("gold", "predicted")
    )
    blocks = [_scores(result), Facts(_facts(result)), curves.of_task(one), *compared(task, gold, said)]
    return section(f"Task {task.name}", *blocks, _errors(task, lines))


def beside_teacher(run: Run) -> list[Section]:
    """Returns the comparison with a teacher that `lilliput evaluate` wrote into a run."""
    path = run.place.path / "comparison" / "comparison.json"
    if not path.exists():
        return []
    found: Comparison = stored(Comparison, path, "run the same `lilliput evaluate` again")
    said = f"Compared with {found.teacher}. " if found.teacher else ""
    note = Note(f"{said}Mean and deviation over seeds, on dev; ms at one thread, from `lilliput evaluate`.")
    return section("Student beside teacher", note, Grid(table(found)))


def compared(task: Task, gold: Labels, said: Labels) -> list[Block]:
    """Returns what answers are beside what is right: by class, and class by class; scores as a cloud."""
    scores, blocks = of_classes(task, gold, said), list[Block]()
    if scores:
        rows = [
            (name, f"{one.precision:.1%}", f"{one.recall:.1%}", f"{one.f1:.1%}", f"{one.support:,}")
            for name, one in scores.items()
        ]
        blocks.append(Grid(Sheet(("class", "precision", "recall", "F1", "support"), rows)))
    if counts := confusion(task, gold, said):
        blocks.append(_heat(counts))
    if not (task.classes or task.tags) and len(set(gold.values)) > 1:
        step = -(-len(gold.values) // _DOTS)
        points = tuple(zip(gold.values[::step], said.values[::step], strict=True))
        blocks.append(
            Charts(
                (Chart("predicted by right score", chart([Series("pair", points, False)], "right score")),)
            )
        )
    return blocks


def _scores(result: FinetuneResult) -> Grid:
    many = len(result.scores) > 1
    rows = [
        (
            f"{name} (decides)" if name == result.task.metric else name,
            f"{mean:.1%}",
            *((f"{result.deviation[name]:.1%}",) if many else ()),
            *((f"{scores[name]:.1%}" for scores in result.scores.values()) if many else ()),
        )
        for name, mean in of_all(result.mean).items()
    ]
    of_seeds = ("deviation", *(f"seed {seed}" for seed in result.scores)) if many else ()
    return Grid(Sheet(("on dev", "mean" if many else "score", *of_seeds), rows))


def _facts(result: FinetuneResult) -> tuple[tuple[str, str], ...]:
    task = result.task
    rows = [
        ("kind", f"{task.kind}{' of pairs' * task.pairs}"),
        ("encoder", result.encoder),
        ("teacher", result.teacher or ""),
        ("examples", ", ".join(f"{count:,} {name}" for name, count in result.examples.items() if count)),
        ("learning rate", f"{result.rate:.3g}"),
        ("rounded in training", result.quantization or ""),
        ("parameters", f"{result.parameters:,}"),
        ("bytes of weights", f"{result.weight_bytes:,}"),
        ("time", duration(result.seconds)),
    ]
    if is_agreement(task):
        rows.append(("right", "what the teacher says, as there are no labels"))
    return tuple((name, value) for name, value in rows if value)


def _heat(counts: Mapping[str, Mapping[str, int]]) -> Heat:
    """Returns a confusion, of the most frequent classes where there are many."""
    often: dict[str, int] = {}
    for is_, row in counts.items():
        for was, count in row.items():
            for name in {is_, was}:
                often[name] = often.get(name, 0) + count
    most = set(sorted(often, key=lambda name: -often[name])[:_CLASSES])
    names = tuple(name for name in sorted(often) if name in most)
    title = "Right ones down, what was said across"
    if len(often) > len(names):
        title += f"; the {len(names)} most frequent of {len(often):,}"
    rows = ((name, tuple(counts.get(name, {}).get(other, 0) for other in names)) for name in names)
    return Heat(title, names, tuple(rows))


def _errors(task: Task, lines: _Lines) -> Examples | None:
    """Returns what the model says wrong: all of it in the order of the set, of scores the furthest off."""
    if task.classes or task.tags:
        wrong = [line for line in lines if line["gold"] != line["predicted"]]
        title = f"{len(wrong):,} of {len(lines):,} are wrong"
    elif KINDS[task.kind].has_label:
        far = [(abs(line["gold"]["label"] - line["predicted"]["label"]), line) for line in lines]
        wrong = [line for _, line in sorted(far, key=lambda pair: -pair[0])]
        title = "Furthest from what is right"
    else:
        return None
    shown = tuple(_example(task, line) for line in wrong[:_ERRORS])
    more = f"; the first {_ERRORS}" if len(wrong) > _ERRORS else ""
    return Examples(title + more, shown) if shown else None


def _example(task: Task, line: Mapping[str, Any]) -> Example:
    text = line["text"] if isinstance(line["text"], str) else tuple(line["text"])
    texts = (spelled(text), *((line["pair"],) if task.pairs else ()))
    right = "teacher" if is_agreement(task) else "right"
    said = ((right, label_in(dict(line), "gold")), ("said", label_in(dict(line), "predicted")))
    return Example(texts, said)
