"""`lilliput run --input --out`: all columns, the answers beside them, in order, or a sentence."""

import csv
import datetime
import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bundles import WIDTH, Tiny, make_bundle
from lilliput.errors import BundleError, InputError, LilliputError, StorageError
from lilliput.inference.bundle import load
from lilliput.inference.tables import run as run_table
from lilliput.tasks.columns import text_columns

Run = Callable[..., int]
TEXTS = ["good film", "", "xyzzy film", "\u200b", 'a "bad", bad\nfilm']
SENTENCES = [
    "row 3 has words that the vocabulary cannot write: 50% of all",
    "row 4 has no words, only characters without a meaning",
    "row 5 has words that the vocabulary cannot write: 29% of all",
    "1 of 5 rows holds no text (None, NaN, empty or white space), row 2 first; the answer is empty there",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tables")


@pytest.fixture(scope="module")
def bundles(folder: Path) -> dict[str, Tiny]:
    kinds = ("classification", "multilabel", "regression", "tagging", "joint", "fill", "encode")
    made = {kind: make_bundle(folder / kind, kind) for kind in kinds}
    return made | {"pairs": make_bundle(folder / "pairs", "classification", pairs=True)}


@pytest.fixture
def run(bundles: dict[str, Tiny]) -> Run:
    def call(kind: str, source: Path | None, out: Path | None, *columns: str, top: int | None = None) -> int:
        place = bundles[kind].folder
        return run_table(place, source, columns, out, find=text_columns, top=top, as_json=False)

    return call


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Writes rows as the ending of a file says."""
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    return path


def read(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        return list(pq.read_table(path).to_pylist())
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ","))


@pytest.mark.parametrize("given", ["csv", "tsv", "jsonl", "parquet"])
@pytest.mark.parametrize("wanted", ["csv", "tsv", "jsonl", "parquet"])
def test_all_columns_are_kept_and_the_answers_stand_beside_them(
    run: Run,
    bundles: dict[str, Tiny],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    given: str,
    wanted: str,
) -> None:
    rows = [{"id": number, "text": text, "other": "x;\t,"} for number, text in enumerate(TEXTS)]
    source, out = write(tmp_path / f"in.{given}", rows), tmp_path / f"out.{wanted}"
    assert run("classification", source, out) == 1  # a row was refused
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [
        f"lilliput: {sentence}"
        for sentence in [f"reads 'text' of {source}; --column names another", *SENTENCES]
    ]
    found = read(out)
    assert [str(row["id"]) for row in found] == ["0", "1", "2", "3", "4"]
    assert [(row["text"], row["other"]) for row in found] == [(text, "x;\t,") for text in TEXTS]
    answers = load(bundles["classification"].folder).classify([TEXTS[0], TEXTS[2], TEXTS[4]])
    there = [found[place] for place in (0, 2, 4)]
    assert [row["label"] for row in there] == [answer.label for answer in answers]
    assert [float(row["probability"]) for row in there] == pytest.approx(
        [answer.probability for answer in answers]
    )
    assert [float(row["unknown"]) for row in there] == [0, 1 / 2, 2 / 7]
    empty = "" if wanted in ("csv", "tsv") else None
    columns = ["label", "probability", "cut", "unknown"]
    assert all(found[place][column] == empty for place in (1, 3) for column in columns)
    assert list(found[0]) == ["id", "text", "other", *columns]
    assert not [path for path in tmp_path.iterdir() if path not in (source, out)]


def test_types_of_a_parquet_stay_and_those_of_json_are_found(run: Run, tmp_path: Path) -> None:
    rows = [
        {"text": "good film", "day": datetime.date(2026, 11, 28), "n": 1, "share": 0.5, "more": {"a": [1]}},
        {"text": "bad film", "day": None, "n": None, "share": 2.0, "more": None},
    ]
    source = write(tmp_path / "in.parquet", rows)
    assert run("joint", source, tmp_path / "out.parquet") == 0
    schema = pq.read_schema(source)
    assert pq.read_schema(tmp_path / "out.parquet").remove_metadata().names[: len(schema)] == schema.names
    assert [pq.read_schema(tmp_path / "out.parquet").field(name) for name in schema.names] == list(schema)
    assert run("joint", source, tmp_path / "out.jsonl") == 0
    first, second = read(tmp_path / "out.jsonl")
    assert (first["day"], first["more"], second["more"]) == ("2026-11-28", {"a": [1]}, None)
    assert isinstance(first["slots"], list)
    plain = [{key: row[key] for key in ("day", "n", "share", "more", "text")} for row in (first, second)]
    assert run("joint", write(tmp_path / "in.jsonl", plain), tmp_path / "typed.parquet") == 0
    types = {field.name: str(field.type) for field in pq.read_schema(tmp_path / "typed.parquet")}
    assert (types["day"], types["n"], types["share"], types["more"]) == (
        "string",
        "int64",
        "double",
        "string",
    )
    assert read(tmp_path / "typed.parquet")[0]["more"] == '{"a": [1]}'


@pytest.mark.parametrize(
    ("kind", "columns"),
    [
        ("classification", ["label", "probability", "probabilities"]),
        ("multilabel", ["labels", "probabilities"]),
        ("regression", ["value"]),
        ("tagging", ["slots"]),
        ("joint", ["label", "probability", "probabilities", "slots"]),
        ("fill", ["guesses"]),
        ("encode", ["vector"]),
    ],
)
@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_cells_are_those_of_the_answers_dict(
    run: Run, bundles: dict[str, Tiny], tmp_path: Path, kind: str, columns: list[str], ending: str
) -> None:
    text = "the [MASK] is in new york"
    source, out = write(tmp_path / "in.csv", [{"sentence": text}]), tmp_path / f"out.{ending}"
    assert run(kind, source, out, top=2) == 0
    (row,) = read(out)
    assert list(row) == ["sentence", *columns, "cut", "unknown"]
    (answer,) = load(bundles[kind].folder)([text], 2)
    expected = answer.to_dict()  # type: ignore[union-attr]
    expected |= expected.get("classification") or {}
    if "probabilities" in row:
        best = list(expected["probabilities"].items())[:2]
        expected["probabilities"] = dict(best) if ending == "jsonl" else best
    for column in columns:
        assert row[column] == expected[column]


def test_pairs_have_two_columns(run: Run, bundles: dict[str, Tiny], tmp_path: Path) -> None:
    rows = [{"a": "good", "b": "film"}, {"a": "bad", "b": "xyzzy"}, {"a": "bad", "b": ""}]
    assert run("pairs", write(tmp_path / "in.csv", rows), tmp_path / "out.csv", "b", "a") == 0
    found = read(tmp_path / "out.csv")
    answers = load(bundles["pairs"].folder).classify(["film", "xyzzy"], ["good", "bad"])
    assert [row["label"] for row in found] == [*(answer.label for answer in answers), ""]
    lines = tmp_path / "in.txt"
    lines.write_text("film\tgood\n\nalone\nxyzzy\tbad\n")
    assert run("pairs", lines, tmp_path / "out.jsonl") == 1
    found = read(tmp_path / "out.jsonl")
    assert [row["label"] for row in found] == [answers[0].label, None, None, answers[1].label]
    assert found[2]["text"] == "alone"
    usual = write(tmp_path / "usual.csv", [{"Premise": "good", "hypothesis": "film", "n": "1"}])
    assert run("pairs", usual, tmp_path / "out.csv") == 0


def test_lines_of_text_keep_their_places(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, texts = tmp_path / "in.txt.gz", ["good film", "", "bad", *["film"] * 1200, "jazz"]
    source.write_bytes(gzip.compress("\r\n".join(texts).encode()))
    assert run("classification", source, tmp_path / "out.csv") == 0
    assert [row["text"] for row in read(tmp_path / "out.csv")] == texts
    assert run("classification", source, tmp_path / "out.txt") == 0
    labels = [line.split("\t")[0] for line in (tmp_path / "out.txt").read_text().split("\n")[:-1]]
    assert labels == [row["label"] for row in read(tmp_path / "out.csv")]
    capsys.readouterr()
    assert run("classification", source, None) == 0
    assert capsys.readouterr().out == (tmp_path / "out.txt").read_text()


def test_vectors_are_one_array_with_a_row_for_each_text(
    run: Run, bundles: dict[str, Tiny], tmp_path: Path
) -> None:
    texts = ["good film", "", *["the film is bad"] * 1200]  # several windows
    (tmp_path / "in.txt").write_text("\n".join(texts))
    place, out = bundles["encode"].folder, tmp_path / "out.npy"
    with (tmp_path / "in.txt").open() as lines:
        command = [sys.executable, "-m", "lilliput", "run", str(place), "--out", str(out)]
        done = subprocess.run(command, stdin=lines, capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert done.stderr.startswith("lilliput: 1 of 1,202 lines holds no text")
    found = np.load(out, allow_pickle=False)
    assert (found.shape, found.dtype) == ((1202, WIDTH), np.float32)
    assert np.isnan(found[1]).all()
    expected = load(place).encode([texts[0], *texts[-2:]])
    np.testing.assert_allclose(found[[0, 2, -1]], expected, atol=1e-6)
    for ending in ("jsonl", "parquet"):
        assert run("encode", tmp_path / "in.txt", tmp_path / f"out.{ending}") == 0
        rows = read(tmp_path / f"out.{ending}")
        assert rows[1]["vector"] is None
        np.testing.assert_allclose(rows[-1]["vector"], found[-1], atol=1e-6)
    write(tmp_path / "none.csv", [{"text": "x"}]).write_text("text\n")
    assert run("encode", tmp_path / "none.csv", out) == 0
    assert np.load(out).shape == (0, WIDTH)


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet", "txt"])
def test_a_table_without_rows_gives_one_without_rows(run: Run, tmp_path: Path, ending: str) -> None:
    (tmp_path / "in.csv").write_text("id,text\n")
    assert run("classification", tmp_path / "in.csv", tmp_path / f"out.{ending}") == 0
    assert (tmp_path / f"out.{ending}").exists()
    if ending == "parquet":
        assert pq.read_schema(tmp_path / "out.parquet").names[:3] == ["id", "text", "label"]


def test_what_is_no_text_in_a_row_is_refused_there(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"text": "good"}, {"text": 3}, {"text": None}, {"text": "film"}]
    assert run("classification", write(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl") == 1
    assert "row 2 is of the type int; expected str" in capsys.readouterr().err
    assert [bool(row["label"]) for row in read(tmp_path / "out.jsonl")] == [True, False, False, True]
    assert [row["text"] for row in read(tmp_path / "out.jsonl")] == ["good", 3, None, "film"]


def test_the_column_is_found_by_its_usual_name_or_because_it_is_the_only_one(
    run: Run, tmp_path: Path
) -> None:
    for number, row in enumerate(({"id": "x", "Sentence": "good film"}, {"whatever": "good film"})):
        source = write(tmp_path / f"{number}.csv", [row])
        assert run("classification", source, tmp_path / f"{number}-out.csv") == 0
        assert read(tmp_path / f"{number}-out.csv")[0]["label"]


ROWS = "id,text,words\n1,good film,x\n2,bad film,y\n"
BROKEN = b"PAR1 and nothing else that a parquet file has"


@pytest.mark.parametrize(
    ("name", "content", "columns", "said"),
    [
        ("x.csv", ROWS, ("txet",), "x.csv has no column 'txet' but id, text, words; did you mean 'text'?"),
        ("x.csv", ROWS, ("text", "id"), "2 columns were named (text, id), this bundle reads 1"),
        ("x.csv", ROWS, ("id",), "column 'id' of {folder}/x.csv holds no texts but values such as '1'"),
        ("x.jsonl", '{"id": 1}\n', (), "column 'id' of {folder}/x.jsonl holds no texts but values such as 1"),
        ("x.jsonl", '{"text": ["a"]}\n', (), "holds no texts but values such as ['a']"),
        ("x.csv", "a,b\nc,d\n", (), "no column of {folder}/x.csv is known to hold texts: it has a, b"),
        ("x.csv", "text,TEXT\na,b\n", (), "has the columns 'text' and 'TEXT'"),
        ("x.csv", "text,text\na,b\n", (), "has two columns with the name 'text'"),
        ("x.csv", "", (), "x.csv is empty; expected are texts"),
        ("x.parquet", BROKEN, (), "x.parquet is not a whole parquet file"),
        ("x.csv", "text,n\ngood\n", (), "line 2 of {folder}/x.csv has 1 fields, expected 2"),
        ("x.jsonl", "{", (), "line 1 of {folder}/x.jsonl is not valid JSON"),
        ("x.xlsx", "x", (), "x.xlsx is of no format that is known; expected is a file that ends in .jsonl"),
        ("x.txt", b"\xff", (), "x.txt is not UTF-8"),
        ("x.csv", "text,label\na,b\n", (), "has columns that the answers have too (label)"),
    ],
)
def test_inputs_that_cannot_be_answered_are_a_sentence_and_leave_no_file(
    run: Run, tmp_path: Path, name: str, content: str | bytes, columns: tuple[str, ...], said: str
) -> None:
    (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(InputError) as error:
        run("classification", tmp_path / name, tmp_path / "out.csv", *columns)
    assert said.format(folder=tmp_path) in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_file_that_is_not_there_names_the_nearest(run: Run, tmp_path: Path) -> None:
    write(tmp_path / "texts.csv", [{"text": "good"}])
    with pytest.raises(InputError, match=r"test\.csv does not exist; did you mean 'texts\.csv'"):
        run("classification", tmp_path / "test.csv", None)
    with pytest.raises(InputError, match="is a folder, not a file"):
        run("classification", tmp_path, None)


@pytest.mark.parametrize(
    ("kind", "out", "kind_of_error", "said"),
    [
        ("classification", "folder", InputError, "folder is a folder; name a file in it, such as"),
        ("classification", "out.xlsx", InputError, "no format that answers are written in; end it in .csv"),
        ("classification", "out", InputError, "no format that answers are written in"),
        ("classification", "out.npy", BundleError, "has no encode()"),
        ("encode", "out.csv", InputError, "cannot hold vectors; write them to .npy, .parquet or .jsonl"),
        ("classification", "in.csv/out.csv", StorageError, "out.csv cannot be written: "),
        ("classification", "/proc/none/out.csv", StorageError, "out.csv cannot be written: "),
    ],
)
def test_a_file_that_cannot_take_the_answers_is_a_sentence(
    run: Run, tmp_path: Path, kind: str, out: str, kind_of_error: type[LilliputError], said: str
) -> None:
    source = write(tmp_path / "in.csv", [{"text": "good film"}])
    (tmp_path / "folder").mkdir()
    with pytest.raises(kind_of_error) as error:
        run(kind, source, tmp_path / out)
    assert said in str(error.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "in.csv"]


def test_a_failure_on_the_way_leaves_the_file_that_was_there(run: Run, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("id,text\n" + "1,good film\n" * 2000 + "1\n")
    (tmp_path / "out.csv").write_text("precious")
    with pytest.raises(InputError, match=r"line 2,002 of .* has 1 fields"):
        run("classification", tmp_path / "in.csv", tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == "precious"
    assert len(list(tmp_path.iterdir())) == 2


def test_tables_are_answered_without_what_only_making_models_needs(
    bundles: dict[str, Tiny], tmp_path: Path
) -> None:
    source = write(tmp_path / "in.csv", [{"text": "good film"}])
    script = (
        "import sys\n"
        "class Missing:\n"
        "    def find_spec(name, path=None, target=None):\n"
        "        if name.partition('.')[0] in ('torch', 'pyarrow', 'zstandard', 'transformers'):\n"
        "            raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Missing)\n"
        "from lilliput.__main__ import main\n"
        "main()"
    )
    for ending, code in (("csv", 0), ("jsonl", 0), ("parquet", 1)):
        command = [sys.executable, "-c", script, "run", str(bundles["classification"].folder)]
        done = subprocess.run(
            [*command, "--input", str(source), "--out", str(tmp_path / f"out.{ending}")],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stderr
        assert ("needs the package pyarrow" in done.stderr) == bool(code)
