"""Compressed files are unpacked within bounded memory, and nothing of them is left out."""

import bz2
import gzip
import lzma
import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, strategies as st

from lilliput.errors import InputError
from lilliput.text.sources import Reader
from lilliput.text.unpacking import chunks_of, lines_of, reading, words_in

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": partial(lzma.compress, preset=0),
    ".zst": zstandard.compress,
}


def unpacked(path: Path, content: bytes) -> bytes:
    path.write_bytes(content)
    with reading(path), path.open("rb") as file:
        return b"".join(chunks_of(path, file))


@pytest.mark.parametrize("ending", COMPRESS)
@given(parts=st.lists(st.text(), min_size=1, max_size=4))
def test_parts_compressed_one_by_one_are_all_read(
    ending: str, parts: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    encoded = [part.replace("\0", "").removeprefix("\ufeff").encode() for part in parts]
    path = tmp_path_factory.getbasetemp() / f"x.txt{ending}"
    assert unpacked(path, b"".join(map(COMPRESS[ending], encoded))) == b"".join(encoded)


@pytest.mark.parametrize("ending", COMPRESS)
def test_what_follows_the_first_part_is_not_left_out_where_it_is_damaged(ending: str, tmp_path: Path) -> None:
    whole = COMPRESS[ending](b"one\n") + COMPRESS[ending](b"two\n")
    damaged = bytearray(whole)
    damaged[len(COMPRESS[ending](b"one\n"))] ^= 1
    with pytest.raises(InputError, match="damaged or cut short"):
        unpacked(tmp_path / f"x.txt{ending}", bytes(damaged))


@pytest.mark.parametrize("ending", [".bz2", ".xz"])
def test_zeros_between_parts_are_no_damage(ending: str, tmp_path: Path) -> None:
    content = COMPRESS[ending](b"one ") + bytes(8) + COMPRESS[ending](b"two") + bytes(4)
    assert unpacked(tmp_path / f"x.txt{ending}", content) == b"one two"


def test_a_mark_of_byte_order_may_be_cut_in_two(tmp_path: Path) -> None:
    content = zstandard.compress(b"\xef") + zstandard.compress(b"\xbb\xbfabc")
    assert unpacked(tmp_path / "x.txt.zst", content) == b"abc"


@pytest.mark.parametrize("ending", [".xz", ".zst"])
def test_a_file_that_takes_gigabytes_to_unpack_is_refused(ending: str, tmp_path: Path) -> None:
    if ending == ".zst":
        settings = zstandard.ZstdCompressionParameters(window_log=31)
        compressor = zstandard.ZstdCompressor(compression_params=settings).compressobj()
        content = compressor.compress(b"abc") + compressor.flush()
    else:  # the window of an LZMA2 filter stands in one byte of the header, before its checksum
        raw = lzma.compress(b"abc" * 99, lzma.FORMAT_ALONE)
        content = raw[:1] + (3 << 29).to_bytes(4, "little") + raw[5:]
    with pytest.raises(InputError, match=r"too much memory to unpack .* compress it again"):
        unpacked(tmp_path / f"x.txt{ending}", content)


@pytest.mark.parametrize("space", ["\u00a0", "\u0085", "\u2028", "\x1c", "\u3000", "\v", "\f"])
def test_only_spaces_tabs_and_line_ends_separate(space: str, tmp_path: Path) -> None:
    assert words_in(f" a{space}b\tc\r\nd ") == [f"a{space}b", "c", "d"]
    path = tmp_path / "x.txt"
    path.write_bytes(f"a{space}b\nc".encode())
    with path.open("rb") as file:
        assert [line.decode() for line in lines_of(path, file)] == [f"a{space}b", "c"]


READ = """
import resource, sys
import pyarrow.parquet
from pathlib import Path
from lilliput.errors import InputError
from lilliput.text.sources import Reader
from lilliput.tasks.tables import find_table
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    if sys.argv[2] == "task":
        find_table(Path(sys.argv[1])).read(["words" if "conll" in sys.argv[1] else "text"])
    else:
        for number, document in enumerate(Reader([Path(sys.argv[1])], "text").documents()):
            if number == 40:
                break
    print("read")
except InputError as error:
    print(error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
"""


def read_apart(path: Path, how: str) -> tuple[str, int]:
    """Reads a file in a process of its own; returns what it says and the megabytes it took."""
    command = [sys.executable, "-c", READ, str(path), how]
    said, megabytes = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return said, int(megabytes)


MEGABYTE = b"a" * (1 << 20)
LONG = {
    "x.txt.zst": (b"", b"", "read"),
    "x.jsonl.gz": (b'{"text": "', b'"}', "line 1 of .* is longer than 32 MB"),
    "x.csv.bz2": (b'text\n"', b'"', "line 2 of .* is longer than 32 MB"),
    "x.tsv.xz": (b'text\n"', b'"', "line 2 of .* is longer than 32 MB"),
    "x.conll.zst": (b"", b"", "line 1 of .* is longer than 32 MB"),
}


@pytest.mark.parametrize("name", LONG)
def test_memory_is_bounded_whatever_a_file_unpacks_to(name: str, tmp_path: Path) -> None:
    begin, end, expected = LONG[name]
    path = tmp_path / name
    path.write_bytes(COMPRESS[path.suffix](begin + MEGABYTE * 250 + end))
    assert path.stat().st_size < 500_000
    said, megabytes = read_apart(path, "task" if "conll" in name else "corpus")
    assert re.search(expected, said)
    assert megabytes < 200


def test_one_document_at_a_time_is_kept_of_text_that_unpacks_to_much(tmp_path: Path) -> None:
    path = tmp_path / "x.txt.zst"
    path.write_bytes(zstandard.compress(MEGABYTE * 50))
    sizes = [len(document) for document in Reader([path], "text").documents()]
    assert sum(sizes) == 50 << 20
    assert max(sizes) <= 1 << 20
