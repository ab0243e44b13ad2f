"""Two-tower students: each text of a pair is read alone, and the vectors of both are compared."""

import dataclasses
import itertools
import json
import os
import random
import shutil
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from sentence_transformers import SentenceTransformer

import lilliput
from any_checkpoints import SENTENCES, said_by_twin, save_any
from checkpoints import save_small
from conftest import World
from lilliput.comparison.candidates import find_candidate
from lilliput.comparison.embeddings import evaluate_vectors
from lilliput.comparison.quality import quality
from lilliput.errors import ConfigError, InputError, Interrupted, LilliputError, ModelError
from lilliput.finetuning import fit as fit_module, targets
from lilliput.finetuning.config import DistillationConfig, FinetuningConfig
from lilliput.finetuning.encoded import batches, make_batch
from lilliput.finetuning.finetune import finetune
from lilliput.finetuning.model import load_encoder, task_kernels, task_scores
from lilliput.finetuning.reader import reader_of
from lilliput.finetuning.results import FinetuneResult
from lilliput.finetuning.teachers import find_teacher
from lilliput.models.any_sentence_encoder import find_sentence_encoder
from lilliput.models.sentence_modules import Dense, SentenceModules, write_modules
from lilliput.run import RunDir
from lilliput.tasks.loading import load_task
from lilliput.tasks.task import Examples, Labels, Task, TaskData

WIDTH, VECTOR = 24, 40
QUICK = FinetuningConfig(epochs=6, rows=8, evaluations=2, rate=3e-3)
BRIEF = dataclasses.replace(QUICK, epochs=0.5)
NOUNS = (
    "brotent",
    "stocker",
    "plantish",
    "boxes",
    "grass",
    "child",
    "train",
    "rain",
    "bank",
    "park",
    "film",
    "dog",
)
LIKE = Task("like", "similarity", pairs=True, metric="spearman")
FIND = Task("find", "retrieval", pairs=True)


def sentence_encoder(world: World, folder: Path, seed: int = 0, **settings: Any) -> Path:
    """Saves a small sentence encoder whose dense layer moves vectors apart."""
    save_small(world, "encode", folder, seed)
    weight = torch.randn(VECTOR, WIDTH, generator=torch.Generator().manual_seed(seed))
    write_modules(SentenceModules(normalize=False), folder, WIDTH)
    means = torch.from_numpy(SentenceTransformer(str(folder), device="cpu").encode(list(NOUNS)))
    dense = Dense(weight, -weight @ means.mean(0))
    write_modules(SentenceModules(dense=(dense,), **settings), folder, WIDTH)
    return folder


