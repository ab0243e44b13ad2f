"""Vectors are judged as other libraries judge them, and by a small collection counted by hand."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from sentence_transformers import SentenceTransformer

import lilliput
from conftest import World
from lilliput.cli.tasks import evaluate as evaluate_command
from lilliput.comparison.embeddings import evaluate_vectors, open_encoder, read_collection, retrieval
from lilliput.errors import InputError, StorageError
from lilliput.models.sentence_modules import Dense, SentenceModules, write_modules
from lilliput.tasks.loading import load_pairs

PAIRS = [("a child ran", "the child was in the grass", 4.0), ("why not", "of with my every", 0.5),
         ("a child", "a child", 5.0), ("under the grass", "a wet child", 1.5)]  # fmt: skip


@pytest.fixture(scope="module")
def encoder(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoder") / "student"
    shutil.copytree(world.headless, folder)
    torch.manual_seed(0)
    modules = SentenceModules("mean", (Dense(torch.randn(40, 32), torch.randn(40)),), longest=12)
    write_modules(modules, folder, 32)
    return folder


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rows = "".join(f"{a},{b},{score}\n" for a, b, score in PAIRS)
    (tmp_path / "pairs.csv").write_text(f"sentence1,sentence2,score\n{rows}")
    return tmp_path / "pairs.csv"


def write(folder: Path, qrels: str, name: str = "test", queries: str = "qr") -> Path:
    """Writes four documents, two queries and what answers them."""
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    documents = [{"_id": str(number), "title": "t", "text": f"text {number}"} for number in range(4)]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(one) + "\n" for one in documents))
    asked = [{"_id": one, "text": f"query {one}"} for one in queries]
    (folder / "queries.jsonl").write_text("".join(json.dumps(one) + "\n" for one in asked))
    (folder / "qrels" / f"{name}.tsv").write_text(f"query-id\tcorpus-id\tscore\n{qrels}")
    return folder


def test_our_forward_gives_the_vectors_of_sentence_transformers(encoder: Path) -> None:
    texts = ["a child", "the child ran in the wet grass and was under every other child", "why not"] * 40
    theirs = SentenceTransformer(str(encoder), device="cpu").encode(texts)
    np.testing.assert_allclose(open_encoder(encoder)(texts), theirs, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(open_encoder(encoder.parent)(texts), theirs, rtol=1e-3, atol=1e-5)  # as a run


def test_pairs_are_judged_as_scipy_judges_their_cosines(encoder: Path, table: Path, tmp_path: Path) -> None:
    lilliput.bundle(encoder, tmp_path / "bundle", quantization="float32")
    found = evaluate_vectors([tmp_path / "bundle", encoder], pairs=load_pairs(table)[0])
    theirs = SentenceTransformer(str(encoder), device="cpu")
    one, other = (theirs.encode([pair[side] for pair in PAIRS]) for side in (0, 1))
    cosines, gold = (one * other).sum(1), [score for _, _, score in PAIRS]
    for scores in found.values():
        assert scores["spearman"] == pytest.approx(100 * stats.spearmanr(cosines, gold).statistic)
        assert scores["pearson"] == pytest.approx(100 * stats.pearsonr(cosines, gold).statistic, abs=1e-2)


def test_what_is_found_is_counted_as_by_hand(tmp_path: Path) -> None:
    collection = read_collection(write(tmp_path, "q\t1\t1\nq\t2\t2\nq\t3\t0\nr\t0\t1\n"))
    assert collection.documents["1"] == "t text 1"
    documents = np.eye(4, dtype=np.float32)
    queries = np.array([[4, 3, 2, 1], [4, 3, 2, 1]], np.float32)  # both show 0, 1, 2, 3
    found = retrieval(lambda texts: queries, lambda texts: documents, collection)
    log = np.log2([2, 3, 4])
    first = (1 / log[1] + 2 / log[2]) / (2 / log[0] + 1 / log[1])
    assert found == pytest.approx({"ndcg@10": 100 * (first + 1) / 2, "recall@10": 100})


def test_ten_documents_are_shown() -> None:
    from lilliput.comparison.embeddings import Collection

    names = [str(number) for number in range(12)]
    collection = Collection(dict.fromkeys(names, "x"), {"q": "x"}, {"q": {"0": 1, "11": 1}})
    queries = np.arange(12, 0, -1, dtype=np.float32)[None]
    found = retrieval(lambda texts: queries, lambda texts: np.eye(12, dtype=np.float32), collection)
    assert found["recall@10"] == pytest.approx(50)


def test_the_command_shows_a_row_for_each_model(
    encoder: Path, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write(tmp_path / "beir", "q\t1\t1\n")
    evaluate_command((encoder,), pairs=table, retrieval=folder)
    shown = capsys.readouterr().out
    assert "4 pairs of" in shown
    assert "label from 'score'" in shown
    assert "1 queries, 4 documents" in shown
    for name in ("spearman", "pearson", "ndcg@10", "recall@10"):
        assert name in shown


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"qrels": "q\t1\thigh\n"}, "line 2 is no query-id, corpus-id and whole score"),
        ({"qrels": "x\t1\t1\n"}, "line 2 names 'x' and '1', which queries.jsonl and corpus.jsonl do not"),
        ({"qrels": "q\t1\t0\n"}, "holds no query with an answer"),
        ({"qrels": "q\t1\t1\n", "queries": "qq"}, "line 2 has no _id of its own"),
    ],
)
def test_a_damaged_collection_is_named(tmp_path: Path, change: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        read_collection(write(tmp_path, **change))


def test_files_that_are_not_there_are_named(tmp_path: Path, table: Path) -> None:
    with pytest.raises(InputError, match="has no column 'none'"):
        load_pairs(table, "none")
    with pytest.raises(StorageError, match=r"corpus\.jsonl cannot be read"):
        read_collection(tmp_path / "none")
    write(tmp_path, "q\t1\t1\n", name="train")
    write(tmp_path, "q\t1\t1\n", name="dev")
    with pytest.raises(InputError, match="has 2 files"):
        read_collection(tmp_path)
    (tmp_path / "one.csv").write_text("sentence1,score\na,1\n")
    with pytest.raises(InputError, match="no columns known to hold two texts and a score"):
        load_pairs(tmp_path / "one.csv")


def test_vectors_of_two_spaces_are_not_compared(tmp_path: Path) -> None:
    collection = read_collection(write(tmp_path, "q\t1\t1\n"))
    with pytest.raises(InputError, match="queries have vectors of 3 numbers, documents of 4"):
        retrieval(
            lambda texts: np.ones((1, 3), np.float32), lambda texts: np.eye(4, dtype=np.float32), collection
        )
