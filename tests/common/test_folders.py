"""Folders whole and on disk, told from those of others, replaced in one go."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from lilliput.common import folders
from lilliput.common.folders import (
    check_report,
    clear_leftovers,
    clear_removed,
    damage,
    record,
    recorded,
    replacing,
    settle,
    strangers,
)
from lilliput.errors import StorageError


def filled(folder: Path) -> Path:
    (folder / "inner").mkdir(parents=True)
    (folder / "a").write_bytes(b"0123")
    (folder / "inner" / "b").write_bytes(b"4567")
    return folder


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# What was saved


def test_a_record_has_all_files_but_hidden_ones_and_those_left_out(tmp_path: Path) -> None:
    filled(tmp_path / "x")
    (tmp_path / "x" / ".c.1.partial").write_bytes(b"")
    (tmp_path / "x" / "seeds").mkdir()
    (tmp_path / "x" / "seeds" / "d").write_bytes(b"")
    found = record(tmp_path / "x", ["seeds"])
    assert {name: entry["bytes"] for name, entry in found.items()} == {"a": 4, "inner/b": 4}
    assert damage(tmp_path / "x", found) is None


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("do", "fault"),
    [
        (flip, "b was altered: it does not have the recorded digest"),
        (lambda path: os.truncate(path, 3), "b was altered or cut short: it has 3 bytes instead of 4"),
        (Path.unlink, "b is missing"),
    ],
)
def test_damage_is_named(tmp_path: Path, do: Any, fault: str) -> None:
    found = record(filled(tmp_path / "x"))
    do(tmp_path / "x" / "inner" / "b")
    assert fault in str(damage(tmp_path / "x", found))


@pytest.mark.parametrize("files", ["[]", '{"a": 3}', '{"a": {"bytes": 3}}', '"x"'])
def test_a_record_that_is_none_is_damaged(tmp_path: Path, files: str) -> None:
    (tmp_path / "manifest.json").write_text(f'{{"made_from": {{}}, "files": {files}}}')
    with pytest.raises(StorageError, match=r"manifest\.json is damaged; remove its folder"):
        recorded(tmp_path / "manifest.json")


def test_a_manifest_of_others_records_nothing(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"files": {"a": {"bytes": 3, "sha256": "0"}}}')
    assert recorded(tmp_path / "manifest.json") is None


# Whose it is


def test_strangers_are_files_that_nobody_named(tmp_path: Path) -> None:
    filled(tmp_path)
    (tmp_path / ".git").mkdir()
    for name in (".git/HEAD", ".DS_Store", ".a.12.partial"):
        (tmp_path / name).write_text("")
    (tmp_path / "empty").mkdir()
    assert strangers(tmp_path, ["a"]) == [".git/HEAD", "inner/b"]


@pytest.mark.parametrize(
    ("there", "content"), [("r.json", '{"a": 1}'), ("r.json", "my notes"), ("r.md", "my notes")]
)
def test_a_report_does_not_replace_files_of_others(tmp_path: Path, there: str, content: str) -> None:
    (tmp_path / there).write_text(content)
    with pytest.raises(StorageError, match=rf"did not write \({there}\)"):
        check_report(tmp_path, "r.json", {"a", "b"}, ["r.md"])


@pytest.mark.parametrize(
    ("there", "content"), [("r.json", '{"a": 1, "b": 2, "c": 3}'), ("other.md", "my notes")]
)
def test_a_report_replaces_its_like_and_stands_beside_others(
    tmp_path: Path, there: str, content: str
) -> None:
    (tmp_path / there).write_text(content)
    check_report(tmp_path, "r.json", {"a", "b"}, ["r.md"])


def test_what_was_left_by_kills_goes_and_nothing_else(tmp_path: Path) -> None:
    filled(tmp_path / "x")
    (tmp_path / "x" / ".a.12.partial").write_text("")
    (tmp_path / "x" / "inner" / ".b.partial").mkdir()
    (tmp_path / ".x.12.removed").mkdir()
    (tmp_path / ".xy.12.removed").mkdir()
    clear_leftovers(tmp_path / "x")
    clear_removed(tmp_path / "x")
    assert names(tmp_path) == {"x", ".xy.12.removed"}
    assert names(tmp_path / "x") == {"a", "inner"}
    assert names(tmp_path / "x" / "inner") == {"b"}


# Replaced


@pytest.fixture(params=[True, False], ids=["exchanged", "one after the other"])
def swapped(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if not request.param:
        monkeypatch.setattr(folders, "_exchanged", lambda one, other: False)


@pytest.mark.usefixtures("swapped")
def test_a_folder_takes_the_place_of_another(tmp_path: Path) -> None:
    filled(tmp_path / "x")
    (tmp_path / ".x.partial").mkdir()  # left by a kill
    (tmp_path / ".x.partial" / "old").write_text("")
    with replacing(tmp_path / "x") as new:
        (new / "c").write_text("new")
        assert names(tmp_path / "x") == {"a", "inner"}
    assert names(tmp_path) == {"x"}
    assert names(tmp_path / "x") == {"c"}


@pytest.mark.usefixtures("swapped")
def test_a_folder_stays_where_the_block_fails(tmp_path: Path) -> None:
    filled(tmp_path / "x")

    def write() -> None:
        with replacing(tmp_path / "x") as new:
            (new / "c").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert names(tmp_path) == {"x"}
    assert names(tmp_path / "x") == {"a", "inner"}


def test_the_folder_that_a_process_runs_in_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StorageError, match="this process runs in it"), replacing(Path()):
        pass


def test_a_folder_below_a_file_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"), replacing(tmp_path / "file" / "x"):
        pass


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077, 0o002])
def test_weights_have_the_mode_that_the_umask_says(tmp_path: Path, mask: int) -> None:
    """The library gives them to their owner alone."""
    before = os.umask(mask)
    try:
        save_file({"a": torch.zeros(2)}, tmp_path / "a.safetensors")
        settle(tmp_path)
        assert os.umask(mask) == mask
    finally:
        os.umask(before)
    assert (tmp_path / "a.safetensors").stat().st_mode & 0o777 == 0o666 & ~mask


def test_everything_is_on_disk_before_a_folder_takes_its_place(tmp_path: Path) -> None:
    """What is flushed and renamed, in its order, as strace would show it."""
    script = (
        "import os, sys\nfrom pathlib import Path\nfrom lilliput.common import folders\n"
        "def told(name, function):\n"
        "    def call(path, *rest):\n        print(name, Path(path).name)\n"
        "        return function(path, *rest)\n"
        "    return call\n"
        "folders.sync = told('sync', folders.sync)\nfolders._swap = told('swap', folders._swap)\n"
        "with folders.replacing(Path(sys.argv[1])) as new:\n    (new / 'a').write_text('1')\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "x")]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    assert said == ["sync a", "sync .x.partial", "swap .x.partial", f"sync {tmp_path.name}"]