@pytest.fixture(scope="module")
def encoder(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sentence_encoder(world, tmp_path_factory.mktemp("encoder") / "encoder")


def likes(count: int, seed: int) -> Examples:
    """Returns pairs of texts whose score is how many of their words are the same, from 0 to 5."""
    rng = random.Random(seed)
    rows = [[rng.choices(NOUNS, k=5) for _ in range(2)] for _ in range(count)]
    for one, other in rows:
        same = rng.randint(0, 5)
        other[:same] = one[:same]
    scores = tuple(float(sum(map(str.__eq__, one, other))) for one, other in rows)
    one, other = zip(*((" ".join(a), " ".join(b)) for a, b in rows), strict=True)
    return Examples(one, other, Labels(scores))


@pytest.fixture(scope="module")
def data() -> TaskData:
    return TaskData(LIKE, likes(96, 1), likes(40, 2))


@pytest.fixture(scope="module")
def tuned(
    encoder: Path, data: TaskData, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, FinetuneResult]:
    """A two-tower student that learnt of labels, and how that went. Not to be changed."""
    run = RunDir(tmp_path_factory.mktemp("tuned"))
    return run.finetuned("like"), finetune(encoder, data, run, QUICK)


def cosines(folder: Path, examples: Examples) -> list[float]:
    """What sentence-transformers itself says of pairs."""
    twin = SentenceTransformer(str(folder), device="cpu")
    one, other = (
        twin.encode(list(texts), normalize_embeddings=True) for texts in (examples.texts, examples.pairs)
    )
    return [float(value) for value in (one * other).sum(1)]


def spearman(folder: Path, examples: Examples) -> float:
    assert examples.labels is not None
    return float(spearmanr(cosines(folder, examples), examples.labels.values).statistic)


# What is read and computed


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_vectors_are_those_of_sentence_transformers(world: World, tmp_path: Path, pooling: Any) -> None:
    folder = sentence_encoder(
        world, tmp_path / "e", pooling=pooling, prompts={"q": "my child: "}, default_prompt="q", longest=14
    )
    examples = Examples(
        tuple(SENTENCES), tuple(reversed(SENTENCES)), negatives=tuple(SENTENCES[1:] + SENTENCES[:1])
    )
    encoded = reader_of(str(folder), LIKE).encode(examples, LIKE)
    assert (len(encoded), encoded.towers, encoded.pieces.lengths.max()) == (len(SENTENCES), 3, 14)
    model = load_encoder(str(folder), LIKE, None, 0).eval()
    batch = make_batch(encoded, np.arange(len(SENTENCES)))
    with torch.no_grad():
        found, _ = task_scores(model, batch, task_kernels(model, encoded, learns=False))
    twin = SentenceTransformer(str(folder), device="cpu")
    sides = (examples.texts, examples.pairs, examples.negatives)
    theirs = np.stack([twin.encode(list(texts), normalize_embeddings=True) for texts in sides], axis=1)
    np.testing.assert_allclose(found.numpy(), theirs, atol=2e-5)


def test_batches_hold_every_example_once_and_both_of_its_texts(encoder: Path, data: TaskData) -> None:
    encoded = reader_of(str(encoder), LIKE).encode(data.train, LIKE)
    seen = []
    for batch in batches(encoded, 7, (0, 1)):
        rows = batch.slots.numpy()
        assert len(batch.inputs["input_ids"]) == 2 * len(rows)
        for place, row in enumerate(rows):
            for side in (0, 1):
                pieces = encoded.pieces[2 * row + side].tolist()
                assert batch.inputs["input_ids"][place + side * len(rows)].tolist()[: len(pieces)] == pieces
        seen += rows.tolist()
    assert sorted(seen) == list(range(len(data.train)))


# Pairs with scores


def test_scores_are_learnt_and_the_result_is_a_sentence_encoder(
    encoder: Path, data: TaskData, tuned: tuple[Path, FinetuneResult]
) -> None:
    folder, found = tuned
    assert found.mean.keys() == {"pearson", "spearman"}
    assert found.mean["spearman"] > spearman(encoder, data.dev) + 0.05
    assert spearman(folder, data.dev) == pytest.approx(found.mean["spearman"], abs=1e-3)
    lines = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
    np.testing.assert_allclose(
        [line["predicted"]["label"] for line in lines], cosines(folder, data.dev), atol=1e-5
    )
    assert json.loads((folder / "config.json").read_text())["architectures"] == ["BertModel"]


def test_its_bundle_encodes_and_is_scored_by_its_file(
    data: TaskData, tuned: tuple[Path, FinetuneResult], tmp_path: Path
) -> None:
    folder, found = tuned
    made = lilliput.bundle(folder, tmp_path / "bundle", quantization="int8")
    bundle = lilliput.load(tmp_path / "bundle")
    config = bundle.config
    assert (config.kind, config.task, config.pairs, config.normalize) == ("encode", "like", False, True)
    assert made.exported.parity.cosine is not None
    assert data.dev.labels is not None
    one, other = np.split(bundle.encode([*data.dev.texts, *data.dev.pairs]), 2)
    said = (one * other).sum(1)
    assert made.scores["spearman"] == pytest.approx(
        spearmanr(said, data.dev.labels.values).statistic, abs=1e-3
    )
    assert made.reported == found.scores["0"]
    assert made.scores["spearman"] == pytest.approx(found.mean["spearman"], abs=0.03)
    assert "like dev | spearman" in (tmp_path / "bundle" / "README.md").read_text()
    candidate = find_candidate(tmp_path / "bundle", "b", LIKE)
    assert quality(candidate, data, 1) == pytest.approx(made.scores)
    judged = evaluate_vectors([folder, tmp_path / "bundle"], pairs=data.dev)
    assert [of["spearman"] for of in judged.values()] == pytest.approx(
        [100 * found.mean["spearman"], 100 * made.scores["spearman"]], abs=0.1
    )


@pytest.mark.parametrize("quantization", [None, "int4"])
def test_what_goes_on_learns_what_an_uninterrupted_one_does(
    encoder: Path, data: TaskData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quantization: str | None
) -> None:
    config, step, count = (
        dataclasses.replace(BRIEF, quantization=quantization),
        fit_module._step,
        itertools.count(1),
    )
    whole = finetune(encoder, data, tmp_path / "whole", config)

    def interrupted(*arguments: Any) -> float:
        if next(count) == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(*arguments)

    monkeypatch.setattr(fit_module, "_step", interrupted)
    with pytest.raises(Interrupted):
        finetune(encoder, data, tmp_path / "parts", config)
    assert finetune(encoder, data, tmp_path / "parts", config).scores == whole.scores
    for name in ("model.safetensors", "2_Dense/model.safetensors"):
        whole_file, parts = (RunDir(tmp_path / run).finetuned("like") / name for run in ("whole", "parts"))
        assert whole_file.read_bytes() == parts.read_bytes()


def test_another_dense_layer_is_another_encoder(
    world: World, encoder: Path, data: TaskData, tmp_path: Path
) -> None:
    mine = shutil.copytree(encoder, tmp_path / "mine")
    finetune(mine, data, tmp_path / "run", BRIEF)
    shutil.copytree(
        sentence_encoder(world, tmp_path / "other", 5) / "2_Dense", mine / "2_Dense", dirs_exist_ok=True
    )
    with pytest.raises(LilliputError, match="was made from something else"):
        finetune(mine, data, tmp_path / "run", BRIEF)


def test_an_encoder_without_sentence_files_gives_the_mean_of_its_states(
    world: World, data: TaskData, tmp_path: Path
) -> None:
    finetune(world.teacher, data, tmp_path, dataclasses.replace(BRIEF, dropout=0.0))
    folder = RunDir(tmp_path).finetuned("like")
    assert [item["path"] for item in json.loads((folder / "modules.json").read_text())] == [
        "",
        "1_Pooling",
        "3_Normalize",
    ]
    assert lilliput.bundle(folder, tmp_path / "bundle").scores.keys() == {"pearson", "spearman"}


# Teachers


def test_a_sentence_encoder_teaches_its_cosines(
    world: World, encoder: Path, data: TaskData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = sentence_encoder(world, tmp_path / "teacher", 1, prompts={"q": "my "}, default_prompt="q")
    found = find_teacher(str(teacher), "like", is_two_tower=True)
    encoded = reader_of(str(encoder), LIKE).encode(data.train, LIKE)
    scores, _ = targets.teacher_targets(found, data.train, encoded, LIKE, tmp_path / "said", states=False)
    np.testing.assert_allclose(scores[:, 0], cosines(teacher, data.train), atol=2e-5)

    alone = dataclasses.replace(QUICK, distillation=DistillationConfig(weight=1.0))
    learnt = finetune(encoder, data, tmp_path / "run", alone, teacher=teacher)
    assert learnt.teacher == str(teacher)
    folders = (teacher, encoder, RunDir(tmp_path / "run").finetuned("like"))
    wanted, before, after = (np.array(cosines(folder, data.train)) for folder in folders)
    assert np.square(after - wanted).mean() < 0.8 * np.square(before - wanted).mean()
    monkeypatch.setattr(targets, "predict_rest", None)  # it has read the texts
    both = dataclasses.replace(alone, distillation=DistillationConfig(weight=0.5))
    mixed = finetune(encoder, data, tmp_path / "run", both, teacher=teacher, overwrite=True)
    assert mixed.scores != learnt.scores


def test_scores_say_more_than_a_teachers_cosines(
    world: World, encoder: Path, data: TaskData, tmp_path: Path
) -> None:
    teacher = sentence_encoder(world, tmp_path / "teacher", 1)
    learnt = finetune(encoder, data, tmp_path / "run", BRIEF, teacher=teacher)
    same = dataclasses.replace(BRIEF, distillation=DistillationConfig(weight=0.3))
    assert finetune(encoder, data, tmp_path / "run", same, teacher=teacher) == learnt  # finished already


def test_new_pairs_are_taught_too(world: World, encoder: Path, data: TaskData, tmp_path: Path) -> None:
    teacher = sentence_encoder(world, tmp_path / "teacher", 1)
    config = dataclasses.replace(BRIEF, distillation=DistillationConfig(recombined=10))
    found = finetune(encoder, data, tmp_path / "run", config, teacher=teacher)
    assert found.examples == {"train": 96, "dev": 40, "unlabelled": 10}


def test_a_run_with_a_sentence_encoder_teaches(world: World, encoder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    sentence_encoder(world, run / "student")
    for name in (run, run / "student"):
        found = find_teacher(str(name), "like", is_two_tower=True)
        assert (found.name, found.kind) == (str(run / "student"), "similarity")


def test_a_cross_encoders_scores_are_taught_from_0_to_1(world: World, encoder: Path, tmp_path: Path) -> None:
    folder = save_any(tmp_path / "cross", "electra", ("LABEL_0",), positions=90)
    labels = Labels(tuple(map(float, range(8))))
    examples = Examples(tuple(SENTENCES[:8]), tuple(SENTENCES[8:16]), labels)
    encoded = reader_of(str(encoder), LIKE).encode(examples, LIKE)
    teacher = find_teacher(str(folder), "like", is_two_tower=True)
    teacher.require(LIKE)
    scores, _ = targets.teacher_targets(teacher, examples, encoded, LIKE, tmp_path, states=False)
    both = zip(SENTENCES[:8], SENTENCES[8:16], strict=True)
    theirs = [float(said_by_twin(folder, text, pair)[0][0]) for text, pair in both]
    np.testing.assert_allclose(scores[:, 0], theirs, atol=1e-4)
    taught = teacher.in_order(scores, encoded.slots, LIKE)[:, 0]
    assert (taught.min(), taught.max()) == (0, 1)
    assert np.argsort(taught).tolist() == np.argsort(theirs).tolist()
    found = finetune(encoder, TaskData(LIKE, examples, examples), tmp_path / "run", BRIEF, teacher=folder)
    assert found.teacher == str(folder)


def test_our_own_cross_encoder_and_our_own_two_tower_model_teach(
    world: World, encoder: Path, data: TaskData, tuned: tuple[Path, FinetuneResult], tmp_path: Path
) -> None:
    crossed = dataclasses.replace(data, task=Task("like", "regression", pairs=True, metric="pearson"))
    finetune(world.headless, crossed, tmp_path / "cross", BRIEF)
    teachers = [str(tmp_path / "cross"), str(tuned[0])]
    assert finetune(encoder, data, tmp_path / "run", BRIEF, teacher=teachers).teacher == ", ".join(
        teachers
    ).replace(teachers[0], str(RunDir(tmp_path / "cross").finetuned("like")))


# Queries and answers


def asked(count: int, first: int = 0, *, negatives: bool = False) -> Examples:
    """Returns queries with answers of the same words in another order."""
    every = list(itertools.permutations(NOUNS, 3))
    random.Random(3).shuffle(every)
    rows = every[first : first + count]
    wrong = [" ".join((*reversed(row[1:]), "every")) for row in rows] if negatives else []
    queries = tuple(f"the {' '.join(row)}" for row in rows)
    answers = tuple(f"my {row[2]} was {row[1]} in {row[0]}" for row in rows)
    return Examples(queries, answers, Labels((1.0,) * count), tuple(wrong))


@pytest.mark.parametrize("negatives", [False, True], ids=["pairs", "triples"])
def test_the_right_answer_is_learnt_from_the_others_of_the_batch(
    encoder: Path, tmp_path: Path, negatives: bool
) -> None:
    data = TaskData(FIND, asked(72, negatives=negatives), asked(24, 72))
    found = finetune(encoder, data, tmp_path / "run", dataclasses.replace(QUICK, epochs=10, rows=12))
    folder = RunDir(tmp_path / "run").finetuned("find")
    assert found.mean.keys() == {"accuracy", "mrr", "ndcg@10"}
    twin = SentenceTransformer(str(folder), device="cpu")
    one, other = (twin.encode(list(texts)) for texts in (data.dev.texts, data.dev.pairs))
    nearest = (one @ other.T).argmax(1)
    assert found.mean["accuracy"] == pytest.approx((nearest == np.arange(24)).mean())
    before = SentenceTransformer(str(encoder), device="cpu")
    first, second = (before.encode(list(texts)) for texts in (data.dev.texts, data.dev.pairs))
    assert found.mean["accuracy"] > ((first @ second.T).argmax(1) == np.arange(24)).mean() + 0.1
    lines = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
    assert {line["gold"]["rank"] for line in lines} == {1}
    assert sum(line["predicted"]["rank"] == 1 for line in lines) / 24 == pytest.approx(found.mean["accuracy"])
    made = lilliput.bundle(folder, tmp_path / "bundle", quantization="float32")
    assert made.scores == pytest.approx(found.mean)


def test_no_teacher_teaches_retrieval(encoder: Path, tmp_path: Path) -> None:
    data = TaskData(FIND, asked(8), asked(4, 8))
    with pytest.raises(ConfigError, match="learns from its own answers, so no model teaches it"):
        finetune(encoder, data, tmp_path, BRIEF, teacher=encoder)


# From files


def table(path: Path, columns: str, rows: Sequence[str]) -> str:
    path.write_text("\n".join([columns, *rows]) + "\n", encoding="utf-8")
    return str(path)


ANSWERS = [f"what is {word},it is {word}" for word in NOUNS * 3]
SCORED = [f"a {word},the {word},{score}" for word, score in zip(NOUNS * 3, [0, 1, 2.5] * 12, strict=True)]


def test_columns_are_found_and_a_cross_encoder_stays_what_is_made_unasked(tmp_path: Path) -> None:
    pairs = table(tmp_path / "pairs.csv", "text,text_pair,score", SCORED)
    assert load_task(train=pairs).task.kind == "regression"
    found = load_task("pairs-with-scores", train=pairs, kind="similarity").task
    assert (found.name, found.kind, found.metric) == ("pairs-with-scores", "similarity", "spearman")
    known = load_task("stsb", train=pairs, kind="similarity").task
    assert (known.name, known.kind) == ("stsb_similarity", "similarity")
    rows = [f"{query},{answer},no" for query, answer in zip(asked(30).texts, asked(30).pairs, strict=True)]
    triples = load_task(
        "faq", train=table(tmp_path / "faq.csv", "query,answer,negative", rows), kind="retrieval"
    )
    assert (len(triples.train.negatives), triples.dev.negatives) == (len(triples.train), ())
    assert triples.dev.labels == Labels((1.0,) * len(triples.dev))


@pytest.mark.parametrize(
    ("columns", "rows", "options", "sentence"),
    [
        ("text,text_pair", ["a,b"] * 12, {}, "no column of .* is known to hold a score of both texts"),
        ("text,score", ["a,1"] * 12, {}, "is known to hold two texts: .* text and text_pair"),
        ("text,text_pair,score", [f"a {n},b,3" for n in range(12)], {}, "have the score 3, so there"),
        ("text,text_pair,score", ["a,b,high"] * 12, {}, "has the label 'high' .*expected is a number"),
        ("text,text_pair,score", [*SCORED, "a,,3"], {}, "has an empty text in column 'text_pair'"),
        ("text,text_pair,score", SCORED, {"negative": "score"}, "a similarity task has no --negative"),
        ("query,answer", ANSWERS, {"kind": "retrieval", "negative": "wrong"}, "has no column 'wrong'"),
        ("query,answer", ANSWERS, {"kind": "retrieval", "label": "answer"}, "retrieval task has no --label"),
        ("query,reply", ANSWERS, {"kind": "retrieval"}, "is known to hold two texts: .* query and answer"),
        ("query,reply", ANSWERS, {"kind": "retrieval", "text": "query"}, "is known to hold the other text"),
        ("query,answer", ["a,b"] * 12, {"kind": "retrieval"}, "a query or an answer in common"),
        (
            "query,answer,negative",
            [f"{row},it is {word}" for row, word in zip(ANSWERS, ["other"] * 35 + ["DOG"], strict=True)],
            {"kind": "retrieval"},
            "line 37 of .* has a wrong answer that is a right one to the same query .*'it is DOG'",
        ),
        (
            "query,answer,negative",
            [f"{row}," for row in ANSWERS],
            {"kind": "retrieval"},
            "has an empty text in .*'negative'",
        ),
    ],
)  # fmt: skip
def test_bad_tables_are_refused_in_a_sentence(
    tmp_path: Path, columns: str, rows: list[str], options: dict[str, str], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        load_task(train=table(tmp_path / "t.csv", columns, rows), **({"kind": "similarity"} | options))


def without_numbers(folder: Path) -> None:
    huge = torch.full((VECTOR, WIDTH), 3e38)
    write_modules(SentenceModules(dense=(Dense(huge, torch.zeros(VECTOR)),)), folder, WIDTH)


def same_for_all(folder: Path) -> None:
    flat = Dense(torch.zeros(VECTOR, WIDTH), torch.ones(VECTOR))
    write_modules(SentenceModules(dense=(flat,)), folder, WIDTH)


@pytest.mark.parametrize(
    ("spoil", "error", "sentence"),
    [
        (without_numbers, ModelError, "vectors with values that are no numbers"),
        (same_for_all, InputError, "give all 96 pairs the same score"),
    ],
)
def test_a_teacher_whose_vectors_say_nothing_is_named(
    world: World,
    encoder: Path,
    data: TaskData,
    tmp_path: Path,
    spoil: Callable[[Path], None],
    error: type[LilliputError],
    sentence: str,
) -> None:
    teacher = sentence_encoder(world, tmp_path / "teacher", 1)
    spoil(teacher)
    with pytest.raises(error, match=sentence):
        finetune(encoder, data, tmp_path / "run", BRIEF, teacher=teacher)


def test_what_cannot_teach_a_two_tower_student_is_named(
    world: World, encoder: Path, data: TaskData, tmp_path: Path
) -> None:
    classes = save_any(tmp_path / "classes", "electra", ("no", "yes"))
    with pytest.raises(ModelError, match=r"is a model for 'classification' .* is one of 'similarity'"):
        finetune(encoder, data, tmp_path / "run", BRIEF, teacher=classes)
    text = tmp_path / "more.txt"
    text.write_text("a child\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="compares two texts, and unlabelled texts"):
        finetune(encoder, data, tmp_path / "run", BRIEF, teacher=encoder, unlabelled=[str(text)])


def test_a_longest_input_of_the_files_counts(world: World, tmp_path: Path) -> None:
    folder = sentence_encoder(world, tmp_path / "short", longest=9)
    assert reader_of(str(folder), LIKE).positions == find_sentence_encoder(str(folder)).positions == 9


def test_a_dev_set_without_wrong_answers_is_refused(tmp_path: Path) -> None:
    train = table(tmp_path / "train.csv", "query,answer", ANSWERS)
    dev = table(tmp_path / "dev.csv", "query,answer", ["what,this"])
    with pytest.raises(InputError, match=r"all 1 pairs of .*dev.csv have a query or an answer in common"):
        load_task(train=train, dev=dev, kind="retrieval")
    with pytest.raises(InputError, match=r"--negative names wrong answers .* add --kind retrieval"):
        load_task(train=train, negative="answer")
    few = table(tmp_path / "few.csv", "query,answer", ANSWERS[:4])
    with pytest.raises(InputError, match=r"too few examples \(4\) to hold out some"):
        load_task(train=few, kind="retrieval")
