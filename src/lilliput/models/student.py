"""The student: a small BERT, built from its config alone and saved as a plain transformers checkpoint."""

from pathlib import Path
from typing import cast

import torch
from tokenizers import Tokenizer
from transformers import BertConfig, BertForMaskedLM, PreTrainedConfig, PreTrainedModel

from lilliput.common.folders import settle
from lilliput.config import StudentConfig
from lilliput.errors import ModelError, StorageError
from lilliput.models.pretrained import load_weights
from lilliput.pieces.bert_tokenizer import save_tokenizer
from lilliput.pieces.tokenizer_file import SpecialPieces


def student_config(config: StudentConfig, vocabulary: int, special: SpecialPieces) -> BertConfig:
    """Returns the transformers config of a student with `vocabulary` pieces."""
    return BertConfig(
        vocab_size=vocabulary,
        hidden_size=config.width,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        intermediate_size=config.feed_forward,
        max_position_embeddings=config.positions,
        pad_token_id=special.pad,
        hidden_dropout_prob=0.0,  # it is trained without, and so small that it should be tuned without
        attention_probs_dropout_prob=0.0,
    )


def random_student(config: PreTrainedConfig, seed: int) -> BertForMaskedLM:
    """Returns a student with BERT's own random start: normal with deviation 0.02, biases zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return BertForMaskedLM(cast(BertConfig, config))


def save_student(student: PreTrainedModel, tokenizer: Tokenizer, folder: Path) -> None:
    """Saves model and tokenizer so that transformers' Auto classes load them without lilliput."""
    student.save_pretrained(folder)
    save_tokenizer(tokenizer, folder, longest=student.config.max_position_embeddings)
    settle(folder)


def load_student(folder: Path) -> BertForMaskedLM:
    """Loads a student that was saved; raises StorageError when it is missing or damaged."""
    try:
        # The table of the masked-LM head is that of the pieces.
        student, _ = load_weights(BertForMaskedLM, str(folder), head=("cls.predictions.decoder",))
    except ModelError as error:
        raise StorageError(
            f"no student could be loaded from {folder} ({error}); run the command that made it again: what "
            "is damaged is made anew"
        ) from error
    return student


def parameter_count(model: torch.nn.Module) -> int:
    """Returns the number of parameters, tied ones counted once."""
    return sum(parameter.numel() for parameter in model.parameters())
