"""What determines a fine-tuning: its settings, and digests of all that it reads."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lilliput.common.arguments import PathLike, path_of
from lilliput.common.files import digest_value
from lilliput.common.folders import read_manifest
from lilliput.common.stage_dir import StageDir
from lilliput.errors import ConfigError
from lilliput.finetuning.config import LEAST_STEPS, USUAL_EPOCHS, FinetuningConfig
from lilliput.finetuning.teacher import TaskTeacher
from lilliput.models.pretrained import checkpoint_digest
from lilliput.run import FINETUNE_AGAIN, RunDir
from lilliput.tasks.kinds import KINDS
from lilliput.tasks.task import TaskData
from lilliput.text.sources import Source, find_sources, pinned


def result_run(model: str, run: PathLike | None) -> RunDir:
    """Returns the run that takes a fine-tuned model: the one named, or else the one the model comes from."""
    found = RunDir(path_of("run", model if run is None else run))
    if run is None and not found.student.is_dir():
        raise ConfigError(
            f"'{model}' is no run with a finished student, so name a folder for the result: --out"
        )
    return found


def inputs_of(
    encoder: str,
    data: TaskData,
    config: FinetuningConfig,
    teachers: Sequence[TaskTeacher],
    seeds: int,
    search_minutes: float,
) -> dict[str, Any]:
    """Returns what determines the result: settings, and digests of what is read."""
    examples = dataclasses.asdict(
        dataclasses.replace(data, origin="", warnings=())
    )  # wherever they were read
    sets = {"train": data.train, "dev": data.dev, "test": data.test}
    del examples["test"]  # so that what earlier versions finished stays finished
    examples |= {name: found.values() for name, found in sets.items() if found is not None}
    settings = dataclasses.asdict(config)
    for name in ("minutes", "precision"):
        if settings[name] is None:
            del settings[name]  # so that what earlier versions finished stays finished
    if config.epochs is None and config.steps(len(data.train)) > LEAST_STEPS:
        settings["epochs"] = USUAL_EPOCHS  # as in earlier versions, which so learnt of few examples too
    is_two_tower = KINDS[data.task.kind].is_two_tower
    settings["distillation"]["weight"] = config.distillation.soft_weight(is_two_tower=is_two_tower)
    digests = [teacher.digest for teacher in teachers]
    settings["distillation"]["substitutions"] = 0  # a setting of version 0.1, whose models so stay finished
    return {
        "encoder": checkpoint_digest(encoder),
        "task": digest_value(examples),
        "config": settings,
        "teacher": digests[0] if len(digests) == 1 else digests or None,
        "unlabelled": [],
        "seeds": seeds,
        "search_minutes": search_minutes,
    }


def require_whole_encoder(run: RunDir, model: str) -> None:
    """Raises StorageError where the encoder is one that lilliput saved, and is not what was saved."""
    if run.student.is_dir():
        run.require_student()
    elif (Path(model) / "task.json").is_file():
        StageDir(Path(model), {}).require_whole(FINETUNE_AGAIN)


def own_sources(names: Sequence[str], folder: StageDir) -> list[Source]:
    """Returns the sources that names stand for, data sets at the revision that an earlier call has read."""
    if not names:
        return []
    paths = [path for path in (folder.manifest_path, folder.begun_path) if path.exists()]
    before = read_manifest(paths[0])["made_from"].get("unlabelled", []) if paths else []
    known = [source for source in before if isinstance(source, dict)] if isinstance(before, list) else []
    return [pinned(source, known) for source in find_sources(names)]
