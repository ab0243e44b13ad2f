"""What a run recorded of a model, for its card. What it did not record is left out."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lilliput.common.cards import LANGUAGE, LICENCE, called, card_data, data_sets_in, hub_name_of
from lilliput.common.files import digest_folder
from lilliput.common.folders import MANIFEST, read_manifest
from lilliput.errors import ConfigError, StorageError
from lilliput.export.card import Card, CardScore
from lilliput.finetuning.results import (
    PREDICTIONS,
    FinetuneResult,
    is_one_example,
    read_predictions,
    read_results,
)
from lilliput.inference.format import MODEL
from lilliput.run import RunDir, read_summary
from lilliput.tasks.known import KNOWN
from lilliput.tasks.metrics import is_agreement, of_all
from lilliput.tasks.task import Task

_LIMITS = (
    "It was scored on the examples named here and on nothing else.",
    "It repeats what its training texts hold, their prejudices too.",
)
_DATA_SET = re.compile(r"[\w-][\w.-]*(/[\w.-]+)?")


@dataclass(frozen=True)
class Stated:
    """What the user says of a model for its card; what is left empty comes from the run, if it is there."""

    licence: str | None = None
    """The licence of the weights, as the hub abbreviates it, such as apache-2.0."""
    language: tuple[str, ...] = ()
    """The texts' languages, as ISO 639 abbreviates them."""
    datasets: tuple[str, ...] = ()
    """Data sets of the hub that it learnt from."""

    def __post_init__(self) -> None:
        for name, values, form, example in (
            ("licence", () if self.licence is None else (self.licence,), LICENCE, "apache-2.0"),
            ("language", self.language, LANGUAGE, "de, or pt-BR"),
            ("datasets", self.datasets, _DATA_SET, "wikimedia/wikipedia"),
        ):
            for value in values:
                if not (isinstance(value, str) and form.fullmatch(value)):
                    raise ConfigError(
                        f"{name} is {value!r}, expected is what the hub reads, such as {example}"
                    )


def card_of(
    folder: Path,
    run: RunDir,
    results: FinetuneResult | None,
    stated: Stated,
    parameters: int,
    executorch: str | None = None,
) -> Card:
    """Returns the card of a model of so many parameters with what its run recorded, without scores.

    Args:
        folder: The model's.
        run: What the user named: a run, or the model's folder.
        results: What fine-tuning reported of it, if it was fine-tuned.
        stated: What the user says of it.
        parameters: Of the exported model.
        executorch: The version of ExecuTorch that wrote model.pte, if there is one.
    """
    source = run if results is None else _run_of(folder, results)
    summary: Mapping[str, Any] = read_summary(source.summary) if source.summary.exists() else {}
    taught_by = [] if results is None or not results.teacher else results.teacher.split(", ")
    teachers = [summary["teacher"]] if summary else taught_by
    counts = {"model": parameters} | ({"teacher": summary["teacher_parameters"]} if summary else {})
    known = card_data(teachers[0] if teachers else str(folder))
    read = _read(source, folder, summary, results)
    return Card(
        name=called(folder if results is not None or folder != run.student else run.path).split("/")[-1],
        teacher=" and ".join(map(called, teachers)) or None,
        corpus="; ".join(read) or None,
        recipe="; ".join(_steps(summary, results)) or None,
        parameters=counts,
        scores=(),
        limits=_LIMITS,
        licence=(stated.licence and stated.licence.lower()) or (None if teachers else known.licence),
        teacher_licence=known.licence if teachers else None,
        languages=stated.language or known.only_language,
        data_sets=stated.datasets or tuple(dict.fromkeys(_data_sets(source, folder, results))),
        base_models=tuple(dict.fromkeys(_base_models(source, folder, summary, results))),
        executorch=executorch,
    )


def shown_scores(
    scores: Mapping[str, float],
    results: FinetuneResult,
    teacher: Mapping[str, float],
    file: str = MODEL,
) -> tuple[CardScore, ...]:
    """Returns scores as a card shows them.

    Args:
        scores: Of a file of the bundle.
        results: What fine-tuning reported.
        teacher: The teacher's scores on the same examples, where they are known.
        file: The file.
    """
    task, data = results.task, f"{results.task.name} dev"
    if is_agreement(task):
        data = f"{task.name}, held-out texts with the teacher's answers"
    return tuple(
        CardScore(
            name,
            round(value, 4),
            data,
            teacher=round(teacher[name], 4) if name in teacher else None,
            data_set=_known_data_set(results),
            file=file,
        )
        for name, value in of_all(dict(scores)).items()
    )


