"""mteb judges a bundle by its own tasks; small ones are made up here, as data cannot be fetched."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import mteb
import numpy as np
import pytest
from datasets import Dataset, DatasetDict
from mteb.mocks.mock_tasks import MockRetrievalTask, MockSTSTask
from scipy.stats import spearmanr

import lilliput
from bundles import make_bundle
from checkpoints import save_small
from conftest import World
from lilliput.comparison.mteb_encoder import MtebEncoder
from sentence_encoders import STUDENT, VECTOR, dense, encoder

ONE = ["a child ran home", "the train was late", "an old dog slept"]
OTHER = ["the child ran", "the old train", "a dog"]
SCORES = [5.0, 3.0, 1.0]


class MadeUp(MockSTSTask):  # type: ignore[misc]
    """Three pairs with scores."""

    def load_data(self, **_: Any) -> None:
        pairs = {"sentence1": ONE, "sentence2": OTHER, "score": SCORES}
        self.dataset = DatasetDict({"test": Dataset.from_dict(pairs)})
        self.data_loaded = True


def main_scores(encoder: MtebEncoder, task: Any) -> list[float]:
    found = mteb.evaluate(encoder, task, cache=None, show_progress_bar=False)
    return [one["main_score"] for result in found.task_results for one in result.scores["test"]]


def test_mteb_finds_what_the_bundles_own_vectors_say(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "bundle", "encode").folder
    one, other = (lilliput.load(folder).encode(texts) for texts in (ONE, OTHER))
    cosines = np.diag(lilliput.load(folder).similarity(one, other))
    assert main_scores(MtebEncoder(str(folder)), MadeUp()) == [pytest.approx(spearmanr(cosines, SCORES)[0])]


def test_mteb_searches_with_a_bundle(tmp_path: Path) -> None:
    (found,) = main_scores(
        MtebEncoder(str(make_bundle(tmp_path / "bundle", "encode").folder)), MockRetrievalTask()
    )
    assert 0 < found <= 1


def test_results_of_another_bundle_are_no_results_of_this_one(tmp_path: Path) -> None:
    """mteb keeps results by name and revision."""
    folders = [
        make_bundle(tmp_path / name / "bundle", "encode", lilliput=name).folder for name in ("0.1", "0.2")
    ]
    abouts = [MtebEncoder(str(folder)).mteb_model_meta for folder in folders]
    assert {about.name for about in abouts} == {"lilliput/bundle"}
    assert abouts[0].revision != abouts[1].revision


def test_an_encoder_is_known_by_what_makes_its_vectors_too(world: World, tmp_path: Path) -> None:
    checkpoint = save_small(world, "fill", tmp_path / "fill")
    modules = (STUDENT, replace(STUDENT, dense=(dense(VECTOR + 1),)), replace(STUDENT, pooling="cls"))
    folders = [encoder(checkpoint, tmp_path / str(at), one) for at, one in enumerate(modules)]
    assert len({MtebEncoder(str(folder)).mteb_model_meta.revision for folder in folders}) == len(modules)


def test_a_text_without_a_word_gets_a_vector_and_is_counted(tmp_path: Path) -> None:
    encoder = MtebEncoder(str(make_bundle(tmp_path / "bundle", "encode").folder))
    with pytest.warns(UserWarning, match="1 of 3 texts have no word, the first of them number 2"):
        assert encoder.encode([{"text": ["a", " "]}, {"text": ["b"]}]).shape[0] == 3
