"""The page in web/ says what onnxruntime and the tokenizers library say, in Node.js and in a browser."""

import hashlib
import itertools
import json
import os
import shutil
import subprocess
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
)

from conftest import stir, teacher_tokenizer
from lilliput.tokenizer import student_tokenizer

pytest.importorskip("onnx", reason="the bundles are made with onnx")
onnxruntime = pytest.importorskip("onnxruntime", reason="the bundles are checked with onnxruntime")

WEB = Path(__file__).parent.parent / "web"
SENTENCES = (Path(__file__).parent / "sentences.txt").read_text(encoding="utf-8").splitlines()
POSITIONS = 64
NODE, CHROMIUM = shutil.which("node"), shutil.which("chromium")
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
CLASSES, TAGS = ("bad", "good", "neither"), ("O", "B-place", "I-place", "B-time", "I-time")
CONFIGS: dict[str, dict[str, Any]] = {
    "classification": {"classes": CLASSES},
    "pairs": {"kind": "classification", "pairs": True, "classes": CLASSES},
    "regression": {"pairs": True},
    "tagging": {"tags": TAGS},
    "joint": {"classes": CLASSES, "tags": TAGS},
    "fill": {},
    "encode": {},
}
"""What differs between the bundles, by name; a name that is a kind is that kind."""

pytestmark = [
    pytest.mark.skipif(NODE is None, reason="node is not installed"),
    pytest.mark.skipif(
        not (WEB / "node_modules").is_dir(),
        reason="web/node_modules is missing; make it with `npm ci --ignore-scripts` in web/",
    ),
]


class OneOutput(torch.nn.Module):
    """A model that takes the inputs of a bundle in their order and returns its one output."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: torch.Tensor, mask: torch.Tensor, types: torch.Tensor) -> torch.Tensor:
        return self.model(input_ids=ids, attention_mask=mask, token_type_ids=types)[0]


def small_model(kind: str, labels: int, pieces: int) -> torch.nn.Module:
    """Returns a BERT of random weights with the head of a kind."""
    config = BertConfig(
        vocab_size=pieces,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=POSITIONS,
        num_labels=labels,
        attn_implementation="eager",
    )
    heads = {
        "classification": BertForSequenceClassification,
        "regression": BertForSequenceClassification,
        "tagging": BertForTokenClassification,
        "joint": BertForTokenClassification,
        "fill": BertForMaskedLM,
    }
    model = heads[kind](config) if kind in heads else BertModel(config, add_pooling_layer=False)
    stir(model)
    return model.eval()


def write_bundles(folder: Path, name: str, tokenizer: Tokenizer) -> None:
    """Writes a bundle of a small random model, in float32 and in int8."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    whole, eighth = (folder / quantization / name for quantization in ("float32", "int8"))
    whole.mkdir(parents=True)
    eighth.mkdir(parents=True)
    config = {
        "format": 1, "kind": name, "task": None, "pairs": False, "classes": (), "tags": (),
        "positions": POSITIONS, "opset": 17, "quantization": "float32", "lilliput": "0.1.0",
    } | CONFIGS[name]  # fmt: skip
    labels = len(config["classes"]) + len(config["tags"]) or 1
    model = OneOutput(small_model(config["kind"], labels, tokenizer.get_vocab_size()))
    axes = {name: {0: "batch", 1: "length"} for name in (*INPUTS, "scores")}
    if config["kind"] in ("classification", "regression"):
        del axes["scores"][1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the older exporter is enough here and takes a fiftieth of the time
        torch.onnx.export(
            model, (torch.ones(2, 9, dtype=torch.long),) * 3, str(whole / "model.onnx"),
            input_names=list(INPUTS), output_names=["scores"], dynamic_axes=axes,
            opset_version=config["opset"], dynamo=False,
        )  # fmt: skip
    # Signed weights would saturate in onnxruntime's AVX2 kernels, and in no others.
    unsigned = QuantType.QUInt8
    quantize_dynamic(whole / "model.onnx", eighth / "model.onnx", per_channel=True, weight_type=unsigned)
    finish(whole, config, tokenizer)
    finish(eighth, config | {"quantization": "int8"}, tokenizer)


def finish(folder: Path, config: dict[str, Any], tokenizer: Tokenizer) -> None:
    """Writes all of a bundle but its model, and what Python answers beside it."""
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "README.md").write_text("# A bundle of random weights\n")
    files = {
        path.name: {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        for path in sorted(folder.iterdir())
    }
    (folder / "manifest.json").write_text(json.dumps({"format": 1, "files": files}))
    twin, prefix = Twin(folder), "[MASK] " if config["kind"] == "fill" else ""
    texts = [(prefix + first, second) for first, second in itertools.pairwise((*SENTENCES, SENTENCES[0]))]
    cases = [{"text": text, "second": other, "expected": twin.answer(text, other)} for text, other in texts]
    folder.with_suffix(".json").write_text(json.dumps(cases))


def softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores.astype(np.float64) - scores.max())
    return powers / powers.sum()


