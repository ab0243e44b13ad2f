"""A bundle is what was written, or is refused with a sentence; its card says what its arguments say."""

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from hypothesis import given, strategies as st

import lilliput
from bundles import CLASSES, PIECES, TAGS, Tiny, graph, make_bundle, sign, tokenizer
from lilliput.errors import BundleError
from lilliput.export.card import Card, CardScore, finish
from lilliput.inference.format import BundleConfig, read_bundle, sizes
from lilliput.inference.kinds import KINDS

CARD = Card(
    name="tiny: a 'test'",
    teacher="a teacher",
    corpus="1,234 words",
    recipe="tiny, student.width=6",
    parameters={"student": 98_765, "teacher": 1_234_567},
    scores=(CardScore("accuracy", 81.25, "SST-2 dev", 87.5), CardScore("F1", 77.0, "MRPC dev")),
    limits=("It knows 29 pieces.", "It reads English alone."),
    licence="apache-2.0",
)


@pytest.fixture
def tiny(tmp_path: Path) -> Tiny:
    return make_bundle(tmp_path / "bundle", "classification")


def refused(folder: Path) -> str:
    with pytest.raises(BundleError) as error:
        lilliput.load(folder)
    return str(error.value)


def change(folder: Path, **changes: Any) -> None:
    """Changes config.json and signs the bundle again, so that only what is wrong in it is refused."""
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))
    sign(folder)


# What was written is what is read


@pytest.mark.parametrize("kind", KINDS)
def test_a_finished_bundle_is_read_as_it_was_written(tmp_path: Path, kind: str) -> None:
    tiny = make_bundle(tmp_path / "bundle", kind)
    config = BundleConfig(
        kind=kind,
        positions=24,
        opset=20,
        quantization="int8",
        lilliput="0.1.0",
        task="sst2",
        classes=CLASSES if KINDS[kind].has_classes else (),
        tags=TAGS if kind in ("tagging", "joint") else (),
    )
    config.write(tiny.folder)
    written = finish(tiny.folder, CARD)
    files = read_bundle(tiny.folder)
    assert files.config == config
    assert files.model == (tiny.folder / "model.onnx").read_bytes()
    assert files.tokenizer == (tiny.folder / "tokenizer.json").read_bytes()
    assert lilliput.load(tiny.folder).config == config
    assert written == {path.name: path.stat().st_size for path in tiny.folder.iterdir()}


def test_the_manifest_holds_the_digests_of_all_other_files(tiny: Tiny) -> None:
    (tiny.folder / ".hidden").write_text("left out")
    finish(tiny.folder, CARD)
    manifest = json.loads((tiny.folder / "manifest.json").read_text())
    assert manifest["format"] == 1
    assert set(manifest["files"]) == {"model.onnx", "tokenizer.json", "config.json", "README.md"}
    for name, entry in manifest["files"].items():
        content = (tiny.folder / name).read_bytes()
        assert entry == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def test_to_finish_twice_changes_nothing(tiny: Tiny) -> None:
    finish(tiny.folder, CARD)
    before = {path.name: path.read_bytes() for path in tiny.folder.iterdir()}
    finish(tiny.folder, CARD)
    assert {path.name: path.read_bytes() for path in tiny.folder.iterdir()} == before


# Missing, altered, of another format


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "config.json"])
def test_a_missing_an_altered_and_a_cut_file_are_named(tiny: Tiny, name: str) -> None:
    finish(tiny.folder, CARD)
    path = tiny.folder / name
    content = path.read_bytes()
    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    assert re.search(rf"{name} was altered: its SHA-256 .*again", refused(tiny.folder))
    path.write_bytes(content[:-1])
    assert f"{name} was altered or cut short: it has {len(content) - 1:,} bytes" in refused(tiny.folder)
    path.unlink()
    assert f"{name} is missing" in refused(tiny.folder)


def test_a_card_may_be_edited(tiny: Tiny) -> None:
    finish(tiny.folder, CARD)
    files = read_bundle(tiny.folder)
    (tiny.folder / "README.md").write_text("My model")
    assert read_bundle(tiny.folder) == files
    (tiny.folder / "README.md").unlink()
    assert read_bundle(tiny.folder) == files


