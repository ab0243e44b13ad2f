"""The same teacher as a BERT, a RoBERTa and a DistilBERT: does a student start alike from each?

The masked LM of a finished run is written anew under the names of the other architectures. A RoBERTa counts
positions from 2 and has one row of types; a DistilBERT has no types, so that row 0 goes into the positions.

Then starts are compared before and after some steps of masked LM, the student alone: `warm` from the
teacher's matrices, `fitted` from what it computes, as if its matrices were not known, and `random`.

    python experiments/architectures.py RUN --rows 256 --steps 120
"""

import argparse
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from transformers import CONFIG_MAPPING, BertConfig, PreTrainedModel

from lilliput.config import BatchConfig, ObjectiveWeights, OptimizerConfig, StudentConfig
from lilliput.models.fitted_start import fitted_start
from lilliput.models.student import random_student, student_config
from lilliput.models.teacher import Teacher
from lilliput.models.warm_start import warm_start
from lilliput.run import RunDir
from lilliput.training.batches import BatchSource
from lilliput.training.data import Data
from lilliput.training.evaluation import Quality, evaluate_masked_lm, evaluation_source
from lilliput.training.first_models import _sample
from lilliput.training.step import DualModel, Stepper

Start = Callable[[Teacher], PreTrainedModel]

_FIRST = 2
"""The row of a RoBERTa's first position."""
_SECOND = "second_vocabulary.safetensors"
_ROBERTA = (
    (r"^bert\.", "roberta."),
    (r"cls\.predictions\.transform\.dense", "lm_head.dense"),
    (r"cls\.predictions\.transform\.LayerNorm", "lm_head.layer_norm"),
    (r"cls\.predictions\.bias", "lm_head.bias"),
)
_DISTILBERT = (
    (r"^bert\.encoder\.layer", "distilbert.transformer.layer"),
    (r"^bert\.", "distilbert."),
    (r"attention\.self\.(query|key|value)", lambda found: f"attention.{found[1][0]}_lin"),
    (r"attention\.output\.dense", "attention.out_lin"),
    (r"attention\.output\.LayerNorm", "sa_layer_norm"),
    (r"intermediate\.dense", "ffn.lin1"),
    (r"(\d)\.output\.dense", r"\1.ffn.lin2"),
    (r"(\d)\.output\.LayerNorm", r"\1.output_layer_norm"),
    (r"cls\.predictions\.transform\.dense", "vocab_transform"),
    (r"cls\.predictions\.transform\.LayerNorm", "vocab_layer_norm"),
    (r"cls\.predictions\.bias", "vocab_projector.bias"),
)


def renamed(bert: Path, kind: str, folder: Path) -> Path:
    """Writes a BERT's checkpoint, with its second vocabulary, as one of another architecture."""
    weights = load_file(bert / "model.safetensors")
    config = BertConfig.from_pretrained(bert)
    positions, types = (f"bert.embeddings.{name}_embeddings.weight" for name in ("position", "token_type"))
    sizes = {
        "vocab_size": config.vocab_size,
        "pad_token_id": 1,
        "max_position_embeddings": len(weights[positions]),
    }
    if kind == "roberta":
        weights[positions] = torch.nn.functional.pad(weights[positions], (0, 0, _FIRST, 0))
        weights[types] = weights[types][:1].clone()
        sizes |= {
            "hidden_size": config.hidden_size, "num_hidden_layers": config.num_hidden_layers,
            "num_attention_heads": config.num_attention_heads, "intermediate_size": config.intermediate_size,
            "max_position_embeddings": len(weights[positions]), "type_vocab_size": 1,
            "layer_norm_eps": config.layer_norm_eps,
        }  # fmt: skip
        rules = _ROBERTA
    else:
        weights[positions] = weights[positions] + weights.pop(types)[0]
        sizes |= {
            "dim": config.hidden_size, "n_layers": config.num_hidden_layers,
            "n_heads": config.num_attention_heads, "hidden_dim": config.intermediate_size,
        }  # fmt: skip
        rules = _DISTILBERT
    named = {}
    for name, weight in weights.items():
        other = name
        for pattern, becomes in rules:
            other = re.sub(pattern, becomes, other)
        named[other] = weight
    folder.mkdir()
    CONFIG_MAPPING[kind](**sizes).save_pretrained(folder)
    save_file(named, folder / "model.safetensors", metadata={"format": "pt"})
    shutil.copy(bert / _SECOND, folder / _SECOND)
    return folder


def said(of: str, quality: Quality, seconds: float) -> None:
    """Prints a quality."""
    print(
        f"{of}: {quality.accuracy:.4%} of {quality.pieces:,} right, {quality.bits_per_character:.5f} bits "
        f"per character ({seconds:.1f} s)",
        flush=True,
    )


def compare_names(bert: Path, source: BatchSource, rows: int, start: Start) -> None:
    """Prints the quality of the same teacher under three names, and of the students that start from it."""
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("bert", "roberta", "distilbert"):
            path = bert if kind == "bert" else renamed(bert, kind, Path(folder) / kind)
            teacher = Teacher.load(path)
            started = time.monotonic()
            student = start(teacher)
            seconds = time.monotonic() - started
            found = dict(evaluate_masked_lm(source, teacher=teacher, student=student, rows=rows))
            for name, quality in found.items():
                said(f"{kind} {name}", quality, seconds)


def compare_starts(
    starts: Mapping[str, Callable[[], PreTrainedModel]],
    source: BatchSource,
    rows: int,
    text: BatchSource,
    steps: int,
) -> None:
    """Prints the quality of students before and after some steps of masked LM."""
    for name, start in starts.items():
        started = time.monotonic()
        student = start()
        stepper = Stepper(
            DualModel(None, student, ObjectiveWeights(student_masked_lm=1.0)),
            OptimizerConfig("muon", student_rate=3e-3),
            Accelerator(cpu=True),
        )
        for step in range(steps + 1):
            if step in (0, steps // 2, steps):
                (found,) = dict(evaluate_masked_lm(source, student=student, rows=rows)).values()
                said(f"{name} after {step} steps", found, time.monotonic() - started)
            if step < steps:
                stepper.step([text.batch(step)], step, step / steps)


def main() -> None:
    """Prints what the two comparisons come to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--steps", type=int, default=120)
    given = parser.parse_args()
    run = RunDir(given.run)
    shape = StudentConfig(layers=6, width=120, heads=12, feed_forward=480, positions=128)
    length = shape.positions
    data = Data.open(run, length, length)
    text = BatchSource(
        data.train, data.lexicon, BatchConfig(length=length), (0,), teacher=False, student=True
    )
    sample, special = _sample(text), data.lexicon.student_special
    config = student_config(shape, data.lexicon.student_size, special)
    source = evaluation_source(data.held_out, data.lexicon, length)
    bert = run.trained_teacher()
    assert bert is not None, "the run has trained no teacher"
    compare_names(bert, source, given.rows, lambda one: warm_start(one, config, sample, mask=special.mask))
    teacher = Teacher.load(bert)
    starts = {
        "fitted": lambda: fitted_start(teacher, config, sample, mask=special.mask),
        "random": lambda: random_student(config, seed=0),
        "warm": lambda: warm_start(teacher, config, sample, mask=special.mask),
    }
    compare_starts(starts, source, given.rows, text, given.steps)


if __name__ == "__main__":
    main()
