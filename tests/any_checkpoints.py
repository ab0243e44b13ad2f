"""Small random classifiers of any architecture, with tokenizers trained here, as transformers saves them."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    CONFIG_MAPPING,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from conftest import stir

SENTENCES = (Path(__file__).parent / "sentences.txt").read_text(encoding="utf-8").splitlines()
TYPES = {
    "bert": "wordpiece",
    "distilbert": "wordpiece",
    "electra": "cased",
    "mpnet": "mpnet",
    "roberta": "bytes",
    "modernbert": "bytes",
    "xlm-roberta": "unigram",
    "camembert": "unigram",
    "albert": "unigram",
    "deberta-v2": "unigram",
}
"""Types of models, each with a tokenizer that such a one has."""
BERT_NAMES = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
ROBERTA_NAMES = {"cls": "<s>", "pad": "<pad>", "sep": "</s>", "unk": "<unk>", "mask": "<mask>"}


@functools.cache
def trained(kind: str) -> tuple[Tokenizer, dict[str, str]]:
    """A tokenizer of a kind, and its special pieces."""
    names = BERT_NAMES if kind in ("wordpiece", "cased") else ROBERTA_NAMES
    special = list(names.values())
    if kind in ("wordpiece", "cased", "mpnet"):
        made = Tokenizer(models.WordPiece(unk_token=names["unk"]))
        made.normalizer = normalizers.BertNormalizer(lowercase=kind != "cased")
        made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer: Any = trainers.WordPieceTrainer(
            vocab_size=300, special_tokens=special, show_progress=False, continuing_subword_prefix="##"
        )
    elif kind == "bytes":
        made = Tokenizer(models.BPE())
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        trainer = trainers.BpeTrainer(
            vocab_size=500,
            special_tokens=special,
            show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        )
    else:
        made = Tokenizer(models.Unigram())
        made.normalizer = normalizers.NFKC()
        made.pre_tokenizer = pre_tokenizers.Metaspace()
        trainer = trainers.UnigramTrainer(
            vocab_size=300, special_tokens=special, unk_token=names["unk"], show_progress=False
        )
    made.train_from_iterator(SENTENCES, trainer)
    cls, sep = names["cls"], names["sep"]
    ids = [(name, made.token_to_id(name)) for name in (cls, sep)]
    if names is BERT_NAMES:
        made.post_processor = processors.TemplateProcessing(
            single=f"{cls} $A {sep}", pair=f"{cls} $A {sep} $B:1 {sep}:1", special_tokens=ids
        )
    else:
        made.post_processor = processors.TemplateProcessing(
            single=f"{cls} $A {sep}", pair=f"{cls} $A {sep} {sep} $B {sep}", special_tokens=ids
        )
    return made, names


def save_any(
    folder: Path,
    model_type: str,
    labels: Sequence[str],
    *,
    reads: str = "text",
    tokenizer: str | None = None,
    positions: int = 40,
    seed: int = 0,
    **config: Any,
) -> Path:
    """Writes a small random classifier and its tokenizer."""
    made, names = trained(tokenizer or TYPES[model_type])
    size = max(made.get_vocab().values()) + 1
    pad = made.token_to_id(names["pad"])
    built = small_config(
        model_type,
        size,
        pad,
        positions,
        id2label=dict(enumerate(labels)),
        label2id={label: i for i, label in enumerate(labels)},
        **config,
    )
    auto = AutoModelForTokenClassification if reads == "words" else AutoModelForSequenceClassification
    model: PreTrainedModel = auto.from_config(built)
    stir(model, seed)
    model.save_pretrained(folder)
    types = (
        {"model_input_names": ["input_ids", "token_type_ids", "attention_mask"]}
        if model_type == "bert"
        else {}
    )
    fast = PreTrainedTokenizerFast(
        **types,
        tokenizer_object=made,
        model_max_length=positions,
        **{f"{role}_token": name for role, name in names.items()},
    )
    fast.save_pretrained(folder)
    return folder


def small_config(model_type: str, size: int, pad: int, positions: int, **config: Any) -> PreTrainedConfig:
    """The config of a model of two layers that reads so many positions, of `size` pieces."""
    padded = {"roberta": pad, "xlm-roberta": pad, "camembert": pad, "mpnet": 1}  # where positions begin
    table = positions + padded.get(model_type, -1) + 1
    sizes: dict[str, Any] = {
        "vocab_size": size, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3,
        "intermediate_size": 32, "max_position_embeddings": table, "pad_token_id": pad,
    }  # fmt: skip
    if model_type == "distilbert":
        sizes = {
            "vocab_size": size, "dim": 24, "n_layers": 2, "n_heads": 3, "hidden_dim": 32,
            "max_position_embeddings": table, "pad_token_id": pad,
        }  # fmt: skip
    if model_type in ("electra", "albert"):
        sizes["embedding_size"] = 16
    if model_type == "deberta-v2":
        sizes |= {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "type_vocab_size": 0}
        sizes |= {"position_buckets": 16, "norm_rel_ebd": "layer_norm", "share_att_key": True}
    if model_type == "modernbert":
        sizes |= {"cls_token_id": 0, "sep_token_id": 2, "bos_token_id": 0, "eos_token_id": 2}
        sizes |= {"local_attention": 8, "global_attn_every_n_layers": 2}
    if model_type == "eurobert":
        sizes |= {"num_key_value_heads": 3, "tie_word_embeddings": False}
    return CONFIG_MAPPING[model_type](**sizes | config)


def save_masked_lm(folder: Path, model_type: str, tokenizer: Tokenizer, seed: int = 0, **config: Any) -> Path:
    """Writes a small random masked LM with a tokenizer of some other's making."""
    pad, size = tokenizer.token_to_id("[PAD]"), max(tokenizer.get_vocab().values()) + 1
    model = AutoModelForMaskedLM.from_config(small_config(model_type, size, pad, 40, **config))
    stir(model, seed)
    model.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@functools.lru_cache(4)
def load_twin(folder: Path, reads: str = "text") -> tuple[PreTrainedModel, Any]:
    """A classifier and its tokenizer, loaded with nothing of lilliput."""
    auto = AutoModelForTokenClassification if reads == "words" else AutoModelForSequenceClassification
    return auto.from_pretrained(folder).train(False), AutoTokenizer.from_pretrained(folder)


def said_by_twin(folder: Path, text: str, pair: str | None = None, reads: str = "text") -> Any:
    """What transformers answers to a text: scores, states and offsets of its pieces."""
    model, tokenizer = load_twin(folder, reads)
    given = tokenizer(text, pair, return_tensors="pt", return_offsets_mapping=True, truncation=True)
    offsets = given.pop("offset_mapping")[0].tolist()
    with torch.no_grad():
        found = model(**given, output_hidden_states=True)
    return found.logits[0].numpy(), found.hidden_states[-1][0].numpy(), offsets