@given(place=st.integers(0), bit=st.integers(0, 7))
def test_no_flipped_bit_goes_unseen(tmp_path_factory: pytest.TempPathFactory, place: int, bit: int) -> None:
    folder = tmp_path_factory.getbasetemp() / "flipped"
    if not folder.exists():
        make_bundle(folder, "regression")
    path = folder / "model.onnx"
    content = path.read_bytes()
    altered = bytearray(content)
    altered[place % len(content)] ^= 1 << bit
    path.write_bytes(altered)
    with pytest.raises(BundleError, match=r"model\.onnx was altered"):
        read_bundle(folder)
    path.write_bytes(content)


def test_a_folder_that_is_no_bundle_is_refused(tiny: Tiny) -> None:
    assert "is not a folder" in refused(tiny.folder / "nowhere")
    assert "is not a folder" in refused(tiny.folder / "model.onnx")
    (tiny.folder / "manifest.json").unlink()
    assert "not a finished one: it has no manifest.json" in refused(tiny.folder)


def test_a_bundle_in_the_making_is_not_finished(tiny: Tiny) -> None:
    finish(tiny.folder, CARD)
    (tiny.folder / "config.json").write_text("{}")
    with pytest.raises(BundleError):
        finish(tiny.folder, CARD)
    assert not (tiny.folder / "manifest.json").exists()


@pytest.mark.parametrize("name", ["manifest.json", "config.json"])
@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ('{"format": 5}', "has format 5, this version of lilliput reads formats up to 4; update"),
        ('{"kind": "fill"}', "does not say in which format"),
        ("[1]", "does not say in which format"),
        ("{", "is damaged"),
        ("[" * 100_000, "is damaged"),
        ("\xff", "is damaged"),
    ],
    ids=["newer", "without", "a list", "cut", "deep", "not UTF-8"],
)
def test_another_format_and_damaged_json_are_refused(
    tiny: Tiny, name: str, content: str, sentence: str
) -> None:
    (tiny.folder / name).write_bytes(content.encode("latin-1"))
    if name == "config.json":
        sign(tiny.folder)
    found = refused(tiny.folder)
    assert sentence in found
    assert name in found


@pytest.mark.parametrize(
    "name", ["../secret", "/etc/passwd", "a/b", "..", "a\\b", "C:secret", "a\0b", "", ".x"]
)
def test_names_that_lead_out_of_the_bundle_are_refused(tiny: Tiny, name: str) -> None:
    path = tiny.folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"][name] = manifest["files"]["model.onnx"]
    path.write_text(json.dumps(manifest))
    assert f"names {name!r}, which is not the name of a file in it" in refused(tiny.folder)


@pytest.mark.parametrize(
    "files", [None, [], {}, {"model.onnx": 3}, {"model.onnx": {"bytes": "3", "sha256": "x"}}]
)
def test_a_manifest_without_digests_is_refused(tiny: Tiny, files: Any) -> None:
    (tiny.folder / "manifest.json").write_text(json.dumps({"format": 1, "files": files}))
    assert "manifest.json does not" in refused(tiny.folder)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"kind": "translation"}, "'kind' is 'translation', expected is one of classification"),
        ({"kind": ["fill"]}, "'kind'"),
        ({"classes": []}, "'classes'"),
        ({"classes": ["good", "good"]}, "'classes'"),
        ({"classes": "good"}, "'classes'"),
        ({"classes": ["good", 3]}, "'classes'"),
        ({"tags": ["O"]}, "'tags'"),
        ({"positions": 2}, "'positions'"),
        ({"positions": True}, "'positions'"),
        ({"positions": "512"}, "'positions'"),
        ({"pairs": 1}, "'pairs'"),
        ({"task": 3}, "'task'"),
        ({"quantization": None}, "'quantization'"),
        ({"min_probability": 1.5}, "'min_probability'"),
        ({"min_probability": True}, "'min_probability'"),
        ({"min_probability": float("nan")}, "'min_probability'"),
        ({"kind": "regression", "classes": [], "min_probability": 0.5}, "'min_probability'"),
        ({"kind": "multilabel", "min_probability": 0.5}, "'min_probability'"),
    ],
)
def test_a_config_that_says_something_impossible_is_refused(
    tiny: Tiny, changes: dict[str, Any], named: str
) -> None:
    change(tiny.folder, **changes)
    found = refused(tiny.folder)
    assert f"config.json: {named}" in found
    assert "expected is" in found


