"""Writes a labelled set of sentences that every machine has: which package is a docstring's sentence from?

    python examples/docstrings.py data/packages

writes `data/packages_train.csv`, `data/packages_dev.csv` and `data/packages.txt`, sentences without labels.
Nothing is downloaded and nothing imported: the sources of packages that `lilliput[train]` brings are read. A
sentence that names its package is left out, and whole files are held out, so the answer is in what is said.
"""

import ast
import csv
import importlib.util
import random
import re
import sys
from collections.abc import Iterator
from pathlib import Path

PACKAGES = ("matplotlib", "numpy", "scipy", "sklearn", "torch", "transformers")
AT_MOST = 4_000
"""Sentences of a package; the file with the last of them is read to its end."""
HELD_OUT = 10
"""One file in so many."""
_MARKUP = re.compile(r":\w+:`~?([^`]*)`|[`*|]+")
_NO_PROSE = re.compile(r">>>|\.\. |::|[<>{}=\\]|https?:|__|\w\(|--")


def sentences(path: Path) -> Iterator[str]:
    """Yields the sentences of a source file's docstrings, in plain words."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            for paragraph in re.split(r"\n\s*\n", ast.get_docstring(node) or ""):
                plain = " ".join(_MARKUP.sub(r"\1", paragraph).split())
                if not _NO_PROSE.search(plain):
                    yield from re.findall(r"(?<![\w.])[A-Z][^.!?]+[.!?](?=\s|$)", plain)


def collected(package: str) -> Iterator[tuple[str, bool]]:
    """Yields different sentences of a package of 5 to 40 words, and whether each is held out."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        sys.exit(f"the package {package} is missing; install it with: pip install 'lilliput[train]'")
    files = sorted(Path(spec.submodule_search_locations[0]).rglob("*.py"))
    random.Random(0).shuffle(files)
    seen = set[str]()
    for number, path in enumerate(files):
        if len(seen) >= AT_MOST:
            return
        for sentence in sentences(path):
            usual = sentence.casefold()
            names_itself = package in usual or (package == "sklearn" and "scikit" in usual)
            if 5 <= len(sentence.split()) <= 40 and not names_itself and usual not in seen:
                seen.add(usual)
                yield sentence, number % HELD_OUT == 0


def main(stem: str) -> None:
    """Writes the tables and the text."""
    out = Path(stem)
    out.parent.mkdir(parents=True, exist_ok=True)
    rows: dict[str, list[tuple[str, str]]] = {"train": [], "dev": []}
    for package in PACKAGES:
        for sentence, is_held_out in collected(package):
            rows["dev" if is_held_out else "train"].append((sentence, package))
    for part, examples in rows.items():
        random.Random(2).shuffle(examples)
        with Path(f"{out}_{part}.csv").open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file)
            table.writerow(["text", "label"])
            table.writerows(examples)
    Path(f"{out}.txt").write_text("".join(f"{text}\n" for text, _ in rows["train"]), encoding="utf-8")
    print(f"{len(rows['train']):,} sentences to learn from, {len(rows['dev']):,} held out: {out}_*.csv")


if __name__ == "__main__":
    main(*sys.argv[1:2] or ["data/packages"])
