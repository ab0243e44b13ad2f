"""Any fine-tuned checkpoint of transformers as a teacher, against transformers itself."""

import dataclasses
import json
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

import lilliput
from any_checkpoints import SENTENCES, TYPES, load_twin, said_by_twin, save_any
from conftest import World
from lilliput import cli
from lilliput.cli.options import names_of
from lilliput.common.progress import console
from lilliput.common.ragged import Ragged
from lilliput.errors import ConfigError, InputError, ModelError
from lilliput.export.bundling import bundle
from lilliput.finetuning import job as job_module, targets
from lilliput.finetuning.columns import in_notation, matched, summed, tag_columns, together
from lilliput.finetuning.config import DistillationConfig, FinetuningConfig
from lilliput.finetuning.encoded import Encoded, encode
from lilliput.finetuning.finetune import finetune
from lilliput.finetuning.results import read_results
from lilliput.finetuning.sets import Floats
from lilliput.finetuning.taught import held_out, is_taught
from lilliput.finetuning.teachers import find_teacher, find_teachers
from lilliput.models.any_classifier import AnyClassifier
from lilliput.run import RunDir
from lilliput.tasks.loading import load_task
from lilliput.tasks.task import Examples, Labels, Task, TaskData, spelled

BRIEF = FinetuningConfig(epochs=0.5, rows=16, evaluations=1, rate=1e-3, dropout=0.0)
ONE_OF = "_label_classification"
CLASSES = ("bad", "good", "so so")
TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
ODD = ("o'hare", "naïve", "日本語", "😀x", "Zürich.", "7:30", "e\u0301t\u0301")
WORDS = Examples((*(tuple(sentence.split()) for sentence in SENTENCES[:4]), ODD))
TEXTS = Examples((*SENTENCES[:4], " ".join(ODD)))
PAIRS = Examples(TEXTS.texts, SENTENCES[4:8] and (*SENTENCES[4:8], "a naïve answer"))


def words_of(world: World, examples: Examples, task: Task, positions: int = 60) -> Encoded:
    """Examples as the student reads them."""
    return encode(examples, task, world.lexicon.student_tokenizer(), positions)


@pytest.mark.parametrize("examples", [TEXTS, PAIRS], ids=["texts", "pairs"])
@pytest.mark.parametrize("model_type", TYPES)
def test_scores_and_states_of_texts_are_those_of_transformers(
    world: World, tmp_path: Path, model_type: str, examples: Examples
) -> None:
    folder = save_any(tmp_path / "teacher", model_type, CLASSES, positions=90)
    task = Task("t", "classification", pairs=bool(examples.pairs), classes=CLASSES)
    teacher, encoded = find_teacher(str(folder), "t"), words_of(world, examples, task, 90)
    teacher.require(task)
    assert (teacher.kind, teacher.positions) == ("classification", 90)
    scores, states = targets.teacher_targets(teacher, examples, encoded, task, tmp_path, states=True)
    assert states is not None
    for row, text in enumerate(examples.texts):
        pair = examples.pairs[row] if examples.pairs else None
        logits, hidden, offsets = said_by_twin(folder, spelled(text), pair)
        assert_allclose(scores[row], logits, atol=1e-4)
        begin, end = encoded.words.offsets[row : row + 2]
        second = next((n for n, span in enumerate(offsets) if n > 1 and span == [0, 0]), len(offsets))
        for number in range(begin, end):
            of_text, first, last = encoded.spans[number].tolist()
            places = range(second) if of_text == 0 else range(second, len(offsets))
            expected = hidden[first_overlap(offsets, places, first, last)]
            assert_allclose(states[number], expected, atol=5e-3)


def first_overlap(offsets: list[list[int]], places: range, first: int, last: int) -> int:
    """The first piece that has a character of a word."""
    characters = {*range(first, last)}
    return next(place for place in places if characters & {*range(*offsets[place])})


