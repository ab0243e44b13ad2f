"""What is pushed to a hub is read from there; what a hub refuses is said in a sentence."""

import errno
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard, constants
from transformers import AutoModelForMaskedLM, AutoTokenizer

import lilliput
from checkpoints import save_small
from conftest import World
from finetuned import CLASSES, TEXTS, finished
from hub_server import Hub, Repository
from lilliput.cli.publishing import push as push_command
from lilliput.common.repositories import hub_errors
from lilliput.errors import BundleError, ConfigError, HubError, StorageError
from lilliput.export.bundling import bundle
from lilliput.export.push import push
from lilliput.run import RunDir
from lilliput.tasks.task import Labels

NAME = "me/films"


@pytest.fixture(scope="module")
def run(world: World, tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """A run with a student, and a model of a task."""
    run = RunDir(tmp_path_factory.mktemp("pushed") / "films")
    save_small(world, "fill", run.student)
    finished(world, run.path, CLASSES, Labels((0, 1, 1, 1)), 0.75)
    return run


@pytest.fixture(scope="module")
def made(run: RunDir) -> Path:
    """The bundle of the task."""
    bundle(run, run.path / "bundle", task="c", quantization="float32")
    return run.path / "bundle"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with nothing, to which we are logged in as me."""
    with Hub().serving() as served:
        monkeypatch.setenv("HF_ENDPOINT", served.url)
        # As if it had been set before the import.
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, served.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "ENDPOINT", served.url)
        monkeypatch.setenv("HF_TOKEN", "hf_me")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        yield served


def test_a_bundle_that_was_pushed_is_loaded_by_its_name(hub: Hub, made: Path) -> None:
    assert push(made, NAME) == f"{hub.url}/{NAME}"
    texts = TEXTS["c"]
    assert lilliput.load(NAME).classify(texts) == lilliput.load(made).classify(texts)
    there = hub.repositories[NAME].files
    assert there.keys() == {path.name for path in made.iterdir()}
    card = ModelCard(there["README.md"].decode())
    assert f'lilliput.load("{NAME}")' in card.text
    assert f"lilliput run {NAME}" in card.text
    assert card.data.to_dict() == ModelCard.load(made / "README.md").data.to_dict()


def test_a_second_push_replaces_what_is_there(hub: Hub, made: Path, tmp_path: Path) -> None:
    push(made, NAME)
    (tmp_path / "b").mkdir()
    shutil.copytree(made, tmp_path / "b", dirs_exist_ok=True)
    (tmp_path / "b" / "README.md").write_text("my own card")
    push(tmp_path / "b", NAME)
    assert hub.repositories[NAME].files["README.md"] == b"my own card"


def test_a_student_is_pushed_with_a_card_and_opens_in_transformers(
    hub: Hub, run: RunDir, tmp_path: Path
) -> None:
    push(run, NAME, private=True)
    there = hub.repositories[NAME]
    assert there.private
    for path, content in there.files.items():
        (tmp_path / path).write_bytes(content)
    assert AutoModelForMaskedLM.from_pretrained(tmp_path).num_parameters() > 1000
    assert AutoTokenizer.from_pretrained(tmp_path).mask_token == "[MASK]"
    card = ModelCard(there.files["README.md"].decode())
    assert card.data.to_dict() == {
        "library_name": "transformers",
        "pipeline_tag": "fill-mask",
        "tags": ["lilliput", "bert", "distillation"],
    }
    assert f'model = pipeline("fill-mask", model="{NAME}")' in card.text
    assert "Not measured." in card.text


def test_a_model_of_a_task_leaves_examples_and_paths_at_home(hub: Hub, run: RunDir) -> None:
    push(str(run.path), NAME, task="c")
    there = hub.repositories[NAME].files
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md"} <= there.keys()
    assert not {"predictions.jsonl", "manifest.json"} & there.keys()
    card = ModelCard(there["README.md"].decode())
    assert card.data.pipeline_tag == "text-classification"
    assert "| c dev | accuracy | 0.75 |" in card.text
    (result,) = card.data.eval_results or ()
    assert (result.metric_type, result.metric_value) == ("accuracy", 0.75)
    assert str(run.path.parent) not in card.content


def test_the_command_says_the_address(hub: Hub, made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    push_command(made, NAME, revision="v2")
    assert capsys.readouterr().out == f"uploaded to {hub.url}/{NAME}/tree/v2\n"
    assert "v2" in hub.repositories[NAME].branches
    assert f"POST /api/models/{NAME}/commit/v2" in hub.requests


def refused(made: Path, name: str = NAME, **options: Any) -> str:
    with pytest.raises(HubError) as error:
        push(made, name, **options)
    sentence = str(error.value)
    assert sentence.startswith(f"'{name}' cannot be written on http")
    assert "\n" not in sentence
    assert "hf_" not in sentence, "no token is told"
    return sentence


def test_without_a_token_nothing_is_sent(hub: Hub, made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    assert refused(made).endswith("there is no token; log in with `hf auth login`, or set HF_TOKEN")
    assert hub.requests == []


def test_a_token_that_is_not_valid(hub: Hub, made: Path) -> None:
    assert "the token is missing or not valid" in refused(made, token="hf_wrong")


@pytest.mark.parametrize("exists", [True, False])
def test_a_name_of_somebody_else(hub: Hub, made: Path, exists: bool) -> None:
    if exists:
        hub.repositories["you/films"] = Repository()
    sentence = refused(made, "you/films")
    assert "you may not write there" in sentence
    assert "belongs to 'you'" in sentence
    assert not hub.repositories.get("you/films", Repository()).files


def test_nothing_private_goes_to_a_public_repository(hub: Hub, made: Path) -> None:
    hub.repositories[NAME] = Repository()
    with pytest.raises(HubError, match="is there already and is public, so nothing was uploaded"):
        push(made, NAME, private=True)
    assert not hub.repositories[NAME].files
    hub.repositories[NAME].private = True
    push(made, NAME, private=True)
    assert "model.onnx" in hub.repositories[NAME].files


def test_a_full_disk_is_no_fault_of_the_hub(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left"), hub_errors(NAME, None, "read"):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(HubError, match="the connection failed"), hub_errors(NAME, None, "read"):
        raise ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")


@pytest.mark.parametrize("status", [403, 507])
def test_a_hub_that_is_full(hub: Hub, made: Path, status: int) -> None:
    hub.full = status
    assert "there is no room (" in refused(made)


def test_no_network(hub: Hub, made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert "the connection failed" in refused(made)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is not set" in refused(made)


@pytest.mark.parametrize("name", ["films", "me/films/2", "me/fi lms", "", "../films"])
def test_a_name_that_is_none(hub: Hub, made: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="is no name of a repository on the hub, expected is owner/name"):
        push(made, name)
    assert hub.requests == []


def test_what_is_not_whole_stays_here(hub: Hub, made: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(made, tmp_path / "bundle"))
    (folder / "model.onnx").write_bytes(b"cut")
    with pytest.raises(BundleError, match="was altered or cut short"):
        push(folder, NAME)
    (tmp_path / "empty").mkdir()
    with pytest.raises(StorageError, match="is neither a bundle nor a checkpoint"):
        push(tmp_path / "empty", NAME)
    with pytest.raises(StorageError, match="does not exist"):
        push(tmp_path / "none", NAME)
    assert hub.requests == []
