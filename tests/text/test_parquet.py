"""Columns of Parquet files, a few rows at a time, whatever their pages unpack to."""

import datetime
import decimal
import json
import struct
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, strategies as st

from lilliput.errors import InputError
from lilliput.tasks.loading import load_task
from lilliput.text import pages, parquet
from lilliput.text.parquet import parquet_classes, parquet_columns, parquet_rows


def write(path: Path, columns: dict[str, Any], **settings: Any) -> Path:
    pyarrow.parquet.write_table(pyarrow.table(columns), path, **settings)
    return path


def rows(path: Path, *columns: str) -> list[tuple[Any, ...]]:
    with path.open("rb") as file:
        return [tuple(row) for _, row in parquet_rows(path, file, columns)]


ENCODINGS: list[dict[str, Any]] = [
    {},
    {"use_dictionary": False},
    {"data_page_version": "2.0", "compression": "zstd"},
    {"use_dictionary": False, "column_encoding": "DELTA_BYTE_ARRAY"},
    {"use_dictionary": False, "column_encoding": "DELTA_LENGTH_BYTE_ARRAY", "write_statistics": False},
]


@pytest.mark.parametrize("settings", ENCODINGS)
@given(texts=st.lists(st.none() | st.text(st.characters(exclude_categories=["Cs"]))), size=st.integers(1, 9))
def test_every_encoding_gives_the_rows_that_were_written(
    settings: dict[str, Any],
    texts: list[str | None],
    size: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.getbasetemp() / "x.parquet"
    write(path, {"a": pyarrow.array(texts, pyarrow.string())}, row_group_size=size, **settings)
    assert rows(path, "a") == [(text,) for text in texts]


def test_columns_that_nobody_asks_for_are_not_read(tmp_path: Path) -> None:
    far = pyarrow.array([1 << 62], pyarrow.int64()).cast(pyarrow.timestamp("us"))
    path = write(tmp_path / "x.parquet", {"text": ["a"], "when": far, "deep": [[{"x": [1]}]]})
    assert rows(path, "text") == [("a",)]
    with pytest.raises(
        InputError, match=r"column 'when' of .* holds timestamp\[us\], .* name another column"
    ):
        rows(path, "when")


def test_a_task_reads_beside_far_dates(tmp_path: Path) -> None:
    far = pyarrow.array([1 << 62] * 2, pyarrow.int64()).cast(pyarrow.timestamp("us"))
    path = str(write(tmp_path / "x.parquet", {"text": ["a", "b"], "label": [0, 1], "class": far}))
    assert load_task(train=path, dev=path, label="label").train.texts == ("a", "b")


def test_a_name_with_a_full_stop_is_not_taken_for_another(tmp_path: Path) -> None:
    path = write(tmp_path / "x.parquet", {"text.raw": ["b"], "text": ["a"]})
    assert rows(path, "text") == [("a",)]
    assert rows(path, "text.raw") == [("b",)]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([decimal.Decimal("0.50"), None], [0.5, None]),
        ([datetime.date(2020, 1, 2)], [datetime.date(2020, 1, 2)]),
        ([["a", None], []], [["a", None], []]),
        (pyarrow.array(["a", "b", "a"]).dictionary_encode(), ["a", "b", "a"]),
        ([None, None], [None, None]),
    ],
)
def test_values_are_those_of_python(values: Any, expected: list[Any], tmp_path: Path) -> None:
    assert rows(write(tmp_path / "x.parquet", {"a": values}), "a") == [(value,) for value in expected]


def test_few_rows_are_read_together_where_each_refers_to_a_long_text(tmp_path: Path) -> None:
    repeated = pyarrow.DictionaryArray.from_arrays(
        pyarrow.array([0] * 3000, pyarrow.int32()), ["a" * 5_000_000]
    )
    path = write(tmp_path / "x.parquet", {"text": repeated}, compression="zstd")
    assert path.stat().st_size < 10_000  # and 15 GB unpacked
    metadata = pyarrow.parquet.ParquetFile(path).metadata
    assert parquet._rows_at_once(path, metadata, 0, ["text"]) == 8


