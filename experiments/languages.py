"""A student of a multilingual teacher for some languages: bytes, fertility, masked pieces, translations.

    python experiments/languages.py TEACHER TEXTS OUT --languages de fr ru --minutes 20

TEXTS is what `debian_text.py` writes: LANGUAGE.txt, of which every eleventh document is held out, and
translations.jsonl. OUT gets the run, the bundles, and languages.json with the figures:

- bundle bytes: of the int8 bundle that fills in (`fill`), and of the one that gives vectors (`encode`);
- by size of vocabulary and language: pieces per word on held-out text, of student and teacher;
- by language: masked pieces right and bits per character on held-out text;
- by language: how often the nearest of all English paragraphs, by cosine, is the own translation, and back.
  The teacher's vectors are the means of its last states after "query: ". The student's come from the bundle's
  file: as it was trained, and as the warm start from the untouched teacher makes it (`warm start`).
"""

import argparse
import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import AutoModel, AutoTokenizer

import lilliput
from lilliput.common.files import write_json
from lilliput.common.sheet import Sheet
from lilliput.config import Recipe
from lilliput.models.student import save_student
from lilliput.pieces.lexicon import Lexicon, learn_student
from lilliput.pieces.report import measure
from lilliput.pieces.teacher_tokenizer import load_teacher_tokenizer
from lilliput.run import RunDir
from lilliput.text.corpus import FIRST_WORD, Corpus
from lilliput.training.first_models import started_student

_APART = 11
"""One of so many documents is held out."""
_PROMPT = "query: "
_PIECES_AT_ONCE = 4096
Vectors = npt.NDArray[np.float32]
Encode = Callable[[list[str]], Vectors]
Figures = dict[str, Any]


def split(texts: Path, languages: Sequence[str], out: Path) -> None:
    """Writes the documents of each language that train, and those that are held out."""
    for language in languages:
        documents = (texts / f"{language}.txt").read_text(encoding="utf-8").strip().split("\n\n")
        for part, is_apart in (("train", False), ("held_out", True)):
            chosen = [text for at, text in enumerate(documents) if (at % _APART == _APART - 1) == is_apart]
            (out / part).mkdir(parents=True, exist_ok=True)
            (out / part / f"{language}.txt").write_text("\n\n".join(chosen) + "\n", encoding="utf-8")


def fertilities(
    teacher: str, run: RunDir, out: Path, languages: Sequence[str], sizes: Sequence[int], cased: bool
) -> list[dict[str, Any]]:
    """Returns what vocabularies of some sizes, learnt from the run's corpus, mean for each language."""
    tokenizer, corpus = load_teacher_tokenizer(teacher), Corpus.open(run.corpus)
    words, counts = corpus.word_types()[FIRST_WORD:], corpus.counts[FIRST_WORD:]
    students = [learn_student(words, counts, size, tokenizer, cased) for size in sizes]
    found = []
    for language in languages:
        text = lilliput.build_corpus(
            out / "held_out" / f"{language}.txt", teacher, out / "parts" / language, workers=1
        )
        words, counts = text.word_types()[FIRST_WORD:], text.counts[FIRST_WORD:]
        theirs = tokenizer.pieces(words)
        for size, student in zip(sizes, students, strict=True):
            report = measure(
                words, counts, theirs, tokenizer, tokenizer.student_pieces(words, student), student
            )
            found.append(
                {
                    "language": language,
                    "size": size,
                    "words": report.words,
                    "student_fertility": report.student_fertility,
                    "teacher_fertility": report.teacher_fertility,
                    "student_coverage": report.student_coverage,
                    "hardly_read": report.hardly_read,
                }
            )
    return found


def translations(path: Path, languages: Sequence[str], most: int) -> dict[str, list[tuple[str, str]]]:
    """Returns for each language paragraphs with their English ones, none of either twice, `most` at most."""
    found: dict[str, list[tuple[str, str]]] = {language: [] for language in languages if language != "en"}
    seen = set[tuple[str, str]]()
    for line in path.read_text(encoding="utf-8").splitlines():
        pair = json.loads(line)
        language = pair["language"]
        keys = {(language, "english " + pair["english"]), (language, "own " + pair["text"])}
        if language in found and len(found[language]) < most and not keys & seen:
            seen |= keys
            found[language].append((pair["text"], pair["english"]))
    return found


