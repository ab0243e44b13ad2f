"""Folders and patterns hold all their files, or it is said what is missing."""

import os
import subprocess
from pathlib import Path

import pytest

from lilliput.common import progress
from lilliput.errors import InputError
from lilliput.tasks.loading import load_task
from lilliput.text.sources import find_sources


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.txt", "b/c.txt", "b/d/e.txt"):
        (tmp_path / "texts" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "texts" / name).write_text(name)
    return tmp_path / "texts"


def names(source: Path | str, folder: Path) -> list[str]:
    return [str(item.relative_to(folder)) for item in find_sources([str(source)]) if isinstance(item, Path)]


def refuse(monkeypatch: pytest.MonkeyPatch, closed: Path) -> None:
    """Lets one folder not be read, as tests may run as root, who may read all."""
    usual = os.listdir

    def listed(path: str | Path = ".") -> list[str]:
        if Path(path) == closed:
            raise PermissionError(13, "Permission denied")
        return usual(path)

    monkeypatch.setattr(os, "listdir", listed)


@pytest.mark.parametrize("pattern", ["", "**/*.txt", "*/*.txt", "b/**", "*/*/e.txt"])
def test_a_folder_that_may_not_be_read_is_named(
    pattern: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch, folder / "b")
    with pytest.raises(InputError, match=r"folder .*texts/b cannot be read: Permission denied"):
        find_sources([str(folder / pattern)])


def test_folders_that_a_pattern_does_not_look_into_may_be_closed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch, folder / "b")
    assert names(folder / "*.txt", folder) == ["a.txt"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="takes another user")
def test_closed_folders_are_named_to_other_users_than_root(folder: Path) -> None:
    (folder / "b").chmod(0)
    (folder / "a.txt").chmod(0o600)
    pid = os.fork()
    if pid == 0:  # the child, as nobody
        code = 1
        try:
            if os.getuid() == 0:
                for parent in folder.parents:
                    if parent.stat().st_uid == 0 and parent != Path("/"):
                        parent.chmod(parent.stat().st_mode | 0o055)
                os.seteuid(65534)
            find_sources([str(folder)])
        except InputError as error:
            code = 0 if "cannot be read" in str(error) else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    (folder / "b").chmod(0o755)


def test_links_to_folders_are_followed_and_loops_end(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "f.txt").write_text("f")
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    (folder / "b" / "loop").symlink_to(folder)
    (tmp_path / "elsewhere" / "back").symlink_to(folder / "b")
    expected = ["a.txt", "b/c.txt", "b/d/e.txt", "link/f.txt"]
    assert names(folder, folder) == expected
    assert names(f"{folder}/**/*.txt", folder) == expected


@pytest.mark.parametrize("name", ["x.txt", "x.jsonl.gz", "x"])
@pytest.mark.parametrize("pattern", ["", "x*"])
def test_a_link_to_nothing_is_refused(name: str, pattern: str, folder: Path) -> None:
    (folder / name).symlink_to(folder / "gone.txt")
    with pytest.raises(InputError, match=rf"texts/{name} is a broken link"):
        find_sources([str(folder / pattern)])


def test_a_pipe_is_refused_and_not_waited_for(folder: Path) -> None:
    os.mkfifo(folder / "pipe.txt")
    with pytest.raises(InputError, match=r"pipe.txt is not a file but a pipe or device"):
        find_sources([str(folder)])
    with pytest.raises(InputError, match=r"pipe.txt is not a file that can be read twice"):
        find_sources([str(folder / "pipe.txt")])


def test_files_of_other_kinds_are_counted_aloud(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(progress, "note", said.append)
    (folder / "b" / "x.pdf").write_bytes(b"%PDF")
    (folder / "b" / "y.docx").write_bytes(b"PK")
    (folder / "b" / "z.pdf").write_bytes(b"%PDF")
    (folder / "picture").write_bytes(b"\0")
    assert names(folder, folder) == ["a.txt", "b/c.txt", "b/d/e.txt"]
    (sentence,) = said
    assert "3 files are read, 4 of other kinds are left out (.pdf: 2, .docx: 1, no ending: 1)" in sentence
    assert names(folder / "b/d", folder) == ["b/d/e.txt"]
    assert len(said) == 1


def test_names_may_hold_brackets_and_bytes_that_are_no_text(folder: Path) -> None:
    for name in ("[1].txt", "x[/b].txt".replace("/", "|"), os.fsdecode(b"\xff.txt")):
        (folder / "b" / name).write_text("a")
    assert len(names(folder, folder)) == 6
    assert names(folder / "b" / "[1].txt", folder) == ["b/[1].txt"]
    (folder / "[x]").mkdir()
    (folder / "[x]" / "y.txt").write_text("a")
    assert names(f"{folder}/[x]/*.txt", folder) == ["[x]/y.txt"]


def test_hidden_files_only_match_what_is_hidden(folder: Path) -> None:
    (folder / ".h.txt").write_text("a")
    (folder / ".git").mkdir()
    (folder / ".git" / "x.txt").write_text("a")
    assert names(f"{folder}/**/*.txt", folder) == names(folder, folder) == ["a.txt", "b/c.txt", "b/d/e.txt"]
    assert names(f"{folder}/.*", folder) == [".h.txt"]
    assert names(f"{folder}/.git/*", folder) == [".git/x.txt"]


def test_folders_may_be_nested_a_thousand_deep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    subprocess.run(
        "mkdir deep && cd deep && for i in $(seq 1200); do mkdir d && cd -P d; done; echo a > x.txt",
        shell=True,
        check=True,
    )
    try:
        (found,) = find_sources(["deep"])
    finally:
        subprocess.run(["rm", "-rf", "deep"], check=True)  # pytest's own way is recursive
    assert str(found).endswith("d/x.txt")


@pytest.mark.parametrize("name", ["x" * 5000, "x" * 300 + "/*", "x" * 300 + ".txt"])
def test_a_name_that_is_too_long_is_a_sentence(name: str, folder: Path) -> None:
    with pytest.raises(InputError, match="File name too long"):
        find_sources([str(folder / name)])
    with pytest.raises(InputError, match="File name too long"):
        load_task("x", train=str(folder / name))
