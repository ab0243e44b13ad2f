"""Fine-tuned models of a run, as `lilliput finetune` leaves them, with predictions of one's own."""

import dataclasses
import json
from pathlib import Path

from conftest import World
from lilliput.common.stage_dir import StageDir
from lilliput.finetuning.model import load_encoder, save_task_model
from lilliput.finetuning.results import FinetuneResult
from lilliput.run import RunDir
from lilliput.tasks.kinds import KINDS
from lilliput.tasks.task import Labels, Task

CLASSES = Task("c", "classification", classes=("no", "yes"))
SCORES = Task("r", "regression", metric="pearson")
JOINT = Task("j", "joint", classes=("ask", "tell"), tags=("O", "B-x"), metric="frame_accuracy")
GOLD = {"c": Labels((0, 1, 1, 0)), "r": Labels((1.0, 2.0, 3.0, 4.0)), "j": Labels((0, 1), ((0, 1), (0,)))}
# With characters at which str.splitlines ends a line.
TEXTS = {"c": ["a b", "c\x85", "d\u2028f", "e"], "r": ["a", "b", "c", "d"], "j": [["the", "boxes"], ["a"]]}


def finished(world: World, run: Path, task: Task, said: Labels, mean: float) -> None:
    """Writes a fine-tuned folder with these predictions."""
    folder = StageDir(RunDir(run).finetuned(task.name), {})
    folder.begin()
    save_task_model(
        load_encoder(world.teacher, task, 0.1, 0),
        world.lexicon.teacher_tokenizer().tokenizer,
        task,
        folder.path,
    )
    named = KINDS[task.kind].named
    lines = (
        {"text": text, "gold": named(task, GOLD[task.name], index), "predicted": named(task, said, index)}
        for index, text in enumerate(TEXTS[task.name])
    )
    written = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    (folder.path / "predictions.jsonl").write_text(written, encoding="utf-8")
    results = FinetuneResult(
        task=task,
        encoder="e",
        teacher=None,
        scores={"0": {task.metric: mean}, "1": {task.metric: mean}},
        mean={task.metric: mean},
        deviation={task.metric: 0.011},
        best_seed="0",
        rate=1e-3,
        parameters=7,
        weight_bytes=28,
        examples={},
        cut={},
        seconds=1.0,
    )
    folder.finish(dataclasses.asdict(results))


def unrecorded(folder: Path) -> None:
    """Takes the digests of a folder's files out of its manifest, which the first version did not record."""
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["files"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
