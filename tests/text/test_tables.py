"""Tables are read the same way by all that read them, row after row, and refused with a sentence."""

import bz2
import contextlib
import csv
import gzip
import io
import json
import lzma
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
import zstandard
from hypothesis import given, strategies as st

from lilliput.errors import InputError
from lilliput.finetuning.unlabelled.own import read_texts
from lilliput.tasks.loading import load_task
from lilliput.tasks.tables import find_table
from lilliput.text import separated, unpacking
from lilliput.text.sources import Reader
from lilliput.text.tables import columns_of, rows_of


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tables")


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def texts_of_corpus(path: Path) -> list[str]:
    return [document.decode() for document in Reader([path], "text").documents()]


def texts_of_task(path: Path) -> list[Any]:
    return list(find_table(path).read(["text"]).columns["text"])


READERS: dict[str, Callable[[Path], list[str]]] = {"corpus": texts_of_corpus, "task": texts_of_task}
reader = pytest.mark.parametrize("reader", READERS.values(), ids=READERS)


# Quotation marks, separators and headers

SEPARATED = {
    "marks that are text": ('text\tlabel\n" The pie \tx\nhe said "\ty\n"quoted"\tx\n', None),
    "marks within": ('text\tlabel\n5" disk\tx\n"a" b\ty\n', ['5" disk', '"a" b']),
    "quotes": ('text\tlabel\n"a ""b"""\tx\nc\ty\n', ['a "b"', "c"]),
    "all quoted": ('"text"\t"label"\n"a"\t"x"\n"b"\t"y"\n', ["a", "b"]),
    "quoted tab": ('text\tlabel\n"a\tb"\tx\nc\ty\n', ["a\tb", "c"]),
    "quoted lines": ('text\tlabel\n"a\n\nb ""c"" "\tx\nd\ty\n', ['a\n\nb "c" ', "d"]),
    "quoted lines in one column": ('text\n"a\nb"\nc\n', ["a\nb", "c"]),
    "marks in one column": ('text\n"Hello," he said.\n"x\n', ['"Hello," he said.', '"x']),
    "marks and Windows line ends": ('text\tlabel\r\n"a" b\tx\r\n\r\n" c\ty\r\n', ['"a" b', '" c']),
    "semicolons.csv": ('text;label\n"a;b";1\nc, d;2\n', ["a;b", "c, d"]),
    "tabs.csv": ("text\tlabel\na, b\t1\n", ["a, b"]),
    "bars.csv": ("text|label\na, b|1\n", ["a, b"]),
    "commas.tsv": ("text,label\na,1\n", ["a"]),
    "quoted name.csv": ('"text";"a,b"\nc;1\n', ["c"]),
    "spaces around names.csv": (" text , label\na,1\n", ["a"]),
    "columns without a name.csv": (",text,,\n1,a,,\n", ["a"]),
    "another name twice.csv": ("id,id,text\n1,2,a\n", ["a"]),
    "blank lines.csv": ("\n\ntext\n\na\n\n", ["a"]),
}


@reader
@pytest.mark.parametrize("case", SEPARATED)
def test_separated_values_are_the_same_to_all_readers(
    case: str, reader: Callable[[Path], list[str]], tmp_path: Path
) -> None:
    content, expected = SEPARATED[case]
    path = written(tmp_path / (f"x.{case.rpartition('.')[2]}" if "." in case else "x.tsv"), content)
    assert reader(path) == (expected or ['" The pie ', 'he said "', '"quoted"'])


def test_unlabelled_text_keeps_all_rows_of_a_tsv_whose_marks_are_text(tmp_path: Path) -> None:
    path = written(tmp_path / "x.tsv", 'text\tlabel\n" The pie \tx\nhe said "\ty\nend\tx\n')
    assert read_texts([str(path)], limit=9) == ('" The pie', 'he said "', "end")


