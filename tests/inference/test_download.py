"""A bundle is read from the hub as from a folder; what goes wrong there is said in a sentence."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

import lilliput
from bundles import make_bundle
from hub_server import Hub, Repository
from lilliput.common.repositories import is_repository
from lilliput.errors import BundleError, ConfigError, HubError

NAME = "me/films"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("made") / "bundle", "classification").folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def hub(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with a bundle and more, to which nobody is logged in, and a cache with nothing."""
    files = contents(bundle) | {"model.safetensors": b"never downloaded", ".gitattributes": b""}
    with Hub({NAME: Repository(files)}).serving() as served:
        monkeypatch.setenv("HF_ENDPOINT", served.url)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.chdir(tmp_path)
        yield served


def refused(name: str = NAME, **options: str) -> str:
    with pytest.raises(HubError) as error:
        lilliput.load(name, **options)  # type: ignore[arg-type]
    sentence = str(error.value)
    assert sentence.startswith(f"'{name}'")
    assert "\n" not in sentence
    return sentence


def test_a_bundle_of_the_hub_answers_as_that_of_a_folder(hub: Hub, bundle: Path) -> None:
    texts = ["a good film", "bad"]
    opened = lilliput.load(NAME)
    assert opened.classify(texts) == lilliput.load(bundle).classify(texts)
    assert {path.name for path in opened.folder.iterdir()} == contents(bundle).keys(), "and nothing else"


def test_what_was_downloaded_is_not_downloaded_again_and_needs_no_hub(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    lilliput.load(NAME)
    fetched = [one for one in hub.requests if one.startswith("GET") and "resolve" in one]
    lilliput.load(NAME)
    assert [one for one in hub.requests if one.startswith("GET") and "resolve" in one] == fetched
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    assert lilliput.load(NAME).classify(["a good film"])
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert lilliput.load(NAME).classify(["a good film"])


def test_the_newest_revision_is_read_and_any_other_by_name(hub: Hub, tmp_path: Path) -> None:
    first = hub.repositories[NAME].commit
    lilliput.load(NAME)
    other = make_bundle(tmp_path / "other", "regression").folder
    hub.repositories[NAME].files = contents(other)
    assert lilliput.load(NAME).config.kind == "regression"
    assert lilliput.load(NAME, revision=first).config.kind == "classification"
    assert re.search("has no revision 'v9'; name a branch", refused(revision="v9"))


def test_a_private_bundle_needs_a_token_with_rights(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.repositories[NAME].private = True
    hub.tokens["hf_you"] = "you"
    for options, token in (({}, "no token"), ({"token": "hf_you"}, "no token")):
        sentence = refused(**options)
        assert "no such repository, or it is private and you may not read it" in sentence
        assert token in sentence
        assert "hf auth login" in sentence
    assert lilliput.load(NAME, token="hf_me").classify(["good"])
    monkeypatch.setenv("HF_TOKEN", "hf_me")
    assert lilliput.load(NAME).classify(["good"])


def test_an_unknown_repository_may_be_a_folder_that_is_missing(hub: Hub) -> None:
    sentence = refused("me/filns")
    assert "there is no such repository" in sentence
    assert sentence.endswith("there is no such folder here either")


def test_no_network(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert re.search(
        "not in the cache, or only in part, and the hub cannot be reached; check the network", refused()
    )
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is not set" in refused()


def test_a_repository_that_is_no_bundle(hub: Hub, bundle: Path) -> None:
    hub.repositories["me/bert"] = Repository({"config.json": b"{}", "model.safetensors": b"x"})
    assert re.search("is no bundle: it has no manifest.json; a bundle is what", refused("me/bert"))
    hub.repositories["me/other"] = Repository({"manifest.json": b'{"files": 3}'})
    assert "is no bundle" in refused("me/other")
    files = {"../up": {"bytes": 1, "sha256": "0"}}
    hub.repositories["me/up"] = Repository(
        {"manifest.json": json.dumps({"format": 1, "files": files}).encode()}
    )
    assert "which is not the name of a file" in refused("me/up")
    hub.repositories["me/bad"] = Repository({"manifest.json": b"not JSON"})
    assert "is no bundle" in refused("me/bad")


def test_files_of_the_hub_are_checked_as_those_of_a_folder(hub: Hub) -> None:
    files = hub.repositories[NAME].files
    files["config.json"] = files["config.json"].replace(b"classification", b"classificatiom")
    with pytest.raises(BundleError, match="was altered"):
        lilliput.load(NAME)


def test_half_a_download_goes_on_where_it_was(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client goes on a few times in a file; files that are whole stay for the next call."""
    from huggingface_hub import file_download

    monkeypatch.setattr(file_download.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 100)
    hub.cut = 1
    assert lilliput.load(NAME).classify(["good"])
    assert hub.ranges
    shutil.rmtree(constants.HF_HUB_CACHE)
    hub.cut = 1_000_000
    assert "what was sent whole is kept" in refused()
    with monkeypatch.context() as without:
        without.setattr(constants, "HF_HUB_OFFLINE", True)
        assert "or only in part, and the hub cannot be reached" in refused()
    hub.cut, hub.requests[:] = 0, []
    assert lilliput.load(NAME).classify(["good"])
    again = {one.split("/")[-1] for one in hub.requests if one.startswith("GET") and "resolve" in one}
    assert again == {"model.onnx", "tokenizer.json"}, "those that were cut"


def test_run_takes_a_repository(hub: Hub, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lilliput", "run", NAME]
    environment = {"HF_ENDPOINT": hub.url, "HF_HUB_CACHE": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "0"}
    done = subprocess.run(
        command,
        input="a good film\n",
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split("\t")[0] in ("bad", "good", "neither")


def test_what_is_a_folder_is_none_of_the_hub(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(bundle, tmp_path / "me" / "films")
    monkeypatch.chdir(tmp_path)
    assert not is_repository(NAME)
    assert lilliput.load(NAME).classify(["good"])
    with pytest.raises(ConfigError, match="a revision is one of a repository"):
        lilliput.load(NAME, revision="main")
