"""Text in several languages, and translations of each other, from Debian's documentation.

    apt-get download debian-handbook debian-reference-{de,en,es,fr,it,ja,pt,zh-cn} installation-guide-amd64
    python experiments/debian_text.py FOLDER OUT

FOLDER holds the packages. OUT gets LANGUAGE.txt, documents parted by blank lines, and translations.jsonl: a
line for each paragraph of at least 20 characters that has one in English, `{"language": ..., "english": ...,
"text": ...}`, without the numbers of headings. Paragraphs that were left in English are dropped. Translations
are those of the handbook, paragraph by paragraph of pages that have as many in both languages; these pages
are in no LANGUAGE.txt. Licences: GPL 2 and CC BY-SA 3.0.
"""

import argparse
import hashlib
import json
import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

_BLOCKS = {"p", "h1", "h2", "h3", "h4", "h5", "li", "dt", "dd", "td", "th", "title"}
_SKIPPED = {"script", "style", "pre", "head"}
_NUMBER = re.compile(r"^(?:[0-9A-Z]{1,2}\.)+(?:\d+\.?)* ?")
"""Of a heading: with it any translation is found."""
_APART = 4
"""One of so many pages of the handbook gives translations, and no text to learn from."""


class _Paragraphs(HTMLParser):
    """Gathers the text of blocks, without code."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._depth, self._parts = 0, list[str]()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self._depth += tag in _SKIPPED
        if tag in _BLOCKS:
            self.close_block()

    def handle_endtag(self, tag: str) -> None:
        self._depth -= tag in _SKIPPED
        if tag in _BLOCKS:
            self.close_block()

    def handle_data(self, data: str) -> None:
        if not self._depth:
            self._parts.append(data)

    def close_block(self) -> None:
        """Ends a paragraph."""
        if text := _NUMBER.sub("", " ".join("".join(self._parts).split())):
            self.found.append(text)
        self._parts = []


def paragraphs(page: Path) -> list[str]:
    """Returns the paragraphs of a page."""
    parser = _Paragraphs()
    parser.feed(page.read_text(encoding="utf-8", errors="replace"))
    parser.close_block()
    return parser.found


def pages(folder: Path) -> Iterator[tuple[str, str, Path]]:
    """Yields language, name and path of every page."""
    for page in sorted(folder.rglob("*.html")):
        parts = page.relative_to(folder).parts
        if "debian-handbook" in parts:
            language, name = parts[parts.index("html") + 1], f"handbook {page.name}"
        elif found := re.search(r"debian-reference/(\w+)\.([\w-]+)\.html$", str(page)):
            language, name = found[2], f"reference {found[1]}"
        elif "installation-guide-amd64" in parts:
            language, name = parts[parts.index("installation-guide-amd64") + 1], f"guide {page.name}"
        else:
            continue
        yield re.split("[-_]", language)[0].lower(), f"{language} {name}", page


def main() -> None:
    """Unpacks, cuts and writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    texts: dict[tuple[str, str], list[str]] = {}
    with tempfile.TemporaryDirectory() as unpacked:
        for package in sorted(given.folder.glob("*.deb")):
            subprocess.run(["dpkg-deb", "-x", package, unpacked], check=True)
        for language, name, page in pages(Path(unpacked)):
            texts[language, name] = paragraphs(page)
    english = {name.partition(" ")[2]: found for (language, name), found in texts.items() if language == "en"}
    known = {text for found in english.values() for text in found}
    given.out.mkdir(parents=True, exist_ok=True)
    counts, pairs = Counter[str](), Counter[str]()
    files = {}
    with (given.out / "translations.jsonl").open("w", encoding="utf-8") as translations:
        for (language, name), found in sorted(texts.items()):
            of = name.partition(" ")[2]
            is_apart = of.startswith("handbook") and hashlib.sha256(of.encode()).digest()[0] % _APART == 0
            own = [text for text in found if language == "en" or text not in known]
            if is_apart and language != "en" and len(found) == len(english.get(of, ())):
                for theirs, text in zip(english[of], found, strict=True):
                    if theirs != text and min(len(theirs), len(text)) >= 20:
                        line = {"language": language, "english": theirs, "text": text}
                        translations.write(json.dumps(line, ensure_ascii=False) + "\n")
                        pairs[language] += 1
            if is_apart or not own:
                continue
            if language not in files:
                files[language] = (given.out / f"{language}.txt").open("w", encoding="utf-8")
            files[language].write("\n".join(own) + "\n\n")
            counts[language] += sum(map(len, own))
    for file in files.values():
        file.close()
    for language, count in counts.most_common():
        print(f"{language}: {count:,} characters, {pairs[language]:,} translations")


if __name__ == "__main__":
    main()
