"""Work on a Ray cluster: the same bytes as without, whatever is killed, and a sentence for refusals."""

import contextlib
import functools
import json
import os
import platform
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from conftest import World
from lilliput.common import provenance, stage_dir as run
from lilliput.errors import ConfigError, InputError, LaunchError, LilliputError, StorageError
from lilliput.pieces.corpus import build_corpus
from lilliput.text import cluster, corpus, sources

ray = pytest.importorskip("ray", reason="Ray is not installed; install it with pip install 'lilliput[ray]'")
pytestmark = [
    pytest.mark.slow,  # Ray takes many seconds to start
    pytest.mark.xdist_group("ray"),  # of two that start on one machine, one may join the other's
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),  # of its own settings
]

TOKENIZER = Tokenizer(models.WordPiece({"[UNK]": 0}, unk_token="[UNK]"))
TOKENIZER.normalizer = normalizers.BertNormalizer()
TOKENIZER.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
SIZES = {"BLOCK_BYTES": 10_000, "UNIT_BYTES": 50_000}
HOW_TO = Path(__file__).parent.parent.parent / "docs" / "how-to" / "ray-cluster.md"
HERE = f"on machine {platform.node()}: "


@pytest.fixture(scope="module")
def proxy() -> Iterator[socket.socket]:
    """Listens where nobody should."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(30)
        yield listener


@pytest.fixture(scope="module")
def killers(tmp_path_factory: pytest.TempPathFactory, proxy: socket.socket) -> Iterator[Path]:
    """Starts Ray with two workers and small blocks; a file in this folder kills a worker.

    Its name is that of a function of `parts`, its text the file that this function is about to write. It is
    removed before it kills, unless its name goes on with "_always".
    """
    folder = tmp_path_factory.mktemp("killers")

    def set_up() -> None:
        from lilliput.text import parts

        for name, size in SIZES.items():
            setattr(sources, name, size)

        def deadly(name: str) -> None:
            function = getattr(parts, name)

            def call(*arguments: Any) -> Any:
                for killer in folder.glob(f"{name}*"):
                    if killer.read_text() == arguments[-1].name:
                        if killer.name == name:
                            killer.unlink()
                        os.kill(os.getpid(), signal.SIGKILL)
                return function(*arguments)

            setattr(parts, name, call)

        deadly("write_part")
        deadly("write_shard")

    logs = tempfile.mkdtemp(prefix="ray")  # short, as the names of sockets must be
    runtime = {"worker_process_setup_hook": set_up}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))  # else Ray keeps one in the home folder
        patch.setattr(cluster, "_NOBODY", f"http://127.0.0.1:{proxy.getsockname()[1]}")
        patch.setattr(ray, "init", functools.partial(ray.init, runtime_env=runtime, _temp_dir=logs))
        try:
            with cluster.joined("local", 2, [], Path(logs) / "none"):
                yield folder
        finally:
            shutil.rmtree(logs)


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of six files of 30 kB: three units of seven blocks each."""
    folder = tmp_path_factory.mktemp("texts")
    random = np.random.default_rng(0)
    vocabulary = np.array([f"w{rank:x}" if rank % 7 else f"é{rank}–中" for rank in range(3000)])
    for index in range(6):
        lines = (" ".join(vocabulary[random.zipf(1.3, 60) % 3000]) for _ in range(120))
        (folder / f"{index}.txt").write_text("\n\n".join(lines), encoding="utf-8")
    return folder


@contextlib.contextmanager
def small_blocks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, size in SIZES.items():
            patch.setattr(sources, name, size)
        yield


def build(source: Path, out: Path, **options: Any) -> None:
    with small_blocks():
        build_corpus([str(source)], TOKENIZER, out, **options)


def content(path: Path) -> dict[str, Any]:
    files = {str(item.relative_to(path)): item.read_bytes() for item in path.rglob("*") if item.is_file()}
    manifest = json.loads(files.pop("manifest.json"))
    return files | {key: manifest[key] for key in ("digest", "results")}


