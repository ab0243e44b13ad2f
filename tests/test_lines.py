"""`lilliput run`: a line in, a line out, at once, whatever the lines hold."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bundles import CLASSES, POSITIONS, Tiny, make_bundle
from lilliput.__main__ import run_options
from lilliput.errors import InputError
from lilliput.inference.answers import Classification, Encoding, Filling, Guess, Score, Slot, Tagging, Word
from lilliput.inference.lines import as_text

Run = Callable[..., tuple[int, list[str], list[str]]]
GOOD = Classification("good", 0.75, {"bad": 0.25, "good": 0.75}, cut=False)
GOOD_JSON = '"label": "good", "probability": 0.75, "probabilities": {"good": 0.75}, "cut": false'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lines")


@pytest.fixture(scope="module")
def tiny(folder: Path) -> Tiny:
    return make_bundle(folder / "single", "classification")


@pytest.fixture(scope="module")
def pairs(folder: Path) -> Tiny:
    return make_bundle(folder / "pairs", "classification", pairs=True)


@pytest.fixture(scope="module")
def run() -> Run:
    """Runs `lilliput run` on bytes; returns exit code, lines of output, lines of errors."""

    def call(bundle: Path, given: bytes, *options: str) -> tuple[int, list[str], list[str]]:
        command = [sys.executable, "-m", "lilliput", "run", str(bundle), *options]
        done = subprocess.run(command, input=given, capture_output=True, check=False, env=os.environ)
        assert b"Traceback" not in done.stderr
        return done.returncode, done.stdout.decode().split("\n")[:-1], done.stderr.decode().splitlines()

    return call


def test_each_line_has_its_answer_in_order(run: Run, tiny: Tiny) -> None:
    texts = ["good film", "the film is bad", "miles davis", "café"] * 400  # several windows
    code, out, errors = run(tiny.folder, "\n".join(texts).encode())  # the last line has no end
    assert (code, errors) == (0, [])
    assert [line.split("\t")[0] for line in out] == [
        CLASSES[tiny.probabilities(text).argmax()] for text in texts
    ]


def test_lines_without_an_answer_are_named_and_the_others_answered(run: Run, tiny: Tiny) -> None:
    given = b"good film\n\n \t\nbad \xff film\r\ngood film\r\n\x00\n"
    code, out, errors = run(tiny.folder, given)
    assert code == 1
    assert [bool(line) for line in out] == [True, False, False, False, True, False]
    assert out[0] == out[4]
    assert [error.split(";")[0] for error in errors] == [
        "lilliput: line 2 is empty",
        "lilliput: line 3 is empty",
        "lilliput: line 4 is not UTF-8 (byte 5 is 0xff)",
        "lilliput: line 6 has no words, only characters without a meaning",
    ]
    _, objects, _ = run(tiny.folder, given, "--json")
    assert ["error" in json.loads(line) for line in objects] == [not line for line in out]


def test_of_many_such_lines_there_is_a_count(run: Run, tiny: Tiny) -> None:
    code, out, errors = run(tiny.folder, b"\n" * 1500)
    assert code == 1
    assert out == [""] * 1500
    assert len(errors) == 11
    assert errors[-1] == "lilliput: 1,500 lines of 1,500 have no answer"


def test_a_tab_separates_a_pair(run: Run, pairs: Tiny) -> None:
    code, out, errors = run(pairs.folder, b"good film\tbad film\ngood film\na\tb\tc\n", "--top", "3")
    expected = pairs.probabilities("good film", "bad film")
    fields = out[0].split("\t")
    assert dict(zip(fields[::2], map(float, fields[1::2]), strict=True)) == pytest.approx(
        dict(zip(CLASSES, expected.tolist(), strict=True)), abs=1e-4
    )
    assert fields[1::2] == sorted(fields[1::2], reverse=True)
    assert out[1:] == ["", ""]
    assert "line 2 has 1 columns" in errors[0]
    assert "line 3 has 3 columns" in errors[1]
    assert code == 1


def test_a_line_of_many_megabytes_is_cut(run: Run, tiny: Tiny) -> None:
    words = b"film " * (POSITIONS - 2)
    odd = "é".encode() * 20_000_000  # cut within a character
    code, out, errors = run(tiny.folder, b"film " * 8_000_000 + b"\n" + odd + b"\n" + words, "--json")
    assert code == 0
    long, _, whole = map(json.loads, out)
    assert long["cut"]
    assert not whole["cut"]
    assert long["probabilities"] == pytest.approx(whole["probabilities"], abs=1e-6)
    assert errors == [
        f"lilliput: line {number} was cut: the model reads 32 pieces at most" for number in (1, 2)
    ]


@pytest.mark.parametrize("given", [b"good film\n" * 20_000, b"film " * 16_000_000], ids=["lines", "one line"])
def test_memory_is_bounded(tiny: Tiny, given: bytes) -> None:
    script = (
        "import resource, sys; from pathlib import Path; from lilliput.inference.lines import run; "
        f"run(Path({str(tiny.folder)!r}), None, False); "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, file=sys.stderr)"
    )
    peaks = [
        int(subprocess.run([sys.executable, "-c", script], input=text, capture_output=True, check=True).stderr
            .split()[-1])
        for text in (b"good film\n", given)
    ]  # fmt: skip
    assert peaks[1] < peaks[0] + 20  # MB


def test_an_answer_comes_before_the_input_ends(tiny: Tiny) -> None:
    command = [sys.executable, "-m", "lilliput", "run", str(tiny.folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for _ in "ab":
            process.stdin.write(b"good film\n")
            process.stdin.flush()
            assert process.stdout.readline().split(b"\t")[0].decode() in CLASSES
        process.stdin.close()
        assert process.wait() == 0


def test_a_reader_that_goes_away_is_no_error(tiny: Tiny) -> None:
    command = f"yes 'good film' | {sys.executable} -m lilliput run {tiny.folder} | head -n 2"
    done = subprocess.run(command, shell=True, capture_output=True, check=True, env=os.environ, timeout=60)
    assert len(done.stdout.splitlines()) == 2
    assert done.stderr == b""


def test_a_bundle_that_is_refused_is_one_sentence(run: Run, folder: Path) -> None:
    code, out, errors = run(folder / "nowhere", b"good film\n")
    assert (code, out) == (1, [])
    assert errors == [
        f"lilliput: {folder / 'nowhere'} is not a folder; expected is a bundle, a folder with manifest.json"
    ]


@pytest.mark.parametrize("options", [["--top=2"], ["--no-json", "--top", "2"], ["--top", "2"]])
def test_options_mean_the_same_however_they_are_written(run: Run, tiny: Tiny, options: list[str]) -> None:
    code, out, errors = run(tiny.folder, b"good film\n", *options)
    assert (code, errors) == (0, [])
    assert len(out[0].split("\t")) == 4


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ("run b", (Path("b"), None, False)),
        ("run b --json", (Path("b"), None, True)),
        ("run --json b --top 3", (Path("b"), 3, True)),
        ("run --top 3 b", (Path("b"), 3, False)),
        ("run", None),
        ("run --help", None),
        ("run b c", None),
        ("run b --top x", None),
        ("run b --top 0", None),
        ("run b --tpo 3", None),
        ("train b", None),
        ("", None),
    ],
)
def test_only_plain_arguments_are_taken_without_the_command_line(
    arguments: str, options: tuple[Path, int | None, bool] | None
) -> None:
    assert run_options(arguments.split()) == options


@pytest.mark.parametrize(
    ("answer", "plain", "as_json"),
    [
        (GOOD, "good\t0.7500", f"{{{GOOD_JSON}}}"),
        (Score(2.5, cut=True), "2.5000", '{"value": 2.5, "cut": true}'),
        (
            Tagging(
                (Word("york", 0, 4, "B-city", 0.5),), (Slot("city", "york", 0, 4, 0.5),), GOOD, cut=False
            ),
            "good\t0.7500\tcity=york",
            '{"words": [{"text": "york", "start": 0, "end": 4, "tag": "B-city", "probability": 0.5}], '
            '"slots": [{"name": "city", "text": "york", "start": 0, "end": 4, "probability": 0.5}], '
            f'"classification": {{{GOOD_JSON}}}, "cut": false}}',
        ),
        (
            Tagging((), (), None, cut=False),
            "",
            '{"words": [], "slots": [], "classification": null, "cut": false}',
        ),
        (
            Filling(((Guess("café", 0.5), Guess("##s", 0.25)),), cut=False),
            "café 0.5000\t##s 0.2500",
            '{"guesses": [[{"piece": "café", "probability": 0.5}, {"piece": "##s", "probability": 0.25}]], '
            '"cut": false}',
        ),
        (
            Encoding(np.array([0.5, -2.0], np.float32), cut=False),
            "0.5 -2",
            '{"vector": [0.5, -2.0], "cut": false}',
        ),
        (InputError("is empty"), "", '{"error": "the line is empty"}'),
    ],
)  # fmt: skip
def test_answers_as_text(answer: object, plain: str, as_json: str) -> None:
    assert as_text(answer, 1, as_json=False) == plain  # type: ignore[arg-type]
    assert as_text(answer, 1, as_json=True) == as_json  # type: ignore[arg-type]
