"""`lilliput run`: a line in, a line out, at once, whatever the lines hold."""

import functools
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, strategies as st

from bundles import CLASSES, PIECES, Tiny, make_bundle, sign
from lilliput.__main__ import run_options
from lilliput.errors import BundleError, InputError
from lilliput.inference.answered import answered
from lilliput.inference.answers import Classification, Encoding, Filling, Guess, Score, Slot, Tagging, Word
from lilliput.inference.bundle import load
from lilliput.inference.kinds import KINDS
from lilliput.inference.lines import _text, as_text

Run = Callable[..., tuple[int, list[str], list[str]]]
GOOD = Classification("good", 0.75, {"bad": 0.25, "good": 0.75}, cut=False)
NO_NUMBER = "has no answer: model.onnx gives what is no number (NaN or infinite)"
ODD = ("a\tb\nc", "\x1b[31m\x85\u2028", "back\\slash \udcff")
GOOD_JSON = (
    '"label": "good", "probability": 0.75, "probabilities": {"good": 0.75}, "cut": false, "unknown": 0.0'
)


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
        "lilliput: line 4 is not UTF-8 (byte 5 is 0xff)",
        "lilliput: line 6 has no words, only characters without a meaning",
        "lilliput: 2 of 6 lines hold no text (None, NaN, empty or white space), line 2 first",
    ]
    _, objects, _ = run(tiny.folder, given, "--json")
    assert ["error" in json.loads(line) for line in objects] == [False, False, False, True, False, True]
    assert json.loads(objects[1]) == load(tiny.folder).empty.to_dict()


def test_empty_lines_are_no_error(run: Run, tiny: Tiny) -> None:
    code, out, errors = run(tiny.folder, b"good film\n\ngood film\n")
    assert (code, [bool(line) for line in out]) == (0, [True, False, True])
    assert errors == [
        "lilliput: 1 of 3 lines holds no text (None, NaN, empty or white space), line 2 first; the answer is "
        "empty there"
    ]


def test_unknown_words_are_said_of_the_first_lines_and_counted(run: Run, tiny: Tiny) -> None:
    code, out, errors = run(tiny.folder, b"good film\n" + b"xyzzy film\n" * 12)
    assert (code, len(out)) == (0, 13)
    assert errors[:1] == ["lilliput: line 2 has words that the vocabulary cannot write: 50% of all"]
    assert errors[10:] == ["lilliput: 12 lines of 13 have unknown words"]


def test_an_unsure_answer_is_said_in_the_place_of_a_label(run: Run, tmp_path: Path) -> None:
    made = make_bundle(tmp_path / "b", "classification", format=4, min_probability=1.0)
    (probability,) = [answer.probability for answer in load(made.folder).classify(["good film"])]
    assert run(made.folder, b"good film\n")[1] == [f"unsure\t{probability:.4f}"]
    (line,) = run(made.folder, b"good film\n", "--top", "1")[1]
    assert re.fullmatch(rf"unsure\t(bad|good|neither)\t{probability:.4f}", line)
    (line,) = run(made.folder, b"good film\n", "--json")[1]
    assert json.loads(line)["label"] is None
    assert len(json.loads(line)["probabilities"]) == 3


