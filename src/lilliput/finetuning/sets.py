"""What a model learns from and what it is scored on, as the model reads them."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lilliput.finetuning.encoded import Encoded
from lilliput.finetuning.words import text_labels
from lilliput.tasks.task import Labels, Task

Floats = npt.NDArray[np.float32]
States = npt.NDArray[np.float16]


@dataclass(frozen=True)
class TrainSet:
    """The examples to learn from, as the model reads them, and what is to be learnt of each."""

    encoded: Encoded
    labels: npt.NDArray[np.float64]
    """The label of every slot: a column of the head or a score [K], or 0 and 1 of all columns [K, C]; NaN
    where there is none."""
    soft: Floats | None = None
    """The teacher's scores of every slot [K, C]; NaN where it cut the text off."""
    states: States | None = None
    """The teacher's last states at every word's first piece [W, T]; NaN where it was cut off."""


@dataclass(frozen=True)
class DevSet:
    """The examples to be scored on, as the model reads them."""

    task: Task
    encoded: Encoded
    labels: Labels
    """What is right; tags are those of given words."""

    @property
    def given(self) -> list[list[int]]:
        """For each word of each text the given word that it stands in; no texts where there are no tags."""
        return self.encoded.given.rows() if self.task.tags else []

    @property
    def text_labels(self) -> Labels:
        """What is right, with the tags of the words of texts."""
        return text_labels(self.task, self.labels, self.given)
