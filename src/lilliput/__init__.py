"""Compresses a BERT encoder into a model of a few megabytes with a small vocabulary of its own.

    import lilliput

    lilliput.compress("bert-base-uncased", "text.txt", "runs/x")
    lilliput.finetune("runs/x", "sst2")
    lilliput.bundle("runs/x", "bundle", task="sst2")
    lilliput.load("bundle").classify(["a film to remember"])

Functions take strings, paths or objects: the thing, the run, then keywords. Every command of the command line
is a function of the same name here.

`compression` is the main job: `preparation`, then one stage of training after the other, as a recipe says
(`recipes`, `config`), with everything in one folder (`run`). `distillation` makes a bundle of a fine-tuned
classifier and a pile of texts. The rooms, each importing only from those above:

- `common`: files, locks, settings, progress, tables.
- `inference`: answers texts with a bundle, on numpy, tokenizers and onnxruntime alone; all else needs the
  extra `train`.
- `text`: text -> words. `pieces`: words -> pieces.
- `models`: the teacher with two vocabularies, the small student, and the maps between the two.
- `tasks`: labelled sets and their metrics.
- `training`: the loop of one stage, and how good its models are.
- `finetuning`: an encoder learns a task, also from a fine-tuned teacher.
- `planning`: what a run will take. `export`: a model -> a bundle.
- `comparison`: what is kept of the teacher's scores, and bundles side by side.
- `reporting`: a run as one page.
- `cli`: every command.

No folder is called train, bundle or compare, as functions of these names exist: importing a folder
`lilliput.bundle` would put the module in the place of the function `lilliput.bundle`.

Names are loaded when they are first used: `import lilliput` imports no torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lilliput.comparison.bundles import benchmark_bundle as benchmark_bundle
    from lilliput.comparison.evaluation import evaluate as evaluate
    from lilliput.comparison.runs import compare as compare
    from lilliput.compression import compress as compress
    from lilliput.config import Recipe as Recipe
    from lilliput.distillation import DistillConfig as DistillConfig, distill as distill
    from lilliput.errors import LilliputError as LilliputError
    from lilliput.export.bundling import bundle as bundle
    from lilliput.export.push import push as push
    from lilliput.finetuning.config import FinetuningConfig as FinetuningConfig
    from lilliput.finetuning.finetune import finetune as finetune
    from lilliput.inference.bundle import Bundle as Bundle, load as load
    from lilliput.pieces.bert_tokenizer import load_tokenizer as load_tokenizer
    from lilliput.pieces.lexicon import Lexicon as Lexicon
    from lilliput.planning.plan import plan as plan
    from lilliput.preparation import (
        build_corpus as build_corpus,
        build_lexicon as build_lexicon,
        vocabulary as vocabulary,
    )
    from lilliput.recipes import find_recipe as find_recipe
    from lilliput.reporting.report import report as report
    from lilliput.run import RunDir as RunDir
    from lilliput.tasks.loading import load_task as load_task
    from lilliput.text.corpus import Corpus as Corpus
    from lilliput.training.loop import train as train

_HOMES = {
    "comparison.bundles": ("benchmark_bundle",),
    "comparison.evaluation": ("evaluate",),
    "comparison.runs": ("compare",),
    "compression": ("compress",),
    "config": ("Recipe",),
    "distillation": ("DistillConfig", "distill"),
    "errors": ("LilliputError",),
    "export.bundling": ("bundle",),
    "export.push": ("push",),
    "finetuning.config": ("FinetuningConfig",),
    "finetuning.finetune": ("finetune",),
    "inference.bundle": ("Bundle", "load"),
    "pieces.lexicon": ("Lexicon",),
    "pieces.bert_tokenizer": ("load_tokenizer",),
    "planning.plan": ("plan",),
    "preparation": ("build_corpus", "build_lexicon", "vocabulary"),
    "recipes": ("find_recipe",),
    "reporting.report": ("report",),
    "run": ("RunDir",),
    "tasks.loading": ("load_task",),
    "text.corpus": ("Corpus",),
    "training.loop": ("train",),
}
"""Where public names are found. Type checkers read the imports above; a test keeps both equal."""
_PLACES = {name: f"{__name__}.{place}" for place, names in _HOMES.items() for name in names}

__version__: str
"""The version of the installed package."""

if not TYPE_CHECKING:  # else a type checker would let any name pass

    def __getattr__(name: str) -> Any:
        """Imports a public name when it is first used (PEP 562)."""
        if name in ("benchmark_training", "benchmark_corpus"):
            command = name.replace("benchmark_", "python -m benchmarks.")
            raise AttributeError(f"'{name}' left the package: type `{command}` in a checkout of lilliput")
        if name == "__version__":
            from importlib.metadata import version

            return version("lilliput")
        if name not in _PLACES:
            raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
        from lilliput.errors import extra_named

        with extra_named():
            value = globals()[name] = getattr(importlib.import_module(_PLACES[name]), name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *_PLACES, "__version__"})
