"""What a training stage reads: its text, its budget, the stages before it, and the digests of all that."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lilliput.common.folders import MANIFEST, content, read_manifest
from lilliput.common.stage_dir import StageDir
from lilliput.config import Recipe, StageConfig, StudentConfig
from lilliput.errors import ConfigError, StorageError
from lilliput.models.any_masked_lm import Outline, outline
from lilliput.models.pretrained import checkpoint_digest
from lilliput.models.shape import EncoderShape
from lilliput.pieces.lexicon import Lexicon
from lilliput.run import TRAIN_AGAIN, RunDir
from lilliput.text.corpus import Corpus
from lilliput.training.batches import BatchSource
from lilliput.training.rows import Rows, cut_rows


@dataclass(frozen=True)
class Data:
    """What a stage trains on and is evaluated on."""

    lexicon: Lexicon
    """Segmentations of the corpus."""
    train: Rows
    """Rows to train on."""
    held_out_lexicon: Lexicon
    """Segmentations of the text held out."""
    held_out: Rows
    """Rows to evaluate on."""

    @classmethod
    def open(cls, run: RunDir, length: int, positions: int, *, whole: bool = False) -> "Data":
        """Opens a run's corpus and lexicon.

        Held out is the run's separate text, or else documents of the corpus. It is cut into rows of all the
        student's `positions`, so that stages of different `length` are evaluated on the same.

        Args:
            run: The run.
            length: Pieces of a row to train on.
            positions: Pieces of a row held out.
            whole: Whether all bytes of the corpus are compared with what was saved.

        Raises:
            StorageError: If something is missing or is not what was saved.
        """
        lexicon, corpus = Lexicon.open(run.lexicon), Corpus.open(run.corpus, whole=whole)
        if not run.held_out("lexicon").exists():
            train, held_out = cut_rows(corpus, lexicon, length, hold_out=True, held_out_length=positions)
            return cls(lexicon, train, lexicon, held_out)
        train, _ = cut_rows(corpus, lexicon, length, hold_out=False)
        other = Corpus.open(run.held_out("corpus"), whole=whole)
        other_lexicon = Lexicon.open(run.held_out("lexicon"))
        held_out, _ = cut_rows(other, other_lexicon, positions, hold_out=False)
        return cls(lexicon, train, other_lexicon, held_out)

    def source(self, stage: StageConfig, seed: tuple[int, ...]) -> BatchSource:
        """Returns a stage's batches, for the models that its objectives let read."""
        teacher, student = stage.objectives.reads_teacher, stage.objectives.trains_student
        return BatchSource(self.train, self.lexicon, stage.batch, seed, teacher=teacher, student=student)


def stage_inputs(run: RunDir, recipe: Recipe, stage: StageConfig, teacher: str) -> dict[str, Any]:
    """Returns what determines a stage's result: settings, and digests of what it reads."""
    check_teacher(recipe, teacher)
    lexicons = {"lexicon": run.lexicon, "held_out": run.held_out("lexicon")}
    earlier = {name: earlier_model(run, recipe, stage, name) for name in ("teacher", "student")}
    inputs: dict[str, Any] = {
        "stage": _settings(stage),
        "budget": stage_budget(recipe, stage),
        "seed": recipe.seed,
        "teacher": checkpoint_digest(teacher),
        **{name: _digest(path) for name, path in lexicons.items() if path.exists()},
        **{
            f"earlier_{name}": content(path.parent, name)
            for name, path in earlier.items()
            if path is not None
        },
    }
    if stage.objectives.reads_sentences:
        inputs["sentences"] = dataclasses.asdict(recipe.sentences)
    if stage.objectives.uses_teacher:
        inputs["second_table"] = recipe.start.second_table
    if stage.objectives.trains_student:
        inputs["start"] = recipe.start.student
    if stage.objectives.trains_student or recipe.start.second_table == "affine":
        inputs["student"] = dataclasses.asdict(recipe.student)
    return inputs


def _settings(stage: StageConfig) -> dict[str, Any]:
    """Returns a stage's settings without its share, as versions that knew no vectors wrote them, too."""
    settings = {key: value for key, value in dataclasses.asdict(stage).items() if key != "share"}
    later = [one.name for one in stage.objectives.known if one.reads_sentences]
    weights = settings["objectives"].items()
    settings["objectives"] = {name: weight for name, weight in weights if weight or name not in later}
    return settings


def check_earlier(run: RunDir, recipe: Recipe, stage: StageConfig) -> None:
    """Raises StorageError where a model that a stage begins with is not what was saved, bit by bit."""
    for name in ("teacher", "student"):
        earlier = earlier_model(run, recipe, stage, name)
        if earlier is not None:
            StageDir(earlier.parent, {}).require_whole(TRAIN_AGAIN, name)


def stage_budget(recipe: Recipe, stage: StageConfig) -> dict[str, float]:
    """Returns the stage's own budget, in words or in minutes."""
    budgets = {"words": recipe.budget.words, "minutes": recipe.budget.minutes}
    return {unit: amount * stage.share for unit, amount in budgets.items() if amount is not None}


def check_teacher(recipe: Recipe, teacher: str) -> Outline:
    """Returns what is known of a recipe's teacher, by its folder or hub name.

    Raises:
        ModelError: If it is no encoder with a masked-LM head that lilliput opens.
        ConfigError: If the student is larger, or the recipe needs matrices that are not known by their role.
    """
    found = outline(teacher)
    check_student(recipe.student, found.shape)
    compared = [
        f"--set stages.{stage.name}.objectives.{one.name}=0"
        for stage in recipe.stages
        for one in stage.objectives.active
        if one.compares_variables
    ]
    if compared and not found.has_blocks:
        raise ConfigError(
            f"recipe '{recipe.name}' compares the student's matrices with the teacher's, and of a "
            f"'{found.kind}' lilliput does not know which matrix does what; add {' '.join(compared)}, or "
            "take recipe lilliput"
        )
    return found


def check_student(ours: StudentConfig, teacher: EncoderShape) -> None:
    """Raises ConfigError when a student is larger than the teacher along any axis."""
    for name, mine, limit in (
        ("width", ours.width, teacher.width),
        ("layers", ours.layers, teacher.layers),
        ("feed_forward", ours.feed_forward, teacher.feed_forward),
        ("positions", ours.positions, teacher.positions),
    ):
        if mine > limit:
            raise ConfigError(
                f"the student is larger than its teacher: student.{name} is {mine}, the teacher has {limit}; "
                f"set student.{name} to {limit} or less, or take a larger teacher"
            )


def earlier_model(run: RunDir, recipe: Recipe, stage: StageConfig, model: str) -> Path | None:
    """Returns the folder of the model from the last stage before this one that trained it, if any did."""
    found = None
    for before in recipe.stages[: recipe.stages.index(stage)]:
        if not (run.training(before.name) / "manifest.json").exists():
            raise StorageError(
                f"stage '{before.name}' comes before '{stage.name}' and is not finished in {run.path}; train "
                f"it first with `lilliput train --stage {before.name}`"
            )
        trained = before.objectives.trains_teacher if model == "teacher" else before.objectives.trains_student
        found = run.training(before.name) / model if trained else found
    return found


def _digest(folder: Path) -> str:
    """Returns the digest in a finished stage's manifest."""
    digest: str = read_manifest(folder / MANIFEST)["digest"]
    return digest
