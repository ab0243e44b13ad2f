"""Tokenizers of other families than BERT's, trained here, and the folders of checkpoints that have them."""

import functools
import json
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from conftest import small_text

ROLES = {"cls": "<s>", "pad": "<pad>", "sep": "</s>", "unk": "<unk>", "mask": "<mask>"}
ODD = (Path(__file__).parent / "sentences.txt").read_text(encoding="utf-8")
LLAMA = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""The pattern of Llama 3, which EuroBERT has too."""
FAMILIES = (
    "unigram",
    "xlm-roberta",
    "bytes",
    "bytes-prefixed",
    "llama",
    "fallback",
    "prepended",
    "wordpiece",
)


@functools.cache
def text() -> str:
    extra = (
        "It's fine, isn't it? They're here: don't stop... (well-known) e-mail@example.org 3.14 1,000 B2B 4x4 "
        "naïve café Zürich Ελλάδα Москва 東京都 ひらがな 한국어 👍 [x] <y> "
        "{z} a+b=c www.example.com e.g. U.S.A. "
    )
    return small_text(3, 120, odd=True) + extra * 20 + ODD


@functools.cache
def trained(kind: str) -> Tokenizer:
    """A tokenizer of a family, with special pieces around texts; not to be changed."""
    special = list(ROLES.values())
    byte_level: dict[str, Any] = {"initial_alphabet": pre_tokenizers.ByteLevel.alphabet()}
    common: dict[str, Any] = {"special_tokens": special, "show_progress": False}
    if kind in ("unigram", "xlm-roberta"):
        made = Tokenizer(models.Unigram())
        made.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
        made.pre_tokenizer = (
            pre_tokenizers.Metaspace()
            if kind == "unigram"
            else pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
        )
        trainer: Any = trainers.UnigramTrainer(vocab_size=700, unk_token="<unk>", **common)
    elif kind in ("bytes", "bytes-prefixed"):
        made = Tokenizer(models.BPE())
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=kind == "bytes-prefixed")
        made.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(vocab_size=900, **byte_level, **common)
    elif kind == "llama":
        made = Tokenizer(models.BPE(ignore_merges=True))
        made.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(LLAMA), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        trainer = trainers.BpeTrainer(vocab_size=900, **byte_level, **common)
    elif kind in ("fallback", "prepended"):
        made = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
        mark = normalizers.Replace(" ", "▁")
        made.normalizer = (
            mark if kind == "fallback" else normalizers.Sequence([normalizers.Prepend("▁"), mark])
        )
        # Gemma's does not cut any more, as no space is left; what it was trained with did.
        made.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
        pieces = [f"<0x{byte:02X}>" for byte in range(256)]
        common["special_tokens"] = [*special, *pieces]
        trainer = trainers.BpeTrainer(vocab_size=1200, limit_alphabet=90, **common)
    else:
        made = Tokenizer(models.WordPiece(unk_token="<unk>"))
        made.normalizer = normalizers.BertNormalizer(lowercase=False)
        made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer = trainers.WordPieceTrainer(vocab_size=700, **common)
    made.train_from_iterator(text().splitlines(), trainer)
    if kind in ("fallback", "prepended"):
        layout = json.loads(made.to_str())
        layout["pre_tokenizer"] = {
            "type": "Split",
            "pattern": {"String": " "},
            "behavior": "MergedWithPrevious",
            "invert": False,
        }
        layout["added_tokens"] = [token for token in layout["added_tokens"] if token["content"] in special]
        made = Tokenizer.from_str(json.dumps(layout))
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[(name, made.token_to_id(name)) for name in ("<s>", "</s>")],
    )
    return made


def write_tokenizer(folder: Path, tokenizer: Tokenizer, **settings: Any) -> Path:
    """Writes the files of a tokenizer as transformers does."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    named: dict[str, Any] = {f"{role}_token": name for role, name in ROLES.items()}
    named |= {"tokenizer_class": "PreTrainedTokenizerFast"} | settings
    (folder / "tokenizer_config.json").write_text(json.dumps(named))
    return folder
