"""Compresses a BERT encoder into a model of a few megabytes with a small vocabulary of its own.

The data walks once through these stages; each imports only from those before it:

1. `corpus`: text (`sources`, `formats`, `words`) -> documents as word ids, and word counts.
2. `lexicon`: word counts -> the student's vocabulary (`wordpiece`), every word in both segmentations.
3. `batches`: documents and lexicon (`rows`) -> what one step reads, a pure function of seed and step.
4. `models`: the teacher with two vocabularies, the small student, and the maps between the two.
5. `objectives`: scores and targets -> (sum, count).
6. `training`: the loop of one stage (`step`, `stages`, `checkpoint`), in one of the `processes` or in
   several, and how good it is (`evaluation`).
7. `tasks`: labelled sets and their metrics; `finetuning`: an encoder learns one, also from a fine-tuned
   teacher, also on text without labels (`unlabelled`); `comparison`: what of the teacher's scores is kept.

`inference` answers texts with a finished `bundle`, on numpy, tokenizers and onnxruntime alone; all else needs
the extra `train`.

`compression` walks through all of them as a recipe (`recipes`, `config`) says and keeps everything in one
folder (`run`). `vocabularies` compares sizes of vocabulary before anything is trained, `planning` says what a
run will take, `benchmark` how fast all this is. Every stage is one command (`cli`). The names below are
loaded when first used: `import lilliput` imports no torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lilliput.comparison.bundles import benchmark_bundle as benchmark_bundle
    from lilliput.comparison.runs import compare as compare
    from lilliput.compression import compress as compress, evaluate as evaluate
    from lilliput.config import Recipe as Recipe
    from lilliput.errors import LilliputError as LilliputError
    from lilliput.export.bundling import bundle as bundle
    from lilliput.finetuning.config import FinetuningConfig as FinetuningConfig
    from lilliput.finetuning.finetune import finetune as finetune
    from lilliput.inference.bundle import Bundle as Bundle, load as load
    from lilliput.pieces.corpus import build_corpus as build_corpus
    from lilliput.pieces.lexicon import Lexicon as Lexicon, build_lexicon as build_lexicon
    from lilliput.pieces.sizes import vocabulary as vocabulary
    from lilliput.pieces.teacher_tokenizer import load_tokenizer as load_tokenizer
    from lilliput.planning.plan import plan as plan
    from lilliput.recipes import find_recipe as find_recipe
    from lilliput.run import RunDir as RunDir
    from lilliput.tasks.loading import load_task as load_task
    from lilliput.text.corpus import Corpus as Corpus
    from lilliput.training.loop import train as train

_HOMES = {
    "load": "lilliput.inference.bundle",
    "Bundle": "lilliput.inference.bundle",
    "compress": "lilliput.compression",
    "evaluate": "lilliput.compression",
    "train": "lilliput.training.loop",
    "build_corpus": "lilliput.pieces.corpus",
    "build_lexicon": "lilliput.pieces.lexicon",
    "vocabulary": "lilliput.pieces.sizes",
    "load_task": "lilliput.tasks.loading",
    "finetune": "lilliput.finetuning.finetune",
    "compare": "lilliput.comparison.runs",
    "bundle": "lilliput.export.bundling",
    "plan": "lilliput.planning.plan",
    "benchmark_bundle": "lilliput.comparison.bundles",
    "Recipe": "lilliput.config",
    "FinetuningConfig": "lilliput.finetuning.config",
    "RunDir": "lilliput.run",
    "find_recipe": "lilliput.recipes",
    "LilliputError": "lilliput.errors",
    "Corpus": "lilliput.text.corpus",
    "Lexicon": "lilliput.pieces.lexicon",
    "load_tokenizer": "lilliput.pieces.teacher_tokenizer",
}
"""Where each public name is found."""

if not TYPE_CHECKING:  # else a type checker would let any name pass

    def __getattr__(name: str) -> Any:
        """Imports a public name when it is first used (PEP 562)."""
        if name not in _HOMES:
            raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
        from lilliput.errors import extra_named

        with extra_named():
            value = globals()[name] = getattr(importlib.import_module(_HOMES[name]), name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *_HOMES})