@pytest.mark.parametrize("model_type", TYPES)
def test_tags_of_words_are_those_of_the_first_piece_that_overlaps(
    world: World, tmp_path: Path, model_type: str
) -> None:
    folder = save_any(tmp_path / "teacher", model_type, TAGS, reads="words", positions=24)
    task = Task("t", "tagging", tags=TAGS, metric="f1")
    teacher, encoded = find_teacher(str(folder), "t"), words_of(world, WORDS, task)
    with console.capture() as told:
        scores, _ = targets.teacher_targets(teacher, WORDS, encoded, task, tmp_path, states=False)
    cut = 0
    for row, words in enumerate(WORDS.texts):
        logits, _, offsets = said_by_twin(folder, spelled(words), reads="words")
        for number in range(*encoded.slots.offsets[row : row + 2]):
            _, first, last = encoded.spans[number].tolist()
            if first >= max(end for _, end in offsets):
                assert np.isnan(scores[number]).all()
                cut += 1
                continue
            place = first_overlap(offsets, range(len(offsets)), first, last)
            assert_allclose(scores[number], logits[place], atol=1e-4)
    assert (cut > 0) == ("longer than the 24 positions of the teacher" in " ".join(told.get().split()))
    assert cut < len(scores) / 2


def test_a_bert_is_read_by_our_own_forward_pass(tmp_path: Path) -> None:
    models = [
        find_teacher(str(save_any(tmp_path / kind, "bert", CLASSES, tokenizer=kind)), None).open().model
        for kind in ("wordpiece", "unigram")
    ]
    assert not any(isinstance(model, AnyClassifier) for model in models)


# Columns


def test_names_are_matched_exactly_or_but_for_capitals_which_is_said() -> None:
    assert matched(["b", "a"], ["a", "b"], {}, "T", "classes") == [1, 0]
    assert matched(["a", "A"], ["A", "a"], {}, "T", "classes") == [1, 0]
    with console.capture() as told:
        assert matched(["NEGATIVE", " so  so"], ["negative", "So so"], {}, "T", "classes", tell=True) == [
            0,
            1,
        ]
    assert "T: classes taken for each other: 'NEGATIVE' for 'negative', ' so  so' for 'So so'" in told.get()


@pytest.mark.parametrize(
    ("theirs", "ours", "named"),
    [
        (["LABEL_0", "LABEL_1"], ["no", "yes"], {}),
        (["no", "yes", "perhaps"], ["no", "yes"], {}),
        (["no", "yes"], ["no", "yes", "perhaps"], {}),
        (["NO", "No"], ["no", "yes"], {}),
        (["NO", "no"], ["no"], {}),
        (["x", "yes"], ["no", "yes"], {"x": "nein"}),
    ],
)
def test_names_that_do_not_match_are_refused_side_by_side(
    theirs: list[str], ours: list[str], named: dict[str, str]
) -> None:
    with pytest.raises(ModelError, match=r"it has '.*', and the task has '.*'.*--teacher-labels \w+=\w+"):
        matched(theirs, ours, named, "T", "classes")


def test_labels_that_a_user_maps_are_summed_or_left_out() -> None:
    stars = ["1 star", "2 stars", "3 stars", "4 stars"]
    named = {"1 star": "bad", "2 stars": "bad", "3 stars": "", "4 stars": "good"}
    columns = matched(stars, ["good", "bad"], named, "T", "classes")
    assert columns == [1, 1, -1, 0]
    scores = np.log(np.array([[0.1, 0.2, 0.3, 0.4]], np.float32))
    assert_allclose(np.exp(summed(scores, columns, 2)), [[0.4, 0.3]], rtol=1e-6)


def said_as(
    tags: tuple[str, ...], ours: tuple[str, ...], said: list[list[str]], **named: str
) -> list[list[str]]:
    """What a teacher's tags of texts are in a task's tags."""
    task = Task("t", "tagging", tags=ours)
    columns, turned = tag_columns(tags, task, named, "T")
    rows = [[8.0 if tag == other else 0.0 for other in tags] for row in said for tag in row]
    found = in_notation(
        np.array(rows, np.float32), Ragged.of([[0] * len(row) for row in said]), columns, turned, task
    )
    assert np.isfinite(found).all()
    before = np.exp(rows) / np.exp(rows).sum(1, keepdims=True)
    after = np.exp(found) / np.exp(found).sum(1, keepdims=True)
    outside = (tags.index("O"), ours.index("O"))
    assert_allclose(before[:, outside[0]], after[:, outside[1]], rtol=1e-4)
    names = iter(ours[column] for column in found.argmax(1))
    return [[next(names) for _ in row] for row in said]


BIO = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")


