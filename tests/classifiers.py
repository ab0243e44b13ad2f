"""Fine-tuned BERTs as transformers saves them, with no file of lilliput's."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import BertForSequenceClassification, BertForTokenClassification

from conftest import World, small_text, stir, teacher_config
from lilliput.pieces.bert_tokenizer import load_tokenizer

NAMES = {"text": ("bad", "good"), "words": ("O", "B-X", "I-X")}


def classifier(world: World, folder: Path, reads: str = "text") -> str:
    """Saves a classifier whose answers hang on the words alone, with no file of lilliput's."""
    kind = BertForSequenceClassification if reads == "text" else BertForTokenClassification
    config = teacher_config(load_tokenizer(world.teacher).get_vocab_size())
    config.id2label, config.label2id = dict(enumerate(NAMES[reads])), None
    config.num_hidden_layers = 2
    torch.manual_seed(0)
    model = kind(config)
    stir(model, 3)
    if isinstance(model, BertForSequenceClassification):
        even(model.eval(), load_tokenizer(world.teacher))
    model.save_pretrained(folder)
    (folder / "tokenizer.json").write_bytes((Path(world.teacher) / "tokenizer.json").read_bytes())
    return str(folder)


def even(model: Any, tokenizer: Tokenizer) -> None:
    """Lets a model give half of the texts either answer, and clearly."""
    texts = small_text(6, 20, odd=False).splitlines()
    found = [tokenizer.encode(text[:60]).ids for text in texts if text]
    with torch.no_grad():
        scores = torch.cat([model(torch.tensor([ids[:40]])).logits for ids in found])
    decide(model.classifier, scores[:, 1] - scores[:, 0])


def decide(head: torch.nn.Linear, margins: torch.Tensor) -> None:
    """Shifts and scales the output layer of two classes so that it says either to half of the texts, clearly.

    Args:
        head: The layer.
        margins: By how much its second score was above the first, for some texts.
    """
    with torch.no_grad():
        head.bias[1] -= margins.median()
        for parameter in head.parameters():
            parameter.mul_(3 / margins.std())
