"""A model of a run -> a bundle: exported, scored by its own file, with its card and signature."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lilliput.common.arguments import PathLike, Texts, path_of, texts_of
from lilliput.common.folders import check_strangers, replacing
from lilliput.common.locks import beside, locked
from lilliput.common.progress import console
from lilliput.common.stage_dir import StageDir
from lilliput.errors import StorageError
from lilliput.export import program, transformers_js
from lilliput.export.card import Card, finish
from lilliput.export.export import ExportResult, export
from lilliput.export.facts import Stated, card_of, shown_scores, teacher_scores
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
from lilliput.run import FINETUNE_AGAIN, RunDir
from lilliput.tasks.kinds import KINDS
from lilliput.tasks.metrics import of_all
from lilliput.tasks.task import Task


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
    licence: str | None = None,
    language: Texts = (),
    datasets: Texts = (),
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
        licence: The licence of the weights for the card, as the hub abbreviates it, such as apache-2.0.
            What is not known does not stand in the card.
        language: The texts' language for the card, as ISO 639 abbreviates it, or several; by default that of
            the teacher's card.
        datasets: Data sets of the hub for the card; by default those that the run has read.
        layout: `transformers.js` for the folder that it and transformers read, in float32 and int8, in the
            place of a bundle.

    Raises:
        ConfigError: If there is no such quantization, kind or layout, or the layout does not have it.
        StorageError: If there is no such model, or something cannot be read or written.
        ModelError: If the model cannot be exported, or a file would not answer as it does.
        ExtraError: If ExecuTorch is asked for and not installed.
    """
    run, out = RunDir(path_of("model", model)), path_of("out", out)
    folder = find_checkpoint(run, task)
    stated = Stated(licence, texts_of("language", language), texts_of("datasets", datasets))
    results: FinetuneResult | None = None
    if (folder / PREDICTIONS).exists():
        results = read_results(folder)
    tuned_for = None if results is None else results.quantization
    if layout != "bundle":
        transformers_js.check(layout, quantization=quantization, executorch=executorch)
        return _for_javascript(folder, out, run, results, stated, kind, space)
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
            first = card_of(folder, run, results, stated, exported.parameters, version)
            files = finish(new, first)  # a bundle that can be opened, and so be scored
            if results is not None and kind is None:
                found = _scores(load(new), folder, results.task)
                if executorch:
                    on_phones = _scores(ProgramBundle(new), folder, results.task)
                theirs = teacher_scores(folder, results)
                shown = shown_scores(found, results, theirs)
                shown += shown_scores(on_phones, results, theirs, PROGRAM)
                files = finish(new, dataclasses.replace(first, scores=shown))
    if results is None and exported.kind in KINDS and not (folder / "task.json").is_file():
        _say_head(folder, exported.kind)
    before = {} if results is None else results.scores[results.best_seed]
    return BundleResult(exported, files, found, before, tuned_for, parity, on_phones)


def _for_javascript(
    folder: Path,
    out: Path,
    run: RunDir,
    results: FinetuneResult | None,
    stated: Stated,
    kind: Literal["fill", "encode"] | None,
    space: Space,
) -> BundleResult:
    """Writes the folder for transformers.js, with the scores of its int8 graph in its card."""
    found = dict[str, float]()

    def described(parameters: int, opened: Bundle) -> Card:
        card = card_of(folder, run, results, stated, parameters)
        if results is None or kind is not None:
            return card
        found.update(_scores(opened, folder, results.task))
        shown = shown_scores(found, results, teacher_scores(folder, results))
        return dataclasses.replace(card, scores=shown)

    tuned_for = None if results is None else results.quantization
    made = transformers_js.write(folder, out, described, kind=kind, space=space, tuned_for=tuned_for)
    before = {} if results is None else results.scores[results.best_seed]
    return BundleResult(*made, found, before, tuned_for, None, {})


def find_checkpoint(run: RunDir, task: str | None) -> Path:
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


def _scores(opened: Bundle, folder: Path, task: Task) -> dict[str, float]:
    """Returns the metrics of a bundle's answers to the dev examples that its model was scored on."""
    return scores_of(opened, task, examples_from(task, read_predictions(folder, task)))
