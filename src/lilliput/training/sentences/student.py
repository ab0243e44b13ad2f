"""A student that gives vectors, with the files by which sentence-transformers opens it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCardData
from torch import nn

from lilliput.common.cards import called, card_data, data_sets_in, hub_name_of
from lilliput.common.files import writing
from lilliput.common.folders import MANIFEST, read_manifest
from lilliput.models.sentence_modules import Dense, SentenceModules, write_modules
from lilliput.training.step import DualModel


def save_modules(models: DualModel, folder: Path) -> None:
    """Writes beside a saved student what makes vectors of its states."""
    assert models.student is not None
    dense = models.get_submodule("dense")
    assert isinstance(dense, nn.Linear)
    config = models.student.config
    modules = SentenceModules(dense=(Dense.of(dense),), longest=config.max_position_embeddings)
    write_modules(modules, folder, config.hidden_size)


_CARD = """---
{metadata}
---

# A small sentence encoder

Its vectors lie in the space of its teacher, {teacher}, so either can search what the other encoded.
On texts held out of its training, their mean cosine to the teacher's is {cosine:.3f}, and the texts'
similarities correlate with those by the teacher with {similarity:.3f} (Spearman). It read {words:,} words.

```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("FOLDER")
print(model.encode(["a child ran across the grass"]).shape)
```

`lilliput bundle` makes of it a file of a quarter of the size that needs neither torch nor transformers.

It repeats what its training texts and its teacher hold, their prejudices too. The licence of its weights
follows from theirs.
"""


def write_card(folder: Path, teacher: str, results: Mapping[str, Any], corpus: Path) -> None:
    """Writes the card of a saved student, README.md, as the hub reads it.

    Args:
        folder: Holds the student.
        teacher: Folder or hub name of the teacher; of a folder only what it is best known by is told.
        results: What the stage reports.
        corpus: Folder of the text that it has read.
    """
    after, path = results["after"], Path(teacher)
    read = dict.fromkeys(data_sets_in(read_manifest(corpus / MANIFEST)["made_from"]))
    metadata = ModelCardData(
        language=next(iter(card_data(teacher).only_language), None),
        library_name="sentence-transformers",
        pipeline_tag="sentence-similarity",
        base_model=hub_name_of(path) if path.is_dir() else teacher,
        datasets=list(read) or None,
        tags=[
            "sentence-transformers",
            "sentence-similarity",
            "feature-extraction",
            "lilliput",
            "distillation",
        ],
    )
    text = _CARD.format(
        metadata=metadata.to_yaml(),
        teacher=called(path.resolve()) if path.is_dir() else teacher,
        cosine=after["student/cosine"],
        similarity=after["student/similarity"],
        words=results["words"],
    )
    with writing(folder / "README.md") as file:
        file.write(text.encode())
