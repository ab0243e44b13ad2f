"""The results of fine-tuning: its figures, and what the kept model says of each dev example."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lilliput.common.files import as_json, writing
from lilliput.common.settings import require, valid
from lilliput.common.sheet import Sheet
from lilliput.common.stage_dir import StageDir
from lilliput.common.stored import intact, stored_lines
from lilliput.finetuning.abstention import Abstention
from lilliput.finetuning.model import is_of_text
from lilliput.finetuning.sets import DevSet
from lilliput.finetuning.words import TextWord, given_at, starts_of
from lilliput.run import FINETUNE_AGAIN
from lilliput.tasks.kinds import KINDS, require_known
from lilliput.tasks.metrics import GIVEN_WORDS, is_agreement
from lilliput.tasks.tagged import bio_tags
from lilliput.tasks.task import Examples, Labels, Task

PREDICTIONS = "predictions.jsonl"
"""What the best model says of each dev example, beside what is true or, without labels, the teacher says."""
_OF_TEXTS = ("intent_accuracy",)
"""Scores of tasks with tags that have nothing to do with words."""


@dataclass(frozen=True)
class FinetuneResult:
    """The result of fine-tuning."""

    task: Task
    """What it learnt."""
    encoder: str
    """Folder or hub name of the encoder."""
    teacher: str | None
    """Folder or hub name of the teacher whose targets it learnt; of several all, with commas."""
    scores: dict[str, dict[str, float]]
    """Metrics on the dev set for each seed."""
    mean: dict[str, float]
    """Their means."""
    deviation: dict[str, float]
    """Their sample standard deviations, 0 of a single seed."""
    best_seed: str
    """The seed whose model is kept."""
    rate: float
    """Peak learning rate."""
    parameters: int
    """Parameters, head included."""
    weight_bytes: int
    """Bytes of the weights' file."""
    examples: dict[str, int]
    """Examples in `train`, `dev` and, learnt from teachers alone, `unlabelled`."""
    cut: dict[str, int]
    """Examples longer than the encoder's positions: in `dev`, and in `train`, unlabelled ones included."""
    seconds: float
    """Time that the seeds took together, search and teacher not counted."""
    quantization: str | None = None
    """How weights were rounded in training and for the scores; the saved ones are not."""
    abstention: Abstention | None = None
    """From which probability on it answers, where a precision was asked for."""

    def __repr__(self) -> str:
        scores = ", ".join(f"{name} {value:.1%}" for name, value in self.mean.items())
        seeds = f", mean of {len(self.scores)} seeds" if len(self.scores) > 1 else ""
        sizes = ", ".join(f"{count:,} in {name}" for name, count in self.examples.items() if count)
        told = f"{scores}{seeds}; examples: {sizes}; {self.parameters:,} parameters"
        return f"<{type(self).__name__} of {self.task.name}: {told}>"


def read_results(folder: Path) -> FinetuneResult:
    """Returns the result of fine-tuning that a finished folder holds.

    Where an earlier version scored tags by given words alone, the names of these scores say so.
    """
    stage = StageDir(folder, {})
    found: FinetuneResult = stage.read(FinetuneResult)
    with intact(stage.manifest_path, FINETUNE_AGAIN):
        require_known(found.task)
    if not found.task.tags or is_of_text(folder):
        return found

    def by_given(scores: Mapping[str, float]) -> dict[str, float]:
        return {
            name if name in _OF_TEXTS else f"{name}{GIVEN_WORDS}": value for name, value in scores.items()
        }

    return replace(
        found,
        task=replace(found.task, metric=f"{found.task.metric}{GIVEN_WORDS}"),
        scores={seed: by_given(scores) for seed, scores in found.scores.items()},
        mean=by_given(found.mean),
        deviation=by_given(found.deviation),
    )


def write_predictions(
    path: Path, dev: DevSet, examples: Examples, words: Sequence[Sequence[TextWord]], said: Labels
) -> None:
    """Writes a line of JSON for each dev example: its texts, what is true, and what a model says.

    Tags are those of `words`, where these begin and end in the text, its given words joined by spaces.

    Args:
        path: The file.
        dev: What is true.
        examples: The texts.
        words: The words of each text; none where there are no tags.
        said: What the model says, tags by these words.
    """
    task, true, kind = dev.task, dev.text_labels, KINDS[dev.task.kind]
    with writing(path) as file:
        for index in range(len(examples)):
            line: dict[str, Any] = {"text": examples.texts[index]}
            line |= {"pair": examples.pairs[index]} if examples.pairs else {}
            line |= {"words": [[word.start, word.end] for word in words[index]]} if task.tags else {}
            line |= {"gold": kind.named(task, true, index), "predicted": kind.named(task, said, index)}
            line |= {"gold_of": "teacher"} if is_agreement(task) else {}
            file.write(as_json(line) + b"\n")


