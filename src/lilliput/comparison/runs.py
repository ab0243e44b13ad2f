"""What survives compression: fine-tuned models of several runs beside each other, and beside their teacher.

Everything is read from the folders that `finetune` wrote; only the latency is measured anew. Written are a
table (Markdown and JSON) and, for a person to read, the examples on which a model and the teacher differ.
"""

import dataclasses
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

from lilliput.common.arguments import PathLike, Texts, path_of, texts_of
from lilliput.common.files import write_json, writing
from lilliput.common.folders import MANIFEST, check_report, clear_removed, record
from lilliput.common.locks import beside, locked
from lilliput.common.stage_dir import StageDir
from lilliput.comparison.differences import write_differences
from lilliput.comparison.run_report import Comparison, Entry, markdown
from lilliput.errors import ConfigError, StorageError
from lilliput.finetuning.encoded import make_batch
from lilliput.finetuning.log import EVENTS, METRICS
from lilliput.finetuning.model import load_task_model
from lilliput.finetuning.reader import reader_of
from lilliput.finetuning.results import (
    PREDICTIONS,
    FinetuneResult,
    bio_lines,
    is_one_example,
    is_same,
    read_predictions,
    read_results,
)
from lilliput.run import FINETUNE_AGAIN, RunDir
from lilliput.tasks.kinds import KINDS
from lilliput.tasks.metrics import GIVEN_WORDS, confusion
from lilliput.tasks.tagged import bio_task
from lilliput.tasks.task import Examples, Labels, Task

_COMPARED = ("gold", "predicted")
"""What lines of predictions hold."""
_NOT_LOADED = (PREDICTIONS, MANIFEST, METRICS, EVENTS)
"""What a folder holds beside what loading its model needs."""
_TIMED = 40
"""Times that each model answers the same short text."""


@dataclass(frozen=True)
class _Model:
    """A fine-tuned folder, read."""

    run: Path
    name: str
    folder: Path
    results: FinetuneResult
    lines: tuple[dict[str, Any], ...]

    @property
    def task(self) -> Task:
        return bio_task(self.results.task)

    def labels(self, of: str) -> Labels:
        """Returns what is right (`gold`) or what the model says (`predicted`)."""
        return KINDS[self.task.kind].unnamed(self.task, (line[of] for line in self.lines))


def compare(runs: Texts, out: PathLike | None = None, *, teacher: PathLike | None = None) -> Comparison:
    """Compares the fine-tuned models of runs and writes comparison.md, comparison.json and the differences.

    Args:
        runs: Runs that hold fine-tuned models.
        out: Folder to write; by default `comparison` in the first run.
        teacher: The run that holds the teacher's models of the same tasks, among `runs` or not.

    Raises:
        StorageError: If a run holds no fine-tuned model, or dev sets of one task differ.
        ConfigError: If no run is named.
    """
    every = [Path(run) for run in texts_of("runs", runs)]
    of_teacher = None if teacher is None else path_of("teacher", teacher)
    if not every:
        raise ConfigError('no run was named; give the folders of one or more: compare(["runs/x"])')
    place = every[0] / "comparison" if out is None else path_of("out", out)
    with locked(beside(place), place):
        return _compare(every, place, of_teacher)


def _compare(runs: Sequence[Path], out: Path, teacher: Path | None) -> Comparison:
    """Compares, under the lock of the folder to write."""
    check_report(out, "comparison.json", {"teacher", "entries"}, ["comparison.md", "differences"])
    every = list(dict.fromkeys([*([teacher] if teacher else []), *runs]))
    names = _names(every)
    models = [model for run in every for model in _models(run, names[run])]
    of_teacher = {model.task.name: model for model in models if model.run == teacher}
    latency = _milliseconds(models)
    entries = []
    for model, milliseconds in zip(models, latency, strict=True):
        theirs = of_teacher.get(model.task.name)
        if theirs is not None and theirs is not model:
            _require_same_task(model, theirs)
        entries.append(_entry(model, theirs, milliseconds))
        StageDir(model.folder, {}).require_whole(FINETUNE_AGAIN)
        if theirs is not None and theirs is not model:
            place = out / "differences" / f"{names[model.run]}-{model.task.name}.md".replace("/", "-")
            write_differences(place, model.task, (model.name, model.lines), (theirs.name, theirs.lines))
    for report in ("comparison.json", "comparison.md"):
        clear_removed(out / report)
    found = Comparison(names[teacher] if teacher else None, tuple(entries))
    write_json(out / "comparison.json", dataclasses.asdict(found))
    with writing(out / "comparison.md") as file:
        file.write(markdown(found).encode(errors="backslashreplace"))
    return found