def test_few_rows_are_read_together_where_pages_are_large(tmp_path: Path) -> None:
    path = write(tmp_path / "x.parquet", {"text": ["a" * (1 << 20)] * 64}, use_dictionary=False)
    metadata = pyarrow.parquet.ParquetFile(path).metadata
    assert (
        parquet._rows_at_once(path, metadata, 0, ["text"]) == 1024
    )  # all in one page, which is unpacked whole
    path = write(
        tmp_path / "y.parquet", {"text": ["a" * (1 << 20)] * 512}, use_dictionary=False, write_batch_size=4
    )
    metadata = pyarrow.parquet.ParquetFile(path).metadata
    assert parquet._rows_at_once(path, metadata, 0, ["text"]) == 32


def test_a_text_or_page_that_is_too_long_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "x.parquet", {"text": ["a", "b" * 5000]})
    monkeypatch.setattr(parquet, "LINE_BYTES", 4000)
    with pytest.raises(InputError, match=r"row 2 of .*x.parquet is longer than"):
        rows(path, "text")
    monkeypatch.setattr(pages, "PAGE_BYTES", 4000)
    with pytest.raises(InputError, match=r"a page of column 'text' of .* unpacks to 5,009 bytes, more than"):
        rows(path, "text")


def test_lists_with_too_many_items_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "x.parquet", {"tokens": [["a"], ["b"] * 50]})
    monkeypatch.setattr(parquet, "_ITEMS", 40)
    with pytest.raises(InputError, match=r"row 1 of .*x.parquet, or a later one of 2 read together, is"):
        rows(path, "tokens")
    monkeypatch.setattr(parquet, "_ITEMS", 20)
    with pytest.raises(InputError, match=r"whose lists have 26 items on average"):
        rows(path, "tokens")


def test_names_of_classes_are_those_that_datasets_notes(tmp_path: Path) -> None:
    names = {"names": ["neg", "pos"], "_type": "ClassLabel"}
    tags = {"names": ["O", "B-x"], "_type": "ClassLabel"}
    features = {
        "label": names,
        "tags": {"feature": tags, "_type": "Sequence"},
        "more": [tags],
        "text": {"dtype": "string", "_type": "Value"},
    }
    table = pyarrow.table({"text": ["a"], "label": [1], "tags": [[0]], "more": [[1]]})
    noted = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pyarrow.parquet.write_table(noted, tmp_path / "x.parquet")
    with (tmp_path / "x.parquet").open("rb") as file:
        assert parquet_classes(tmp_path / "x.parquet", file) == {
            "label": ["neg", "pos"],
            "tags": ["O", "B-x"],
            "more": ["O", "B-x"],
        }


@pytest.mark.parametrize(
    "noted", [b"", b"[]", b'{"info": null}', b'{"info": {"features": {"a": 1}}}', b"[" * 9999]
)
def test_odd_notes_of_features_are_no_names(noted: bytes, tmp_path: Path) -> None:
    table = pyarrow.table({"a": [1]}).replace_schema_metadata({"huggingface": noted})
    pyarrow.parquet.write_table(table, tmp_path / "x.parquet")
    with (tmp_path / "x.parquet").open("rb") as file:
        assert parquet_classes(tmp_path / "x.parquet", file) == {}


@given(st.binary(max_size=60))
def test_any_bytes_are_a_header_of_a_page_or_none(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "header"
    path.write_bytes(data)
    with path.open("rb") as file:
        try:
            page, size = pages._header(path, file, 0)
        except InputError:
            return
    assert min(page.unpacked, page.stored, page.values, size) >= 0


@pytest.mark.parametrize("footer", [b"", b"\x00" * 8, b"\x15" * 40, struct.pack("<I", 1 << 31)])
def test_odd_footers_are_refused(footer: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    path.write_bytes(b"PAR1" + footer + struct.pack("<I", len(footer)) + b"PAR1")
    with path.open("rb") as file, pytest.raises(InputError, match="not a whole parquet file"):
        parquet_columns(path, file)