@pytest.mark.parametrize(
    ("tags", "said", "expected"),
    [
        (("O", "B-LOC", "I-LOC", "B-PER", "I-PER"), ["B-LOC", "I-LOC", "B-LOC"], ["B-LOC", "I-LOC", "B-LOC"]),
        (("O", "I-LOC", "I-PER"), ["I-LOC", "I-LOC", "I-PER", "O"], ["B-LOC", "I-LOC", "B-PER", "O"]),
        (("I-LOC", "B-LOC", "O", "I-PER"), ["I-LOC", "B-LOC", "I-LOC"], ["B-LOC", "B-LOC", "I-LOC"]),
        (
            ("O", "B-LOC", "I-LOC", "E-LOC", "S-LOC", "B-PER", "I-PER", "E-PER", "S-PER"),
            ["B-LOC", "I-LOC", "E-LOC", "E-LOC", "S-PER"],
            ["B-LOC", "I-LOC", "I-LOC", "B-LOC", "B-PER"],
        ),
        (("O", "loc", "per"), ["loc", "loc", "per", "O"], ["B-LOC", "I-LOC", "B-PER", "O"]),
    ],
)
def test_tags_of_any_notation_become_those_of_the_task(
    tags: tuple[str, ...], said: list[str], expected: list[str]
) -> None:
    assert said_as(tags, BIO, [said, said]) == [expected, expected]


def test_names_of_spans_are_mapped_and_one_that_the_task_lacks_is_outside() -> None:
    tags = ("O", "B-person", "I-person", "B-place", "I-place", "B-misc", "I-misc")
    mapped = {"person": "PER", "place": "LOC"}
    said = [["B-person", "I-person", "B-place", "O"]]
    with pytest.raises(
        ModelError, match=r"the tags of the teacher T .* 'misc', and the task has 'PER', 'LOC'"
    ):
        said_as(tags, BIO, said, **mapped)
    task, scores = Task("t", "tagging", tags=BIO), np.zeros((1, 7), np.float32)
    columns, turned = tag_columns(tags, task, mapped | {"misc": "O"}, "T")
    assert columns == [0, 1, 2, 3, 4, 0, 0]
    scores[0, 5] = 9
    assert in_notation(scores, Ragged.of([[0]]), columns, turned, task).argmax() == 0
    whole = {"LABEL_0": "O", "LABEL_1": "B-PER", "LABEL_2": "B-LOC"}
    assert tag_columns(tuple(whole), task, whole, "T")[0] == [0, 1, 3]


def test_plain_tags_take_what_begins_and_goes_on_together() -> None:
    assert said_as(("O", "B-x", "I-x"), ("x", "O"), [["B-x", "I-x", "O"]]) == [["x", "x", "O"]]


def test_several_teachers_are_averaged_by_probability() -> None:
    first = np.log(np.array([[0.9, 0.1], [0.5, 0.5]], np.float32))
    second = 7 + np.log(np.array([[0.2, 0.8], [0.5, 0.5]], np.float32))
    second[1] = np.nan
    found = together([first, second], "choices")
    assert_allclose(np.exp(found), [[0.55, 0.45], [0.5, 0.5]], rtol=1e-5)
    scores = np.array([[1.0], [3.0], [5.0]], np.float32)
    assert_allclose(together([scores, 100 * scores[::-1]], "scores"), [[3.0], [3.0], [3.0]])
    assert_allclose(together([scores, 9 + 100 * scores], "scores"), scores, rtol=1e-6)


# The whole way


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TaskData:
    """A few labelled texts."""
    path = tmp_path_factory.mktemp("films") / "films_train.jsonl"
    rows = [{"text": text, "label": CLASSES[number % 2]} for number, text in enumerate(SENTENCES)]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return load_task(None, train=str(path))


