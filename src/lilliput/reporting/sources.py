"""What there is of a run, read and checked: a damaged file is refused, and a missing one left out."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lilliput.common.folders import MANIFEST, read_manifest
from lilliput.common.metrics_log import MetricsLog
from lilliput.common.settings import valid
from lilliput.common.stored import intact, require_fields, stored
from lilliput.finetuning.log import METRICS as FINETUNING
from lilliput.finetuning.results import FinetuneResult, read_predictions, read_results
from lilliput.run import TRAIN_AGAIN, RunDir, read_summary

METRICS = "metrics.jsonl"
"""The log of a stage."""
_AGAIN = "run the same command again to write it anew"
_SUMMARY: dict[str, Any] = {
    "recipe": dict[str, Any],
    "teacher": str,
    "student_parameters": int,
    "student_bytes": int,
    "folder_bytes": int,
    "teacher_parameters": int,
    "teacher_bytes": int,
    "words": int,
    "training_seconds": float,
    "total_seconds": float,
    "memory_bytes": int,
    "student_files": dict[str, dict[str, Any]],
}
_DISTILLATION = {
    "bundle_bytes": int,
    "teacher_bytes": int,
    "scores": dict[str, float],
    "agreement": dict[str, float],
    "seconds": float,
}


@dataclass(frozen=True)
class Stage:
    """A training stage."""

    name: str
    log: tuple[dict[str, Any], ...]
    """The lines of its metrics."""
    words: int | None = None
    """Words read; None where it is not finished."""
    seconds: float | None = None
    before: Mapping[str, float] | None = None
    """How good its models were on held-out text, by model and metric."""
    after: Mapping[str, float] | None = None
    expected_seconds: float | None = None
    """What was estimated."""


@dataclass(frozen=True)
class Tuned:
    """A model that was fine-tuned for a task."""

    folder: Path
    result: FinetuneResult
    made_from: Mapping[str, Any]
    lines: tuple[dict[str, Any], ...]
    """What it says of each dev example."""
    logs: Mapping[str, tuple[dict[str, Any], ...]]
    """The lines of its metrics, by seed; none of an earlier version's."""


@dataclass(frozen=True)
class Run:
    """What there is of a run."""

    place: RunDir
    title: str
    summary: Mapping[str, Any]
    """Its summary's fields, checked; empty without one."""
    distillation: Mapping[str, Any]
    corpus: Mapping[str, Any] | None
    """The manifest of its corpus."""
    stages: tuple[Stage, ...]
    tuned: tuple[Tuned, ...]
    versions: Mapping[str, str]
    """Of what was finished last."""

    @property
    def teacher(self) -> str | None:
        """Folder or hub name of the teacher."""
        if self.summary:
            return str(self.summary["teacher"])
        return next((one.result.teacher for one in self.tuned if one.result.teacher), None)


def is_run(path: Path) -> bool:
    """Returns whether a folder holds something that a run has."""
    run = RunDir(path)
    parts = (run.corpus / MANIFEST, run.lexicon / MANIFEST, run.summary, path / "distillation.json")
    return any(part.exists() for part in parts) or bool(run.finetuned_models())


def read_run(path: Path) -> Run:
    """Returns what there is of a run; raises StorageError where a file is damaged."""
    place = RunDir(path)
    summary = _summary(place)
    manifests = [
        place.corpus / MANIFEST,
        place.lexicon / MANIFEST,
        *path.glob("training/[!.]*/manifest.json"),
    ]
    manifests += [folder / MANIFEST for folder in place.finetuned_models()]
    read = [(one, read_manifest(one)) for one in manifests if one.exists()]
    last = max((found for _, found in read), key=lambda found: str(found.get("finished", "")), default={})
    return Run(
        place=place,
        title=_title(path),
        summary=summary,
        distillation=_chosen(path / "distillation.json", _DISTILLATION),
        corpus=next((found for one, found in read if one.parent == place.corpus), None),
        stages=_stages(place, summary),
        tuned=tuple(_tuned(folder) for folder in place.finetuned_models()),
        versions=_texts(last.get("versions")),
    )


def _title(path: Path) -> str:
    """Returns the name of a folder, with the one that it lies in where it is called run."""
    whole = path.absolute()
    return f"{whole.parent.name}/run" if whole.name == "run" else whole.name


def _texts(values: Any) -> dict[str, str]:
    """Returns names and what they stand for, as texts; nothing of what is no table."""
    return {str(name): str(value) for name, value in values.items()} if isinstance(values, dict) else {}


def _summary(place: RunDir) -> dict[str, Any]:
    if not place.summary.exists():
        return {}
    read_summary(place.summary)  # says what to do where it is damaged
    found = _chosen(place.summary, _SUMMARY)
    with intact(place.summary, _AGAIN):
        for stage in found["recipe"]["stages"]:
            require_fields({"name": str, "share": float}, stage, "a stage of its recipe")
    return found


def _chosen(path: Path, hints: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the fields of a JSON file that are known, checked; none where there is no such file."""
    if not path.exists():
        return {}
    found = stored(dict[str, Any], path, _AGAIN)
    with intact(path, _AGAIN):
        return {name: valid(hint, found[name], name) for name, hint in hints.items() if name in found}


def _stages(place: RunDir, summary: Mapping[str, Any]) -> tuple[Stage, ...]:
    """Returns the training stages, in the order of the recipe where that is known."""
    folders = sorted(path.parent for path in place.path.glob(f"training/[!.]*/{METRICS}"))
    names = [stage["name"] for stage in summary["recipe"]["stages"]] if summary else []
    folders.sort(key=lambda folder: names.index(folder.name) if folder.name in names else len(names))
    expected = _expected(place)
    return tuple(_stage(folder, expected.get(folder.name)) for folder in folders)


def _stage(folder: Path, expected: float | None) -> Stage:
    log = tuple(MetricsLog(folder / METRICS).read())
    if not (folder / MANIFEST).exists():
        return Stage(folder.name, log)
    results = read_manifest(folder / MANIFEST)["results"]
    qualities = dict[str, float]
    hints = {"words": int, "seconds": float, "before": qualities, "after": qualities}
    with intact(folder / MANIFEST, TRAIN_AGAIN):
        return Stage(
            folder.name,
            log,
            **{name: valid(hint, results[name], name) for name, hint in hints.items()},
            expected_seconds=expected,
        )


def _expected(place: RunDir) -> dict[str, float]:
    """Returns the seconds that each stage was expected to take."""
    manifest = place.estimate / MANIFEST
    if not manifest.exists():
        return {}
    with intact(manifest):
        stages = read_manifest(manifest)["results"].get("stages", [])
        return {stage["name"]: float(stage["seconds"]) for stage in stages}


def _tuned(folder: Path) -> Tuned:
    result = read_results(folder)
    logs = {
        path.stem: tuple(MetricsLog(path).read()) for path in sorted(folder.glob(f"{FINETUNING}/*.jsonl"))
    }
    return Tuned(
        folder,
        result,
        read_manifest(folder / MANIFEST)["made_from"],
        tuple(read_predictions(folder, result.task)),
        logs,
    )