ROW = st.tuples(st.text("ab \"';,", min_size=1), st.text("xy\"'", min_size=1))
QUOTED = st.text("ab \"',\t", min_size=1) | st.text("ab \"',\n", min_size=1)


@given(
    st.lists(st.tuples(QUOTED, st.text('xy"', min_size=1)), min_size=1), st.sampled_from(["x.tsv", "x.csv"])
)
def test_what_a_writer_quotes_is_read_as_it_was(folder: Path, rows: list[tuple[str, str]], name: str) -> None:
    file = io.StringIO()
    csv.writer(file, delimiter="\t" if name == "x.tsv" else ",").writerows([("text", "label"), *rows])
    path = written(folder / name, file.getvalue())
    assert texts_of_corpus(path) == texts_of_task(path) == [text for text, _ in rows]


@given(st.lists(ROW, min_size=1))
def test_lines_without_quoting_are_all_read_if_one_cannot_be_quoted(
    folder: Path, rows: list[tuple[str, str]]
) -> None:
    rows = [*rows, ('"an odd one', "x")]
    content = "".join(f"{text}\t{label}\n" for text, label in [("text", "label"), *rows])
    path = written(folder / "bare.tsv", content)
    assert texts_of_corpus(path) == texts_of_task(path) == [text for text, _ in rows]


def test_marks_are_told_apart_a_part_of_a_long_file_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(separated, "_AHEAD", 30)
    lines = ['"plain"\tx', "b\ty"] * 20 + ['" odd\tx', 'end "\ty'] * 3
    path = written(tmp_path / "x.tsv", "\n".join(["text\tlabel", *lines]))
    texts = texts_of_corpus(path)
    assert texts[:30] == ["plain", "b"] * 15
    assert texts[40:] == ['" odd', 'end "'] * 3


@reader
@pytest.mark.parametrize(
    ("name", "content", "where"),
    [
        ("x.csv", "text,label,text\na,0,b\n", "the header of .*x.csv"),
        ("x.tsv", "text\ttext \na\tb\n", "the header of .*x.tsv"),
        ("x.jsonl", '{"text": "a"}\n{"text": "a", "text": "b"}\n', "line 2 of .*x.jsonl"),
        ("x.parquet", None, "x.parquet"),
    ],
)
def test_a_column_that_is_there_twice_is_refused(
    name: str, content: str | None, where: str, reader: Callable[[Path], list[str]], tmp_path: Path
) -> None:
    if content is None:
        table = pyarrow.table([["a"], ["b"]], names=["text", "text"])
        pyarrow.parquet.write_table(table, tmp_path / name)
    else:
        written(tmp_path / name, content)
    with pytest.raises(InputError, match=f"{where} has two columns with the name 'text'; rename one"):
        reader(tmp_path / name)


def test_names_twice_that_nobody_asks_for_do_no_harm(tmp_path: Path) -> None:
    path = written(tmp_path / "x.jsonl", '{"id": 1, "id": 2, "text": "a", "more": {"b": 1, "b": 2}}')
    assert texts_of_corpus(path) == texts_of_task(path) == ["a"]


@pytest.mark.parametrize("content", ["great film,1\nbad film,0\n", f"{'a' * 90},good\nb,bad\n"])
def test_a_header_that_looks_like_data_is_named_as_the_cause(content: str, tmp_path: Path) -> None:
    path = written(tmp_path / "x.csv", content)
    with pytest.raises(InputError, match="the first line looks like data"):
        texts_of_corpus(path)
    with pytest.raises(InputError, match="the first line looks like data"):
        load_task(train=str(path))


@reader
def test_a_row_of_the_wrong_length_is_named_also_where_marks_are_text(
    reader: Callable[[Path], list[str]], tmp_path: Path
) -> None:
    path = written(tmp_path / "x.tsv", 'text\tlabel\n" a\tx\nno tab\nb "c\ty\n"d\tx\n')
    with pytest.raises(InputError, match=r"line 3 of .*x.tsv has 1 fields, expected 2"):
        reader(path)