# Parts that do not belong together


@pytest.mark.parametrize(("opset", "ir"), [(99, 10), (20, 99)])
def test_a_graph_newer_than_onnxruntime_is_refused(tiny: Tiny, opset: int, ir: int) -> None:
    onnx.save(graph(tiny.arrays, pooled=True, opset=opset, ir=ir), tiny.folder / "model.onnx")
    sign(tiny.folder)
    found = refused(tiny.folder)
    assert "99" in found
    assert "pip install --upgrade onnxruntime" in found


def test_a_tokenizer_with_more_pieces_than_the_model_is_refused(tiny: Tiny) -> None:
    tokenizer([*PIECES, "another"]).save(str(tiny.folder / "tokenizer.json"))
    sign(tiny.folder)
    found = refused(tiny.folder)
    assert f"ids up to {len(PIECES)}" in found
    assert "does not belong to this tokenizer.json" in found


def test_a_tokenizer_with_fewer_pieces_than_a_model_guesses_is_refused(tmp_path: Path) -> None:
    tiny = make_bundle(tmp_path / "bundle", "fill")
    tokenizer(PIECES[:-1]).save(str(tiny.folder / "tokenizer.json"))
    sign(tiny.folder)
    assert f"expected is (1, 2, {len(PIECES) - 1})" in refused(tiny.folder)


def test_classes_of_another_number_than_scores_are_refused(tiny: Tiny) -> None:
    change(tiny.folder, classes=["good", "bad"])
    assert "shape (1, 3) for two pieces, expected is (1, 2)" in refused(tiny.folder)


def test_a_model_of_another_kind_is_refused(tiny: Tiny) -> None:
    change(tiny.folder, kind="tagging", classes=[], tags=["O", "B-x", "I-x"])
    assert "expected is (1, 2, 3) by config.json (tagging)" in refused(tiny.folder)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("model.onnx", "is not a graph"), ("tokenizer.json", "is not a tokenizer")],
)
@pytest.mark.parametrize("content", [b"", b"nonsense", b"{}", b"\x80\x04\x95 a pickle"])
def test_a_file_of_another_kind_is_refused(tiny: Tiny, name: str, content: bytes, sentence: str) -> None:
    (tiny.folder / name).write_bytes(content)
    sign(tiny.folder)
    assert sentence in refused(tiny.folder)


def test_other_inputs_are_refused(tiny: Tiny) -> None:
    model = onnx.load(tiny.folder / "model.onnx")
    model.graph.input[0].name = "words"
    model.graph.node[0].input[1] = "words"
    onnx.save(model, tiny.folder / "model.onnx")
    sign(tiny.folder)
    assert "takes words, attention_mask, token_type_ids, expected are input_ids" in refused(tiny.folder)


@pytest.mark.parametrize("place", ["secret.bin", "../secret.bin"])
def test_a_graph_that_names_other_files_is_refused(
    tiny: Tiny, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny.folder)
    model = onnx.load("model.onnx")
    (weights,) = [item for item in model.graph.initializer if item.name == "pieces"]
    Path(place).write_bytes(weights.raw_data)
    weights.ClearField("raw_data")
    weights.data_location = onnx.TensorProto.EXTERNAL
    weights.external_data.add(key="location", value=place)
    Path("model.onnx").write_bytes(model.SerializeToString())
    sign(tiny.folder)
    assert "constants in another file" in refused(tiny.folder)


# The card


def test_a_card_holds_its_facts_and_the_sizes_on_disk(tiny: Tiny) -> None:
    finish(tiny.folder, CARD)
    text = (tiny.folder / "README.md").read_text()
    for fact in (CARD.teacher, CARD.corpus, CARD.recipe, *CARD.limits, "98,765", "1,234,567"):
        assert fact in text
    assert "| SST-2 dev | accuracy | 81.25 | 87.5 |" in text
    assert "| MRPC dev | F1 | 77 | not measured |" in text
    listed = dict(re.findall(r"^\| (\S+\.\S+) \| ([\d,]+) \|$", text, re.MULTILINE))
    on_disk = {name: size for name, size in sizes(tiny.folder).items() if name in listed}
    assert set(on_disk) == {"model.onnx", "tokenizer.json", "config.json"}
    assert {name: int(size.replace(",", "")) for name, size in listed.items()} == on_disk
    assert f"| together | {sum(on_disk.values()):,} |" in text


