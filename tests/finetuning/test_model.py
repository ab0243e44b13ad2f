import dataclasses
import json
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    pipeline,
)

from conftest import World
from lilliput.errors import ModelError, StorageError
from lilliput.finetuning.model import (
    TaskModel,
    find_head,
    is_of_text,
    labels_of,
    load_encoder,
    load_task,
    load_task_model,
    save_task_model,
)
from lilliput.models.classifier import leaves_out
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
    save_task_model(model, world.lexicon.teacher_tokenizer().tokenizer, task, tmp_path)
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
    save_task_model(first, world.lexicon.teacher_tokenizer().tokenizer, TASKS["classification"], tmp_path)
    second = load_encoder(str(tmp_path), TASKS["joint"], 0.1, 0)
    assert torch.equal(
        first.bert.embeddings.word_embeddings.weight, second.bert.embeddings.word_embeddings.weight
    )
    assert second.classifier.out_features == 4


def with_head(world: World, task: Task, folder: Path) -> tuple[TaskModel, str]:
    """Returns a fine-tuned model with biases that tell its columns apart, and its folder."""
    model = load_encoder(world.teacher, task, 0.1, 0)
    with torch.no_grad():
        model.classifier.bias.copy_(1 + torch.arange(model.classifier.out_features))
    save_task_model(model, world.lexicon.teacher_tokenizer().tokenizer, task, folder)
    return model, str(folder)


WORDS = {"kind": "tagging", "classes": (), "tags": ("no", "yes", "perhaps")}
HEADS = {
    "same": ("classification", {"classes": ("no", "yes", "perhaps")}, [0, 1, 2]),
    "turned": ("classification", {"classes": ("perhaps", "no", "yes")}, [2, 0, 1]),
    "fewer": ("classification", {"classes": ("yes", "no")}, [1, 0]),
    "more": ("classification", {"classes": ("a", "yes", "b", "no")}, [None, 1, None, 0]),
    "others": ("classification", {"classes": ("a", "b", "c")}, [None] * 3),
    "some of as many": ("classification", {"classes": ("a", "perhaps", "yes")}, [None, 2, 1]),
    "words": ("classification", WORDS, [None] * 3),
    "score": ("classification", {"kind": "regression", "classes": ()}, [None]),
    "one score": ("regression", {"name": "other"}, [0]),
    "no score": ("regression", {"kind": "classification", "classes": ("score", "b")}, [None] * 2),
    "tags": ("tagging", {"tags": ("O", "I-x", "I-y", "B-x")}, [0, 2, None, 1]),
    "tags of a joint task": ("joint", {"kind": "tagging", "classes": (), "tags": ("B-x", "O")}, [1, 0]),
    "joint": ("joint", {"classes": ("tell", "x", "ask")}, [0, 1, 3, None, 2]),
    "texts": ("joint", {"kind": "classification", "tags": ()}, [None] * 2),
}


@pytest.mark.parametrize("case", HEADS)
def test_columns_of_a_head_are_kept_by_their_names(world: World, case: str, tmp_path: Path) -> None:
    kind, changes, kept = HEADS[case]
    task = dataclasses.replace(TASKS[kind], **changes)
    first, folder = with_head(world, TASKS[kind], tmp_path)
    second = load_encoder(folder, task, None, 0)
    assert second.classifier.bias.tolist() == [0 if column is None else column + 1 for column in kept]
    taken = [(column, theirs) for column, theirs in enumerate(kept) if theirs is not None]
    columns, theirs = ([pair[side] for pair in taken] for side in (0, 1))
    assert torch.equal(second.classifier.weight[columns], first.classifier.weight[theirs])
    again = load_encoder(folder, task, None, 0).classifier.weight
    assert torch.equal(again, second.classifier.weight)
    head = find_head(folder, task)
    assert head is not None
    assert head.is_whole == (case in ("same", "one score"))
    assert all(repr(name) in str(head) for name in labels_of(task))
    assert ("drawn anew" in str(head)) == (None in kept)


def test_the_same_classes_in_another_order_answer_the_same(world: World, tmp_path: Path) -> None:
    task = TASKS["classification"]
    _, folder = with_head(world, task, tmp_path)
    turned = load_encoder(folder, dataclasses.replace(task, classes=task.classes[::-1]), None, 0)
    inputs = {"input_ids": torch.tensor([[3, 8, 9, 4]])}
    with torch.no_grad():
        ours, theirs = (model.eval()(**inputs).logits for model in (turned, load_task_model(tmp_path)[0]))
    assert torch.allclose(ours, theirs.flip(-1))


def test_names_that_say_nothing_match_nothing(world: World, tmp_path: Path) -> None:
    config = BertConfig.from_pretrained(world.teacher, num_labels=2)
    model = BertForSequenceClassification(config)
    with torch.no_grad():
        model.classifier.bias.fill_(5)
    model.save_pretrained(tmp_path)
    plain, same = (
        load_encoder(str(tmp_path), Task("c", "classification", classes=classes), None, 0)
        for classes in (("0", "1"), ("LABEL_1", "LABEL_0"))
    )
    assert (plain.classifier.bias.tolist(), same.classifier.bias.tolist()) == ([0, 0], [5, 5])
    assert "has no column that the task needs ('0', '1')" in str(
        find_head(str(tmp_path), Task("c", "classification", classes=("0", "1")))
    )
    assert find_head(world.teacher, TASKS["joint"]) is None


def test_names_that_stand_twice_match_nothing(world: World, tmp_path: Path) -> None:
    joint = Task("j", "joint", classes=("O", "tell"), tags=("O", "B-x"))
    _, folder = with_head(world, joint, tmp_path)
    found = load_encoder(folder, Task("t", "tagging", tags=("B-x", "O")), None, 0)
    assert found.classifier.bias.tolist() == [2, 0]
    assert load_task_model(tmp_path)[1] == joint


def test_names_that_disagree_are_a_sentence(world: World, tmp_path: Path) -> None:
    with_head(world, TASKS["classification"], tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["id2label"] |= {"0": "yes", "1": "no"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(StorageError, match=r"head 'yes', 'no', 'perhaps', task.json names them 'no', 'yes'"):
        load_task_model(tmp_path)


def test_a_folder_of_the_version_before_still_opens(world: World, tmp_path: Path) -> None:
    with_head(world, TASKS["joint"], tmp_path)
    assert is_of_text(tmp_path)
    task = json.loads((tmp_path / "task.json").read_text()) | {"format": 1}
    (tmp_path / "task.json").write_text(json.dumps(task))
    assert load_task_model(tmp_path)[1] == TASKS["joint"]
    assert not is_of_text(tmp_path)


def test_no_fine_tuned_model_is_a_sentence(world: World) -> None:
    with pytest.raises(StorageError, match=r"holds no fine-tuned model \(task.json is missing\)"):
        load_task(Path(world.teacher))


def test_a_newer_format_is_a_sentence(world: World, tmp_path: Path) -> None:
    save_task_model(
        load_encoder(world.teacher, TASKS["joint"], 0.1, 0),
        world.lexicon.teacher_tokenizer().tokenizer,
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


@pytest.mark.parametrize(
    "name", ["hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout"]
)
def test_steps_are_seeded_where_anything_is_left_out(world: World, name: str) -> None:
    model = load_encoder(world.teacher, TASKS["classification"], 0.0, 0)
    assert not leaves_out(model)
    setattr(model.config, name, 0.1)
    assert leaves_out(model)
