"""Files whole or not at all, JSON as it was written, and digests."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from lilliput.common.files import (
    digest_file,
    digest_folder,
    digest_value,
    read_json,
    read_json_lines,
    write_json,
    writing,
)
from lilliput.errors import StorageError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# Writing


def test_a_file_appears_whole_with_its_folders(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "c.txt"
    with writing(path) as file:
        file.write(b"text")
        file.flush()
        assert not path.exists()
    assert path.read_bytes() == b"text"
    assert files(path.parent) == {"c.txt"}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_file_stays_as_it_was_when_the_block_fails(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "c.txt"
    path.write_text("before")

    def write() -> None:
        with writing(path) as file:
            file.write(b"half")
            raise error

    with pytest.raises(error):
        write()
    assert path.read_text() == "before"
    assert files(tmp_path) == {"c.txt"}


def test_a_kill_leaves_no_half_file_under_the_name(tmp_path: Path) -> None:
    script = (
        "import os, sys\nfrom pathlib import Path\nfrom lilliput.common.files import writing\n"
        "with writing(Path(sys.argv[1])) as file:\n    file.write(b'half')\n    os.kill(os.getpid(), 9)\n"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(tmp_path / "c.txt")], check=False)
    assert killed.returncode == -9
    assert not (tmp_path / "c.txt").exists()


def test_a_full_disk_is_a_sentence_and_keeps_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "c.txt"
    path.write_bytes(b"before")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    sentence = r"c\.txt cannot be written: File too large; make room .*finished parts are kept"
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(StorageError, match=sentence), writing(path) as file:
            file.write(bytes(1_000_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_bytes() == b"before"
    assert files(tmp_path) == {"c.txt"}


def test_a_failing_flush_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="cannot be written: No space left on device"):
        write_json(tmp_path / "c.json", {})
    assert files(tmp_path) == set()


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"c\.json cannot be written: (Not a directory|File exists)"):
        write_json(tmp_path / "file" / "out" / "c.json", {})


@given(JSON)
def test_json_is_read_as_written(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    path = tmp_path_factory.mktemp("json") / "a.json"
    write_json(path, value)
    assert read_json(path) == value


def test_missing_and_damaged_json_are_sentences(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"a\.json cannot be read: No such file"):
        read_json(tmp_path / "a.json")
    (tmp_path / "a.json").write_text('{"a": ')
    with pytest.raises(StorageError, match=r"a\.json is damaged .*remove its folder to build it again"):
        read_json(tmp_path / "a.json")


@given(st.lists(st.text(max_size=5)))
def test_lines_of_json_are_read_as_written(
    tmp_path_factory: pytest.TempPathFactory, values: list[str]
) -> None:
    path = tmp_path_factory.mktemp("lines") / "a.jsonl"
    path.write_text("".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values), "utf-8")
    assert read_json_lines(path) == values


def test_missing_and_damaged_lines_of_json_are_sentences(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"a\.jsonl cannot be read: No such file"):
        read_json_lines(tmp_path / "a.jsonl")
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n{"a": ')
    with pytest.raises(StorageError, match=r"a\.jsonl is damaged .*remove its folder to build it again"):
        read_json_lines(tmp_path / "a.jsonl")


# Digests


@given(st.dictionaries(st.text(max_size=5), JSON, min_size=1, max_size=4), st.randoms())
def test_a_digest_does_not_hang_on_the_order_of_keys(value: dict[str, Any], random: Any) -> None:
    keys = list(value)
    random.shuffle(keys)
    assert digest_value({key: value[key] for key in keys}) == digest_value(value)


@given(JSON, JSON)
def test_different_values_have_different_digests(first: Any, second: Any) -> None:
    same = json.dumps(first, sort_keys=True) == json.dumps(second, sort_keys=True)
    assert (digest_value(first) == digest_value(second)) == same


def test_a_folders_digest_is_that_of_names_and_bytes_of_its_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    digest = digest_folder(tmp_path)
    (tmp_path / ".hidden").write_text("2")
    (tmp_path / "folder").mkdir()
    assert digest_folder(tmp_path) == digest
    (tmp_path / "a").rename(tmp_path / "b")
    assert digest_folder(tmp_path) != digest
    (tmp_path / "b").rename(tmp_path / "a")
    (tmp_path / "a").write_text("2")
    assert digest_folder(tmp_path) != digest
    assert len(digest_file(tmp_path / "a")) == 32


def test_names_that_are_not_unicode_come_back_from_json(tmp_path: Path) -> None:
    value = {"caf\udcff": "\ud800 é \u2028"}
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == value
    assert digest_value(value) == digest_value(dict(value))
