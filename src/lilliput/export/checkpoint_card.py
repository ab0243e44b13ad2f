"""The card of a checkpoint that has none: a student, or a model fine-tuned for a task."""

from pathlib import Path

from lilliput.export.card import Card, CardScore, metadata, origin, quality
from lilliput.export.facts import Stated, card_of, shown_scores, teacher_scores
from lilliput.export.source import load_source
from lilliput.finetuning.results import PREDICTIONS, read_results
from lilliput.inference.kinds import KINDS
from lilliput.models.student import parameter_count
from lilliput.run import RunDir


def checkpoint_card(folder: Path, run: RunDir) -> str:
    """Returns README.md of a checkpoint with what its run recorded of it.

    Args:
        folder: The checkpoint.
        run: What the user named: a run, or the checkpoint's folder.

    Raises:
        ModelError: If it is no model that lilliput reads.
    """
    source = load_source(folder, None)
    results = read_results(folder) if (folder / PREDICTIONS).exists() else None
    card = card_of(folder, run, results, Stated(), parameter_count(source.model))
    scores: tuple[CardScore, ...] = ()
    if results is not None:
        found = results.scores[results.best_seed]
        scores = shown_scores(found, results, teacher_scores(folder, results))
    library = "transformers" if source.sentences is None else "sentence-transformers"
    task = None if source.task is None else source.task.name
    front = metadata(card, KINDS[source.kind].hub, task, library, scores, onnx=False)
    parts = [
        f"---\n{front}---",
        f"# {card.name}",
        f"## Where it comes from\n\n{origin(card, {'task': task})}",
        f"## Quality\n\n{quality(scores)}",
        "## Limits\n\n" + "\n".join(f"- {limit}" for limit in card.limits),
        f"## How to load it\n\n{_use(card, KINDS[source.kind].hub, library)}",
    ]
    return "\n\n".join(parts) + "\n"


def _use(card: Card, task: str, library: str) -> str:
    if library == "sentence-transformers":
        imported, made = "sentence_transformers import SentenceTransformer", 'SentenceTransformer("FOLDER")'
    else:
        imported, made = "transformers import pipeline", f'pipeline("{task}", model=".")'
    counted = f"{card.parameters['model']:,} parameters in float32."
    return f"{counted}\n\n```python\nfrom {imported}\n\nmodel = {made}\n```"
