"""Corpus: exact words, the same bytes however built, every kind of source, and a sentence for bad input."""

import bz2
import contextlib
import csv
import gzip
import io
import json
import lzma
import os
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import zstandard
from hypothesis import given, strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from lilliput.common import stage_dir as run
from lilliput.errors import InputError, StorageError
from lilliput.text import formats, merging, parts, sources, unpacking
from lilliput.text.corpus import END, START, Corpus, build_corpus
from lilliput.text.words import WordSplitter

TEXT = "The cat sat, on the mat.\nA café – naïve!\n\nSecond document: 你好 world\n"
ROWS = ["The cat sat, on the mat.\nA café – naïve!", "Second document: 你好 world"]
WORDS = [
    ["the", "cat", "sat", ",", "on", "the", "mat", ".", "a", "cafe", "–", "naive", "!"],
    ["second", "document", ":", "你", "好", "world"],
]


def make_tokenizer(**options: Any) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(**options)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


TOKENIZER = make_tokenizer()


def build(source: Path | str, out: Path, **options: Any) -> Corpus:
    return build_corpus([str(source)], TOKENIZER, out, **{"workers": 1} | options)


def documents(found: Corpus) -> list[list[str]]:
    """Reads a corpus back as the words of its documents."""
    types = found.word_types()
    read: list[list[str]] = [[]]
    for word in np.concatenate(found.shards).tolist():
        if word == END:
            read.append([])
        else:
            read[-1].append(types[word])
    assert read.pop() == [], "the stream must end with END"
    return read


def content(path: Path) -> dict[str, bytes]:
    files = [item for item in path.rglob("*") if item.is_file() and item.name != "manifest.json"]
    return {str(item.relative_to(path)): item.read_bytes() for item in files}


# Words


def library_words(tokenizer: Tokenizer, text: str) -> list[str]:
    normal = tokenizer.normalizer.normalize_str(text)
    return [word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normal)]


CHARACTERS = st.one_of(
    st.sampled_from("abcXYZ .,\u0301\u200b\x01 中é–"), st.characters(exclude_categories=["Cs"])
)


@given(st.lists(st.text(CHARACTERS, max_size=30), min_size=1, max_size=8))
def test_blocks_of_documents_become_the_documents_words(texts: list[str]) -> None:
    splitter = WordSplitter(TOKENIZER.normalizer.__getstate__().decode())
    block = b"".join(text.encode() + sources.BREAK for text in texts)
    ids, types = parts._indexed(splitter, block)
    expected = [words for text in texts if (words := library_words(TOKENIZER, text))]
    flat = [word for words in expected for word in [*words, "[SEP]"]]
    assert [word.decode() for word in types.take(ids).to_pylist()] == flat
    assert START not in ids


# The result


