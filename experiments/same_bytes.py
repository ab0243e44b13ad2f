"""Digests of all that lilliput writes on a small world, to prove that a refactor changes no byte.

    python experiments/same_bytes.py OUT > before.json     # with the version before
    python experiments/same_bytes.py OUT2 OUT > after.json # with the version after, on the same machine
    diff before.json after.json

Only commands that users type are run, so that the script outlives moves of the code. Times, paths, versions
and what depends on them are left out; all else that is in a JSON file counts. The second run reads the world
of the first, as the trainer of `tokenizers` breaks ties at random.
"""

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

os.environ.update(HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1", COLUMNS="120")

VOLATILE = (
    "second",
    "minute",
    "finished",
    "version",
    "memory",
    "per_hour",
    "machine",
    "pace",
    "bytes_read",
    "time",
)
"""A key of a JSON file that has one of these in its name says something of the machine or the moment."""
COMMANDS = {
    "tiny": "compress {teacher} --corpus {text} --recipe tiny --workers 1 --out {out}/tiny",
    "ours": "compress {teacher} --corpus {text} --held-out {other} --workers 1 --words 4000"
    " --out {out}/ours {small}",
    "mixed": "compress {teacher} --corpus {text} --recipe mixed_vocabulary --workers 1 --words 4000"
    " --out {out}/mixed {small} --set student.width=16",
    "objectives": "compress {teacher} --corpus {text} --recipe {recipe} --workers 1 --out {out}/objectives",
    "vocabulary": "vocabulary {teacher} --out {out}/tiny --sizes 200,300",
    "evaluate": "evaluate {out}/ours --text {other}",
    "topics-teacher": "finetune {teacher} --task {data}/topics --out {out}/teacher --set epochs=2",
    "topics": "finetune {out}/ours --task {data}/topics --teacher {out}/teacher --set epochs=2 --seeds 2",
    "topics-more": "finetune {out}/tiny --task {data}/topics --teacher {out}/teacher --set epochs=1"
    " --unlabelled {other}",
    "pairs-teacher": "finetune {teacher} --task {data}/pairs --out {out}/teacher --set epochs=2",
    "pairs": "finetune {out}/ours --task {data}/pairs --teacher {out}/teacher --set epochs=2"
    " --set distillation.recombined=20",
    "slots-teacher": "finetune {teacher} --task {data}/slots --out {out}/teacher --set epochs=2",
    "slots": "finetune {out}/ours --task {data}/slots --teacher {out}/teacher --set epochs=2"
    " --set distillation.recombined=20 --set quantization=int4",
    "tags": "finetune {out}/ours --task {data}/tags --set epochs=2",
    "evaluate-tasks": "evaluate {out}/ours {out}/tiny --teacher {out}/teacher --text {other}",
    "bundle-student": "bundle {out}/ours --out {out}/bundles/student",
    "bundle-encode": "bundle {teacher} --kind encode --quantization float16 --out {out}/bundles/encode",
    "bundle-topics": "bundle {out}/ours --task topics --out {out}/bundles/topics",
    "bundle-pairs": "bundle {out}/ours --task pairs --quantization mixed --out {out}/bundles/pairs",
    "bundle-slots": "bundle {out}/ours --task slots --out {out}/bundles/slots",
    "bundle-tags": "bundle {out}/ours --task tags --quantization float32 --out {out}/bundles/tags",
    "recipes": "recipes lilliput",
}
ASKED = {
    "student": "the b[MASK]\nevery [MASK]\n",
    "encode": "a word and another\n",
    "topics": "the cat sat\nmy 2,000 words don't end\n",
    "pairs": "one text\tanother text\n",
    "slots": "play Ann's song at 7:30\nbook a seat\n",
    "tags": "a tag for each word\n",
}
OBJECTIVES = {
    "name": "objectives",
    "budget": {"words": 4000},
    "lexicon": {"size": 300},
    "student": {"layers": 3, "width": 16, "heads": 2, "feed_forward": 32, "positions": 32},
    "stages": [
        {
            "name": "all",
            "share": 1.0,
            "objectives": {
                "teacher_masked_lm": 1.0,
                "student_masked_lm": 1.0,
                "soft_labels": 1.0,
                "projection_up": 0.001,
                "projection_down": 0.001,
            },
            "batch": {"rows": 8, "length": 32},
        }
    ],
}


def main() -> None:
    out, *earlier = (Path(name).absolute() for name in sys.argv[1:])
    out.mkdir(parents=True)
    os.chdir(out)  # so that nothing that is written holds an absolute path
    if earlier:
        shutil.copytree(earlier[0] / "world", "world")
    places = write_world(Path("world")) | {"out": "."}
    for name, command in COMMANDS.items():
        run(name, command.format(**places).split())
    for name, texts in ASKED.items():
        run(f"answers-{name}", ["run", f"bundles/{name}", "--json"], texts)
    found = {
        str(path.relative_to(out)): digest(path)
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.suffix not in (".svg", ".png") and "tensorboard" not in path.parts
    }
    print(json.dumps(found, indent=1))


def run(name: str, arguments: list[str], texts: str = "") -> None:
    """Runs a command of lilliput; what it prints is kept where it says no times."""
    done = subprocess.run(
        [sys.executable, "-m", "lilliput", *arguments],
        input=texts,
        capture_output=True,
        text=True,
        check=False,
    )
    print(name, done.returncode, file=sys.stderr, flush=True)
    if done.returncode:
        sys.exit(f"{' '.join(arguments)}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    if name.startswith(("answers", "recipes", "evaluate")):
        Path(f"{name}.txt").write_text(done.stdout, encoding="utf-8")


def digest(path: Path) -> str:
    content = path.read_bytes()
    if path.suffix == ".json":
        content = json.dumps(steady(json.loads(content)), sort_keys=True).encode()
    if path.suffix == ".jsonl":
        content = json.dumps([steady(json.loads(line)) for line in content.splitlines()]).encode()
    return hashlib.sha256(content).hexdigest()[:16]


def steady(value: Any) -> Any:
    """Returns a JSON value without what changes from run to run."""
    if isinstance(value, dict):
        return {
            key: steady(one)
            for key, one in value.items()
            if not any(word in key for word in VOLATILE)
            and not str(key).endswith((".json", ".jsonl", ".png"))
        }
    return [steady(one) for one in value] if isinstance(value, list) else value


def write_world(folder: Path) -> dict[str, str]:
    """Writes a teacher, texts and four tasks of a made-up language; returns where they are."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
    from transformers import BertConfig, BertForMaskedLM

    rng = random.Random(5)
    stems = [
        a + b + c for a in ("b", "tr", "m", "s", "cl") for b in "aeiou" for c in ("n", "rt", "st", "lly")
    ]
    odd = ("café", "Zürich", "3.14", "don't", "中文", "naïve", "o'hare")

    def text() -> str:
        words = [rng.choice(stems) + rng.choice(("", "s", "ed", "ing")) for _ in range(rng.randint(5, 12))]
        return " ".join([*words, rng.choice(odd)]).capitalize() + rng.choice(".!?")

    def lines(count: int) -> str:
        return "\n\n".join(" ".join(text() for _ in range(rng.randint(2, 6))) for _ in range(count)) + "\n"

    data = folder / "data"
    if not folder.exists():
        folder.mkdir()
        (folder / "text.txt").write_text(lines(300), encoding="utf-8")
        (folder / "other.txt").write_text(lines(50), encoding="utf-8")
        tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        tokenizer.normalizer, tokenizer.pre_tokenizer = (
            normalizers.BertNormalizer(),
            pre_tokenizers.BertPreTokenizer(),
        )
        special = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        tokenizer.train_from_iterator(
            [lines(200)],
            trainers.WordPieceTrainer(vocab_size=400, special_tokens=special, show_progress=False),
        )
        torch.manual_seed(0)
        model = BertForMaskedLM(
            BertConfig(
                vocab_size=tokenizer.get_vocab_size(),
                hidden_size=32,
                num_hidden_layers=3,
                num_attention_heads=4,
                intermediate_size=64,
                max_position_embeddings=48,
            )
        )
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn(parameter.shape))
        model.save_pretrained(folder / "teacher")
        tokenizer.save(str(folder / "teacher" / "tokenizer.json"))
        (folder / "objectives.json").write_text(json.dumps(OBJECTIVES), encoding="utf-8")
        data.mkdir()
        for part, count in (("train", 80), ("dev", 40)):
            rows = {
                "topics": [
                    {"text": text(), "label": rng.choice(("sport", "news", "arts"))} for _ in range(count)
                ],
                "pairs": [
                    {"text": text(), "text_pair": text(), "score": round(rng.uniform(0, 5), 2)}
                    for _ in range(count)
                ],
                "slots": [
                    {"tokens": words, "tags": tags_of(words, rng), "label": rng.choice(("play", "book"))}
                    for words in (text().split() for _ in range(count))
                ],
                "tags": [
                    {"tokens": words, "tags": [rng.choice(("N", "V", "A")) for _ in words]}
                    for words in (text().split() for _ in range(count))
                ],
            }
            for name, examples in rows.items():
                content = "".join(json.dumps(example) + "\n" for example in examples)
                (data / f"{name}_{part}.jsonl").write_text(content, encoding="utf-8")
    small = (
        "--set student.layers=2 --set student.heads=2 --set student.width=16 --set student.feed_forward=32 "
        "--set student.positions=32 --set lexicon.size=300"
    )
    for stage in ("teacher", "student"):
        small += f" --set stages.{stage}.batch.rows=8 --set stages.{stage}.batch.length=32"
    return {
        "teacher": str(folder / "teacher"),
        "text": str(folder / "text.txt"),
        "other": str(folder / "other.txt"),
        "recipe": str(folder / "objectives.json"),
        "data": str(data),
        "small": small,
    }


def tags_of(words: list[str], rng: random.Random) -> list[str]:
    """Returns BIO tags of a span or two."""
    tags = ["O"] * len(words)
    for _ in range(2):
        start = rng.randrange(len(words) - 2)
        tags[start : start + 2] = ["B-city", "I-city"]
        if start + 2 < len(words) and tags[start + 2].startswith("I"):
            tags[start + 2] = "B-city"
    return tags


if __name__ == "__main__":
    main()
