"""How peers.py prepares and takes steps with TinyBERT's general distillation, from a checkout of it.

Its programs are run as they are, with what today's libraries lack put in place at run time.
"""

import contextlib
import functools
import importlib
import json
import logging
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from unittest.mock import MagicMock

import numpy as np
import torch
from peer_ways import SHAPE, Clock, Setting, count_words
from safetensors.torch import load_file
from transformers import BertConfig

from lilliput.common.files import write_json
from lilliput.pieces.bert_tokenizer import load_tokenizer


def tinybert_module(setting: Setting, name: str) -> ModuleType:
    """Returns a module of TinyBERT, with what today's libraries lack.

    It imports boto3 for downloads that nothing here asks for, and uses a name that numpy 1.24 dropped.
    """
    sys.modules.update(dict.fromkeys(("boto3", "botocore", "botocore.exceptions"), MagicMock()))
    np.int = int  # type: ignore[attr-defined]
    sys.path.insert(0, str(setting.tinybert))
    return importlib.import_module(name)


def tinybert_prepared(way: str, setting: Setting) -> Callable[[], object]:
    """Returns the work of pregenerating one epoch as its README says, and of reading it, once per epoch.

    Its checkpoint format is an older one, so the teacher is copied into that first.
    """
    pregenerate, distill = (
        tinybert_module(setting, name) for name in ("pregenerate_training_data", "general_distill")
    )
    teacher, student = (setting.folder / f"tinybert {name}" for name in ("teacher", "student"))
    config = BertConfig.from_pretrained(setting.teacher).to_dict()
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    shape = {
        "hidden_size": SHAPE.width,
        "num_hidden_layers": SHAPE.layers,
        "num_attention_heads": SHAPE.heads,
        "intermediate_size": SHAPE.feed_forward,
        "max_position_embeddings": SHAPE.positions,
    }
    for folder, values in ((teacher, config), (student, config | shape)):
        folder.mkdir()
        write_json(folder / "config.json", values)
    vocabulary = load_tokenizer(str(setting.teacher)).get_vocab()
    (teacher / "vocab.txt").write_text("\n".join(sorted(vocabulary, key=vocabulary.__getitem__)) + "\n")
    torch.save(load_file(setting.teacher / "model.safetensors"), teacher / "pytorch_model.bin")
    pregenerated = setting.folder / way
    files = ("--train_corpus", setting.folder / "text.txt", "--bert_model", teacher)
    numbers = ("--epochs_to_generate", 1, "--max_seq_len", setting.length, "--output_dir", pregenerated)

    def work() -> None:
        sys.argv = ["pregenerate_training_data.py", *map(str, (*files, *numbers)), "--do_lower_case"]
        pregenerate.main()
        tokenizer = distill.BertTokenizer.from_pretrained(str(teacher), do_lower_case=True)
        distill.PregeneratedDataset(pregenerated, 0, tokenizer, 1)

    return work


class Finished(Exception):
    """Ends a program that knows only epochs."""


def tinybert_steps(way: str, setting: Setting, clock: Clock) -> tuple[float, float]:
    """Returns words and pieces of a step of general_distill.py, run as it is but for two replaced functions.

    Its student's states are mapped to width 768, a number in its code; here to the teacher's width.
    """
    distill = tinybert_module(setting, "general_distill")
    logging.disable(logging.INFO)
    student, step = distill.TinyBertForPreTraining, distill.BertAdam.step
    width = BertConfig.from_pretrained(setting.teacher).hidden_size
    student.from_scratch = functools.partial(student.from_scratch, fit_size=width)

    def marked_step(optimizer: torch.optim.Optimizer) -> None:
        step(optimizer)
        if clock.mark():
            raise Finished

    distill.BertAdam.step = marked_step
    folders = {
        "pregenerated_data": way,
        "teacher_model": "tinybert teacher",
        "student_model": "tinybert student",
    }
    named = [part for name, at in folders.items() for part in (f"--{name}", str(setting.folder / at))]
    sys.argv = ["general_distill.py", *named, "--output_dir", tempfile.mkdtemp(dir=setting.folder)]
    sys.argv += ["--train_batch_size", str(setting.rows), "--max_seq_length", str(setting.length)]
    sys.argv += ["--num_train_epochs", "1", "--do_lower_case", "--no_cuda"]
    with contextlib.suppress(Finished), setting.autocast():
        distill.main()
    read = list(tinybert_rows(setting.folder / way / "epoch_0.json"))
    words, pieces = sum(map(count_words, read)), sum(map(len, read))
    return words * setting.rows / len(read), pieces * setting.rows / len(read)


def tinybert_rows(path: Path) -> Iterator[list[str]]:
    """Yields the pieces of each row, without masks."""
    for line in path.open():
        example = json.loads(line)
        for place, label in zip(example["masked_lm_positions"], example["masked_lm_labels"], strict=True):
            example["tokens"][place] = label
        yield example["tokens"]
