"""The page in web/ says of bundles what `lilliput run` says, in Node.js and in a browser."""

import csv
import io
import itertools
import json
import os
import random
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

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

import lilliput
import web_hostile
import web_pieces
from conftest import stir, teacher_tokenizer
from lilliput.errors import InputError
from lilliput.finetuning.model import labels_of, save_task_model, write_threshold
from lilliput.inference.kinds import KINDS
from lilliput.inference.lines import as_text
from lilliput.models.sentence_modules import Dense, SentenceModules, write_modules
from lilliput.models.student import save_student
from lilliput.pieces.bert_tokenizer import complete
from lilliput.tasks.task import Task
from lilliput.text.separated import fields_of

WEB = Path(__file__).parent.parent.parent / "web"
SENTENCES = (Path(__file__).parent.parent / "sentences.txt").read_text(encoding="utf-8").splitlines()
POSITIONS = 64
NODE, CHROMIUM = shutil.which("node"), shutil.which("chromium")
CLASSES, TAGS = ("bad", "good", "neither"), ("O", "B-place", "I-place", "B-time", "I-time")
TASKS = {
    "classification": Task("films", "classification", classes=CLASSES),
    "multilabel": Task("films", "multilabel", classes=CLASSES),
    "pairs": Task("films", "classification", pairs=True, classes=CLASSES),
    "regression": Task("likeness", "regression", pairs=True),
    "tagging": Task("places", "tagging", tags=TAGS),
    "joint": Task("orders", "joint", classes=CLASSES, tags=TAGS),
}
LEAST = 0.6
"""The least probability of a class in two of the bundles, as model.test.mjs knows too."""
SENTENCE_ENCODER = "vectors"
NAMES = (*TASKS, "fill", "encode", SENTENCE_ENCODER)
SCRIPTS = ("page", "library", "search", "hostile", "servers")
QUANTIZATIONS = {
    "float32": ("float32", 32),
    "int8": ("int8", 32),
    "mixed": ("mixed", 32),
    "integers": ("int8", 48),
}
"""Folders of bundles: how their weights are stored, and their width. A wide one multiplies integers."""

pytestmark = [
    pytest.mark.skipif(NODE is None, reason="node is not installed"),
    pytest.mark.skipif(
        not (WEB / "node_modules").is_dir(),
        reason="web/node_modules is missing; make it with `npm ci --ignore-scripts` in web/",
    ),
]


def save_checkpoint(name: str, folder: Path, tokenizer: Tokenizer, width: int) -> None:
    """Writes a BERT of random weights that answers as a bundle of that name does."""
    task = TASKS.get(name)
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=width,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=POSITIONS,
    )
    if task is None:
        plain = BertForMaskedLM(config) if name == "fill" else BertModel(config)
        stir(plain)
        save_student(plain, tokenizer, folder)  # type: ignore[arg-type]
        if name == SENTENCE_ENCODER:
            layer = Dense(torch.randn(40, width), torch.randn(40))
            modules = SentenceModules(dense=(layer,), prompts={"any": "of this: "}, default_prompt="any")
            write_modules(modules, folder, width)
        return
    config.id2label = dict(enumerate(labels_of(task)))
    config.label2id = {label: index for index, label in config.id2label.items()}
    model = (BertForTokenClassification if task.tags else BertForSequenceClassification)(config)
    stir(model)
    save_task_model(model, tokenizer, task, folder)
    if name in ("classification", "joint"):
        write_threshold(folder, LEAST)


