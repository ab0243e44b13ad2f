"""Texts with tags -> new texts, in which spans of tagged words come from other texts."""

import numpy as np

from lilliput.inference.tags import Notation
from lilliput.tasks.task import Examples, Task, Words


def exchanged(examples: Examples, task: Task, count: int, seed: int) -> Examples:
    """Returns unlabelled new texts: examples whose every span is one of the same kind, from any example.

    Mention replacement (Dai and Adel 2020), but of all mentions of a text and for a teacher to label, as not
    every artist's name is one of a playlist too. Spans are drawn from the different ones of a kind, however
    often each stands there. No text is one of the examples, and all are different.

    Args:
        examples: Texts as words, with their tags.
        task: Names the tags.
        count: Texts wanted; there are fewer where spans allow no more.
        seed: Seed of the choice.
    """
    assert examples.labels is not None
    notation = Notation.of(task.tags)
    spans = [notation.spans([task.tags[tag] for tag in tags]) for tags in examples.labels.tags]
    kinds: dict[str, dict[str | Words, None]] = {}
    for text, found in zip(examples.texts, spans, strict=True):
        for kind, begin, end in found:
            kinds.setdefault(kind, {})[text[begin:end]] = None
    drawn_from = {kind: list(different) for kind, different in kinds.items()}
    tagged = [number for number, found in enumerate(spans) if found]
    known, made = set(examples.texts), dict[str | Words, None]()
    rng = np.random.default_rng(seed)
    for number in rng.choice(tagged, 2 * count) if tagged else ():  # as many again for those that are known
        text, words, last = examples.texts[number], list[str](), 0
        for kind, begin, end in spans[number]:
            drawn = drawn_from[kind][rng.integers(len(drawn_from[kind]))]
            words += [*text[last:begin], *drawn]
            last = end
        new = (*words, *text[last:])
        if new not in known and len(made) < count:
            made[new] = None
    return Examples(tuple(made))