def test_a_text_may_be_an_argument(run: Run, tiny: Tiny, pairs: Tiny) -> None:
    assert run(tiny.folder, b"", "good film") == run(tiny.folder, b"good film")
    assert run(pairs.folder, b"", "good", "film") == run(pairs.folder, b"good\tfilm")
    assert run(tiny.folder, b"", "good film", "--json") == run(tiny.folder, b"good film", "--json")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["good", "film"], "this bundle reads one text, found 2 beside its name"),
        ([" "], "the text is empty; write one"),
        (["\u200b"], "the text has no words"),
        (["good", "--input", "x.csv"], "a text was given, and a file too"),
        (["--column", "x"], "--column names a column of a file; add --input FILE"),
        (["--input", "x.csv", "--json", "--out", "y.csv"], "--json is for standard output"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(run: Run, tiny: Tiny, arguments: list[str], said: str) -> None:
    code, out, (error,) = run(tiny.folder, b"", *arguments)
    assert (code, out) == (1, [])
    assert error.startswith(f"lilliput: {said}")


def without_numbers(folder: Path, kind: str, piece: str) -> Tiny:
    """Returns a bundle whose model gives NaN for a piece."""
    tiny = make_bundle(folder, kind)
    model = onnx.load(folder / "model.onnx")
    (table,) = [item for item in model.graph.initializer if item.name == "pieces"]
    values = onnx.numpy_helper.to_array(table).copy()
    values[PIECES.index(piece)] = np.nan
    table.CopyFrom(onnx.numpy_helper.from_array(values, "pieces"))
    onnx.save(model, folder / "model.onnx")
    sign(folder)
    return tiny


@pytest.mark.parametrize("kind", ["classification", "regression", "tagging", "joint", "encode"])
def test_scores_that_are_no_numbers_are_an_error_of_their_line(run: Run, tmp_path: Path, kind: str) -> None:
    made, given = without_numbers(tmp_path / "b", kind, "jazz"), b"good film\njazz film\ngood film\n"
    code, out, errors = run(made.folder, given)
    assert code == 1
    assert len(out) == 3
    assert (out[0], out[1]) == (out[2], "")
    (error,) = errors
    assert error.startswith(f"lilliput: line 2 {NO_NUMBER}; export the bundle again")
    _, objects, _ = run(made.folder, given, "--json")
    good, bad, again = (json.loads(line, parse_constant=pytest.fail) for line in objects)
    assert list(bad) == ["error"]
    assert good == again
    with pytest.raises(BundleError, match=re.escape(f"text 2 {NO_NUMBER}")):
        list(load(made.folder).stream(given.decode().splitlines()))


@pytest.mark.parametrize(
    ("redirection", "said"),
    [
        ("> /dev/full", "standard output cannot be written: No space left on device"),
        (">&-", "standard output cannot be written: Bad file descriptor"),
        ("<&-", "standard input cannot be read: Bad file descriptor"),
        ("0> {folder}/given", "standard input cannot be read: Bad file descriptor"),
    ],
)
def test_standard_streams_that_fail_are_a_sentence(
    tiny: Tiny, tmp_path: Path, redirection: str, said: str
) -> None:
    line = f"{sys.executable} -m lilliput run {tiny.folder} {redirection.format(folder=tmp_path)}"
    done = subprocess.run(["bash", "-c", line], input=b"good film\n", capture_output=True, check=False)
    assert done.returncode == 1
    assert done.stderr.decode().startswith(f"lilliput: {said}")
    assert done.stderr.count(b"\n") == 1


@given(
    st.lists(st.text(st.characters(), max_size=8), min_size=1, max_size=3, unique=True), st.text(max_size=8)
)
def test_any_names_are_one_line_and_json_gives_them_back(names: list[str], text: str) -> None:
    whole = Classification(names[0], 1.0, dict.fromkeys(names, 0.5), cut=False)
    answer = Tagging((), (Slot(names[-1], text, 0, 1, 0.5),), whole, cut=False)
    plain, as_json = (as_text(KINDS["joint"], answer, None, as_json) for as_json in (False, True))
    assert len((plain + "x").splitlines()) == len((as_json + "x").splitlines()) == 1
    assert plain.count("\t") == 2
    assert (plain + as_json).encode().decode() == plain + as_json
    assert json.loads(as_json)["slots"][0]["text"] == text
    assert set(json.loads(as_json)["classification"]["probabilities"]) == set(names)


@given(st.lists(st.binary(max_size=40), max_size=6))
def test_any_bytes_have_a_line_each(tiny: Tiny, lines: list[bytes]) -> None:
    given = [line.replace(b"\n", b"") for line in lines]
    bundle = load_once(tiny.folder)
    answers = answered(bundle, [_text(line, 4096, False) for line in given], None)
    kind = KINDS[bundle.config.kind]
    assert len([as_text(kind, answer, None, as_json=True) for answer in answers]) == len(given)


load_once = functools.cache(load)


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
    ("kind", "answer", "plain", "as_json"),
    [
        ("classification", GOOD, "good\t0.7500", f"{{{GOOD_JSON}}}"),
        ("regression", Score(2.5, cut=True), "2.5000", '{"value": 2.5, "cut": true, "unknown": 0.0}'),
        (
            "joint",
            Tagging(
                (Word("york", 0, 4, "B-city", 0.5),), (Slot("city", "york", 0, 4, 0.5),), GOOD, cut=False
            ),
            "good\t0.7500\tcity=york",
            '{"words": [{"text": "york", "start": 0, "end": 4, "tag": "B-city", "probability": 0.5}], '
            '"slots": [{"name": "city", "text": "york", "start": 0, "end": 4, "probability": 0.5}], '
            f'"classification": {{{GOOD_JSON}}}, "cut": false, "unknown": 0.0}}',
        ),
        (
            "tagging",
            Tagging((), (Slot("a=b\t", "c=\x1b", 0, 1, 0.5),), None, cut=False),
            r"a\u003db\t=c=\u001b",
            r'{"words": [], "slots": [{"name": "a=b\t", "text": "c=\u001b", "start": 0, "end": 1, '
            '"probability": 0.5}], "classification": null, "cut": false, "unknown": 0.0}',
        ),
        (
            "tagging",
            Tagging((), (), None, cut=False),
            "",
            '{"words": [], "slots": [], "classification": null, "cut": false, "unknown": 0.0}',
        ),
        (
            "fill",
            Filling(((Guess("café", 0.5), Guess("##s", 0.25)),), cut=False),
            "café 0.5000\t##s 0.2500",
            '{"guesses": [[{"piece": "café", "probability": 0.5}, {"piece": "##s", "probability": 0.25}]], '
            '"cut": false, "unknown": 0.0}',
        ),
        (
            "encode",
            Encoding(np.array([0.5, -2.0], np.float32), cut=False),
            "0.5 -2",
            '{"vector": [0.5, -2.0], "cut": false, "unknown": 0.0}',
        ),
        ("regression", InputError("is empty"), "", '{"error": "the line is empty"}'),
    ],
)  # fmt: skip
def test_answers_as_text(kind: str, answer: object, plain: str, as_json: str) -> None:
    assert as_text(KINDS[kind], answer, 1, as_json=False) == plain  # type: ignore[arg-type]
    assert as_text(KINDS[kind], answer, 1, as_json=True) == as_json  # type: ignore[arg-type]