def test_ids_fall_by_count_then_code_point_and_counts_are_those_of_the_stream(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("b b z 𝒳 ｚ a c c c [MASK]\n\nc\n", encoding="utf-8")
    found = build(tmp_path / "a.txt", tmp_path / "out")
    assert found.word_types() == ["[SEP]", "[CLS]", "c", "b", "[", "]", "a", "mask", "z", "ｚ", "𝒳"]
    assert found.counts.tolist() == [2, 0, 4, 2, 1, 1, 1, 1, 1, 1, 1]
    assert (found.words, found.documents) == (13, 2)
    assert found.counts.dtype == np.int64
    stream = np.concatenate(found.shards)
    assert stream.dtype == np.uint32
    assert np.array_equal(np.bincount(stream, minlength=len(found.counts)), found.counts)
    assert isinstance(found.shards[0], np.memmap)
    assert documents(found)[1] == ["c"]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text of about 40 blocks of 20 kB with rare words, accents and documents without words."""
    random = np.random.default_rng(0)
    vocabulary = np.array([f"w{rank:x}" if rank % 7 else f"é{rank}–中" for rank in range(3000)])
    lines = [" ".join(vocabulary[random.zipf(1.3, 60) % 3000]) for _ in range(3000)]
    lines[100:1000:50] = ["\u200b"] * 18
    path = tmp_path_factory.mktemp("text") / "text.jsonl"
    path.write_text("".join(json.dumps({"text": line}) + "\n" for line in lines), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def reference(text: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("reference") / "corpus"
    with small_blocks():
        build(text, out)
    return content(out)


@contextlib.contextmanager
def small_blocks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "BLOCK_BYTES", 20_000)
        yield


@pytest.mark.parametrize("workers", [2, 3])
def test_number_of_workers_changes_nothing(
    workers: int, text: Path, reference: dict[str, bytes], tmp_path: Path
) -> None:
    with small_blocks():
        build(text, tmp_path / "out", workers=workers)
    assert len(reference) > 10
    assert content(tmp_path / "out") == reference


def test_types_of_parts_are_merged_a_few_at_a_time(
    text: Path, reference: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "_TOGETHER", 3)
    with small_blocks():
        build(text, tmp_path / "out")
    assert content(tmp_path / "out") == reference


def test_merged_types_are_those_of_all_parts_with_their_counts(tmp_path: Path) -> None:
    texts = ["eightchr ninechars é–中 a", "a a nine ninechars", "longer-than-eight eightchr ninecharsé"]
    paths = [tmp_path / f"{number}.npy" for number in range(len(texts))]
    for text, path in zip(texts, paths, strict=True):
        parts.write_part(TOKENIZER.normalizer.__getstate__().decode(), text.encode() + sources.BREAK, path)
    parts.write_merged(paths, tmp_path / "merged.npy")
    words, counts = parts.read_types(tmp_path / "merged.npy")
    expected = Counter(word for text in texts for word in [*library_words(TOKENIZER, text), "[SEP]"])
    found = dict(zip((word.decode() for word in words.to_pylist()), counts.tolist(), strict=True))
    assert found == {**expected, "[CLS]": 0}


def test_many_parts_share_shards(
    text: Path, reference: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merging, "_SHARDS_AT_MOST", 3)
    with small_blocks():
        found = build(text, tmp_path / "out")
    assert len(found.shards) == 3
    streams = [
        np.load(io.BytesIO(reference[name])) for name in sorted(reference) if name.startswith("shards")
    ]
    assert np.array_equal(np.concatenate(found.shards), np.concatenate(streams))


def test_building_imports_no_pandas(text: Path, tmp_path: Path) -> None:
    """Arrow does, on its own ways from and to numpy: half a second in every process."""
    program = """
import sys
from pathlib import Path
from lilliput.text.corpus import build_corpus
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
tokenizer = Tokenizer(models.WordPiece({"[UNK]": 0}, unk_token="[UNK]"))
tokenizer.normalizer = normalizers.BertNormalizer()
tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
build_corpus(sys.argv[1:3], tokenizer, Path(sys.argv[3]), workers=1)
sys.exit("pandas" in sys.modules)
"""
    table = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"text": ["a b", "c"]}), table)
    subprocess.run([sys.executable, "-c", program, str(text), str(table), str(tmp_path / "out")], check=True)


SLOW_BUILD = """
import sys, time
from pathlib import Path
from lilliput.text import corpus, merging
from lilliput.common import stage_dir as run
from lilliput.text import sources
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
sources.BLOCK_BYTES = 20_000
tokenizer = Tokenizer(models.WordPiece({"[UNK]": 0}, unk_token="[UNK]"))
tokenizer.normalizer = normalizers.BertNormalizer()
tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
place = corpus if hasattr(corpus, sys.argv[3]) else merging
slowed = getattr(place, sys.argv[3])
def slow(*arguments):
    time.sleep(0.05)
    return slowed(*arguments)
setattr(place, sys.argv[3], slow)
corpus.build_corpus([sys.argv[1]], tokenizer, Path(sys.argv[2]), workers=1)
"""


@pytest.mark.parametrize(
    ("slowed", "folder", "overwrite"), [("write_part", "parts", True), ("write_shard", "shards", False)]
)
def test_a_killed_build_goes_on_without_doing_anything_twice(
    slowed: str, folder: str, overwrite: bool, text: Path, reference: dict[str, bytes], tmp_path: Path
) -> None:
    """Also where other things might be overwritten."""
    out = tmp_path / "out"
    process = subprocess.Popen([sys.executable, "-c", SLOW_BUILD, str(text), str(out), slowed])
    finished: dict[Path, int] = {}
    while len(finished) < 4:
        assert process.poll() is None, "the build ended before it could be killed"
        time.sleep(0.01)
        finished = {path: path.stat().st_mtime_ns for path in (out / folder).glob("[0-9]*")}
    process.send_signal(signal.SIGKILL)
    process.wait()
    if folder == "shards":  # then all is counted, and the text need not be read again
        finished[out / "words.txt"] = (out / "words.txt").stat().st_mtime_ns
    with pytest.raises(StorageError, match="is not finished"):
        Corpus.open(out)
    written: list[Path] = []
    finish = run.StageDir.finish

    def note_then_finish(stage: run.StageDir, results: dict[str, Any]) -> dict[str, Any]:
        written.extend(path for path, moment in finished.items() if path.stat().st_mtime_ns != moment)
        return finish(stage, results)

    with small_blocks(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(run.StageDir, "finish", note_then_finish)
        build(text, out, overwrite=overwrite)
    assert written == []
    assert content(out) == reference


def test_a_finished_corpus_is_returned_at_once_and_refused_for_other_input(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text(TEXT)
    build(file, tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    for overwrite in (False, True):
        build(file, tmp_path / "out", workers=3, overwrite=overwrite)
        assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == before
    with pytest.raises(StorageError, match="lowercase: True there, False now"):
        build_corpus([str(file)], make_tokenizer(lowercase=False), tmp_path / "out")
    file.write_text("other words")
    with pytest.raises(StorageError, match="made from something else"):
        build(file, tmp_path / "out")
    assert documents(build(file, tmp_path / "out", overwrite=True)) == [["other", "words"]]


def test_open_refuses_what_is_missing_or_cut_short(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(TEXT)
    with pytest.raises(StorageError, match="does not exist"):
        Corpus.open(tmp_path / "out")
    build(tmp_path / "a.txt", tmp_path / "out")
    shard = tmp_path / "out" / "shards" / "00000.npy"
    os.truncate(shard, shard.stat().st_size - 4)
    sentence = r"00000\.npy has 208 bytes instead of 212; remove .*out and build the corpus again"
    with pytest.raises(StorageError, match=sentence):
        Corpus.open(tmp_path / "out")
    shard.unlink()
    with pytest.raises(StorageError, match=r"00000\.npy is missing"):
        Corpus.open(tmp_path / "out")


# Sources


def parquet_bytes(column: str = "text", texts: Any = (*ROWS, None)) -> bytes:
    file = io.BytesIO()
    table = pyarrow.table({"id": range(len(texts)), column: texts})
    pyarrow.parquet.write_table(table, file)
    return file.getvalue()


def csv_bytes(delimiter: str) -> bytes:
    file = io.StringIO()
    csv.writer(file, delimiter=delimiter).writerows([["id", "text"], *enumerate(ROWS)])
    return b"\xef\xbb\xbf" + file.getvalue().encode()


JSON_LINES = "".join(json.dumps({"text": row}) + "\n\n" for row in ROWS).encode()
FORMATS = {
    "a.txt": TEXT.encode(),
    "b.text": b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode(),
    "c.md": TEXT.replace("\n\n", "\n \t\n\n\n").encode(),
    "wiki_00": TEXT.encode(),
    "d.dump": TEXT.encode(),
    "e.jsonl": JSON_LINES,
    "f.csv": csv_bytes(","),
    "g.tsv": csv_bytes("\t"),
    "h.parquet": parquet_bytes(),
    "i.txt.gz": gzip.compress(TEXT.encode()),
    "j.jsonl.bz2": bz2.compress(JSON_LINES),
    "k.csv.xz": lzma.compress(csv_bytes(",")),
    "l.txt.zst": zstandard.compress(TEXT.encode()[:30]) + zstandard.compress(TEXT.encode()[30:]),
    "wiki_01.bz2": bz2.compress(TEXT.encode()),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_holds_the_same_documents(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(FORMATS[name])
    assert documents(build(tmp_path / name, tmp_path / "out")) == WORDS


@pytest.mark.parametrize(
    "kind",
    [pyarrow.string(), pyarrow.large_string(), pyarrow.dictionary(pyarrow.int32(), pyarrow.string())],
    ids=str,
)
def test_every_kind_of_text_in_parquet_is_read(kind: pyarrow.DataType, tmp_path: Path) -> None:
    column = pyarrow.array([*ROWS, None, ""], pyarrow.string()).cast(kind)
    pyarrow.parquet.write_table(pyarrow.table({"text": column}), tmp_path / "a.parquet")
    assert documents(build(tmp_path / "a.parquet", tmp_path / "out")) == WORDS


def test_folders_and_patterns_are_read_in_order(tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    for name in (
        "b/c.txt",
        "b/d/e.jsonl",
        "b/.hidden.txt",
        "a.md",
        "picture.png",
        ".git/x.txt",
        "wiki_00",
        "raw",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f'{{"text": "{name}"}}' if name.endswith("jsonl") else name)
    (folder / "raw").write_bytes(b"\0\1")

    def names(source: str) -> list[str]:
        return [
            str(path.relative_to(folder)) for path in sources.find_sources([source]) if isinstance(path, Path)
        ]

    assert names(str(folder)) == ["a.md", "b/c.txt", "b/d/e.jsonl", "wiki_00"]
    assert names(f"{folder}/**/*.txt") == ["b/c.txt"]
    assert names(f"{folder}/*/*.txt") == ["b/c.txt"]
    found = build(folder, tmp_path / "out")
    assert ["".join(words) for words in documents(found)] == ["a.md", "b/c.txt", "b/d/e.jsonl", "wiki_00"]


def long_text(space: str) -> bytes:
    return space.join("abcdefghi" for _ in range(1_000)).encode()


@pytest.mark.parametrize("space", [" ", "\n"])
def test_a_long_document_is_cut_between_words_wherever_chunks_end(
    space: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "DOCUMENT_BYTES", 1005)
    text = long_text(space) + b"\n\n" + long_text(space)
    whole = list(formats._plain([text]))
    assert list(formats._plain(text[begin : begin + 37] for begin in range(0, len(text), 37))) == whole
    assert max(map(len, whole)) <= 1005
    assert [word for piece in whole for word in piece.split()] == [b"abcdefghi"] * 2000
    assert len(whole) == 20


def test_a_long_text_without_spaces_is_cut_between_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "DOCUMENT_BYTES", 1000)
    pieces = list(formats._plain(["好".encode() * 1000]))
    assert [len(piece.decode()) for piece in pieces] == [333, 333, 333, 1]


def test_halves_of_surrogate_pairs_become_replacement_characters(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a\\ud800b \\ud83d\\ude42"}\n')
    (document,) = sources.Reader([tmp_path / "a.jsonl"], "text").documents()
    assert document.decode() == "a\ufffdb 🙂"


def test_reader_says_how_far_it_is(text: Path) -> None:
    reader = sources.Reader([text, text], "text")
    with small_blocks():
        positions = [reader.position for _ in reader.blocks()]
    assert positions == sorted(positions)
    assert positions[-1] == reader.total == 2 * text.stat().st_size


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Stands for the hub with one data set of a local folder; returns the calls that were made."""
    folder = tmp_path / "hub"
    folder.mkdir()
    (folder / "train.jsonl").write_bytes(JSON_LINES)
    calls: list[tuple[Any, ...]] = []
    load: Callable[..., Any] = datasets.load_dataset

    def local(name: str, config: str | None, *, split: str, streaming: bool, revision: str | None) -> Any:
        assert streaming
        calls.append((name, config, split, revision))
        if name != "owner/name":
            raise datasets.exceptions.DatasetNotFoundError(f"Dataset '{name}' doesn't exist on the Hub")
        return load(str(folder), split=split, streaming=True)

    class Hub:
        def dataset_info(self, name: str, timeout: float) -> Any:
            return type("Info", (), {"sha": f"sha{len(calls)}"})

    monkeypatch.setattr(datasets, "load_dataset", local)
    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    return calls


def test_data_sets_are_streamed_at_the_revision_first_seen(
    hub: list[tuple[Any, ...]], tmp_path: Path
) -> None:
    assert documents(build("owner/name:20231101.en", tmp_path / "out")) == WORDS
    build("owner/name:20231101.en", tmp_path / "out")
    assert hub == [("owner/name", "20231101.en", "train", "sha0")]
    with pytest.raises(StorageError, match="made from something else"):
        build("owner/name:20231101.en:test", tmp_path / "out")


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        (
            "owner/nothing",
            {},
            r"data set owner/nothing:train cannot be read \(after row 0: .*doesn't exist.*check",
        ),
        ("owner/name:x:validation", {}, r"owner/name:x:validation cannot be read .*validation"),
        (
            "owner/name",
            {"text_column": "txt"},
            "owner/name:train has no column 'txt' but text; did you mean 'text'",
        ),
    ],
)
def test_unknown_data_sets_splits_and_columns_are_named(
    source: str, options: dict[str, Any], message: str, hub: list[tuple[Any, ...]], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        build(source, tmp_path / "out", **options)


# Bad input

BAD = {
    "latin.txt": (
        b"first\nsecond\ncaf\xe9 au lait",
        r"latin.txt is not UTF-8 at byte 16 \(line 3: .*0xe9\).*iconv",
    ),
    "cut.txt": ("abc é".encode()[:-1], r"cut.txt is not UTF-8 at byte 4 \(line 1: unexpected end"),
    "image.txt": (
        b"\x89PNG\r\n\x1a\n\0\0\0",
        r"image.txt is a binary file \(byte 8 is NUL\).*expected are text",
    ),
    "wide.txt": ("wide".encode("utf-16"), "wide.txt is not UTF-8 text but looks like UTF-16 text"),
    "packed.txt": (
        gzip.compress(b"text"),
        "packed.txt .* looks like a gzip file, so its name must end in .gz",
    ),
    "empty.txt": (b"", "the sources hold no text"),
    "blank.txt": (b" \n\n \n", "the sources hold no text"),
    "control.txt": ("\u200b\x01".encode(), "the sources hold no words"),
    "bad.jsonl": (
        b'{"text": "a"}\n\n{"text": \n',
        r"line 3 of .*bad.jsonl is not valid JSON \(Expecting value",
    ),
    "list.jsonl": (
        b'["a"]\n',
        "line 1 of .*list.jsonl is not a JSON object but a list; expected is one object",
    ),
    "other.jsonl": (
        b'{"txt": "a", "id": 1}',
        "line 1 .*no column 'text' but txt, id; did you mean 'txt'.*--text-col",
    ),
    "number.jsonl": (b'{"text": 3}', "column 'text' in line 1 of .*number.jsonl holds int, not text"),
    "other.csv": (
        b"id,body\n1,a\n",
        "header of .*other.csv has no column 'text' but id, body; known: body, id",
    ),
    "none.csv": (b"", "header of .*none.csv has no column 'text' but none at all"),
    "ragged.csv": (b"id,text\n1,a,b\n", "line 2 of .*ragged.csv has 3 fields, expected are 2"),
    "open.csv": (
        b'id,text\n1,"a\n',
        r"row that begins in line 2 of .*open.csv is malformed \(unexpected end",
    ),
    "cut.parquet": (parquet_bytes()[:-20], "cut.parquet is not a whole parquet file"),
    "latin.parquet": (
        parquet_bytes(texts=pyarrow.array([b"a", b"caf\xe9"]).view(pyarrow.string())),
        r"latin.parquet is not a whole parquet file \(after row 0: .*utf-8",
    ),
    "bytes.parquet": (
        parquet_bytes(texts=[b"a"]),
        "column 'text' in row 1 of .*bytes.parquet holds bytes, not text",
    ),
    "other.parquet": (
        parquet_bytes("body"),
        "other.parquet has no column 'text' but id, body; known: body, id",
    ),
    "cut.txt.gz": (
        gzip.compress(os.urandom(9).hex().encode() * 9)[:-9],
        "cut.txt.gz is damaged or cut short",
    ),
    "bad.txt.gz": (b"no gzip at all", r"bad.txt.gz is damaged or cut short \(Not a gzipped file"),
    "cut.txt.bz2": (bz2.compress(b"text " * 99)[:-5], "cut.txt.bz2 is damaged or cut short"),
    "cut.txt.xz": (lzma.compress(b"text " * 99)[:-5], "cut.txt.xz is damaged or cut short"),
    "cut.txt.zst": (
        zstandard.compress(os.urandom(99).hex().encode())[:-5],
        "cut.txt.zst is damaged or cut short",
    ),
    "bad.txt.zst": (b"no zstandard at all", "bad.txt.zst is damaged or cut short"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused_with_a_sentence_and_leave_nothing_behind(name: str, tmp_path: Path) -> None:
    data, message = BAD[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=f"(?s){message}") as caught:
        build(tmp_path / name, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_wrong_bytes_late_in_a_file_are_found_where_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpacking, "_CHUNK_BYTES", 7)
    monkeypatch.setattr(unpacking, "_HEAD_BYTES", 1)
    (tmp_path / "a.txt").write_bytes("é\n".encode() * 50 + b"\xff")
    with pytest.raises(InputError, match=r"at byte 150 \(line 51: invalid start byte 0xff\)"):
        build(tmp_path / "a.txt", tmp_path / "out")


def test_sources_that_do_not_exist_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "corpus.txt").write_text("a")
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(b"\0")
    with pytest.raises(
        InputError, match=r"there is no file or folder data/corpsu\.txt; did you mean 'corpus\.txt'"
    ):
        build("data/corpsu.txt", tmp_path / "out")
    with pytest.raises(InputError, match=r"there is no file or folder wikipedia; .*data set .* owner/name"):
        build("wikipedia", tmp_path / "out")
    with pytest.raises(InputError, match=r"no file matches the pattern 'data/\*\.csv'"):
        build("data/*.csv", tmp_path / "out")
    with pytest.raises(InputError, match="folder pictures holds no text that can be read but 1 other files"):
        build("pictures", tmp_path / "out")
    with pytest.raises(InputError, match="no text was named"):
        build_corpus([], TOKENIZER, tmp_path / "out")


def test_what_was_built_before_bad_input_is_kept(text: Path, tmp_path: Path) -> None:
    (tmp_path / "z.jsonl").write_bytes(text.read_bytes() + b"{")
    with small_blocks(), pytest.raises(InputError, match="line 3,001"):
        build(tmp_path / "z.jsonl", tmp_path / "out")
    assert len(list((tmp_path / "out" / "parts").iterdir())) > 10


def test_a_full_disk_is_said_and_survived(text: Path, reference: dict[str, bytes], tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
        with (
            small_blocks(),
            pytest.raises(StorageError, match=r"cannot be written: .*what is finished is kept"),
        ):
            build(text, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert list((tmp_path / "out").rglob("*.partial")) == []
    with small_blocks():
        build(text, tmp_path / "out")
    assert content(tmp_path / "out") == reference


def test_overwriting_with_text_that_cannot_be_read_takes_nothing_away(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("a few words of text\n", encoding="utf-8")
    made = build(text, tmp_path / "corpus")
    before = made.word_types()
    table = tmp_path / "table.csv"
    table.write_text("words\nsome text\n", encoding="utf-8")
    with pytest.raises(InputError, match="words"):
        build(table, made.path, overwrite=True)
    assert Corpus.open(made.path).word_types() == before