def test_every_figure_of_a_card_comes_from_its_arguments() -> None:
    config = BundleConfig("classification", 17, 19, "int8", "0.1.0", "sst2", classes=CLASSES)
    text = CARD.render(config, {"model.onnx": 11, "config.json": 13})
    given = repr((CARD, config)) + "1,234,567 98,765 11 13 24 256"  # and: a sum, SHA-256
    known = set(re.findall(r"[\d.,]*\d", given)) | {str(len(CLASSES)), "77"}
    assert set(re.findall(r"[\d.,]*\d", text)) <= known


@pytest.mark.parametrize("kind", KINDS)
def test_the_front_matter_is_yaml_and_the_hub_can_read_it(kind: str) -> None:
    config = BundleConfig(kind, 17, 19, "int8", classes=CLASSES, tags=TAGS, lilliput="0.1.0")
    _, front, body = CARD.render(config, {"model.onnx": 11}).split("---\n", 2)
    values = yaml.safe_load(front)
    assert values["license"] == "apache-2.0"
    assert values["model-index"][0]["name"] == CARD.name
    figures = [result["metrics"][0]["value"] for result in values["model-index"][0]["results"]]
    assert figures == [81.25, 77.0]
    assert body.startswith(f"\n# {CARD.name}\n")


def test_what_was_not_measured_is_not_claimed() -> None:
    config = BundleConfig("fill", 17, 19, "int8", lilliput="0.1.0")
    silent = Card("x", None, None, None, {}, scores=(), limits=())
    text = silent.render(config, {})
    assert "Not measured." in text
    values = yaml.safe_load(text.split("---\n")[1])
    assert values.keys() == {"library_name", "pipeline_tag", "tags"}
    for word in ("teacher:", "corpus:", "recipe:", "task:", "None", "not recorded"):
        assert word not in text
    assert "Not stated" in text


@pytest.mark.parametrize("pairs", [False, True])
def test_the_lines_of_a_card_work(
    tmp_path: Path, pairs: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = make_bundle(tmp_path / "bundle", "classification", pairs)
    finish(tiny.folder, CARD)
    text = (tiny.folder / "README.md").read_text()
    monkeypatch.chdir(tiny.folder)
    (code,) = re.findall(r"```python\n(.+?)```", text, re.DOTALL)
    exec(compile(code, "README.md", "exec"), {})
    assert "Classification(label=" in capsys.readouterr().out
    (line,) = re.findall(r"```sh\n(.+?)\n```", text, re.DOTALL)
    module = f"{sys.executable} -m lilliput"
    done = subprocess.run(
        line.replace("lilliput", module), shell=True, capture_output=True, text=True, check=True
    )
    assert done.stdout.split("\t")[0] in CLASSES


def test_two_threads_answer_as_one(tiny: Tiny) -> None:
    (answer,) = lilliput.load(str(tiny.folder), threads=2).classify(["good film"])
    expected = tiny.probabilities("good film")
    assert np.allclose(list(answer.probabilities.values()), expected, atol=1e-6)


def test_the_code_of_the_how_to_page_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = Path(__file__).parent.parent.parent / "docs" / "how-to" / "run-a-bundle.md"
    make_bundle(tmp_path / "bundle", "classification")
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.+?)```", page.read_text(), re.DOTALL)
    exec(compile(code, page.name, "exec"), {})
    assert len(capsys.readouterr().out.splitlines()) == 4
    shell = re.findall(r"```sh\n(.+?)\n```", page.read_text(), re.DOTALL)
    lines, table = [block for block in shell if "lilliput run bundle" in block]
    Path("reviews.csv").write_text("id,text\n7,a film to remember\n")

    def typed(line: str) -> str:
        command = line.replace("lilliput", f"{sys.executable} -m lilliput")
        return subprocess.run(command, shell=True, capture_output=True, text=True, check=True).stdout

    assert [answer.split("\t")[0] in CLASSES for answer in typed(lines).splitlines()] == [True, True]
    assert typed(table) == ""
    assert (
        Path("answers.csv")
        .read_text()
        .startswith("id,text,label,probability,cut,unknown\n7,a film to remember,")
    )
