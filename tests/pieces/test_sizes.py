"""Several sizes of vocabulary side by side."""

import dataclasses
import inspect
import io
import json
import string
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from lilliput.config import LexiconConfig
from lilliput.errors import ConfigError, InputError, StorageError
from lilliput.pieces.corpus import build_corpus
from lilliput.pieces.lexicon import build_lexicon
from lilliput.pieces.sizes import VocabularyReport, plot, render, vocabulary
from lilliput.pieces.tokenizer_file import SPECIAL
from lilliput.pieces.wordpiece import learn_vocabulary
from lilliput.text.corpus import FIRST_WORD, Corpus

FILES = ("vocabulary.json", "vocabulary.svg", "vocabulary.png", "manifest.json")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Corpus, Tokenizer]:
    folder = tmp_path_factory.mktemp("world")
    (folder / "text.txt").write_text(
        f"{inspect.getsource(inspect)}\n{inspect.getdoc(string)}", encoding="utf-8"
    )
    plain = Tokenizer(
        models.WordPiece({piece: index for index, piece in enumerate(SPECIAL)}, unk_token="[UNK]")
    )
    plain.normalizer = normalizers.BertNormalizer()
    plain.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    corpus = build_corpus([str(folder / "text.txt")], plain, folder / "corpus", workers=1)
    words, counts = corpus.word_types()[FIRST_WORD:], corpus.counts[FIRST_WORD:]
    return corpus, learn_vocabulary(words, counts, 1000, plain)


@pytest.fixture(scope="module")
def out(world: tuple[Corpus, Tokenizer], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vocabulary")
    vocabulary(*world, [400, 200, 200], folder, 48)
    return folder


@pytest.fixture
def reports(world: tuple[Corpus, Tokenizer], out: Path) -> tuple[VocabularyReport, ...]:
    return vocabulary(*world, [200, 400], out, 48)


def test_one_report_per_size(reports: tuple[VocabularyReport, ...]) -> None:
    assert [report.student_size for report in reports] == [200, 400]
    small, large = reports
    assert small.student_fertility > large.student_fertility > large.teacher_fertility
    assert small.relative_length == small.student_fertility / small.teacher_fertility
    assert (small.parameters, small.fp32_bytes, small.int8_bytes) == (9600, 38400, 9600)
    assert small.teacher_parameters == 48000


def test_figures_are_those_of_the_lexicon(
    world: tuple[Corpus, Tokenizer], reports: tuple[VocabularyReport, ...], tmp_path: Path
) -> None:
    lexicon = build_lexicon(*world, LexiconConfig(size=400), tmp_path / "lexicon")
    wanted = dataclasses.asdict(lexicon.report)
    assert {key: value for key, value in dataclasses.asdict(reports[1]).items() if key in wanted} == wanted


def test_files_are_written_once(world: tuple[Corpus, Tokenizer], out: Path) -> None:
    before = [(out / name).stat().st_mtime_ns for name in FILES]
    again = vocabulary(*world, [200, 400], out, 48)
    assert [(out / name).stat().st_mtime_ns for name in FILES] == before
    assert json.loads((out / "vocabulary.json").read_text()) == [
        dataclasses.asdict(report) for report in again
    ]
    assert (out / "vocabulary.png").read_bytes().startswith(b"\x89PNG")


def test_equal_reports_give_an_equal_plot(
    reports: tuple[VocabularyReport, ...], out: Path, tmp_path: Path
) -> None:
    plot(reports, tmp_path)
    assert (tmp_path / "vocabulary.svg").read_bytes() == (out / "vocabulary.svg").read_bytes()


def test_table_has_a_line_per_size_and_one_for_the_teacher(reports: tuple[VocabularyReport, ...]) -> None:
    written = io.StringIO()
    Console(width=120, file=written).print(render(reports))
    lines = written.getvalue().splitlines()
    assert any("no [UNK]" in line for line in lines)
    (small,) = (line for line in lines if " 200 " in line)
    assert f"{reports[0].student_fertility:.3f}" in small
    assert "9,600" in small
    (teacher,) = (line for line in lines if "teacher 1,000" in line)
    assert "48,000" in teacher


@pytest.mark.parametrize(("sizes", "width"), [([], 48), ([0, 200], 48), ([200], 0), ([-5], 48)])
def test_sizes_that_mean_nothing_are_refused(
    world: tuple[Corpus, Tokenizer], sizes: list[int], width: int, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"no sizes|must be a whole number from 1 to"):
        vocabulary(*world, sizes, tmp_path / "out", width)


def test_size_beyond_the_text_leaves_nothing_behind(world: tuple[Corpus, Tokenizer], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="pieces at most, 1000000 were asked for"):
        vocabulary(*world, [200, 1_000_000], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_other_settings_are_refused_unless_overwritten(
    world: tuple[Corpus, Tokenizer], tmp_path: Path
) -> None:
    vocabulary(*world, [200], tmp_path)
    with pytest.raises(StorageError, match=r"width: 120 there, 96 now"):
        vocabulary(*world, [200], tmp_path, 96)
    assert vocabulary(*world, [200], tmp_path, 96, overwrite=True)[0].width == 96
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert vocabulary(*world, [200], tmp_path, 96, overwrite=True)[0].width == 96
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def cut(path: Path) -> None:
    path.write_text(path.read_text()[:100])


def alter(path: Path) -> None:
    path.write_text('[{"size": 3}]')


def flip(path: Path) -> None:
    path.write_text(path.read_text().replace('"width": 120', '"width": 121'))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut, "vocabulary.json is damaged .*remove its folder"),
        (alter, "is damaged .*remove its folder"),
        (Path.unlink, "cannot be read"),
        (flip, "vocabulary.json was altered.*remove its folder to make it again"),
    ],
)
def test_damaged_reports_are_refused(
    world: tuple[Corpus, Tokenizer], tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    vocabulary(*world, [200], tmp_path)
    damage(tmp_path / "vocabulary.json")
    with pytest.raises(StorageError, match=message):
        vocabulary(*world, [200], tmp_path)


def test_vocabulary_imports_no_large_library() -> None:
    heavy = {"torch", "transformers", "matplotlib"}
    script = f"import sys, lilliput.pieces.sizes; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