def by_teacher(teacher: str) -> Encode:
    """Returns what makes vectors of texts: the mean of the teacher's last states."""
    tokenizer, model = (
        AutoTokenizer.from_pretrained(teacher),
        AutoModel.from_pretrained(teacher).float().eval(),
    )
    longest = min(512, model.config.max_position_embeddings)

    @torch.inference_mode()
    def encode(texts: list[str]) -> Vectors:
        pieces = [
            tokenizer(_PROMPT + text, truncation=True, max_length=longest)["input_ids"] for text in texts
        ]
        found = np.zeros((len(texts), model.config.hidden_size), np.float32)
        order, start = sorted(range(len(texts)), key=lambda at: len(pieces[at])), 0
        while start < len(order):
            rows = order[start : start + max(1, _PIECES_AT_ONCE // len(pieces[order[start]]))]
            batch = tokenizer.pad({"input_ids": [pieces[row] for row in rows]}, return_tensors="pt")
            mask = batch["attention_mask"][..., None]
            states = model(**batch).last_hidden_state * mask
            found[rows] = (states.sum(1) / mask.sum(1)).numpy()
            start += len(rows)
        return found

    return encode


def by_bundle(folder: Path) -> Encode:
    """Returns what makes vectors of texts: the file of a bundle."""
    bundle = lilliput.load(folder)
    return bundle.encode


def found_translations(
    pairs: Mapping[str, Sequence[tuple[str, str]]], encode: Encode
) -> dict[str, dict[str, float]]:
    """Returns how often the nearest paragraph of the other language is the own translation."""
    texts = sorted({text for of in pairs.values() for pair in of for text in pair})
    vectors = encode(texts)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    row = {text: at for at, text in enumerate(texts)}
    found = {}
    for language, of in pairs.items():
        own, english = (vectors[[row[pair[side]] for pair in of]] for side in (0, 1))
        cosines, right = own @ english.T, np.arange(len(of))
        found[language] = {
            "pairs": len(of),
            "to english": float((cosines.argmax(1) == right).mean()),
            "from english": float((cosines.argmax(0) == right).mean()),
        }
    return found


def similarity(
    teacher: str, run: RunDir, out: Path, recipe: Recipe, pairs: Mapping[str, Sequence[tuple[str, str]]]
) -> dict[str, dict[str, dict[str, float]]]:
    """Returns how translations are found by the teacher, the student, and the untrained warm start."""
    started = started_student(run, teacher, recipe.student)
    save_student(started, Lexicon.open(run.lexicon).student_tokenizer(), out / "warm_start")
    lilliput.bundle(out / "warm_start", out / "warm_start_bundle", kind="encode")
    ways = {
        "teacher": by_teacher(teacher),
        "student": by_bundle(out / "encode"),
        "warm start": by_bundle(out / "warm_start_bundle"),
    }
    return {name: found_translations(pairs, encode) for name, encode in ways.items()}


def compare(
    teacher: str,
    texts: Path,
    out: Path,
    languages: Sequence[str],
    recipe: Recipe,
    sizes: Sequence[int],
    most_pairs: int,
    rows: int,
) -> Figures:
    """Compresses, measures, writes and returns the figures."""
    split(texts, languages, out)
    files = {part: [str(out / part / f"{one}.txt") for one in languages] for part in ("train", "held_out")}
    run = RunDir(out / "run")
    summary = lilliput.compress(teacher, files["train"], run, recipe, held_out=files["held_out"], workers=1)
    kinds = ("fill", "encode")
    bundles = {kind: lilliput.bundle(run, out / kind, quantization="int8", kind=kind) for kind in kinds}
    figures: Figures = {
        "recipe": recipe.to_dict(),
        "languages": list(languages),
        "bundle_bytes": {kind: made.total for kind, made in bundles.items()},
        "bundle_files": {kind: made.files for kind, made in bundles.items()},
        "summary": dataclasses.asdict(summary),
    }
    write_json(out / "languages.json", figures)
    figures["fertility"] = fertilities(teacher, run, out, languages, sizes, recipe.lexicon.cased)
    write_json(out / "languages.json", figures)
    if pairs := translations(texts / "translations.jsonl", languages, most_pairs):
        figures["translations"] = similarity(teacher, run, out, recipe, pairs)
        write_json(out / "languages.json", figures)
    figures["quality"] = {}
    for language, held_out in zip(languages, files["held_out"], strict=True):
        found = lilliput.evaluate(run, held_out, rows=rows)
        figures["quality"][language] = {name: dataclasses.asdict(one) for name, one in found.items()}
        write_json(out / "languages.json", figures)
    return figures


def tables(figures: Figures) -> list[Sheet]:
    """Returns the figures as tables, a line for each language."""
    sizes = sorted({line["size"] for line in figures["fertility"]})
    of = {(line["language"], line["size"]): line for line in figures["fertility"]}
    fertility = [
        (
            language,
            *(f"{of[language, size]['student_fertility']:.2f}" for size in sizes),
            *(f"{of[language, size]['student_coverage']:.1%}" for size in sizes),
            f"{of[language, sizes[0]]['teacher_fertility']:.2f}",
        )
        for language in figures["languages"]
    ]
    heads = ("language", *(f"{size:,}" for size in sizes), *(f"read {size:,}" for size in sizes), "teacher")
    quality = [
        (
            language,
            *(f"{one[model]['accuracy']:.1%}" for model in ("student", "teacher") if model in one),
            *(f"{one[model]['bits_per_character']:.3f}" for model in ("student", "teacher") if model in one),
        )
        for language, one in figures["quality"].items()
    ]
    found = figures.get("translations", {})
    pairs = [
        (
            language,
            f"{one['pairs']:,.0f}",
            *(f"{of[language][way]:.1%}" for of in found.values() for way in ("to english", "from english")),
        )
        for language, one in found.get("student", {}).items()
    ]
    ways = [f"{name} {way}" for name in found for way in ("to", "from")]
    sizes_of = ", ".join(f"{kind} {size:,}" for kind, size in figures["bundle_bytes"].items())
    sheets = [
        Sheet(heads, fertility, title="Pieces per word, and words read, by size of vocabulary"),
        Sheet(
            ("language", "student right", "teacher right", "student bpc", "teacher bpc"),
            quality,
            title=f"Masked pieces of held-out text; bytes of the int8 bundle: {sizes_of}",
        ),
    ]
    if pairs:
        sheets.append(Sheet(("language", "pairs", *ways), pairs, title="Translations found, English"))
    return sheets


def main() -> None:
    """Compresses, measures and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("teacher")
    parser.add_argument("texts", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--languages", nargs="+", required=True)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument(
        "--teacher-share", type=float, default=0.2, help="of the minutes, that the teacher trains"
    )
    parser.add_argument("--size", type=int, default=12_000, help="pieces of the student's vocabulary")
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[4928, 8000, 12_000, 16_000], help="in the table"
    )
    parser.add_argument("--pairs", type=int, default=1000, help="translations of a language at most")
    parser.add_argument("--rows", type=int, default=128, help="held-out rows of a language at most")
    given = parser.parse_args()
    recipe = lilliput.find_recipe("lilliput").replace(
        {
            "budget.minutes": str(given.minutes),
            "lexicon.size": str(given.size),
            "lexicon.cased": "true",  # else accents and the marks of kana are taken off
            "stages.teacher.share": str(given.teacher_share),
            "stages.student.share": str(1 - given.teacher_share),
        }
    )
    figures = compare(
        given.teacher, given.texts, given.out, given.languages, recipe, given.sizes, given.pairs, given.rows
    )
    for sheet in tables(figures):
        print(f"\n{sheet.title}\n\n{sheet.markdown()}")


if __name__ == "__main__":
    main()
