"""The folder for transformers.js: clients that only take the mean of the states have right vectors."""

import json
import shutil
import subprocess
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
from lilliput.errors import ConfigError, ModelError, StorageError
from lilliput.export import parity
from lilliput.export.transformers_js import FILES, FLOAT, QUANTIZED
from lilliput.models.sentence_modules import SentenceModules
from sentence_encoders import STUDENT, VECTOR, dense, encoder

TEXTS = [*SENTENCES, "a", "the grass was wet and the child ran " * 9]
LONGEST = 12
ENCODERS = {
    "student": replace(STUDENT, longest=LONGEST),
    "cls": SentenceModules("cls", (dense(),), normalize=False),
}
WEB = Path(__file__).parent.parent.parent / "web"
NODE = shutil.which("node")
LIBRARY = WEB / "node_modules" / "@huggingface" / "transformers"


@pytest.fixture(scope="module")
def checkpoint(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small(world, "fill", tmp_path_factory.mktemp("checkpoint") / "fill")


@pytest.fixture(scope="module", params=ENCODERS)
def made(
    checkpoint: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> tuple[Path, Path]:
    """An encoder and its folder for transformers.js."""
    folder = tmp_path_factory.mktemp(request.param)
    encoder(checkpoint, folder / "encoder", ENCODERS[request.param])
    lilliput.bundle(folder / "encoder", folder / "out", layout="transformers.js")
    return folder / "encoder", folder / "out"


def vectors_of(folder: Path, model: str, *, normalize: bool) -> npt.NDArray[np.float32]:
    """Returns what a client makes of the folder that knows transformers' files and pools by the mean."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer(TEXTS, padding=True, truncation=True, return_tensors="np")
    session = onnxruntime.InferenceSession(folder / model)
    names = [item.name for item in session.get_inputs()]
    (states,) = session.run(["last_hidden_state"], {name: inputs[name] for name in names})
    mask = inputs["attention_mask"][..., None]
    means: npt.NDArray[np.float32] = (states * mask).sum(1) / mask.sum(1)
    return means / np.linalg.norm(means, axis=1, keepdims=True) if normalize else means


@pytest.mark.parametrize(("model", "quantization"), [(FLOAT, "float32"), (QUANTIZED, "int8")])
def test_the_mean_of_the_states_is_the_vector_of_a_bundle(
    made: tuple[Path, Path], tmp_path: Path, model: str, quantization: str
) -> None:
    folder, out = made
    lilliput.bundle(folder, tmp_path / "bundle", quantization=quantization)
    bundle = lilliput.load(tmp_path / "bundle")
    found = vectors_of(out, model, normalize=bundle.config.normalize)
    assert found.shape == (len(TEXTS), VECTOR)
    np.testing.assert_allclose(found, bundle.encode(TEXTS), rtol=1e-4, atol=1e-5)


def test_the_files_are_those_that_transformers_reads(made: tuple[Path, Path]) -> None:
    folder, out = made
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()) == sorted(FILES)
    config, theirs = AutoConfig.from_pretrained(out), AutoConfig.from_pretrained(folder)
    assert (config.model_type, config.architectures) == ("bert", ["BertModel"])
    assert (config.hidden_size, config.vocab_size) == (theirs.hidden_size, theirs.vocab_size)
    card = (out / "README.md").read_text()
    normalize = json.dumps("Normalize" in (folder / "modules.json").read_text())
    assert 'pipeline("feature-extraction", "out", { dtype: "q8" })' in card
    assert f"normalize: {normalize}" in card
    assert "library_name: transformers.js" in card
    assert f"| {QUANTIZED} | {(out / QUANTIZED).stat().st_size:,} |" in card


def test_the_vectors_may_lie_in_a_space_of_their_own(checkpoint: Path, tmp_path: Path) -> None:
    folder = encoder(checkpoint, tmp_path / "encoder", STUDENT)
    lilliput.bundle(folder, tmp_path / "out", layout="transformers.js", space="own")
    session = onnxruntime.InferenceSession(tmp_path / "out" / FLOAT)
    assert session.get_outputs()[0].shape[-1] == STUDENT.dense[0].weight.shape[1] + 1


def test_a_prompt_is_named_because_the_client_does_not_know_it(checkpoint: Path, tmp_path: Path) -> None:
    modules = replace(STUDENT, prompts={"query": "query: "}, default_prompt="query")
    made = lilliput.bundle(
        encoder(checkpoint, tmp_path / "encoder", modules), tmp_path / "out", layout="transformers.js"
    )
    assert "Put `query: ` before each text" in (tmp_path / "out" / "README.md").read_text()
    assert made.total == sum(path.stat().st_size for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert made.exported.parity.cosine is not None
    assert made.exported.parity.cosine >= parity.LEAST_COSINE


def test_an_earlier_folder_is_replaced_and_no_other(checkpoint: Path, tmp_path: Path) -> None:
    folder, out = encoder(checkpoint, tmp_path / "encoder", STUDENT), tmp_path / "out"
    lilliput.bundle(folder, out, layout="transformers.js")
    (out / "config.json").write_text('{"lilliput": "0"}')
    lilliput.bundle(folder, out, layout="transformers.js")
    assert AutoConfig.from_pretrained(out).model_type == "bert"
    (out / "notes.txt").write_text("mine")
    with pytest.raises(StorageError, match=r"did not write \(notes\.txt\)"):
        lilliput.bundle(folder, out, layout="transformers.js")
    (out / "notes.txt").unlink()
    (out / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(StorageError, match=r"did not write \(config\.json\)"):
        lilliput.bundle(folder, out, layout="transformers.js")
    lilliput.bundle(folder, tmp_path / "bundle")
    with pytest.raises(StorageError, match=r"did not write"):
        lilliput.bundle(folder, tmp_path / "bundle", layout="transformers.js")
    with pytest.raises(StorageError, match=r"did not write"):
        lilliput.bundle(folder, out)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"layout": "gguf"}, "there is no layout 'gguf'"),
        (
            {"layout": "transformers.js", "quantization": "int4"},
            "one in int8; leave out quantization",
        ),
        (
            {"layout": "transformers.js", "quantization": "int8", "executorch": True},
            "leave out quantization and executorch",
        ),
    ],
)
def test_what_the_layout_does_not_have_is_refused(
    checkpoint: Path, tmp_path: Path, options: dict[str, Any], sentence: str
) -> None:
    folder = encoder(checkpoint, tmp_path / "encoder", STUDENT)
    with pytest.raises(ConfigError, match=sentence):
        lilliput.bundle(folder, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_vectors_that_turn_too_far_are_refused(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = encoder(checkpoint, tmp_path / "encoder", STUDENT)
    monkeypatch.setattr(parity, "LEAST_COSINE", 0.9999999)
    with pytest.raises(ModelError, match=r"mean cosine with the model's own is \d"):
        lilliput.bundle(folder, tmp_path / "out", layout="transformers.js")
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(NODE is None, reason="node is not installed")
@pytest.mark.skipif(
    not LIBRARY.exists(),
    reason="transformers.js is not installed, as it has 475 MB with its runtimes; install it with "
    "`npm install --no-save --ignore-scripts @huggingface/transformers@4.3.2` in web/",
)
@pytest.mark.parametrize("dtype", ["fp32", "q8"])
def test_transformers_js_has_the_vectors_of_the_bundle(
    made: tuple[Path, Path], tmp_path: Path, dtype: str
) -> None:
    folder, out = made
    lilliput.bundle(folder, tmp_path / "bundle", quantization={"fp32": "float32", "q8": "int8"}[dtype])
    bundle = lilliput.load(tmp_path / "bundle")
    (tmp_path / "texts.json").write_text(json.dumps(TEXTS))
    normalize = json.dumps(bundle.config.normalize)
    command = [str(NODE), "tests/transformers_js.mjs", str(out), str(tmp_path / "texts.json")]
    command += [dtype, normalize]
    result = subprocess.run(command, cwd=WEB, check=False, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr[-2000:]
    found = np.array(json.loads(result.stdout.splitlines()[-1]), np.float32)
    whole = [not answer.cut for answer in bundle.stream(TEXTS)]  # of the others it leaves out the last [SEP]
    assert found.shape == (len(TEXTS), VECTOR)
    assert sum(whole) >= 3
    np.testing.assert_allclose(found[whole], bundle.encode(TEXTS)[whole], rtol=1e-3, atol=2e-4)
