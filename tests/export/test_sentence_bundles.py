"""A bundle of a sentence encoder gives the vectors of sentence-transformers, from a mean of states alone."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from sentence_transformers import SentenceTransformer
from transformers import BertForMaskedLM

import lilliput
from checkpoints import SENTENCES, save_small
from conftest import World
from lilliput.errors import ConfigError, ModelError
from lilliput.export import parity
from lilliput.models.sentence_modules import SentenceModules
from sentence_encoders import STUDENT, VECTOR, WIDTH, dense, encoder

TEXTS = [*SENTENCES, "a", "the grass was wet and the child ran " * 9]


@pytest.fixture(scope="module")
def checkpoint(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small(world, "fill", tmp_path_factory.mktemp("checkpoint") / "fill")


@pytest.mark.parametrize(
    "modules",
    [
        STUDENT,
        replace(
            STUDENT, prompts={"query": "my child: "}, default_prompt="query", longest=12, normalize=False
        ),
        SentenceModules("cls", (dense(),), normalize=True),
        SentenceModules("cls", (), normalize=False),
        SentenceModules("mean", (), normalize=True),
    ],
    ids=["student", "prompt", "cls and dense", "cls", "mean"],
)
def test_vectors_are_those_of_sentence_transformers(
    checkpoint: Path, tmp_path: Path, modules: SentenceModules
) -> None:
    folder = encoder(checkpoint, tmp_path / "encoder", modules)
    made = lilliput.bundle(folder, tmp_path / "bundle", quantization="float32")
    bundle = lilliput.load(tmp_path / "bundle")
    theirs = SentenceTransformer(str(folder), device="cpu").encode(TEXTS)
    np.testing.assert_allclose(bundle.encode(TEXTS), theirs, rtol=1e-3, atol=2e-5)
    assert made.exported.kind == "encode"
    assert made.exported.parity.cosine == pytest.approx(1, abs=1e-5)
    config = bundle.config
    assert (config.normalize, config.prompt) == (modules.normalize, modules.prompt())
    assert config.positions == (modules.longest or 24)
    assert config.format == (3 if modules.prompts else 1)


def test_the_mean_of_the_graphs_states_is_the_vector_for_any_client(checkpoint: Path, tmp_path: Path) -> None:
    folder = encoder(checkpoint, tmp_path / "encoder", STUDENT)
    lilliput.bundle(folder, tmp_path / "bundle")
    theirs = SentenceTransformer(str(folder), device="cpu")
    inputs = theirs.tokenizer(TEXTS, padding=True, truncation=True, max_length=24, return_tensors="np")
    session = onnxruntime.InferenceSession(tmp_path / "bundle" / "model.onnx")
    (states,) = session.run(
        None, {name: inputs[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
    )
    mask = inputs["attention_mask"][..., None]
    means = (states * mask).sum(1) / mask.sum(1)
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    assert (means * theirs.encode(TEXTS)).sum(1).mean() > 0.99
    np.testing.assert_allclose(means, lilliput.load(tmp_path / "bundle").encode(TEXTS), atol=1e-5)


@pytest.mark.parametrize("quantization", ["float32", "float16", "int8", "mixed", "int4"])
def test_nothing_is_lost_where_no_fewer_numbers_are_kept_than_states_have(
    checkpoint: Path, tmp_path: Path, quantization: Any
) -> None:
    wide = replace(STUDENT, dense=(dense(64),))
    folder = encoder(checkpoint, tmp_path / "encoder", wide)
    made = lilliput.bundle(folder, tmp_path / "bundle", quantization=quantization)
    assert made.exported.parity.cosine is not None
    assert made.exported.parity.cosine >= parity.LEAST_COSINE
    bundle = lilliput.load(tmp_path / "bundle")
    whole, fewer = bundle.encode(TEXTS), bundle.encode(TEXTS, truncate_dim=WIDTH + 1)
    assert fewer.shape == (len(TEXTS), WIDTH + 1)
    np.testing.assert_allclose(bundle.similarity(fewer, fewer), bundle.similarity(whole, whole), atol=1e-5)
    np.testing.assert_allclose(bundle.truncate(whole, WIDTH + 1), fewer, atol=1e-5)


def test_the_space_of_its_own_has_fewer_numbers_and_the_same_cosines(
    checkpoint: Path, tmp_path: Path
) -> None:
    folder = encoder(checkpoint, tmp_path / "encoder", STUDENT)
    for space in ("teacher", "own"):
        lilliput.bundle(folder, tmp_path / space, quantization="float32", space=space)
    bundle, own = lilliput.load(tmp_path / "teacher"), lilliput.load(tmp_path / "own")
    vectors = own.encode(TEXTS)
    assert vectors.shape == (len(TEXTS), WIDTH + 1)
    np.testing.assert_allclose(vectors, bundle.encode(TEXTS, truncate_dim=WIDTH + 1), atol=1e-5)
    np.testing.assert_allclose(
        own.encode(TEXTS, truncate_dim=8), bundle.encode(TEXTS, truncate_dim=8), atol=1e-5
    )
    plain = encoder(checkpoint, tmp_path / "plain", SentenceModules("mean"))
    with pytest.raises(ConfigError, match="has no map into another space"):
        lilliput.bundle(plain, tmp_path / "bundle", space="own")


def test_a_run_whose_student_is_a_sentence_encoder_is_bundled_as_one(
    checkpoint: Path, tmp_path: Path
) -> None:
    folder = encoder(checkpoint, tmp_path / "encoder", STUDENT)
    made = lilliput.bundle(folder, tmp_path / "bundle", quantization="float32")
    parameters = sum(one.numel() for name, one in BertForMaskedLM.from_pretrained(folder).named_parameters()
                     if not name.startswith("cls."))  # fmt: skip
    card = (tmp_path / "bundle" / "README.md").read_text()
    assert f"| model | {parameters + VECTOR * (WIDTH + 1):,} |" in card
    assert "Gives a vector of length 1 for a text" in card
    assert made.exported.kind == "encode"
    assert lilliput.bundle(folder, tmp_path / "fill", kind="fill").exported.kind == "fill"


@pytest.mark.parametrize(
    ("modules", "sentence"),
    [
        (SentenceModules("max"), "pools by the largest of the states"),
        (SentenceModules("mean", (dense(activation="Tanh"),)), "dense layer with the activation 'Tanh'"),
        (SentenceModules("mean", (dense(8, 7),)), "reads vectors of 7 numbers, and those before it have 24"),
        (
            SentenceModules(prompts={"long": "x" * 1001}, default_prompt="long"),
            "puts 1,001 characters before each text.*prompt 'long'",
        ),
    ],
)
def test_what_no_bundle_has_is_named(
    checkpoint: Path, tmp_path: Path, modules: SentenceModules, sentence: str
) -> None:
    folder = encoder(checkpoint, tmp_path / "encoder", modules)
    with pytest.raises(ModelError, match=sentence):
        lilliput.bundle(folder, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_vectors_that_turn_too_far_are_refused(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = encoder(checkpoint, tmp_path / "encoder", STUDENT)
    monkeypatch.setattr(parity, "LEAST_COSINE", 0.99999)
    with pytest.raises(
        ModelError, match=r"mean cosine with the model's own is 0\.9\d+, where 0\.99999 is needed"
    ):
        lilliput.bundle(folder, tmp_path / "bundle", quantization="int4")


def test_the_settings_stand_in_the_bundle(checkpoint: Path, tmp_path: Path) -> None:
    lilliput.bundle(encoder(checkpoint, tmp_path / "encoder", STUDENT), tmp_path / "bundle")
    config = json.loads((tmp_path / "bundle" / "config.json").read_text())
    assert (config["kind"], config["normalize"], config["prompt"]) == ("encode", True, "")