@pytest.fixture(scope="module")
def reference(texts: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("reference") / "corpus"
    build(texts, out, workers=1)
    return content(out)


# The result


@pytest.mark.parametrize(
    "victims", [{}, {"write_part": "000001-000002.npy", "write_shard": "00004.npy"}], ids=["none", "both"]
)
def test_two_workers_write_the_same_bytes_even_if_they_are_killed(
    victims: dict[str, str], killers: Path, texts: Path, reference: dict[str, Any], tmp_path: Path
) -> None:
    for name, victim in victims.items():
        (killers / name).write_text(victim)
    build(texts, tmp_path / "out", ray="local")
    assert list(killers.iterdir()) == [], "each of them has killed"
    assert len([name for name in reference if name.startswith("shards/")]) > 15
    assert content(tmp_path / "out") == reference
    assert os.listdir(tmp_path) == ["out"]


def test_results_come_in_the_order_of_the_tasks(killers: Path, tmp_path: Path) -> None:
    def square(number: int) -> int:
        (tmp_path / f"{number}").touch()
        while number == 0 and not (tmp_path / "8").exists():  # so the last is done before the first
            time.sleep(0.02)
        return number * number

    with cluster.joined("local", None, [], tmp_path / "out") as joined:
        assert joined.count == 2
        results = joined.in_order(square, ((number,) for number in range(9)))
        assert list(results) == [number * number for number in range(9)]
        assert list(joined.in_order(square, iter([]))) == []


@pytest.mark.parametrize(
    ("function", "victim", "folder"),
    [("write_part", "000001-000002.npy", "parts"), ("write_shard", "00004.npy", "shards")],
)
def test_what_kills_always_is_given_up_and_the_build_goes_on_later(
    function: str,
    victim: str,
    folder: str,
    killers: Path,
    texts: Path,
    reference: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cluster, "_ATTEMPTS", 2)
    out, killer = tmp_path / "out", killers / f"{function}_always"
    killer.write_text(victim)
    said = rf"worker process was killed 2 times \(on {platform.node()}, {platform.node()}\).*again"
    try:
        with pytest.raises(LaunchError, match=said):
            build(texts, out, ray="local")
    finally:
        killer.unlink()
    finished = {path: path.stat().st_mtime_ns for path in (out / folder).glob("[0-9]*")}
    assert len(finished) > 3
    assert out / folder / victim not in finished
    written: list[Path] = []
    finish = run.StageDir.finish

    def note_then_finish(stage: run.StageDir, results: dict[str, Any]) -> dict[str, Any]:
        written.extend(path for path, moment in finished.items() if path.stat().st_mtime_ns != moment)
        return finish(stage, results)

    monkeypatch.setattr(run.StageDir, "finish", note_then_finish)
    build(texts, out, ray="local")
    assert written == []
    assert content(out) == reference


def test_the_command_of_the_how_to_joins_a_cluster_by_its_address(
    killers: Path, world: World, tmp_path: Path
) -> None:
    names = {
        "bert-base-uncased": world.teacher,
        "/shared/text": str(world.text),
        "/shared/runs/x": "run",
        "head:6379": ray.get_runtime_context().gcs_address,
    }
    (line,) = re.findall(r"^lilliput (.+)$", HOW_TO.read_text(encoding="utf-8"), re.MULTILINE)
    done = subprocess.run(
        [sys.executable, "-m", "lilliput", *(names.get(word, word) for word in line.split())],
        check=False,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{world.corpus.words:,} words, ")
    assert len(done.stdout.splitlines()) == 1
    assert content(tmp_path / "run" / "corpus") == content(world.corpus.path)


def test_ray_tells_and_asks_nobody_and_shows_nothing(killers: Path, proxy: socket.socket) -> None:
    from ray._common.usage import usage_lib

    assert not usage_lib.usage_stats_enabled()
    assert not ray._private.worker.get_dashboard_url()
    with proxy.accept()[0] as asked:
        assert asked.recv(100).startswith(b"GET http://169.254.169.254/"), "what cloud this is"
    assert os.environ.get("http_proxy") != cluster._NOBODY


# What is refused


def test_what_is_refused_on_a_machine_is_said_with_its_name(
    killers: Path, texts: Path, tmp_path: Path
) -> None:
    shutil.copytree(texts, tmp_path / "texts")
    (tmp_path / "texts" / "3.jsonl").write_text('{"text": "a"}\n{')
    with pytest.raises(InputError, match=rf"^{HERE}line 2 of .*/3\.jsonl is not valid JSON"):
        build(tmp_path / "texts", tmp_path / "out", ray="local")
    assert len(list((tmp_path / "out" / "parts").glob("000000-*.npy"))) > 3
    assert sorted(os.listdir(tmp_path)) == ["out", "texts"]


def test_a_machine_with_other_software_is_named(
    killers: Path, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "_software", lambda: {**provenance.versions(), "numpy": "0.1"})
    said = rf"^{HERE}the software differs \(.*numpy: {re.escape(np.__version__)} there, 0.1 now.*on all"
    with pytest.raises(LaunchError, match=said):
        build(texts, tmp_path / "out", ray="local")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("size", "probe", "kind", "said"),
    [
        (5, "there", None, ""),
        (6, "there", InputError, r"text\.txt has 5 bytes instead of 6; put the text on storage that all"),
        (None, "there", InputError, r"text\.txt is missing; put the text on storage that all machines share"),
        (5, "elsewhere", StorageError, "is not the folder that the command writes to; choose an --out on st"),
    ],
)
def test_a_machine_is_asked_for_its_files_and_the_folder(
    size: int | None, probe: str, kind: type[LilliputError] | None, said: str, tmp_path: Path
) -> None:
    marks, text = tmp_path / "marks", tmp_path / "text.txt"
    marks.mkdir()
    (marks / "there").write_bytes(b"shared")
    if size is not None:
        text.write_text("words")
    with pytest.raises(kind, match=said) if kind else contextlib.nullcontext():
        cluster._look({str(text): size or 5}, marks / probe, cluster._software())
    assert len(list(marks.iterdir())) == (1 if kind else 2), "it writes as well"


def test_a_cluster_without_cores_is_refused(
    killers: Path, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (machine,) = ray.nodes()
    monkeypatch.setattr(ray, "nodes", lambda: [machine | {"Alive": False}, machine | {"Resources": {}}])
    with pytest.raises(LaunchError, match="no machine of the Ray cluster offers a core"):
        build(texts, tmp_path / "out", ray="local")


def test_files_of_other_machines_that_are_not_seen_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.npy").touch()
    corpus.require_seen(tmp_path, ["a.npy"])
    with pytest.raises(StorageError, match=r"b\.npy was written by another machine .*run the same command"):
        corpus.require_seen(tmp_path, ["a.npy", "b.npy"])


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nonsense"])
def test_an_address_without_a_cluster_is_refused_at_once(
    address: str, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(ConfigError, match=rf"no Ray cluster can be joined at '{address}' .*HOST:PORT"):
        build(texts, tmp_path / "out", ray=address)
    assert os.listdir(tmp_path) == []


def test_whatever_ray_says_as_it_cannot_start_is_part_of_a_sentence(
    texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def init(**_: Any) -> None:
        raise Exception("The node timed out.\nThis could\n  happen")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(ConfigError, match=r"'local' \(The node timed out\. This could happen\); expected"):
        build(texts, tmp_path / "out", ray="local")


def test_without_ray_the_extra_is_named(texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"needs Ray, but .*install it with pip install 'lilliput\[ray\]'"):
        build(texts, tmp_path / "out", ray="auto")
