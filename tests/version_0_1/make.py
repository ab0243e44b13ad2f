"""Makes what `tests/version_0_1` holds, with lilliput at d799546: python make.py, in an empty folder."""

import json
import random
import subprocess
import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import BertConfig, BertForMaskedLM

rng = random.Random(1)
words = [a + b + c for a in ("b", "tr", "m") for b in "aeiou" for c in ("n", "rt", "lly")]


def text():
    return " ".join(rng.choice(words) + rng.choice(("", "s")) for _ in range(rng.randint(4, 9))) + "."


docs = ["\n".join(text() for _ in range(4)) for _ in range(80)]
Path("text.txt").write_text("\n\n".join(docs) + "\n")
t = Tokenizer(models.WordPiece(unk_token="[UNK]"))
t.normalizer, t.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
t.train_from_iterator(
    docs,
    trainers.WordPieceTrainer(
        vocab_size=120, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], show_progress=False
    ),
)
torch.manual_seed(0)
m = BertForMaskedLM(
    BertConfig(
        vocab_size=t.get_vocab_size(),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
    )
)
m.save_pretrained("teacher")
t.save("teacher/tokenizer.json")
for part, n in (("train", 60), ("dev", 20)):
    rows = [{"text": text(), "label": rng.choice(("sport", "news"))} for _ in range(n)]
    Path(f"topics_{part}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))


def run(*a, **k):
    return subprocess.run(
        [sys.executable, "-m", "lilliput", *a], check=True, capture_output=True, text=True, **k
    ).stdout


recipe = json.loads(run("recipes", "tiny"))
recipe["lexicon"]["size"] = 100
recipe["budget"]["words"] = 2000
recipe["student"] |= {"width": 8, "feed_forward": 16}
Path("recipe.json").write_text(json.dumps(recipe, indent=2))
run(
    "compress", "teacher", "--corpus", "text.txt", "--recipe", "recipe.json", "--workers", "1", "--out", "run"
)
run("finetune", "run", "--task", "topics", "--set", "epochs=2")
run("bundle", "run", "--task", "topics", "--out", "bundle")
Path("answers.jsonl").write_text(run("run", "bundle", "--json", input="ban troll marts\nmellys\n"))
Path("evaluate.txt").write_text(run("evaluate", "run"))
