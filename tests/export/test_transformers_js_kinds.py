"""The folder for transformers.js answers as the bundle does, from the same pieces, whatever its kind."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
from transformers import AutoConfig, AutoTokenizer

import lilliput
from checkpoints import SENTENCES, save_small
from conftest import World
from finetuned import CLASSES, JOINT, SCORES, finished
from lilliput.errors import ModelError
from lilliput.export.transformers_js import FILES, FLOAT, QUANTIZED
from lilliput.finetuning.model import load_encoder, save_task_model
from lilliput.inference.outputs import softmax
from lilliput.tasks.task import Labels, Task

PAIRS = Task("p", "classification", pairs=True, classes=("other", "same"))
pytestmark = pytest.mark.slow
WORDS = Task("w", "tagging", tags=("O", "B-x", "I-x"), metric="f1")
ARCHITECTURES = {
    "classification": "BertForSequenceClassification",
    "multilabel": "BertForSequenceClassification",
    "pairs": "BertForSequenceClassification",
    "regression": "BertForSequenceClassification",
    "tagging": "BertForTokenClassification",
    "fill": "BertForMaskedLM",
}
STORED = [(FLOAT, "float32"), (QUANTIZED, "int8")]


def checkpoint(world: World, kind: str, folder: Path) -> Path:
    if kind == "fill":
        return save_small(world, "fill", folder)
    task = {
        "classification": CLASSES,
        "multilabel": replace(CLASSES, kind="multilabel"),
        "pairs": PAIRS,
        "regression": SCORES,
        "tagging": WORDS,
    }[kind]
    tokenizer = world.lexicon.teacher_tokenizer().tokenizer
    save_task_model(load_encoder(world.teacher, task, 0.1, 0), tokenizer, task, folder)
    return folder


@pytest.fixture(scope="module", params=ARCHITECTURES)
def made(
    world: World, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> tuple[str, Path]:
    """A kind and a folder that holds its folder for transformers.js and its bundles."""
    folder = tmp_path_factory.mktemp(request.param)
    model = checkpoint(world, request.param, folder / "model")
    lilliput.bundle(model, folder / "out", layout="transformers.js")
    for _, quantization in STORED:
        lilliput.bundle(model, folder / quantization, quantization=quantization)
    return request.param, folder


def texts_of(kind: str) -> tuple[list[str], list[str] | None]:
    texts = [f"the [MASK] {text}" for text in SENTENCES] if kind == "fill" else list(SENTENCES)
    return texts, texts[::-1] if kind == "pairs" else None


def logits_of(folder: Path, model: str, kind: str) -> tuple[npt.NDArray[np.float32], Any]:
    """Returns what a client makes of the folder that knows transformers' files, and what it reads."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer(*texts_of(kind), padding=True, truncation=True, return_tensors="np")
    session = onnxruntime.InferenceSession(folder / model)
    names = [item.name for item in session.get_inputs()]
    (logits,) = session.run(["logits"], {name: inputs[name] for name in names})
    return logits, inputs


@pytest.mark.parametrize(("model", "quantization"), STORED)
def test_it_answers_as_the_bundle_does(made: tuple[str, Path], model: str, quantization: str) -> None:
    kind, folder = made
    bundle = lilliput.load(folder / quantization)
    logits, inputs = logits_of(folder / "out", model, kind)
    texts, pairs = texts_of(kind)
    config = AutoConfig.from_pretrained(folder / "out")
    if kind in ("classification", "pairs"):
        for row, answer in zip(softmax(logits), bundle.classify(texts, pairs), strict=True):
            named = {config.id2label[index]: share for index, share in enumerate(row)}
            assert named == pytest.approx(answer.probabilities, abs=1e-5)
    elif kind == "multilabel":
        assert config.problem_type == "multi_label_classification"
        for row, answer in zip(1 / (1 + np.exp(-logits)), bundle.label(texts), strict=True):
            named = {config.id2label[index]: share for index, share in enumerate(row)}
            assert named == pytest.approx(answer.probabilities, abs=1e-5)
    elif kind == "regression":
        np.testing.assert_allclose(
            logits[:, 0], [one.value for one in bundle.score(texts)], rtol=1e-4, atol=1e-5
        )
    elif kind == "tagging":
        for index, (row, answer) in enumerate(zip(logits, bundle.tag(texts), strict=True)):
            spans = [inputs.token_to_chars(index, place) for place in range(len(row))]
            first = {span[0]: place for place, span in reversed([*enumerate(spans)]) if span is not None}
            said = [config.id2label[int(row[first[word.start]].argmax())][-1] for word in answer.words]
            assert said == [word.tag[-1] for word in answer.words]  # O or x; B and I are repaired
    else:
        mask = bundle._network.tokenizer.token_to_id("[MASK]")
        for row, ids, answer in zip(logits, inputs["input_ids"], bundle.fill(texts, top=1), strict=True):
            (best,) = answer.guesses[0]
            shares = softmax(row[list(ids).index(mask)])
            assert bundle._network.tokenizer.id_to_token(int(shares.argmax())) == best.piece
            assert shares.max() == pytest.approx(best.probability, abs=1e-5)


