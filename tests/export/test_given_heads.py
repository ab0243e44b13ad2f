"""A bundle of a checkpoint that somebody else fine-tuned answers as its own head does, or there is none."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification

import lilliput
from checkpoints import SENTENCES
from classifiers import NAMES, classifier
from conftest import World
from lilliput.errors import ModelError
from lilliput.pieces.bert_tokenizer import complete, load_tokenizer


def test_a_classifier_answers_with_its_own_labels(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = classifier(world, tmp_path / "given")
    made = lilliput.bundle(folder, tmp_path / "bundle", quantization="float32")
    assert made.exported.kind == "classification"
    assert "nothing says whether it was made for pairs" in capsys.readouterr().err
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = complete(load_tokenizer(folder))
    answers = lilliput.load(tmp_path / "bundle").classify(SENTENCES)
    for text, answer in zip(SENTENCES, answers, strict=True):
        with torch.no_grad():
            wanted = model(torch.tensor([tokenizer.encode(text).ids])).logits.softmax(-1)[0]
        assert answer.label == NAMES["text"][int(wanted.argmax())]
        assert answer.probability == pytest.approx(float(wanted.max()), abs=1e-4)


def test_a_tagger_answers_with_its_own_tags(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = classifier(world, tmp_path / "given", "words")
    assert lilliput.bundle(folder, tmp_path / "bundle", quantization="float32").exported.kind == "tagging"
    assert "pairs" not in capsys.readouterr().err
    text = "the child ran"
    ids = complete(load_tokenizer(folder)).encode(text).ids
    model = AutoModelForTokenClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        first = int(model(torch.tensor([ids])).logits[0, 1].argmax())
    (answer,) = lilliput.load(tmp_path / "bundle").tag([text])
    assert answer.words[0].tag == NAMES["words"][first]


def test_a_classifier_of_several_labels_answers_with_each_that_is_probable(
    world: World, tmp_path: Path
) -> None:
    folder = Path(classifier(world, tmp_path / "given"))
    config = folder / "config.json"
    config.write_text(
        json.dumps(json.loads(config.read_text()) | {"problem_type": "multi_label_classification"})
    )
    made = lilliput.bundle(folder, tmp_path / "bundle", quantization="float32")
    assert made.exported.kind == "multilabel"
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = complete(load_tokenizer(str(folder)))
    answers = lilliput.load(tmp_path / "bundle").label(SENTENCES)
    for text, answer in zip(SENTENCES, answers, strict=True):
        with torch.no_grad():
            wanted = model(torch.tensor([tokenizer.encode(text).ids])).logits.sigmoid()[0]
        assert list(answer.probabilities.values()) == pytest.approx(wanted.tolist(), abs=1e-4)
        assert set(answer.labels) == {name for name, share in answer.probabilities.items() if share >= 0.5}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"architectures": ["BertForQuestionAnswering"]}, "BertForQuestionAnswering.*'encode'"),
        ({"architectures": ["BertForMultipleChoice"]}, "BertForMultipleChoice.*'encode'"),
        ({"problem_type": "regression"}, "2 scores.*'encode'"),
    ],
)
def test_a_head_that_lilliput_has_no_kind_for_is_refused(
    world: World, tmp_path: Path, changes: dict[str, object], sentence: str
) -> None:
    folder = Path(classifier(world, tmp_path / "given"))
    config = folder / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | changes))
    with pytest.raises(ModelError, match=sentence):
        lilliput.bundle(folder, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()
    made = lilliput.bundle(folder, tmp_path / "bundle", kind="encode")  # the remedy
    assert made.exported.kind == "encode"