def examples_from(task: Task, lines: Sequence[Mapping[str, Any]]) -> Examples:
    """Returns the dev examples that predictions are of, with what is true; tags are of given words."""
    texts = tuple(line["text"] if isinstance(line["text"], str) else tuple(line["text"]) for line in lines)
    true = [dict(line["gold"]) for line in lines]
    if task.tags:
        true = [one | {"tags": given_tags(line, "gold")} for one, line in zip(true, lines, strict=True)]
    pairs = tuple(line["pair"] for line in lines) if task.pairs else ()
    return Examples(texts, pairs, KINDS[task.kind].unnamed(task, true))


def given_tags(line: Mapping[str, Any], of: str) -> list[str]:
    """Returns the tags of given words in a line of predictions: of each that of its first word in the text.

    Those of an earlier version have no other. A given word of which the tokenizer left nothing is outside.
    """
    tags: list[str] = line[of]["tags"]
    if "words" not in line:
        return tags
    starts, found = starts_of(line["text"]), ["O"] * len(line["text"])
    for (_, end), tag in reversed([*zip(line["words"], tags, strict=True)]):
        found[given_at(starts, end)] = tag
    return found


def is_one_example(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> bool:
    """Whether two models were scored on the same example."""
    same = all(mine.get(what) == theirs.get(what) for what in ("text", "pair"))
    return same and _is_same(mine, theirs, "gold")


def is_same(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> bool:
    """Whether two models predict the same of an example, by given words where they read it in other words."""
    return _is_same(mine, theirs, "predicted")


def _is_same(mine: Mapping[str, Any], theirs: Mapping[str, Any], of: str) -> bool:
    if mine.get("words") == theirs.get("words"):
        return bool(mine[of] == theirs[of])
    said = [(line[of].get("label"), given_tags(line, of)) for line in (mine, theirs)]
    return said[0] == said[1]


def read_predictions(folder: Path, task: Task) -> list[dict[str, Any]]:
    """Returns what stands in the predictions of a model that was fine-tuned for a task.

    Raises StorageError where they are missing, damaged, or of another task.
    """
    path, remedy = folder / PREDICTIONS, f"remove {folder} and fine-tune again"
    fields = {"text": Any, "gold": dict[str, Any], "predicted": dict[str, Any]}
    lines = stored_lines(fields | ({"pair": str} if task.pairs else {}), path, remedy)
    with intact(path, remedy):
        require(bool(lines), "it is empty")
        for line in lines:
            valid(str if isinstance(line["text"], str) else tuple[str, ...], line["text"], "text")
            if task.tags and "words" in line:
                valid(tuple[tuple[int, int], ...], line["words"], "words")
                require(len(given_tags(line, "gold")) == len(line["text"]), "words are missing")
                require(len(given_tags(line, "predicted")) == len(line["text"]), "words are missing")
        for name in ("gold", "predicted"):
            labels = KINDS[task.kind].unnamed(task, (line[name] for line in lines))
            valid(tuple[float, ...], labels.values, "label")
            require({len(labels.values), len(labels.tags)} <= {0, len(lines)}, "labels are missing")
    return lines


def bio_lines(task: Task, lines: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns lines of predictions with the tags of `bio_task` of their task."""
    if not task.tags:
        return list(lines)
    return [
        line | {of: line[of] | {"tags": bio_tags(task, line[of]["tags"])} for of in ("gold", "predicted")}
        for line in lines
    ]


def render(found: FinetuneResult) -> Sheet:
    """Returns the results as a table."""
    rows = []
    for name, mean in found.mean.items():
        each = [f"{scores[name]:.1%}" for scores in found.scores.values()]
        rows.append((name, f"{mean:.1%}", f"{found.deviation[name]:.1%}", *each))
    headings = ("metric", "mean", "deviation", *(f"seed {seed}" for seed in found.scores))
    title = f"{found.task.name}: {found.encoder} fine-tuned, seed {found.best_seed} kept"
    return Sheet(headings, rows, title=title, caption=str(found.abstention or ""))