def _names(runs: Sequence[Path]) -> dict[Path, str]:
    """Returns what each run is called: the name of its folder or, if others have it, its path."""
    named = Counter(run.absolute().name for run in runs)
    return {run: name if named[name := run.absolute().name] == 1 else str(run) for run in runs}


def _require_same_task(model: _Model, teacher: _Model) -> None:
    """Raises StorageError where two models of one name learnt different tasks."""
    for what in ("kind", "pairs", "classes", "tags"):
        mine, theirs = getattr(model.task, what), getattr(teacher.task, what)
        if set(mine) != set(theirs) if isinstance(mine, tuple) else mine != theirs:
            raise StorageError(
                f"{model.folder} and {teacher.folder} were fine-tuned for different tasks of the same name "
                f"({what} {mine!r} and {theirs!r}); fine-tune both on the same data"
            )


def _models(run: Path, name: str) -> list[_Model]:
    folders = RunDir(run).finetuned_models()
    if not folders:
        raise StorageError(
            f"{run} holds no fine-tuned model; make one with `lilliput finetune {run} --task TASK`"
        )
    models = []
    for folder in folders:
        results = read_results(folder)
        lines = bio_lines(results.task, read_predictions(folder, results.task))
        models.append(_Model(run, name, folder, results, tuple(lines)))
    return models


def _entry(model: _Model, teacher: _Model | None, milliseconds: float) -> Entry:
    results, metric = model.results, model.task.metric
    return Entry(
        run=model.name,
        task=model.task.name,
        metric=metric,
        scores={name: (mean, results.deviation[name]) for name, mean in results.mean.items()},
        seeds=len(results.scores),
        retention=None if teacher is None else _retention(results, teacher.results),
        agreement=None if teacher is None else _agreement(model, teacher),
        parameters=results.parameters,
        weight_bytes=results.weight_bytes,
        folder_bytes=sum(file["bytes"] for file in record(model.folder, _NOT_LOADED).values()),
        milliseconds=milliseconds,
        confusion=confusion(model.task, *(model.labels(of) for of in _COMPARED)),
    )


def _retention(ours: FinetuneResult, theirs: FinetuneResult) -> float | None:
    """Returns a score as a share of the teacher's; None where that is 0.

    Where an earlier version scored one of them, that has its score by given words alone.
    """
    name = ours.task.metric.removesuffix(GIVEN_WORDS)
    both = [one.mean for one in (ours, theirs)]
    if not all(name in scores for scores in both):
        both = [{name: scores.get(f"{name}{GIVEN_WORDS}", scores.get(name, 0.0))} for scores in both]
    return both[0][name] / both[1][name] if both[1][name] else None


def _agreement(model: _Model, teacher: _Model) -> float:
    for mine, theirs in zip(model.lines, teacher.lines, strict=False):
        if len(model.lines) != len(teacher.lines) or not is_one_example(mine, theirs):
            raise StorageError(
                f"{model.folder} and {teacher.folder} were scored on other dev sets; fine-tune both on "
                "the same data"
            )
    same = [is_same(mine, theirs) for mine, theirs in zip(model.lines, teacher.lines, strict=True)]
    return KINDS[model.task.kind].agreement(model.lines, teacher.lines, same)


def _milliseconds(models: Sequence[_Model]) -> list[float]:
    """Returns each model's median time for a text of median length, all in turns at one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    loaded = []
    for model in models:
        network, task = load_task_model(model.folder)
        lines = sorted(model.lines, key=lambda line: len(line["text"]))
        middle = lines[len(lines) // 2]
        text = middle["text"] if isinstance(middle["text"], str) else tuple(middle["text"])
        examples = Examples((text,), (middle["pair"],) if "pair" in middle else ())
        encoded = reader_of(str(model.folder), task).encode(examples, task)
        loaded.append((network.train(False), make_batch(encoded, encoded.slots.offsets[:1]).inputs))
    seconds: list[list[float]] = [[] for _ in loaded]
    with torch.inference_mode():
        for _ in range(_TIMED):
            for (network, inputs), spent in zip(loaded, seconds, strict=True):
                started = time.perf_counter()
                network(**inputs)
                spent.append(time.perf_counter() - started)
    torch.set_num_threads(threads)
    return [median(spent) * 1e3 for spent in seconds]
