"""ExecuTorch: model.pte answers as torch does, for all kinds, and a bundle holds it."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BertConfig

import checkpoints
import lilliput
from checkpoints import KINDS, POSITIONS, SENTENCES, compared, inputs, load_torch, save_small
from conftest import World
from finetuned import JOINT, finished
from lilliput.errors import ConfigError, ExtraError, ModelError
from lilliput.export import bundling, parity, program
from lilliput.export.forward import Forward
from lilliput.export.parity import Parity, compare_program
from lilliput.export.phones import ProgramBundle, export_program
from lilliput.export.source import load_source
from lilliput.finetuning.model import load_task_model, save_task_model
from lilliput.models.quantization import find_scheme
from lilliput.pieces.bert_tokenizer import load_tokenizer
from lilliput.run import RunDir
from lilliput.tasks.task import Labels

try:
    import executorch.version  # noqa: F401
except ModuleNotFoundError:
    INSTALLED = False
else:
    INSTALLED = True
needs_executorch = pytest.mark.skipif(
    not INSTALLED, reason="ExecuTorch is not installed; install it with pip install 'lilliput[executorch]'"
)
slow = pytest.mark.skipif(
    "LILLIPUT_SLOW" not in os.environ, reason="it lowers a model, 10 s each; set LILLIPUT_SLOW=1 to run it"
)


@pytest.fixture
def checkpoint(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Gives the folder of a checkpoint of a kind, with a single layer, as lowering takes seconds for each."""

    def find(kind: str, layers: int = 1, width: int = 24) -> Path:
        shaped = checkpoints.small_config

        def shallow(pieces: int) -> BertConfig:
            config = shaped(pieces)
            config.num_hidden_layers, config.hidden_size = layers, width
            config.num_attention_heads, config.intermediate_size = width // 8, 2 * width
            return config

        monkeypatch.setattr(checkpoints, "small_config", shallow)
        return save_small(world, kind, tmp_path / kind)

    return find


# What is lowered


@pytest.mark.parametrize("kind", KINDS)
def test_one_text_at_a_time_gives_what_transformers_gives_to_a_batch(checkpoint: Any, kind: str) -> None:
    folder, given = checkpoint(kind, layers=2), inputs(3, 9)
    forward = Forward(load_source(folder, None)).eval()
    with torch.inference_mode():
        ours = program.by_text(forward, given)
        theirs = load_torch(folder, kind)(**given)[0].numpy()
    assert ours.shape == theirs.shape
    assert np.abs(compared(ours, given) - compared(theirs, given)).max() < 2e-5
    assert np.abs(compared(theirs, given)).max() > 0.02  # or equal would say nothing


def test_a_program_that_answers_otherwise_is_refused(checkpoint: Any) -> None:
    source = load_source(checkpoint("fill"), None)
    forward = Forward(source).eval()

    def same(given: dict[str, torch.Tensor]) -> Any:
        with torch.inference_mode():
            return program.by_text(forward, given)

    plan = find_scheme("float32")
    assert compare_program(same, same, source, plan, SENTENCES).difference == 0
    with pytest.raises(ModelError, match=r"the program differs from torch by 0.01, where 0.0001 is allowed"):
        compare_program(lambda given: same(given) + 0.01, same, source, plan, SENTENCES)


# What is asked for in vain