def test_the_pieces_are_the_same(made: tuple[str, Path]) -> None:
    kind, folder = made
    bundle = lilliput.load(folder / "int8")
    texts, pairs = texts_of(kind)
    _, inputs = logits_of(folder / "out", FLOAT, kind)
    given: list[Any] = texts if pairs is None else list(zip(texts, pairs, strict=True))
    for row, mask, types, read in zip(
        inputs["input_ids"],
        inputs["attention_mask"],
        inputs["token_type_ids"],
        bundle._network.pieces(given),
        strict=True,
    ):
        assert list(row[mask == 1]) == read.ids
        assert list(types[mask == 1]) == read.type_ids


def test_the_settings_are_those_that_transformers_reads_with_ours_beside(made: tuple[str, Path]) -> None:
    kind, folder = made
    out = folder / "out"
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()) == sorted(FILES)
    config, ours = AutoConfig.from_pretrained(out), json.loads((out / "lilliput.json").read_text())
    assert config.architectures == [ARCHITECTURES[kind]]
    bundle = lilliput.load(folder / "int8").config
    names = {"regression": ("score",)}.get(kind, bundle.classes or bundle.tags)
    if names:
        assert tuple(config.id2label.values()) == names
        assert config.label2id == {name: index for index, name in enumerate(names)}
    problems = {
        "regression": "regression",
        "classification": "single_label_classification",
        "multilabel": "multi_label_classification",
    }
    assert config.problem_type == problems.get(bundle.kind)
    for key in ("kind", "classes", "tags", "pairs", "positions", "products"):
        found = ours[key]
        assert (tuple(found) if isinstance(found, list) else found) == getattr(bundle, key)


def test_the_card_shows_how_to_open_it(made: tuple[str, Path]) -> None:
    kind, folder = made
    card = (folder / "out" / "README.md").read_text()
    if kind in ("pairs", "regression"):
        assert 'AutoModelForSequenceClassification.from_pretrained("out", { dtype: "q8" })' in card
        assert ("text_pair" in card) == (kind == "pairs")
    else:
        tasks = {"tagging": "token-classification", "fill": "fill-mask"}
        task = tasks.get(kind, "text-classification")
        assert f'await pipeline("{task}", "out", {{ dtype: "q8" }})' in card


def test_a_model_of_a_run_is_scored_by_its_int8_graph(world: World, tmp_path: Path) -> None:
    finished(world, tmp_path / "run", CLASSES, Labels((0, 1, 1, 1)), 0.75)
    made = lilliput.bundle(tmp_path / "run", tmp_path / "out", task="c", layout="transformers.js")
    bundled = lilliput.bundle(tmp_path / "run", tmp_path / "bundle", task="c", quantization="int8")
    assert made.scores == bundled.scores
    assert "accuracy" in made.scores
    card = (tmp_path / "out" / "README.md").read_text()
    assert f"| c dev | accuracy | {made.scores['accuracy']:g} |" in card


def test_a_kind_that_nobody_else_knows_is_refused_by_name(world: World, tmp_path: Path) -> None:
    finished(world, tmp_path / "run", JOINT, Labels((0, 1), ((0, 1), (0,))), 1.0)
    with pytest.raises(ModelError, match=r"is of the kind joint, which transformers\.js and .* do not know"):
        lilliput.bundle(tmp_path / "run", tmp_path / "out", task="j", layout="transformers.js")
    assert not (tmp_path / "out").exists()