@reader
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.csv", "text,label\n" + "a" * 99 + ",1\n"),
        ("x.csv", 'text,label\n"' + "a\n" * 99 + '",1\n'),
        ("x.tsv", 'text\tlabel\n"' + "a\n" * 99 + '"\t1\n'),
        ("x.jsonl", '{"text": "' + "a" * 99 + '"}\n'),
    ],
)
def test_a_row_that_is_too_long_is_refused(
    name: str,
    content: str,
    reader: Callable[[Path], list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(unpacking, "LINE_BYTES", 64)
    monkeypatch.setattr(separated, "LINE_BYTES", 64)
    with pytest.raises(
        InputError, match=r"line [12] of .*(longer than|larger than field limit)|has 1 fields"
    ):
        reader(written(tmp_path / name, content))


# Anything at all

COMPRESSED: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.compress,
}
NAMES = ["x.csv", "x.tsv", "x.jsonl", "x.json", "x.parquet", "x.txt", "x.conll", "x.conllu"]
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
PIECES = st.sampled_from(
    [
        "text",
        "label",
        "tags",
        ",",
        "\t",
        ";",
        '"',
        "\n",
        "\r\n",
        " ",
        "a",
        "1",
        "O",
        "B-x",
        "#",
        "[",
        "{",
        "\\",
    ]
)


def read_every_way(path: Path) -> None:
    """Reads a file as text and as examples; nothing but an InputError may come out."""
    with contextlib.suppress(InputError):
        texts_of_corpus(path)
    with contextlib.suppress(InputError):
        load_task(train=str(path), dev=str(path))


@given(st.binary(), st.sampled_from(NAMES), st.sampled_from(sorted(COMPRESSED)), st.booleans())
def test_any_bytes_are_read_or_refused(
    folder: Path, content: bytes, name: str, ending: str, unpacks: bool
) -> None:
    read_every_way(written(folder / (name + ending), COMPRESSED[ending](content) if unpacks else content))


@given(st.lists(PIECES), st.sampled_from(NAMES))
def test_anything_like_a_table_is_read_or_refused(folder: Path, pieces: list[str], name: str) -> None:
    read_every_way(written(folder / name, "text,label\n" * ("csv" in name) + "".join(pieces)))


@given(st.lists(st.fixed_dictionaries({"text": VALUE}, optional={"label": VALUE, "tags": VALUE})))
def test_any_json_is_read_or_refused(folder: Path, rows: list[dict[str, Any]]) -> None:
    read_every_way(written(folder / "any.jsonl", "\n".join(map(json.dumps, rows))))


@given(
    st.lists(st.text(), min_size=1, max_size=6),
    st.sampled_from(["none", "snappy", "gzip", "zstd"]),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), max_size=4),
)
def test_a_damaged_parquet_file_is_read_or_refused(
    folder: Path, texts: list[str], compression: str, damage: list[tuple[float, int]]
) -> None:
    file = io.BytesIO()
    table = pyarrow.table({"text": [text.encode("utf-8", "ignore").decode() for text in texts]})
    pyarrow.parquet.write_table(table, file, compression=compression)
    content = bytearray(file.getvalue())
    for place, flipped in damage:
        content[int(place * len(content))] ^= flipped
    read_every_way(written(folder / "damaged.parquet", bytes(content)))


@given(
    st.dictionaries(st.text(string.ascii_letters, min_size=1), st.text(max_size=3), min_size=1, max_size=3)
)
def test_the_columns_of_json_lines_are_all_that_occur(folder: Path, row: dict[str, str]) -> None:
    path = written(folder / "names.jsonl", f"{json.dumps(row)}\n{{}}\n{json.dumps({'zz9': 1})}")
    with path.open("rb") as file:
        assert columns_of(path, file) == [*row, "zz9"]
    with path.open("rb") as file:
        assert [list(values) for _, values in rows_of(path, file, ["zz9"], complete=False)] == [
            [None],
            [None],
            [1],
        ]
