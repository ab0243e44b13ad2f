import dataclasses
import json
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    BertForMaskedLM,
    pipeline,
)

from conftest import World
from lilliput.errors import ModelError, StorageError
from lilliput.models.task_model import labels_of, load_encoder, load_task, load_task_model, save_task_model
from lilliput.tasks.task import Task

TASKS = {
    "classification": Task("c", "classification", classes=("no", "yes", "perhaps")),
    "regression": Task("r", "regression", pairs=True, metric="pearson"),
    "tagging": Task("t", "tagging", tags=("O", "B-x", "I-x"), metric="f1"),
    "joint": Task("j", "joint", classes=("ask", "tell"), tags=("O", "B-x"), metric="frame_accuracy"),
}


@pytest.mark.parametrize("kind", TASKS)
@pytest.mark.parametrize("encoder", ["teacher", "headless"])
def test_an_encoder_keeps_its_weights_and_gets_a_head(world: World, kind: str, encoder: str) -> None:
    model = load_encoder(getattr(world, encoder), TASKS[kind], dropout=0.2, seed=1)
    original = BertForMaskedLM.from_pretrained(world.teacher) if encoder == "teacher" else None
    if original is not None:
        for name, tensor in original.bert.named_parameters():
            assert torch.equal(tensor, model.bert.get_parameter(name))
    assert tuple(model.config.id2label.values()) == labels_of(TASKS[kind])
    assert model.classifier.out_features == len(labels_of(TASKS[kind]))
    assert model.config.hidden_dropout_prob == 0.2
    assert load_encoder(world.teacher, TASKS[kind], None, 1).config.hidden_dropout_prob == 0.1


def test_the_seed_decides_the_head(world: World) -> None:
    heads = [load_encoder(world.teacher, TASKS["tagging"], 0.1, seed).classifier.weight for seed in (0, 0, 1)]
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])


@pytest.mark.parametrize("kind", TASKS)
def test_a_saved_model_loads_with_transformers_alone(world: World, kind: str, tmp_path: Path) -> None:
    task = TASKS[kind]
    model = load_encoder(world.teacher, task, 0.1, 0).eval()
    save_task_model(model, world.lexicon.teacher_tokenizer(), task, tmp_path)
    loads = AutoModelForTokenClassification if task.tags else AutoModelForSequenceClassification
    inputs = {"input_ids": torch.tensor([[3, 8, 9, 4]])}
    with torch.no_grad():
        assert torch.equal(loads.from_pretrained(tmp_path)(**inputs).logits, model(**inputs).logits)
    again, found = load_task_model(tmp_path)
    assert found == task
    assert type(again) is type(model)
    kind_of_pipeline = "token-classification" if task.tags else "text-classification"
    (said, *_) = pipeline(kind_of_pipeline, model=str(tmp_path))("the brotenter was in")
    assert said["entity" if task.tags else "label"] in {*labels_of(task), "LABEL_0"}


def test_a_fine_tuned_model_is_an_encoder_for_another_task(world: World, tmp_path: Path) -> None:
    first = load_encoder(world.teacher, TASKS["classification"], 0.1, 0)
    save_task_model(first, world.lexicon.teacher_tokenizer(), TASKS["classification"], tmp_path)
    second = load_encoder(str(tmp_path), TASKS["joint"], 0.1, 0)
    assert torch.equal(
        first.bert.embeddings.word_embeddings.weight, second.bert.embeddings.word_embeddings.weight
    )
    assert second.classifier.out_features == 4


def test_no_fine_tuned_model_is_a_sentence(world: World) -> None:
    with pytest.raises(StorageError, match=r"holds no fine-tuned model \(task.json is missing\)"):
        load_task(Path(world.teacher))


def test_a_newer_format_is_a_sentence(world: World, tmp_path: Path) -> None:
    save_task_model(
        load_encoder(world.teacher, TASKS["joint"], 0.1, 0),
        world.lexicon.teacher_tokenizer(),
        TASKS["joint"],
        tmp_path,
    )
    task = {"format": 99, "task": dataclasses.asdict(TASKS["joint"])}
    (tmp_path / "task.json").write_text(json.dumps(task))
    with pytest.raises(StorageError, match=r"task.json has format 99, this version of lilliput reads 1"):
        load_task_model(tmp_path)


def test_no_encoder_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model could be loaded from"):
        load_encoder(str(tmp_path), TASKS["tagging"], 0.1, 0)