@pytest.fixture(scope="module")
def pile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts without labels, some of them twice."""
    rng, path = random.Random(4), tmp_path_factory.mktemp("pile") / "pile.txt"
    words = sorted({word for sentence in SENTENCES for word in sentence.split()})
    texts = [" ".join(rng.choices(words, k=rng.randint(2, 9))) for _ in range(150)]
    path.write_text("\n".join([*texts, *(text.upper() for text in texts[:20])]), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def roberta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_any(tmp_path_factory.mktemp("roberta") / "roberta-films", "roberta", ("LABEL_0", "LABEL_1"))


def soft_of(monkeypatch: pytest.MonkeyPatch) -> list[Floats]:
    """Takes down what a model learns from teachers."""
    noted: list[Floats] = []
    fit = job_module.fit

    def noting(model: Any, train: Any, *rest: Any, **options: Any) -> Any:
        noted.append(train.soft)
        return fit(model, train, *rest, **options)

    monkeypatch.setattr(job_module, "fit", noting)
    return noted


def test_a_teacher_of_other_names_and_order_teaches_with_a_mapping(
    world: World, data: TaskData, roberta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learnt, run = soft_of(monkeypatch), RunDir(tmp_path / "run")
    with pytest.raises(
        ModelError, match=r"'LABEL_0', 'LABEL_1', and the task has 'bad', 'good'.*LABEL_0=bad"
    ):
        finetune(world.headless, data, run, BRIEF, teacher=roberta)
    mapping = {"LABEL_0": "good", "LABEL_1": "bad"}
    found = finetune(world.headless, data, run, BRIEF, teacher=roberta, teacher_labels=mapping)
    assert found.teacher == str(roberta)
    expected = np.stack([said_by_twin(roberta, spelled(text))[0][::-1] for text in data.train.texts])
    assert_allclose(learnt[0], expected, atol=1e-4)
    monkeypatch.setattr(targets, "predict_rest", None)
    again = finetune(
        world.headless, data, run, BRIEF, teacher=roberta, teacher_labels=mapping, seeds=2, overwrite=True
    )
    assert again.scores["0"] == found.scores["0"], "the teacher was not asked again"


def test_two_teachers_of_different_architectures(
    world: World, data: TaskData, roberta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learnt, run = soft_of(monkeypatch), RunDir(tmp_path / "run")
    other = save_any(tmp_path / "albert", "albert", ("Good", "Bad"))
    mapping = {"LABEL_0": "bad", "LABEL_1": "good"}
    found = finetune(world.headless, data, run, BRIEF, teacher=[roberta, other], teacher_labels=mapping)
    assert found.teacher == f"{roberta}, {other}"
    texts = [spelled(text) for text in data.train.texts]
    both = [
        np.stack([torch.tensor(said_by_twin(folder, text)[0]).softmax(-1).numpy()[::order] for text in texts])
        for folder, order in ((roberta, 1), (other, -1))
    ]
    assert_allclose(np.exp(learnt[0]), (both[0] + both[1]) / 2, atol=1e-4)


def test_a_teacher_of_any_architecture_that_was_interrupted_reads_only_the_rest(
    world: World, data: TaskData, roberta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = find_teacher(str(roberta), None)
    task, read = teacher.taught_task(None), list[int]()
    encoded, scores_of = words_of(world, data.train, task), AnyClassifier.scores

    def counted(model: AnyClassifier, inputs: Any, positions: Any, *, states: bool) -> Any:
        if len(read) == 2:
            read.clear()
            raise KeyboardInterrupt
        read.append(len(positions))
        return scores_of(model, inputs, positions, states=states)

    monkeypatch.setattr("lilliput.finetuning.fit._ROWS_TO_PREDICT", 12)
    whole = targets.teacher_targets(teacher, data.train, encoded, task, tmp_path / "whole", states=False)[0]
    monkeypatch.setattr(AnyClassifier, "scores", counted)
    with pytest.raises(KeyboardInterrupt):
        targets.teacher_targets(teacher, data.train, encoded, task, tmp_path / "parts", states=False)
    parts = targets.teacher_targets(teacher, data.train, encoded, task, tmp_path / "parts", states=False)[0]
    assert sum(read) == len(data.train) - 2 * 12
    assert_allclose(parts, whole, atol=1e-5)


@pytest.mark.parametrize(("times", "is_told"), [(1.0, False), (30.0, True)])
def test_scores_of_another_range_than_the_labels_are_told(
    world: World, tmp_path: Path, times: float, is_told: bool
) -> None:
    teacher = save_any(tmp_path / "teacher", "electra", ("LABEL_0",))
    said = tuple(times * float(said_by_twin(teacher, text)[0][0]) for text in SENTENCES)
    every = Examples(tuple(SENTENCES), labels=Labels(said))
    likes = TaskData(Task("likes", "regression", metric="pearson"), every, every)
    with console.capture() as told:
        finetune(world.headless, likes, tmp_path / "run", BRIEF, teacher=teacher)
    assert ("both are learnt as they are" in told.get()) == is_told


# Without labels


def test_without_labels_agreement_with_the_teacher_is_the_score(
    world: World, roberta: Path, pile: Path, tmp_path: Path
) -> None:
    found = finetune(world.headless, None, tmp_path / "run", BRIEF, teacher=roberta, unlabelled=pile)
    assert (found.task.name, found.task.kind) == ("roberta-films", "classification")
    assert found.task.classes == ("LABEL_0", "LABEL_1")
    assert found.examples == {"train": 0, "dev": 50, "unlabelled": 115}
    assert set(found.mean) == {"agreement", "agreement_f1", "agreement_matthews"}
    folder = tmp_path / "run/finetuned/roberta-films"
    lines = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
    for line in lines:
        logits = said_by_twin(roberta, line["text"])[0]
        assert line["gold"]["label"] == f"LABEL_{logits.argmax()}"
        assert line["gold_of"] == "teacher"
    assert found.mean["agreement"] == np.mean([line["gold"] == line["predicted"] for line in lines])
    made = bundle(tmp_path / "run", tmp_path / "bundle", task="roberta-films", quantization="float32")
    assert made.scores["agreement"] == found.mean["agreement"]
    card = (tmp_path / "bundle/README.md").read_text()
    assert "roberta-films, held-out texts with the teacher's answers | agreement |" in card
    assert "taught by roberta-films" in card
    assert (
        finetune(world.headless, "roberta-films", tmp_path / "run", BRIEF, teacher=roberta, unlabelled=pile)
        == found
    )


def test_without_labels_tags_are_those_of_the_teacher(world: World, pile: Path, tmp_path: Path) -> None:
    tags = ("O", "S-a", "B-a", "I-a", "E-a")
    teacher = save_any(tmp_path / "teacher", "xlm-roberta", tags, reads="words", positions=90)
    run = tmp_path / "run"
    found = finetune(world.headless, "mine", run, BRIEF, teacher=teacher, unlabelled=pile)
    assert found.task.tags == ("O", "B-a", "I-a")
    assert set(found.mean) == {"agreement_f1", "agreement_precision", "agreement_recall"}
    lines = [json.loads(line) for line in (run / "finetuned/mine/predictions.jsonl").read_text().splitlines()]
    assert all(
        [spelled(tuple(line["text"]))[a:b] for a, b in line["words"]] == line["text"] for line in lines
    )
    for line in lines[:8]:
        logits, _, offsets = said_by_twin(teacher, " ".join(line["text"]), reads="words")
        places = [first_overlap(offsets, range(len(offsets)), *span) for span in line["words"]]
        expected, is_open = [], False
        for outside, single, begin, inside, end in torch.tensor(logits[places]).softmax(-1).tolist():
            first, others = (single + begin, inside + end) if is_open else (1 - outside, 0)
            expected.append(("O", "B-a", "I-a")[int(np.argmax([outside, first, others]))])
            is_open = max(begin, inside) > max(outside, single, end)
        assert line["gold"]["tags"] == expected


def test_without_labels_scores_are_those_of_the_teacher(world: World, pile: Path, tmp_path: Path) -> None:
    teacher = save_any(tmp_path / "teacher", "distilbert", ("LABEL_0",))
    found = finetune(world.headless, "mine", tmp_path / "run", BRIEF, teacher=teacher, unlabelled=pile)
    assert found.task.kind == "regression"
    assert set(found.mean) == {"agreement_pearson", "agreement_spearman"}


def test_a_model_that_lilliput_fine_tuned_teaches_without_labels_too(
    world: World, data: TaskData, pile: Path, tmp_path: Path
) -> None:
    run = RunDir(tmp_path / "run")
    other = dataclasses.replace(data, task=dataclasses.replace(data.task, name="other"))
    finetune(world.teacher, data, run, BRIEF)
    for name in (None, "mine", "films"):
        teacher = find_teacher(str(run.path), name, taught=True)
        assert teacher.name == str(run.finetuned("films"))
        task = teacher.taught_task(name)
        assert (task.classes, task.metric) == (data.task.classes, "agreement")
    finetune(world.teacher, other, run, BRIEF)
    assert find_teacher(str(run.path), "films", taught=True).name == str(run.finetuned("films"))
    with pytest.raises(ConfigError, match=r"holds models of several tasks \((films, other|other, films)\)"):
        finetune(world.headless, None, tmp_path, BRIEF, teacher=run, unlabelled=pile)


def test_texts_that_repeat_stay_on_one_side(pile: Path) -> None:
    texts = pile.read_text().splitlines()
    train, dev = held_out(texts)
    assert not {text.casefold() for text in train} & {text.casefold() for text in dev}
    assert len(dev) == 50
    assert {*held_out(texts[::-1])[1]} == {*held_out(texts)[1]} or len({*texts}) < len(texts) + 1
    many = [f"text {number}" for number in range(20_000)]
    assert len(held_out(many[:900])[1]) == 90
    assert len(held_out(many)[1]) == 1_000
    with pytest.raises(InputError, match="there are 99 different unlabelled texts"):
        held_out(many[:99])


def test_a_name_of_examples_is_never_taken_for_one_without(data: TaskData, tmp_path: Path) -> None:
    asked = {"teacher": ["t"], "unlabelled": ["u"]}
    assert is_taught(None, **asked)
    assert is_taught("mine", **asked)
    assert not is_taught("sst2", **asked)
    assert not is_taught(str(tmp_path / "mien"), **asked)
    assert not is_taught("mine", teacher=["t"], unlabelled=[])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"config": dataclasses.replace(BRIEF, balance=0.5)}, "balance needs labelled examples"),
        (
            {"config": dataclasses.replace(BRIEF, distillation=DistillationConfig(recombined=5))},
            "distillation.recombined needs labelled examples",
        ),
        ({"teacher": None, "unlabelled": ()}, "no task was named"),
        ({"teacher_labels": {"LABEL_7": "x"}}, "names 'LABEL_7', which .* does not have, but 'LABEL_0'"),
        ({"teacher_labels": ["LABEL_0"]}, "`teacher_labels` must be a dict of names"),
    ],
)
def test_what_cannot_be_learnt_without_labels(
    world: World, roberta: Path, pile: Path, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    given = {"config": BRIEF, "teacher": roberta, "unlabelled": pile, **options}
    with pytest.raises(ConfigError, match=message):
        finetune(world.headless, None, tmp_path, **given)


def test_names_on_the_command_line() -> None:
    assert names_of(("a=b", "c=", "d==")) == {"a": "b", "c": "", "d": "="}
    for wrong in (("a",), ("a=b", "a=c")):
        with pytest.raises(ConfigError, match="--teacher-labels takes NAME=NAME"):
            names_of(wrong)


# Refusals


def edited(change: Callable[[dict[str, Any]], Any], file: str = "config.json") -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        found = json.loads((folder / file).read_text())
        change(found)
        (folder / file).write_text(json.dumps(found))

    return edit


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def without_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def cut_short(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[:-10])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (pickled, r"has pytorch_model.bin and no model.safetensors, .* convert it .*save_pretrained"),
        (edited(lambda found: found.update(auto_map={"AutoModel": "m.M"})), "'auto_map': it names code"),
        (edited(lambda found: found.update(auto_map={"A": "m.M"}), "tokenizer_config.json"), "runs no code"),
        (edited(lambda found: found.update(model_type="gpt2")), "'gpt2' model, which is no encoder"),
        (edited(lambda found: found.update(model_type="bart")), "'bart' model, which has a decoder"),
        (edited(lambda found: found.update(model_type="nonesuch")), r"'nonesuch' .* transformers \d"),
        (edited(lambda found: found.update(is_decoder=True)), "which is no encoder"),
        (edited(lambda found: found.pop("model_type")), "does not say of which kind the model is"),
        (edited(lambda found: found.update(architectures=["RobertaModel"])), "no head .*fine-tune it first"),
        (edited(lambda found: found.pop("architectures")), "its config names no class"),
        (edited(lambda found: found.update(id2label={"0": "a", "1": "a"})), "columns of the same name"),
        (
            edited(lambda found: found.update(id2label={"0": "a"}, problem_type=f"single{ONE_OF}")),
            "requires `num_labels > 1`",
        ),
        (edited(lambda found: found.update(problem_type="regression")), "gives a text 2 scores"),
        (edited(lambda found: found.update(num_hidden_layers=10**6)), "'num_hidden_layers': 1000000"),
        (edited(lambda found: found.update(intermediate_size=10**5)), r"weights, and its files hold"),
        (edited(lambda found: found.update(hidden_size=21)), "cannot be loaded"),
        (edited(lambda found: found.update(vocab_size=20)), "ids up to"),
        (cut_short, "cut short or damaged"),
        (without_tokenizer, "makes no tokenizer of the files|no fast form|ids up to"),
        (edited(lambda found: found.pop("model"), "tokenizer.json"), "not a JSON object with a model"),
    ],
)  # fmt: skip
def test_what_cannot_teach_is_a_sentence(
    world: World, roberta: Path, pile: Path, tmp_path: Path, change: Callable[[Path], None], message: str
) -> None:
    folder = Path(shutil.copytree(roberta, tmp_path / "teacher"))
    change(folder)
    with pytest.raises(ModelError, match=message):
        finetune(world.headless, "mine", tmp_path / "run", BRIEF, teacher=folder, unlabelled=pile)


def test_a_teacher_of_another_kind_is_refused(
    world: World, data: TaskData, roberta: Path, tmp_path: Path
) -> None:
    tagger = save_any(tmp_path / "tagger", "distilbert", TAGS, reads="words")
    with pytest.raises(ModelError, match=r"'tagging' \(tags of words\), and the task 'films' is one of"):
        finetune(world.headless, data, tmp_path / "run", BRIEF, teacher=tagger)
    tagged = TaskData(
        Task("t", "tagging", tags=BIO, metric="f1"), WORDS, dataclasses.replace(WORDS, labels=Labels())
    )
    with pytest.raises(ModelError, match="is a model for 'classification'"):
        find_teachers([str(roberta)], tagged, {})


def test_a_model_without_a_head_says_how_to_fine_tune_it(
    world: World, data: TaskData, tmp_path: Path
) -> None:
    with pytest.raises(
        ModelError, match=f"fine-tune it first: lilliput finetune {world.headless} --task TASK"
    ):
        finetune(world.headless, data, tmp_path / "run", BRIEF, teacher=world.headless)


def test_the_python_way_in(world: World, roberta: Path, pile: Path, tmp_path: Path) -> None:
    found = lilliput.finetune(
        world.headless, run=tmp_path, config=BRIEF, teacher=str(roberta), unlabelled=str(pile),
        teacher_labels={"LABEL_0": "bad", "LABEL_1": "good"},
    )  # fmt: skip
    assert found.task.classes == ("bad", "good")
    assert load_twin(tmp_path / "finetuned/roberta-films")[0].config.id2label == {0: "bad", 1: "good"}


def test_the_code_of_the_how_to_works(
    world: World, roberta: Path, pile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parent.parent.parent / "docs/how-to/teachers.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.+?)```", page, re.DOTALL)
    shutil.copytree(world.headless, tmp_path / "runs/x/student")
    shutil.copytree(roberta, tmp_path / "my-classifier")
    shutil.copy(pile, tmp_path / "pile.txt")
    monkeypatch.setattr("lilliput.finetuning.config.LEAST_STEPS", 6)
    monkeypatch.chdir(tmp_path)
    found: dict[str, Any] = {}
    exec(compile(code, "teachers.md", "exec"), found)
    assert found["found"].teacher == "my-classifier"


def test_the_command_line_takes_several_teachers_and_names(
    world: World, roberta: Path, pile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = save_any(tmp_path / "other", "modernbert", ("Bad", "Good"), seed=2)
    options = f"--teacher {roberta} --teacher {other} --teacher-labels LABEL_0=bad LABEL_1=good"
    command = f"lilliput finetune {world.headless} --out {tmp_path} --task mine {options} --unlabelled {pile}"
    monkeypatch.setattr("sys.argv", [*command.split(), "--set", "epochs=0.5"])
    cli.main()
    found = read_results(tmp_path / "finetuned/mine")
    assert found.teacher == f"{roberta}, {other}"
    assert found.task.classes == ("bad", "good")


def test_a_teacher_on_the_hub_is_read_as_what_was_downloaded(
    roberta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    revision = tmp_path / "models--my--classifier/snapshots/0123abcd"
    asked = list[str]()

    def download(name: str, *, allow_patterns: list[str]) -> str:
        assert name == "my/classifier"
        asked.extend(allow_patterns)
        revision.mkdir(parents=True, exist_ok=True)
        for path in roberta.iterdir():
            if any(path.match(pattern) for pattern in allow_patterns):
                shutil.copy(path, revision)
        return str(revision)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    teacher = find_teacher("my/classifier", "films")
    assert teacher.digest == "my/classifier@0123abcd"
    opened = teacher.open()
    assert opened.columns == 2
    assert not any(pattern.endswith((".bin", ".py", ".pt")) for pattern in asked)
