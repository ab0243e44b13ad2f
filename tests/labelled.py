"""Tasks of every kind, and examples of them that a small model learns in seconds."""

import random

from lilliput.tasks.task import Examples, Labels, Task

NOUNS = ("brotent", "stocker", "plantish", "café", "3.14", "boxes")
CLASSES = Task("c", "classification", classes=("my", "every"))
PAIRS = Task("p", "classification", pairs=True, classes=("my", "every"))
REGRESSION = Task("r", "regression", metric="pearson")
TAGGING = Task("t", "tagging", tags=("O", "B-x", "I-x"), metric="f1")
JOINT = Task("j", "joint", classes=("my", "every"), tags=("O", "B-x", "I-x"), metric="frame_accuracy")
TASKS = {task.name: task for task in (CLASSES, PAIRS, REGRESSION, TAGGING, JOINT)}


def examples_of(task: Task, count: int, seed: int) -> Examples:
    """Texts whose second word says the class, the score and the tags."""
    rng = random.Random(seed)
    texts, values, tags = [], [], []
    for _ in range(count):
        value = rng.randrange(2)
        words = ["the", ("my", "every")[value], *rng.choices(NOUNS, k=rng.randint(1, 5))]
        texts.append(tuple(words))
        values.append(3 + 2.0 * value if task.kind == "regression" else value)
        tags.append((0, 1, *([2] * (len(words) - 2) if value else [0] * (len(words) - 2))))
    has_tags, has_values = task.kind in ("tagging", "joint"), task.kind != "tagging"
    labels = Labels(tuple(values) if has_values else (), tuple(tags) if has_tags else ())
    written = tuple(texts) if has_tags else tuple(" ".join(words) for words in texts)
    return Examples(written, tuple("the boxes" for _ in texts) if task.pairs else (), labels)
