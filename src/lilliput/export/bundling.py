"""A model of a run -> a bundle: exported, scored by its own file, with its card and signature."""

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lilliput.common.arguments import PathLike, path_of
from lilliput.common.files import digest_folder
from lilliput.common.folders import MANIFEST, check_strangers, read_manifest, replacing
from lilliput.common.locks import beside, locked
from lilliput.common.progress import console
from lilliput.common.stage_dir import StageDir
from lilliput.common.stored import as_stored
from lilliput.errors import StorageError
from lilliput.export import program, transformers_js
from lilliput.export.card import Card, CardScore, finish
from lilliput.export.export import ExportResult, export
from lilliput.export.parity import Parity
from lilliput.export.phones import ProgramBundle, export_program
from lilliput.export.scoring import scores_of
from lilliput.export.source import Space
from lilliput.finetuning.results import (
    PREDICTIONS,
    FinetuneResult,
    examples_from,
    read_predictions,
    read_results,
)
from lilliput.inference.bundle import Bundle, load
from lilliput.inference.format import PROGRAM, files_of
from lilliput.models.sentence_modules import has_modules
from lilliput.run import FINETUNE_AGAIN, RunDir, read_summary
from lilliput.tasks.kinds import KINDS
from lilliput.tasks.metrics import is_agreement, of_all
from lilliput.tasks.task import Task

_UNKNOWN = "not recorded"
_LIMITS = (
    "It was scored on the examples named here and on nothing else.",
    "It repeats what its training texts hold, their prejudices too.",
)


@dataclass(frozen=True)
class BundleResult:
    """A finished bundle."""

    exported: ExportResult
    """What was exported, and how closely it answers as torch does."""
    files: dict[str, int]
    """Bytes of every file, card and manifest included."""
    scores: dict[str, float]
    """Metrics of the bundle's own answers to the task's dev examples; empty where it has no task."""
    reported: dict[str, float]
    """The same as fine-tuning reported them."""
    tuned_for: str | None
    """The quantization that the model was fine-tuned with, if it was with one."""
    program: Parity | None
    """How closely model.pte answers as torch does; None where there is none."""
    program_scores: dict[str, float]
    """Metrics of the answers of model.pte."""

    def __repr__(self) -> str:
        scores = "".join(f", {name} {value:.1%}" for name, value in of_all(self.scores).items())
        exported = self.exported
        return f"<BundleResult: {exported.kind}, {exported.quantization}, {self.total:,} bytes{scores}>"

    @property
    def total(self) -> int:
        """Bytes of all files."""
        return sum(self.files.values())


def bundle(
    model: PathLike,
    out: PathLike,
    *,
    task: str | None = None,
    quantization: str | None = None,
    kind: Literal["fill", "encode"] | None = None,
    space: Space = "teacher",
    executorch: bool = False,
    licence: str = "apache-2.0",
    layout: Literal["bundle", "transformers.js"] = "bundle",
) -> BundleResult:
    """Makes a bundle of a run's student, of its model of a task, or of any BERT checkpoint's folder.

    Args:
        model: A run, or a folder with a checkpoint.
        out: The bundle's folder.
        task: Of a run, the name of the task whose fine-tuned model is meant; without one, its student.
        quantization: How weights are stored: float32, float16, int8, mixed or int4. Without it the one that
            the model was fine-tuned with, or else int8, and mixed for a sentence encoder, of whose bytes
            embeddings are most.
        kind: What a checkpoint without a task is for: `fill` or `encode`.
        space: Where the vectors of a sentence encoder lie: in its teacher's space, or in its `own`, which
            has fewer numbers and the same cosines.
        executorch: Whether to add model.pte, the same model for ExecuTorch on phones, which takes minutes.
        licence: SPDX name of the licence of the weights, for the card.
        layout: `transformers.js` for the folder that it reads in the place of a bundle, of an encoder of
            vectors, in float32 and int8.

    Raises:
        ConfigError: If there is no such quantization, kind or layout, or the layout does not have it.
        StorageError: If there is no such model, or something cannot be read or written.
        ModelError: If the model cannot be exported, or a file would not answer as it does.
        ExtraError: If ExecuTorch is asked for and not installed.
    """
    run, out = RunDir(path_of("model", model)), path_of("out", out)
    folder = _checkpoint(run, task)
    if layout != "bundle":
        transformers_js.check(layout, task=task, quantization=quantization, kind=kind, executorch=executorch)
        card = functools.partial(_card, folder, out.name, run, None, None, licence)
        made = transformers_js.write(folder, out, space, card)
        return BundleResult(*made, {}, {}, None, None, {})
    results: FinetuneResult | None = None
    if (folder / PREDICTIONS).exists():
        results = read_results(folder)
    tuned_for = None if results is None else results.quantization
    stored = quantization or tuned_for or ("mixed" if has_modules(folder) else "int8")
    if executorch:
        program.check(stored)
    settings: dict[str, Any] = {"quantization": stored, "kind": kind, "space": space, "tuned_for": tuned_for}
    found, on_phones = dict[str, float](), dict[str, float]()
    with locked(beside(out), out):
        check_ours(out)
        with replacing(out) as new:
            exported = export(folder, new, **settings)
            parity = export_program(folder, new, **settings) if executorch else None
            version = program.version() if executorch else None
            first = _card(folder, out.name, run, results, version, licence, exported.parameters)
            files = finish(new, first)  # a bundle that can be opened, and so be scored
            if results is not None and kind is None:
                found = _scores(load(new), folder, results.task)
                if executorch:
                    on_phones = _scores(ProgramBundle(new), folder, results.task)
                shown = _shown(found, results.task) + _shown(on_phones, results.task, f", {PROGRAM}")
                files = finish(new, dataclasses.replace(first, scores=shown))
    if results is None and exported.kind in KINDS and not (folder / "task.json").is_file():
        _say_head(folder, exported.kind)
    before = {} if results is None else results.scores[results.best_seed]
    return BundleResult(exported, files, found, before, tuned_for, parity, on_phones)