def teacher_scores(folder: Path, results: FinetuneResult) -> dict[str, float]:
    """Returns how a model's teacher scored on the same dev examples; nothing where that was not measured.

    It was where lilliput fine-tuned the teacher, and it is still the one that taught.
    """
    path = Path(results.teacher or "")
    if not results.teacher or is_agreement(results.task) or not (path / PREDICTIONS).is_file():
        return {}
    try:
        if read_manifest(folder / MANIFEST)["made_from"].get("teacher") != digest_folder(path):
            return {}
        theirs = read_results(path)
        lines = [
            read_predictions(place, task) for place, task in ((folder, results.task), (path, theirs.task))
        ]
    except StorageError:  # a teacher that is damaged meanwhile is no reason to make no bundle
        return {}
    is_same = len(lines[0]) == len(lines[1]) and all(map(is_one_example, *lines))
    return (
        dict(theirs.scores[theirs.best_seed]) if is_same and _asks_the_same(results.task, theirs.task) else {}
    )


def _asks_the_same(mine: Task, theirs: Task) -> bool:
    return (mine.kind, mine.metric, mine.positive) == (theirs.kind, theirs.metric, theirs.positive)


def _steps(summary: Mapping[str, Any], results: FinetuneResult | None) -> list[str]:
    """Returns how a model was made, step by step."""
    steps = [f"recipe {summary['recipe']['name']}"] if summary else []
    if results is not None:
        names = " and ".join(map(called, results.teacher.split(", "))) if results.teacher else ""
        taught = f", taught by {names}" if names else ""
        rounded = f", with weights rounded to {results.quantization}" if results.quantization else ""
        steps.append(f"fine-tuned for {results.task.name} at rate {results.rate:.2g}{taught}{rounded}")
    return steps


def _run_of(folder: Path, results: FinetuneResult) -> RunDir:
    """Returns the run whose student was fine-tuned, if that is still there, else one that holds nothing."""
    encoder = Path(results.encoder)
    made_from = read_manifest(folder / MANIFEST)["made_from"]
    if encoder.is_dir() and made_from.get("encoder") == digest_folder(encoder):
        return RunDir(encoder.parent)
    return RunDir(folder / "unknown")


def _base_models(
    source: RunDir, folder: Path, summary: Mapping[str, Any], results: FinetuneResult | None
) -> Iterator[str]:
    """Yields the models on the hub that a model was made from.

    What was read from the hub is recorded with its revision.
    """
    if not summary and results is None and (name := hub_name_of(folder)) is not None:
        yield name
    if summary:
        for stage in source.path.glob("training/[!.]*/manifest.json"):
            yield from _on_hub([summary["teacher"]], read_manifest(stage)["made_from"])
    if results is not None:
        made_from = read_manifest(folder / MANIFEST)["made_from"]
        yield from _on_hub([results.encoder, *(results.teacher or "").split(", ")], made_from)


def _on_hub(names: Sequence[str], made_from: Mapping[str, Any]) -> Iterator[str]:
    """Yields those of some models that were read from the hub, be it by name or out of its cache."""
    teachers = made_from.get("teacher")
    digests = [made_from.get("encoder"), *(teachers if isinstance(teachers, list) else [teachers])]
    for name in filter(None, names):
        if any(isinstance(digest, str) and digest.startswith(f"{name}@") for digest in digests):
            yield name
        elif (cached := hub_name_of(Path(name))) is not None:
            yield cached


def _corpora(source: RunDir, folder: Path, results: FinetuneResult | None) -> Iterator[Path]:
    """Yields the manifests of all texts that a model learnt from."""
    start = source.path.parent  # of `lilliput distill`, whose student begins in RUN/training/start
    yield source.corpus / MANIFEST
    if start.name == "training":
        yield from (start.parent / part / MANIFEST for part in ("corpus", "texts"))
    if results is not None:
        yield folder / MANIFEST


def _data_sets(source: RunDir, folder: Path, results: FinetuneResult | None) -> Iterator[str]:
    """Yields the data sets of the hub that a model learnt from."""
    for manifest in filter(Path.is_file, _corpora(source, folder, results)):
        yield from data_sets_in(read_manifest(manifest)["made_from"])
    if results is not None and (name := _known_data_set(results)) is not None:
        yield name


def _known_data_set(results: FinetuneResult) -> str | None:
    """Returns the data set of a known task, where its examples came from the hub."""
    known = KNOWN.get(results.task.name)
    if known is None or not results.origin.startswith(f"data set {known.data_set}"):
        return None
    return known.data_set


def _read(
    source: RunDir, folder: Path, summary: Mapping[str, Any], results: FinetuneResult | None
) -> list[str]:
    """Returns what a model has read, source by source."""
    found, manifest = [], source.corpus / MANIFEST
    if manifest.is_file() and summary:
        inputs = read_manifest(manifest)["made_from"].get("inputs")
        sources = [one for one in inputs if isinstance(one, dict)] if isinstance(inputs, list) else []
        names = [str(one.get("file") or one.get("data_set")) for one in sources]
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3:,} more" if len(names) > 3 else "")
        found.append(f"{shown}: {summary['words']:,} words read in training")
    if results is not None and (labelled := results.examples.get("train", 0)):
        found.append(f"{labelled:,} labelled examples")
    if results is not None and (unlabelled := results.examples.get("unlabelled", 0)):
        found.append(f"{unlabelled:,} texts that teachers labelled")
    return found