def python_says(bundle: lilliput.Bundle, pieces: Tokenizer, text: str, second: str) -> dict[str, Any]:
    """Returns the answer of `lilliput run --json`, given alone, and the number of pieces that were read.

    The page shows how alike two texts are where a bundle encodes them, so that there are two answers.
    """
    kind, pairs = bundle.config.kind, bundle.config.pairs
    texts: list[Any] = [(text, second)] if pairs else [text, second] if kind == "encode" else [text]
    found = [answer for one in texts for answer in bundle.answer([one])]
    answers = [json.loads(as_text(KINDS[kind], answer, None, True)) for answer in found]
    if kind == "encode":
        found = {
            "cut": any(answer["cut"] for answer in answers),
            "unknown": max(answer["unknown"] for answer in answers),
        }
        return found | {"vectors": [answer["vector"] for answer in answers]}
    return answers[0] | {"pieces": len(pieces.encode(*((text, second) if pairs else (text,))).ids)}


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with bundles of every kind, each with what Python answers to the sentences."""
    folder, checkpoints = tmp_path_factory.mktemp("bundles"), tmp_path_factory.mktemp("checkpoints")
    words = teacher_tokenizer((WEB.parent / "README.md").read_text(encoding="utf-8"))
    tokenizer = complete(words)
    for width, name in itertools.product((32, 48), NAMES):
        save_checkpoint(name, checkpoints / f"{width}" / name, tokenizer, width)
    tokenizer.enable_truncation(POSITIONS)
    texts = list(itertools.pairwise((*SENTENCES, SENTENCES[0])))
    for (title, (quantization, width)), name in itertools.product(QUANTIZATIONS.items(), NAMES):
        place = folder / title / name
        lilliput.bundle(checkpoints / f"{width}" / name, place, quantization=quantization)
        bundle, prefix = lilliput.load(place), "[MASK] " if name == "fill" else ""
        # Scores of regression, of random weights, do not tolerate rounded inputs.
        rounds = title == "integers" and name != "regression"
        assert bundle.config.products == ("int8" if rounds else "float32")
        cases = [
            {"text": prefix + text, "second": second}
            | {"expected": python_says(bundle, tokenizer, prefix + text, second)}
            for text, second in texts
        ]
        place.with_suffix(".json").write_text(json.dumps(cases))
    web_hostile.write_graphs(folder / "graphs")
    return folder


def run_node(script: str, bundles: Path) -> None:
    """Runs tests written for Node.js and shows what they print when one fails."""
    command = [str(NODE), "--test", "--test-reporter=spec", f"tests/{script}"]
    folders = {
        "LILLIPUT_BUNDLES": str(bundles),
        "LILLIPUT_DIST": str(bundles / "dist"),
        "LILLIPUT_PIECES": str(bundles / "pieces.json"),
        "LILLIPUT_TABLES": str(bundles / "tables.json"),
    }
    result = subprocess.run(
        command, cwd=WEB, env=os.environ | folders, check=False, capture_output=True, text=True, timeout=600
    )
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr[-2000:]
    assert "skipped 0" in result.stdout


def test_answers_are_those_of_python(bundles: Path) -> None:
    run_node("model.test.mjs", bundles)


def test_words_and_pieces_are_those_of_python(tmp_path: Path) -> None:
    cases = {"cases": web_pieces.cases(24, 250), "characters": web_pieces.characters()}
    (tmp_path / "pieces.json").write_text(json.dumps(cases))
    run_node("pieces.test.mjs", tmp_path)


def random_tables() -> list[tuple[str, list[list[str]] | None]]:
    """Returns texts of CSVs, well-formed or not, with the rows that Python reads; None where it refuses."""
    generator, tables = random.Random(0), []
    for number in range(600):
        if number % 2:
            written = io.StringIO()
            rows = [["".join(generator.choices('ab ,;|\t"\n', k=generator.randrange(6))) for _ in range(3)]
                    for _ in range(4)]  # fmt: skip
            csv.writer(written, delimiter=",;\t|"[number % 4], lineterminator="\r\n").writerows(rows)
            text = written.getvalue()
        else:
            text = "".join(generator.choices(["a", "b", " ", ",", ";", '"', '"', "\n", "\r\n"], k=12))
        try:
            found = [row for _, row in fields_of(Path("x.csv"), io.BytesIO(text.encode()))[1]]
        except InputError:
            found = None
        tables.append((text, found if found and len({len(row) for row in found}) == 1 else None))
    return tables


def test_documents_are_those_of_python(tmp_path: Path) -> None:
    tables = random_tables()
    assert 150 < sum(rows is not None for _, rows in tables) < 500
    (tmp_path / "tables.json").write_text(json.dumps(tables))
    run_node("documents.test.mjs", tmp_path)


def test_what_is_refused(bundles: Path) -> None:
    run_node("bundle.test.mjs", bundles)


def test_the_page_lets_through_the_operators_that_python_does() -> None:
    graph_size = pytest.importorskip("lilliput.inference.graph_size")
    listed = re.search(r"OPERATORS = new Set\(\[(.*?)\]\)", (WEB / "src" / "graph.js").read_text(), re.DOTALL)
    assert listed
    assert set(re.findall(r'"(\w+)"', listed[1])) == set(graph_size._RULES)


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
@pytest.mark.parametrize("script", [f"{name}.test.mjs" for name in SCRIPTS])
def test_the_page_in_a_browser(bundles: Path, script: str) -> None:
    subprocess.run([str(NODE), "build.mjs", str(bundles / "dist")], cwd=WEB, check=True)
    run_node(script, bundles)
