"""Texts that a teacher reads once, the batches made of them, and the vectors that a student learns."""

import dataclasses
import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from scipy.stats import spearmanr
from sentence_transformers import SentenceTransformer
from torch.nn import functional as F

from lilliput import compress, evaluate, finetune
from lilliput.common.stage_dir import StageDir
from lilliput.config import BatchConfig, Recipe
from lilliput.errors import ConfigError, InputError, Interrupted
from lilliput.finetuning.config import FinetuningConfig
from lilliput.models.sentence_modules import Dense, SentenceModules, write_modules
from lilliput.objectives import ObjectiveWeights
from lilliput.run import RunDir
from lilliput.text.corpus import END
from lilliput.training import objectives
from lilliput.training.rows import Rows
from lilliput.training.sentences import reading, source
from lilliput.training.sentences.cut import cut_texts, sentence_ends
from lilliput.training.sentences.reading import STEP, TaughtTexts, read_texts
from lilliput.training.sentences.source import SentenceSource
from lilliput.training.step import Stepper
from tests.conftest import World, row_words

Shrink = Callable[..., Recipe]
WIDTH = 32
"""Of the world's teacher."""


def texts_of(world: World, count: int = 40) -> Rows:
    return cut_texts(world.train_rows, sentence_ends(world.corpus), count, (0,))


def spoken(world: World, rows: Rows, index: int) -> str:
    words = world.corpus.word_types()
    return " ".join(words[word] for word in row_words(rows, index))


def taught(world: World, folder: Path, rows: Rows, teacher: str = "", prompt: str = "") -> TaughtTexts:
    stage = StageDir(folder, {"prompt": prompt})
    read_texts(stage, rows, world.lexicon, teacher or world.headless, prompt, 1e9)
    return TaughtTexts.open(stage, rows)


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> int:
    """Chunks of 16 texts."""
    modules: tuple[ModuleType, ...] = (reading, source)
    for module in modules:
        monkeypatch.setattr(module, "CHUNK", 16)
    return 16


def test_texts_are_stretches_of_documents(world: World) -> None:
    rows = texts_of(world, 200)
    ends = sentence_ends(world.corpus)
    kept = {
        (int(a), int(b), int(c))
        for a, b, c in zip(world.train_rows.shard, world.train_rows.start, world.train_rows.end, strict=True)
    }
    for index in range(len(rows)):
        words = row_words(rows, index)
        assert words
        assert END not in words
        shard, start, end = (int(part[index]) for part in (rows.shard, rows.start, rows.end))
        assert any(shard == a and b <= start < end <= c for a, b, c in kept)
    last = [row_words(rows, index)[-1] for index in range(len(rows))]
    assert np.mean(ends[last]) > 0.3  # whole sentences; others are fragments, or end where a document does


def test_the_same_seed_cuts_the_same_texts(world: World) -> None:
    first, again = texts_of(world), texts_of(world)
    other = cut_texts(world.train_rows, sentence_ends(world.corpus), 40, (1,))
    assert np.array_equal(first.start, again.start)
    assert not np.array_equal(first.start, other.start)


def test_a_corpus_without_two_texts_is_refused(world: World) -> None:
    nothing = dataclasses.replace(world.train_rows, shard=np.empty(0, np.int64))
    with pytest.raises(InputError, match="fewer than two texts"):
        cut_texts(nothing, sentence_ends(world.corpus), 40, (0,))


@pytest.mark.parametrize("prompt", ["", "ab: "])
def test_what_the_teacher_says_is_what_sentence_transformers_gives(
    world: World, tmp_path: Path, prompt: str, small_chunks: int
) -> None:
    rows = texts_of(world)
    found = taught(world, tmp_path / "texts", rows, prompt=prompt)
    theirs = SentenceTransformer(world.headless)
    wanted = theirs.encode([prompt + spoken(world, rows, index) for index in range(len(rows))])
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    ours = np.concatenate([found.vectors(chunk) for chunk in range(3)]).astype(np.float32)
    assert len(found) == 40
    np.testing.assert_allclose((ours * wanted).sum(1), 1, atol=0.02)  # read in the precision that is fastest
    words = int((rows.end - rows.start).sum())
    states = np.concatenate([found.states(chunk) for chunk in range(3)]).astype(np.float32) * STEP
    assert states.shape == (words, min(120, theirs.get_embedding_dimension() or 0))
    assert 0.5 < states.std() < 1.5  # in deviations
    assert abs(states.mean()) < 0.2


