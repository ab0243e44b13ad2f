"""What a benchmark of bundles measures: models with their sizes, and texts of so many pieces for each."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lilliput.comparison.forms import GRAPH, STATIC, Graph, Static, encode, open_tokenizer
from lilliput.errors import BundleError
from lilliput.inference.bundle import load
from lilliput.inference.format import TOKENIZER, BundleConfig, sizes
from lilliput.inference.kinds import KINDS
from lilliput.inference.texts import Text
from lilliput.pieces.tokenizer_file import MASK
from lilliput.tasks.tagged import bio_task
from lilliput.tasks.task import Examples, Task, spelled

_TRIED = 5_000
"""Words that are tried for a text of so many pieces."""


@dataclass(frozen=True)
class Candidate:
    """A model that is measured."""

    name: str
    """What it is called in tables and plots."""
    path: Path
    """The bundle's folder, or the file of another model."""
    form: Literal["bundle", "onnx", "static"]
    """What is there."""
    kind: str | None
    """What a bundle answers; None for others."""
    quantization: str | None
    """How a bundle's weights are stored; None for others, which do not say."""
    positions: int | None
    """Pieces that it reads at most; None for any number."""
    pairs: bool
    """Whether it reads two texts together."""
    bytes: int
    """Of all files that it needs, tokenizer included."""

    @property
    def has_vectors(self) -> bool:
        """Whether it is a bundle with a vector for each text instead of answers to a task."""
        return self.kind is not None and KINDS[self.kind].head == "states"

    @property
    def tokenizer(self) -> Path:
        """Where its tokenizer is."""
        return (self.path if self.form == "bundle" else self.path.parent) / TOKENIZER

    def given(self, examples: Examples) -> list[Text]:
        """Returns texts as it reads them: where it reads no pairs, both texts as one."""
        texts = [spelled(text) for text in examples.texts]
        if not examples.pairs:
            return list(texts)
        both = zip(texts, examples.pairs, strict=True)
        return list(both) if self.pairs else [" ".join(pair) for pair in both]

    def texts(self, lengths: Sequence[int], examples: Examples) -> dict[int, Text]:
        """Returns for each length a text of so many pieces of its own, special ones included.

        It is made of the examples' words in their order, those that would be too many left out. A length that
        it does not read, or that these words do not come to, is left out.
        """
        tokenizer = open_tokenizer(self.tokenizer)
        tokenizer.no_truncation()
        words = [
            word for text in examples.texts for word in (text.split() if isinstance(text, str) else text)
        ]
        found: dict[int, Text] = {}
        for length in (length for length in lengths if length <= (self.positions or length)):
            taken: list[str] = []
            for word in itertools.islice(itertools.cycle(words), _TRIED):
                text = _text([*taken, word], self.pairs)
                pieces = len(encode(tokenizer, [text], special=self.form != "static")[0])
                if pieces <= length:
                    taken.append(word)
                if pieces == length:
                    found[length] = text
                    break
        return found


def find_candidate(path: Path, name: str, task: Task) -> Candidate:
    """Returns the model of that path; raises BundleError where it is none, or one of another task."""
    if path.suffix in (GRAPH, STATIC) and not path.is_file():
        raise BundleError(f"there is no file {path}; name a bundle, a file{GRAPH} or a file{STATIC}")
    if path.suffix == GRAPH:
        files = [*path.parent.glob(f"{path.name}*"), path.parent / TOKENIZER]  # weights may be in other files
        size, positions = sum(file.stat().st_size for file in files), Graph(path, 1).positions
        return Candidate(name, path, "onnx", None, None, positions, task.pairs, size)
    if path.suffix == STATIC:
        Static(path)
        size = sum(file.stat().st_size for file in (path, path.parent / TOKENIZER))
        return Candidate(name, path, "static", None, None, None, False, size)
    config = load(path).config
    _check_task(path, config, task)
    size = sum(sizes(path).values())
    return Candidate(
        name, path, "bundle", config.kind, config.quantization, config.positions, config.pairs, size
    )


def _check_task(path: Path, config: BundleConfig, task: Task) -> None:
    """Raises BundleError where a bundle answers something else than the task asks."""
    head = KINDS[config.kind].head
    if head == "states":
        return
    if head == "mask":
        raise BundleError(
            f"{path} only fills in {MASK}, so it has no answers for task '{task.name}'; name a bundle that "
            "was fine-tuned for it, or one made with --kind encode"
        )
    if config.task not in (None, task.name) or (config.kind, config.pairs) != (task.kind, task.pairs):
        raise BundleError(
            f"{path} was made for task '{config.task}' ({config.kind}{' of pairs' * config.pairs}), and the "
            f"examples are of '{task.name}' ({task.kind}{' of pairs' * task.pairs}); compare bundles of one "
            "task, and name its examples with --task"
        )
    is_older = {*config.tags} == {*task.tags}  # it may lack the I-x that every B-x has since
    tags = task.tags if is_older else bio_task(task).tags
    for what, ours, theirs in (("classes", config.classes, task.classes), ("tags", config.tags, tags)):
        if alone := {*ours} ^ {*theirs}:
            name = min(alone)
            raise BundleError(
                f"{path} has other {what} than task '{task.name}': '{name}' is "
                f"{'only in the bundle' if name in ours else 'not in the bundle'}; name the examples that it "
                "learnt from, with --task"
            )


def _text(words: list[str], pairs: bool) -> Text:
    if not pairs:
        return " ".join(words)
    middle = (len(words) + 1) // 2
    return " ".join(words[:middle]), " ".join(words[middle:])
