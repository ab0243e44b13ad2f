"""The same teacher as a BERT, a RoBERTa and a DistilBERT: does a student start alike from each?

The masked LM of a finished run is written anew under the names of the other architectures. A RoBERTa counts
positions from 2 and has one row of types; a DistilBERT has no types, so that row 0 goes into the positions.

    python experiments/architectures.py RUN --rows 256
"""

import argparse
import re
import shutil
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import CONFIG_MAPPING, BertConfig

from lilliput.config import BatchConfig, StudentConfig
from lilliput.models.student import student_config
from lilliput.models.teacher import Teacher
from lilliput.models.warm_start import warm_start
from lilliput.run import RunDir
from lilliput.training.batches import BatchSource
from lilliput.training.data import Data
from lilliput.training.evaluation import evaluate_masked_lm, evaluation_source
from lilliput.training.first_models import _sample

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


def main() -> None:
    """Prints the quality of each teacher and of the student that starts from it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--rows", type=int, default=256)
    given = parser.parse_args()
    run = RunDir(given.run)
    shape = StudentConfig(layers=6, width=120, heads=12, feed_forward=480, positions=128)
    length = shape.positions
    data = Data.open(run, length, length)
    sample = _sample(
        BatchSource(data.train, data.lexicon, BatchConfig(length=length), (0,), teacher=False, student=True)
    )
    special = data.lexicon.student_special
    config = student_config(shape, data.lexicon.student_size, special)
    source = evaluation_source(data.held_out, data.lexicon, length)
    bert = run.trained_teacher()
    assert bert is not None, "the run has trained no teacher"
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("bert", "roberta", "distilbert"):
            path = bert if kind == "bert" else renamed(bert, kind, Path(folder) / kind)
            teacher = Teacher.load(path)
            started = time.monotonic()
            student = warm_start(teacher, config, sample, mask=special.mask)
            seconds = time.monotonic() - started
            found = dict(evaluate_masked_lm(source, teacher=teacher, student=student, rows=given.rows))
            for name, quality in found.items():
                print(
                    f"{kind} {name}: {quality.accuracy:.4%} of {quality.pieces:,} right, "
                    f"{quality.bits_per_character:.5f} bits per character ({seconds:.1f} s)",
                    flush=True,
                )


if __name__ == "__main__":
    main()