def test_reading_goes_on_after_a_signal(
    world: World, tmp_path: Path, small_chunks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = texts_of(world)
    whole = taught(world, tmp_path / "whole", rows)
    stage, write = StageDir(tmp_path / "cut", {}), reading.write_json

    def interrupted(path: Path, value: Any) -> None:
        write(path, value)
        if value["chunks"] == 1:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(reading, "write_json", interrupted)
    with pytest.raises(Interrupted, match="stopped the teacher after 16 texts"):
        read_texts(stage, rows, world.lexicon, world.headless, "", 1e9)
    read_texts(stage, rows, world.lexicon, world.headless, "", 1e9)
    again = TaughtTexts.open(stage, rows)
    for chunk in range(3):
        assert np.array_equal(whole.vectors(chunk), again.vectors(chunk))
        assert np.array_equal(whole.states(chunk), again.states(chunk))


def test_reading_ends_by_time_after_a_chunk(world: World, tmp_path: Path, small_chunks: int) -> None:
    rows, stage = texts_of(world), StageDir(tmp_path / "texts", {})
    read_texts(stage, rows, world.lexicon, world.headless, "", 0.0)
    found = TaughtTexts.open(stage, rows)
    assert (len(found), found.texts(0), stage.results()["texts"]) == (16, 16, 16)


def test_batches_are_of_one_chunk_and_hang_on_seed_and_step_alone(
    world: World, tmp_path: Path, small_chunks: int
) -> None:
    found = taught(world, tmp_path / "texts", texts_of(world))
    config = BatchConfig(rows=4, length=32)
    ours, again = (SentenceSource(found, world.lexicon, config, (0,)) for _ in range(2))
    batches = [ours.batch(step) for step in range(20)]
    assert len(list(ours)) == 10  # of 16, 16 and 8 texts
    for step in (13, 2, 7):
        torch.testing.assert_close(again.batch(step).student.pieces, batches[step].student.pieces)
    assert len({batch.student.pieces.shape[1] for batch in batches}) > 1
    halves = [ours.batch(3, part, 2) for part in range(2)]
    together = torch.cat([half.taught.vectors for half in halves if half.taught is not None])
    assert batches[3].taught is not None
    torch.testing.assert_close(together, batches[3].taught.vectors)
    assert sum(half.words for half in halves) == batches[3].words


def test_a_batch_has_the_vectors_and_states_of_its_own_texts(
    world: World, tmp_path: Path, small_chunks: int
) -> None:
    rows = texts_of(world)
    found = taught(world, tmp_path / "texts", rows)
    batch = SentenceSource(found, world.lexicon, BatchConfig(rows=4, length=32), (0,)).batch(1)
    tokenizer = world.lexicon.student_tokenizer()
    by_pieces = {}
    for index in range(len(rows)):
        pieces = [piece for word in row_words(rows, index) for piece in world.lexicon.student[word].tolist()]
        by_pieces[tuple(pieces)] = index
    vectors = np.concatenate([found.vectors(chunk) for chunk in range(3)])
    states = np.concatenate([found.states(chunk) for chunk in range(3)])
    begins = np.append(0, np.cumsum(rows.end - rows.start))
    assert batch.taught is not None
    special = {world.lexicon.student_special.cls, world.lexicon.student_special.sep}
    special.add(world.lexicon.student_special.pad)
    wanted = []
    for pieces, vector in zip(batch.student.pieces.tolist(), batch.taught.vectors, strict=True):
        index = by_pieces[tuple(piece for piece in pieces if piece not in special)]
        np.testing.assert_array_equal(vector.numpy(), vectors[index].astype(np.float32))
        wanted.append(states[begins[index] : begins[index + 1]] * np.float32(STEP))
    np.testing.assert_allclose(batch.taught.states.numpy(), np.concatenate(wanted), rtol=1e-6)
    first = batch.student.pieces.reshape(-1)[batch.student.positions]
    assert all(not str(tokenizer.id_to_token(int(piece))).startswith("##") for piece in first)


def test_objectives_are_their_formulas() -> None:
    torch.manual_seed(0)
    ours, theirs = (F.normalize(torch.randn(5, 8), dim=-1) for _ in range(2))
    distance, count = objectives.vectors(ours, theirs)
    torch.testing.assert_close(distance, (2 - 2 * (ours * theirs).sum(1)).sum())
    divergence, _ = objectives.similarities(ours, theirs, 0.5)
    wanted = 0.0
    for index in range(5):
        others = [other for other in range(5) if other != index]
        p, q = (
            torch.softmax(torch.stack([found[index] @ found[other] for other in others]) / 0.5, 0)
            for found in (theirs, ours)
        )
        wanted += float((p * (p / q).log()).sum())
    assert count == 5
    assert float(divergence) == pytest.approx(wanted, rel=1e-4)
    assert float(objectives.similarities(ours, ours)[0]) == pytest.approx(0, abs=1e-5)


def test_objectives_of_masked_words_and_of_texts_need_stages_of_their_own() -> None:
    with pytest.raises(ConfigError, match="student_masked_lm is of masked words, and vectors of whole texts"):
        ObjectiveWeights(student_masked_lm=1.0, vectors=1.0)
    with pytest.raises(ConfigError, match=r"word_states needs objectives\.vectors"):
        ObjectiveWeights(word_states=1.0)


SETTINGS = {"sentences.count": "300", "stages.student.batch.rows": "8", "budget.words": "6000"}


@pytest.fixture(scope="module")
def sentence_run(world: World, tmp_path_factory: pytest.TempPathFactory, shrunken: Shrink) -> RunDir:
    run = tmp_path_factory.mktemp("sentence") / "run"
    compress(world.headless, str(world.text), run, shrunken("sentence", SETTINGS), workers=1)
    return RunDir(run)


def test_a_student_learns_vectors_that_sentence_transformers_gives(
    world: World, sentence_run: RunDir
) -> None:
    results = StageDir(sentence_run.training("student"), {}).results()
    for quality in ("student/cosine", "student/similarity"):
        assert results["after"][quality] > results["before"][quality]
    texts = [spoken(world, world.held_out_rows, index) for index in range(12)]
    ours, theirs = (SentenceTransformer(str(at)) for at in (sentence_run.student, world.headless))
    assert ours.max_seq_length == 32
    found, wanted = ours.encode(texts), theirs.encode(texts, normalize_embeddings=True)
    assert found.shape == wanted.shape
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    card = (sentence_run.student / "README.md").read_text()
    assert f"of its teacher, {Path(world.headless).name}, so either" in card
    assert ModelCard(card).data.to_dict().keys() == {"library_name", "pipeline_tag", "tags"}
    assert f"cosine to the teacher's is {results['after']['student/cosine']:.3f}," in card
    above = np.triu_indices(12, 1)
    assert spearmanr((found @ found.T)[above], (wanted @ wanted.T)[above]).statistic > 0.3


def test_an_interrupted_run_ends_with_the_same_bits(
    world: World, sentence_run: RunDir, tmp_path: Path, shrunken: Shrink, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = Stepper.step

    def step(self: Stepper, batches: Any, number: int, done: float) -> Any:
        if number == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        return usual(self, batches, number, done)

    recipe = shrunken("sentence", SETTINGS)
    with monkeypatch.context() as patch:
        patch.setattr(Stepper, "step", step)
        with pytest.raises(Interrupted, match="stopped stage 'student' after step 5"):
            compress(world.headless, str(world.text), tmp_path / "run", recipe, workers=1)
    compress(world.headless, str(world.text), tmp_path / "run", recipe, workers=1)
    for name in ("model.safetensors", "2_Dense/model.safetensors"):
        ours, whole = (at / "student" / name for at in (tmp_path / "run", sentence_run.path))
        assert ours.read_bytes() == whole.read_bytes()


def test_a_finished_run_is_not_made_again_without_the_texts(
    world: World, sentence_run: RunDir, shrunken: Shrink, capsys: pytest.CaptureFixture[str]
) -> None:
    compress(world.headless, str(world.text), sentence_run, shrunken("sentence", SETTINGS), workers=1)
    assert "is finished, from the same inputs" in " ".join(capsys.readouterr().err.split())


def test_masked_lm_is_not_evaluated_where_none_was_learnt(sentence_run: RunDir) -> None:
    with pytest.raises(ConfigError, match=r"gives vectors of texts .* --pairs FILE"):
        evaluate(sentence_run)


def test_a_sentence_student_learns_a_task(sentence_run: RunDir, tmp_path: Path) -> None:
    lines = [json.dumps({"text": text, "label": label}) for text, label in (("ab cd", "x"), ("ef gh", "y"))]
    for part in ("train", "dev"):
        (tmp_path / f"mine_{part}.jsonl").write_text("\n".join(lines * 4))
    config = FinetuningConfig(epochs=1.0, evaluations=1)
    found = finetune(sentence_run.student, str(tmp_path / "mine"), tmp_path / "run", config)
    assert 0 <= found.mean["accuracy"] <= 1


def test_a_teacher_that_reads_less_than_the_student_is_refused(
    world: World, tmp_path: Path, shrunken: Shrink
) -> None:
    teacher = _with_modules(world, tmp_path, SentenceModules(longest=20))
    with pytest.raises(ConfigError, match="the teacher reads 20 pieces"):
        compress(teacher, str(world.text), tmp_path / "run", shrunken("sentence", SETTINGS), workers=1)


def test_the_vectors_are_those_of_the_teachers_own_dense_layer(
    world: World, tmp_path: Path, shrunken: Shrink
) -> None:
    torch.manual_seed(0)
    dense = Dense(torch.randn(5, WIDTH), torch.zeros(5), "Tanh")
    teacher = _with_modules(world, tmp_path, SentenceModules("max", (dense,), prompts={"query": "ab: "}))
    recipe = shrunken("sentence", SETTINGS | {"sentences.prompt": "query"})
    compress(teacher, str(world.text), tmp_path / "run", recipe, workers=1)
    assert SentenceTransformer(str(tmp_path / "run" / "student")).encode(["ab"]).shape == (1, 5)


def _with_modules(world: World, folder: Path, modules: SentenceModules) -> str:
    shutil.copytree(world.headless, folder / "teacher")
    write_modules(modules, folder / "teacher", WIDTH)
    return str(folder / "teacher")
