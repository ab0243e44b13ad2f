"""A whole run from teachers whose tokenizer is no BERT's: text to student, task and bundle."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer, BertForMaskedLM

import lilliput
from any_checkpoints import load_twin, said_by_twin, save_any
from classifiers import decide
from conftest import small_text, stir, teacher_config
from labelled import CLASSES, examples_of
from lilliput import recipes
from lilliput.compression import Summary
from lilliput.config import LexiconConfig, StudentConfig
from lilliput.distillation import DistillConfig
from lilliput.finetuning.config import FinetuningConfig
from lilliput.finetuning.unlabelled.sentences import near_sentences
from lilliput.pieces.lexicon import Lexicon
from lilliput.pieces.scripts import hardly_read
from lilliput.planning import probes
from lilliput.run import RunDir
from lilliput.tasks.task import TaskData
from lilliput.text.corpus import END, Corpus
from other_tokenizers import trained, write_tokenizer

KINDS = ("unigram", "bytes")


def made_teacher(folder: Path, kind: str) -> str:
    tokenizer = trained(kind)
    model = BertForMaskedLM(teacher_config(tokenizer.get_vocab_size()))
    stir(model)
    model.save_pretrained(folder)
    return str(write_tokenizer(folder, tokenizer))


@pytest.fixture(scope="module", params=KINDS)
def finished(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, RunDir, Summary]:
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "text.txt").write_text(small_text(1, 300, odd=True), encoding="utf-8")
    teacher = made_teacher(folder / "teacher", request.param)
    found = lilliput.compress(teacher, folder / "text.txt", folder / "run", recipes.tiny(), workers=1)
    return teacher, RunDir(folder / "run"), found


def test_rows_are_the_pieces_of_the_teachers_own_tokenizer(finished: tuple[str, RunDir, Summary]) -> None:
    teacher, run, _ = finished
    corpus, lexicon = Corpus.open(run.corpus), Lexicon.open(run.lexicon)
    own, words = AutoTokenizer.from_pretrained(teacher), corpus.word_types()
    (stream,) = corpus.shards
    documents = np.split(stream, np.flatnonzero(stream == END) + 1)[:40]
    for document in documents:
        text = "".join(words[word] for word in document[:-1])
        expected = own.encode(text)
        assert [own.cls_token_id, *lexicon.teacher.take(document).values.tolist()] == expected


def test_the_student_reads_texts_as_words_were_read(finished: tuple[str, RunDir, Summary]) -> None:
    _, run, _ = finished
    corpus, lexicon = Corpus.open(run.corpus), Lexicon.open(run.lexicon)
    student, words = AutoTokenizer.from_pretrained(run.student), corpus.word_types()
    (stream,) = corpus.shards
    for document in np.split(stream, np.flatnonzero(stream == END) + 1)[:40]:
        text = "".join(words[word] for word in document[:-1])
        assert lexicon.student.take(document).values.tolist() == student.encode(text)[1:]
    assert student.tokenize("The") == student.tokenize("the")


def test_the_student_is_a_plain_checkpoint(finished: tuple[str, RunDir, Summary]) -> None:
    _, run, summary = finished
    model, tokenizer = (
        AutoModelForMaskedLM.from_pretrained(run.student),
        AutoTokenizer.from_pretrained(run.student),
    )
    with torch.no_grad():
        assert model(**tokenizer("the boxes", return_tensors="pt")).logits.isfinite().all()
    assert set(summary.stages) == {"teacher", "dual", "student"}
    report = Lexicon.open(run.lexicon).report
    assert 0 < report.alike < 1
    assert 0 < report.overlap < 1
    assert report.student_coverage > 0.9


def test_a_task_and_a_bundle(finished: tuple[str, RunDir, Summary], tmp_path: Path) -> None:
    _, run, _ = finished
    data = TaskData(CLASSES, examples_of(CLASSES, 96, 0), examples_of(CLASSES, 40, 1))
    config = FinetuningConfig(epochs=1, rows=8, evaluations=1, rate=5e-3)
    lilliput.finetune(run, data, config=config)
    lilliput.bundle(run, tmp_path / "bundle", task="c")
    (answer,) = lilliput.load(tmp_path / "bundle").classify(["the my boxes"])
    assert answer.label in CLASSES.classes


def test_sentences_near_a_task_are_found(finished: tuple[str, RunDir, Summary]) -> None:
    _, run, _ = finished
    corpus = Corpus.open(run.corpus)
    text = (run.path.parent / "text.txt").read_text(encoding="utf-8")
    taken = [text.split(". ")[number] + "." for number in (3, 9, 30)]
    found = near_sentences(corpus, taken, 20, seed=0)
    assert len(found) == 20
    assert all(sentence in " ".join(text.split()) for sentence in found)


def test_other_text_is_evaluated(finished: tuple[str, RunDir, Summary], tmp_path: Path) -> None:
    _, run, _ = finished
    (tmp_path / "other.txt").write_text(small_text(2, 40, odd=True), encoding="utf-8")
    found = lilliput.evaluate(run, tmp_path / "other.txt", rows=16)
    assert set(found) == {"teacher", "student"}


def test_a_cased_student_tells_capitals_apart(finished: tuple[str, RunDir, Summary], tmp_path: Path) -> None:
    teacher, run, _ = finished
    corpus = Corpus.open(run.corpus)
    lexicon = lilliput.build_lexicon(corpus, teacher, LexiconConfig(size=300, cased=True), tmp_path / "cased")
    student = lexicon.student_tokenizer()
    assert student.encode("The").tokens != student.encode("the").tokens
    again = lilliput.build_lexicon(corpus, teacher, LexiconConfig(size=300, cased=True), tmp_path / "cased")
    assert again.student.values.tolist() == lexicon.student.values.tolist()


def test_sizes_are_compared(finished: tuple[str, RunDir, Summary], tmp_path: Path) -> None:
    teacher, run, _ = finished
    small, large = lilliput.vocabulary(Corpus.open(run.corpus), teacher, [200, 300], tmp_path)
    assert small.student_fertility > large.student_fertility
    assert (small.student_size, small.teacher_size) == (200, Lexicon.open(run.lexicon).teacher_size)


def test_a_script_that_the_student_can_hardly_write_is_named(finished: tuple[str, RunDir, Summary]) -> None:
    words = [" the", " Москва", "мир", "...", " 東京"]
    readable = np.array([True, False, True, False, False])
    found = hardly_read(words, np.array([9000, 30, 70, 500, 2]), readable)
    assert found == {"CYRILLIC": 0.7}  # of 東京 there is too little to speak of
    report = replace(Lexicon.open(finished[1].lexicon).report, hardly_read=found)
    assert "hardly read  CYRILLIC: 70.0% of its words without [UNK]; raise" in report.describe(16)


@pytest.mark.parametrize("kind", KINDS)
def test_a_plan(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_STEPS_AT_LEAST", "PROBE_STEPS", "_READINGS_AT_LEAST", "_READINGS_AT_MOST"):
        monkeypatch.setattr(probes, name, 1)
    (tmp_path / "text.txt").write_text(small_text(1, 300, odd=True), encoding="utf-8")
    teacher = made_teacher(tmp_path / "teacher", kind)
    found = lilliput.plan(teacher, tmp_path / "text.txt", recipes.tiny())
    assert found.text.words == pytest.approx(18_000, rel=0.1)
    made_up = lilliput.plan(teacher, 1_000_000, recipes.tiny())
    assert made_up.preparation_seconds > 0


OTHERS = ("roberta", "xlm-roberta", "modernbert")
"""Types that have such a tokenizer themselves."""


@pytest.mark.parametrize(
    ("model_type", "kind"), [*(("bert", kind) for kind in KINDS), *((name, name) for name in OTHERS)]
)
def test_a_classifier_with_such_a_tokenizer_becomes_a_bundle(
    model_type: str, kind: str, tmp_path: Path
) -> None:
    tokenizer = None if kind == model_type else kind
    teacher = save_any(tmp_path / "teacher", model_type, ("bad", "good"), tokenizer=tokenizer)
    sentences = small_text(5, 60, odd=True).replace("\n\n", " ").replace(". ", ".\n").splitlines()
    (tmp_path / "pile.txt").write_text("\n".join(sentences), encoding="utf-8")
    model, _ = load_twin(teacher)
    margins = [float(np.diff(said_by_twin(teacher, sentence)[0])[0]) for sentence in sentences[:40]]
    heads = [part for part in model.modules() if isinstance(part, torch.nn.Linear) and part.out_features == 2]
    decide(heads[-1], torch.tensor(margins))
    model.save_pretrained(teacher)
    config = DistillConfig(
        LexiconConfig(size=200),
        StudentConfig(layers=2, width=16, heads=2, feed_forward=32, positions=32),
        FinetuningConfig(epochs=1, rows=16, evaluations=1, rate=5e-3),
    )
    found = lilliput.distill(
        str(teacher), str(tmp_path / "pile.txt"), tmp_path / "run", minutes=2, config=config
    )
    (answer,) = lilliput.load(found.folder).classify(["the boxes"])
    assert answer.label in ("bad", "good")