def test_no_executorch_is_a_sentence(
    checkpoint: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named '{name}'", name="executorch")

    monkeypatch.setattr(program, "_import", missing)
    with pytest.raises(ExtraError, match=r"package executorch.*pip install 'lilliput\[executorch\]'"):
        lilliput.bundle(checkpoint("encode"), tmp_path / "b", executorch=True)
    assert not (tmp_path / "b").exists()


def test_a_quantization_that_executorch_lacks_is_a_sentence(checkpoint: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="made in float16; choose one of float32, int8, mixed, int4"):
        export_program(checkpoint("fill"), tmp_path, quantization="float16")
    with pytest.raises(ConfigError, match="of 32 columns, and one of this model has 24; choose mixed"):
        program.lower(Forward(load_source(tmp_path / "fill", None)), POSITIONS, find_scheme("int4"))


# The bundle


def test_a_bundle_holds_the_program_until_it_is_made_without(
    checkpoint: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made(folder: Path, out: Path, **settings: Any) -> Parity:
        (out / "model.pte").write_bytes(b"program")
        return Parity(0.0, 0.0, None)

    monkeypatch.setattr(bundling, "export_program", made)
    monkeypatch.setattr(program, "check", lambda quantization: None)
    monkeypatch.setattr(program, "version", lambda: "1.5.1")
    folder, out = checkpoint("encode"), tmp_path / "b"
    found = lilliput.bundle(folder, out, executorch=True)
    assert found.files["model.pte"] == 7
    assert found.total == sum(file.stat().st_size for file in out.iterdir())
    card = (out / "README.md").read_text()
    assert "| model.pte | 7 |" in card
    assert "ExecuTorch 1.5.1" in card
    lilliput.load(out)
    (out / "model.pte").write_bytes(b"Program")
    with pytest.raises(lilliput.LilliputError, match="altered"):
        lilliput.load(out)
    assert "model.pte" not in lilliput.bundle(folder, out).files
    assert "pte" not in (out / "README.md").read_text()


# What the page says

MAIN = """
import java.nio.file.*;
import java.util.*;

public class Main {
    public static void main(String[] names) throws Exception {
        Map<String, Integer> vocabulary = new HashMap<>();
        for (String piece : Files.readAllLines(Path.of(names[0]))) vocabulary.put(piece, vocabulary.size());
        WordPiece segmentation = new WordPiece(vocabulary);
        for (String text : Files.readString(Path.of(names[1])).split("\0"))
            System.out.println(Arrays.toString(segmentation.encode(text, 40)));
    }
}
"""
ODD = (
    "A naïve café, ÀÉÎ ç; Ⅷ ½ ﬁ İstanbul Straße ΣΑΣ", "中文字 and 日本語カタカナ", "a^b`c~d|e$f+g<h=i>",
    "tab\there\u00a0nbsp\u2003em\u200bzero\u200dwidth\ufeff", "\x01\x02 del\x7f x\u0085y \ufffd \u0378",
    "“quoted” – dash — … ‘x’ «y»", "emoji 😀 👩\u200d👩", "x" * 101, "ab " * 99,
    "e\u0301 q\u0323", " ", "\U00020000",
)  # fmt: skip


@pytest.mark.skipif(shutil.which("javac") is None, reason="the page's segmentation is in Java: no javac here")
def test_the_segmentation_of_the_page_is_the_tokenizers(world: World, tmp_path: Path) -> None:
    page = (Path(__file__).parent.parent.parent / "docs/how-to/phones.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```java\n(.+?)```", page, re.DOTALL)
    (tmp_path / "WordPiece.java").write_text(code)
    (tmp_path / "Main.java").write_text(MAIN)
    tokenizer = world.lexicon.student_tokenizer()
    tokenizer.enable_truncation(40)
    vocabulary = tokenizer.get_vocab()
    (tmp_path / "pieces").write_text("\n".join(sorted(vocabulary, key=vocabulary.__getitem__)))
    texts = [*(Path(__file__).parent.parent / "sentences.txt").read_text(encoding="utf-8").splitlines(), *ODD]
    (tmp_path / "texts").write_text("\0".join(texts))
    subprocess.run(["javac", "-encoding", "UTF-8", "Main.java", "WordPiece.java"], cwd=tmp_path, check=True)
    command = ["java", "Main", "pieces", "texts"]
    said = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True).stdout
    ours = [json.loads(line) for line in said.splitlines()]
    assert ours == [tokenizer.encode(text).ids for text in texts]


# With ExecuTorch


@needs_executorch
def test_a_joint_model_is_lowered_compared_and_scored(world: World, tmp_path: Path) -> None:
    finished(world, tmp_path / "run", JOINT, Labels((0, 1), ((0, 1), (0,))), 1.0)
    folder = RunDir(tmp_path / "run").finetuned("j")
    model, task = load_task_model(folder)
    model.bert.encoder.layer, model.config.num_hidden_layers = model.bert.encoder.layer[:1], 1
    save_task_model(model, load_tokenizer(str(folder)), task, folder)
    made = lilliput.bundle(
        tmp_path / "run", tmp_path / "b", task="j", quantization="float32", executorch=True
    )
    assert made.program is not None
    assert 0 < made.program.difference < 1e-4
    assert made.program_scores == made.scores
    assert "| j dev, model.pte | frame_accuracy |" in (tmp_path / "b" / "README.md").read_text()
    texts = ["the child was in my house", "a", "every word of it " * 40]
    theirs, ours = lilliput.load(tmp_path / "b").tag(texts), ProgramBundle(tmp_path / "b").tag(texts)
    for one, other in zip(theirs, ours, strict=True):
        assert [word.probability for word in other.words] == pytest.approx(
            [word.probability for word in one.words], abs=1e-4
        )


@slow
@needs_executorch
@pytest.mark.parametrize("quantization", ["float32", "int8", "mixed", "int4"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_program_of_every_kind_answers_as_torch_does(
    checkpoint: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, quantization: str
) -> None:
    # What a random model says hardly depends on the text, so that roundings move it by much of its spread.
    monkeypatch.setattr(parity, "_LARGEST_NOISE", dict.fromkeys((32, 16, 8, 4), 1.0))
    folder = checkpoint(kind, width=32 if quantization == "int4" else 24)
    found = export_program(folder, tmp_path, quantization=quantization, sentences=SENTENCES)
    loaded, given = program.Program((tmp_path / "model.pte").read_bytes()), inputs(3, POSITIONS)
    with torch.inference_mode():
        theirs = load_torch(tmp_path / kind, kind)(**given)[0].numpy()
    difference = np.abs(compared(loaded.run(given) - theirs, given))
    spread = compared(theirs, given).std()
    assert difference.max() < 2e-5 if quantization == "float32" else difference.mean() < spread
    assert found.difference < (2e-5 if quantization == "float32" else 0.05)
    assert (found.noise < 1e-4) == (quantization == "float32")