def _checkpoint(run: RunDir, task: str | None) -> Path:
    """Returns the folder of the checkpoint that is meant; raises StorageError where there is none."""
    folder = run.finetuned(task) if task is not None else run.student
    if task is None and not folder.is_dir():
        folder = run.path
    if not folder.is_dir():
        raise StorageError(
            f"{folder} does not exist; make it first with `lilliput finetune` or `lilliput compress`"
        )
    if task is None and folder == run.student:
        run.require_student()
    elif any((folder / name).exists() for name in (PREDICTIONS, "task.json")):
        StageDir(folder, {}).require_whole(FINETUNE_AGAIN)
    return folder


def _say_head(folder: Path, kind: str) -> None:
    """Says that the bundle answers with a head that lilliput has not fine-tuned."""
    pairs = "; nothing says whether it was made for pairs of texts, so it takes one"
    pairs = "" if KINDS[kind].has_tags else pairs
    console.print(
        f"{folder} has a head for {kind} with the labels of its config.json, and so has the bundle{pairs}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


def check_ours(out: Path) -> None:
    """Raises StorageError where a folder holds files that are not named by a bundle's manifest in it."""
    check_strangers(out, files_of(out))


def _teachers(names: str) -> str:
    """Returns what a card calls teachers: a run of lilliput by its folder, any other by its name."""
    found = []
    for name in names.split(", "):
        path = Path(name)
        of_run = path.parent.name == "finetuned"
        found.append(path.parent.parent.name if of_run else path.name if path.is_dir() else name)
    return " and ".join(found)


def _shown(scores: dict[str, float], task: Task, file: str = "") -> tuple[CardScore, ...]:
    """Returns scores as a card shows them."""
    data = f"{task.name} dev"
    if is_agreement(task):
        data = f"{task.name}, held-out texts with the teacher's answers"
    shown = of_all(scores).items()
    return tuple(CardScore(name, round(value, 4), f"{data}{file}") for name, value in shown)


def _card(
    folder: Path,
    name: str,
    run: RunDir,
    results: FinetuneResult | None,
    executorch: str | None,
    licence: str,
    parameters: int,
) -> Card:
    """Returns the card of a model of so many parameters with what the run recorded, without scores."""
    source = run if results is None else _run_of(folder, results)
    summary: Mapping[str, Any] = read_summary(source.summary) if source.summary.exists() else {}
    teachers = _teachers(results.teacher) if results is not None and results.teacher else _UNKNOWN
    teacher = summary.get("teacher", teachers)
    counts = {"model": parameters}
    if summary:
        counts["teacher"] = summary["teacher_parameters"]
    steps = [f"recipe {summary['recipe']['name']}"] if summary else []
    if results is not None:
        taught = f", taught by {_teachers(results.teacher)}" if results.teacher else ""
        rounded = f", with weights rounded to {results.quantization}" if results.quantization else ""
        steps.append(f"fine-tuned for {results.task.name} at rate {results.rate:.2g}{taught}{rounded}")
    taught_on = 0 if results is None else results.examples.get("unlabelled", 0)
    read = [text for text in (_corpus(source, summary),) if text != _UNKNOWN]
    read += [f"{taught_on:,} texts that teachers labelled"] if taught_on else []
    return Card(
        name=name,
        teacher=Path(teacher).name if Path(teacher).is_dir() else teacher,
        corpus="; ".join(read) or _UNKNOWN,
        recipe="; ".join(steps) or _UNKNOWN,
        parameters=counts,
        scores=(),
        limits=_LIMITS,
        licence=licence,
        executorch=executorch,
    )


def _run_of(folder: Path, results: FinetuneResult) -> RunDir:
    """Returns the run whose student was fine-tuned, if that is still there, else one that holds nothing."""
    encoder = Path(results.encoder)
    made_from = read_manifest(folder / MANIFEST)["made_from"]
    if encoder.is_dir() and made_from.get("encoder") == digest_folder(encoder):
        return RunDir(encoder.parent)
    return RunDir(folder / _UNKNOWN)


def _corpus(run: RunDir, summary: Mapping[str, Any]) -> str:
    """Returns what the run's student has read."""
    manifest = run.corpus / "manifest.json"
    if not (manifest.exists() and summary):
        return _UNKNOWN
    inputs = read_manifest(manifest)["made_from"].get("inputs")
    sources: tuple[dict[str, Any], ...] = as_stored(tuple[dict[str, Any], ...], inputs, manifest)
    names = [str(source.get("file") or source.get("data_set")) for source in sources]
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3:,} more" if len(names) > 3 else "")
    return f"{shown}: {summary['words']:,} words read in training"


def _scores(opened: Bundle, folder: Path, task: Task) -> dict[str, float]:
    """Returns the metrics of a bundle's answers to the dev examples that its model was scored on."""
    return scores_of(opened, task, examples_from(task, read_predictions(folder, task)))