class Twin:
    """What a bundle answers, by the libraries of Python alone."""

    def __init__(self, folder: Path) -> None:
        self.config = json.loads((folder / "config.json").read_text())
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.enable_truncation(self.config["positions"])
        self.session = onnxruntime.InferenceSession(str(folder / "model.onnx"))

    def run(self, *texts: str) -> tuple[Any, np.ndarray]:
        encoding = self.tokenizer.encode(*texts)
        given = (encoding.ids, encoding.attention_mask, encoding.type_ids)
        feeds = {name: np.array([row], np.int64) for name, row in zip(INPUTS, given, strict=True)}
        return encoding, self.session.run(None, feeds)[0][0]

    def answer(self, text: str, second: str) -> dict[str, Any]:
        kind, classes, tags = (self.config[name] for name in ("kind", "classes", "tags"))
        if kind == "encode":
            vectors = [self.run(one)[1].mean(0, dtype=np.float64) for one in (text, second)]
            return {"vectors": [vector.tolist() for vector in vectors]}
        encoding, scores = self.run(text, second) if self.config["pairs"] else self.run(text)
        answer: dict[str, Any] = {"ids": encoding.ids}
        if kind == "regression":
            answer["score"] = float(scores[0])
        if kind in ("classification", "joint"):
            row = scores if kind == "classification" else scores[0, len(tags) :]
            answer["classes"] = dict(zip(classes, softmax(row).tolist(), strict=True))
        if kind in ("tagging", "joint"):
            words = sorted({word for word in encoding.word_ids if word is not None})
            firsts = [encoding.word_ids.index(word) for word in words]
            rows = [softmax(scores[first, : len(tags)]) for first in firsts]
            rest = encoding.overflowing[:1]  # has the end of a word whose first pieces alone are read
            ends = [(one.word_to_chars(word) or (0, 0))[1] for one in rest for word in words[-1:]]
            spans = [encoding.word_to_chars(word) for word in words]
            spans[-1] = (spans[-1][0], max(spans[-1][1], *ends, 0))
            answer["words"] = [
                {"text": text[start:end], "tag": tags[row.argmax()], "probability": row.max()}
                for (start, end), row in zip(spans, rows, strict=True)
            ]
        if kind == "fill":
            at = encoding.ids.index(self.tokenizer.token_to_id("[MASK]"))
            row = softmax(scores[at])
            best = np.argsort(-row, kind="stable")[:5].tolist()
            answer["guesses"] = {self.tokenizer.id_to_token(piece): row[piece] for piece in best}
        return answer


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a bundle of every kind, each with what Python answers to the sentences."""
    folder = tmp_path_factory.mktemp("bundles")
    words = teacher_tokenizer((WEB.parent / "README.md").read_text(encoding="utf-8"))
    tokenizer = student_tokenizer(words, words.get_vocab())
    for name in CONFIGS:
        write_bundles(folder, name, tokenizer)
    return folder


def run_node(script: str, bundles: Path) -> None:
    """Runs tests written for Node.js and shows what they print when one fails."""
    command = [str(NODE), "--test", "--test-reporter=spec", f"tests/{script}"]
    folders = {"LILLIPUT_BUNDLES": str(bundles), "LILLIPUT_DIST": str(bundles / "dist")}
    result = subprocess.run(
        command, cwd=WEB, env=os.environ | folders, check=False, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr[-2000:]
    assert "skipped 0" in result.stdout


def test_answers_are_those_of_python(bundles: Path) -> None:
    run_node("model.test.mjs", bundles)


def test_what_is_refused(bundles: Path) -> None:
    run_node("bundle.test.mjs", bundles)


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_the_page_in_a_browser(bundles: Path) -> None:
    subprocess.run([str(NODE), "build.mjs", str(bundles / "dist")], cwd=WEB, check=True)
    run_node("page.test.mjs", bundles)
