"""The teacher with two vocabularies: a plain BERT in its own, joint ids, what it refuses."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertForMaskedLM, BertModel, GPT2Config

from conftest import STUDENT_PIECES, World
from lilliput.errors import ModelError, StorageError
from lilliput.models.pretrained import load_config, load_masked_lm
from lilliput.models.teacher import AffineTable, FreeTable, Teacher, build_teacher


def built(world: World, start: str = "pieces", narrow: int = 16) -> Teacher:
    model, _ = load_masked_lm(world.teacher)
    return build_teacher(model, world.spelling(), start, narrow, seed=0)


@pytest.fixture
def copy(world: World, tmp_path: Path) -> Path:
    """A copy of the teacher's folder to be spoilt."""
    return Path(shutil.copytree(world.teacher, tmp_path / "teacher"))


# Two vocabularies


@pytest.mark.parametrize("padded", [False, True])
@torch.no_grad()
def test_with_its_own_vocabulary_it_is_the_plain_model(world: World, padded: bool) -> None:
    teacher, reference = built(world), BertForMaskedLM.from_pretrained(world.teacher).eval()
    own_size = teacher.own_table.shape[0]
    pieces = torch.randint(0, own_size, (3, 25), generator=torch.Generator().manual_seed(0))
    padding = torch.arange(25) >= torch.tensor([25, 11, 2])[:, None] if padded else torch.zeros(3, 25) > 0
    states = teacher.hidden(pieces, padding if padded else None)
    scores = teacher.own_scores(teacher.transform(states[~padding]))
    expected = reference(pieces, attention_mask=(~padding).long()).logits
    torch.testing.assert_close(scores, expected[~padding], rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_joint_ids_read_the_second_table(world: World) -> None:
    """A mixed sequence is what transformers makes of the embeddings, each from its own table."""
    teacher, reference = built(world), BertForMaskedLM.from_pretrained(world.teacher).eval()
    own_size = teacher.own_table.shape[0]
    pieces = torch.randint(0, own_size + STUDENT_PIECES, (4, 20), generator=torch.Generator().manual_seed(0))
    pieces[0, 0], pieces[0, 1] = own_size - 1, own_size
    both = torch.cat([teacher.own_table, teacher.second()])
    expected = reference.bert(inputs_embeds=both[pieces]).last_hidden_state
    torch.testing.assert_close(teacher.hidden(pieces, None), expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_shared_pieces_are_copied_and_others_are_means(world: World) -> None:
    teacher, names = built(world), world.lexicon.student_tokenizer().get_vocab()
    own = world.lexicon.teacher_tokenizer().tokenizer
    copies, means = 0, 0
    for piece, index in names.items():
        theirs = own.token_to_id(piece)
        if theirs is None:
            pieces = world.spelling()[index]
            means += 1
            if own.token_to_id("[UNK]") not in pieces:
                spelt = "".join(own.id_to_token(part).removeprefix("##") for part in pieces)
                assert spelt == piece.removeprefix("##")
                assert len(pieces) > 1
        else:
            pieces = [theirs]
            copies += 1
        torch.testing.assert_close(teacher.second()[index], teacher.own_table[pieces].mean(0))
        torch.testing.assert_close(teacher.second_bias[index], teacher.own_bias[pieces].mean())
    assert copies > 200
    assert means > 20


def test_the_tables_of_a_teacher_are_apart(world: World) -> None:
    teacher = built(world)
    before = teacher.own_table.detach().clone()
    with torch.no_grad():
        teacher.second().add_(1)
        teacher.second_bias.add_(1)
    assert torch.equal(teacher.own_table, before)
    assert not torch.equal(teacher.own_bias[:10], teacher.second_bias[:10])


def test_a_random_start_hangs_on_the_seed_and_leaves_torch_alone(world: World) -> None:
    state = torch.get_rng_state()
    first, second = built(world, "random"), built(world, "random")
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.second(), second.second())
    assert first.second().std().item() == pytest.approx(0.02, rel=0.05)
    model, _ = load_masked_lm(world.teacher)
    assert not torch.equal(build_teacher(model, world.spelling(), "random", 0, 1).second(), first.second())


def test_an_affine_table_has_narrow_embeddings(world: World) -> None:
    teacher = built(world, "affine", narrow=12)
    assert isinstance(teacher.second, AffineTable)
    assert teacher.second.weight.shape == (STUDENT_PIECES, 12)
    assert teacher.second().shape == (STUDENT_PIECES, 32)
    teacher.second().square().sum().backward()
    assert teacher.second.weight.grad is not None


# Saved and loaded


@pytest.mark.parametrize(("start", "kind"), [("pieces", FreeTable), ("affine", AffineTable)])
@torch.no_grad()
def test_what_is_saved_is_loaded(world: World, tmp_path: Path, start: str, kind: type) -> None:
    teacher = built(world, start)
    teacher.second_bias.add_(torch.arange(STUDENT_PIECES) * 0.01)
    teacher.save(tmp_path)
    loaded = Teacher.load(tmp_path)
    assert isinstance(loaded.second, kind)
    theirs = dict(loaded.named_parameters())
    assert theirs.keys() == dict(teacher.named_parameters()).keys()
    for name, parameter in teacher.named_parameters():
        assert torch.equal(theirs[name], parameter), name
    plain = BertForMaskedLM.from_pretrained(tmp_path)
    assert torch.equal(plain.bert.embeddings.word_embeddings.weight, teacher.own_table)


@pytest.mark.parametrize("spoil", ["missing", "cut"])
def test_a_spoilt_second_vocabulary_is_refused(world: World, tmp_path: Path, spoil: str) -> None:
    built(world).save(tmp_path)
    path = tmp_path / "second_vocabulary.safetensors"
    if spoil == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(StorageError, match=r"second_vocabulary.*train the teacher again"):
        Teacher.load(tmp_path)


# What teachers may be


def test_a_missing_head_is_seen(world: World) -> None:
    model, has_head = load_masked_lm(world.headless)
    assert not has_head
    plain = BertModel.from_pretrained(world.headless)
    assert torch.equal(
        model.bert.encoder.layer[2].output.dense.weight, plain.encoder.layer[2].output.dense.weight
    )
    assert torch.equal(model.cls.predictions.transform.dense.weight, torch.eye(32))


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"model_type": "distilbert"}, "distilbert"),
        (GPT2Config().to_dict(), "gpt2"),
        ({"model_type": "roberta"}, "roberta"),
        ({"is_decoder": True}, "bert"),
    ],
    ids=["distilbert", "gpt2", "roberta", "decoder"],
)
def test_other_models_are_refused(world: World, copy: Path, config: dict[str, object], named: str) -> None:
    settings = json.loads((copy / "config.json").read_text())
    base = {} if "model_type" in config else settings
    (copy / "config.json").write_text(json.dumps(base | config))
    with pytest.raises(ModelError, match=f"'{named}' model.*supported are"):
        load_config(str(copy))


@pytest.mark.parametrize("content", ["{}", "not JSON", '{"model_type": "no-such-model"}'])
def test_a_config_that_says_nothing_is_refused(copy: Path, content: str) -> None:
    (copy / "config.json").write_text(content)
    with pytest.raises(ModelError, match=r"supported are|damaged"):
        load_config(str(copy))


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model could be loaded"):
        load_config(str(tmp_path))


def test_missing_weights_are_refused(copy: Path) -> None:
    weights = load_file(copy / "model.safetensors")
    del weights["bert.encoder.layer.1.output.dense.weight"]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks 1 weights, e.g. encoder.layer.1.output.dense.weight"):
        load_masked_lm(str(copy))


def test_weights_of_another_shape_are_refused(copy: Path) -> None:
    weights = load_file(copy / "model.safetensors")
    weights["bert.encoder.layer.1.output.dense.weight"] = torch.zeros(3, 3)
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="supported are"):
        load_masked_lm(str(copy))


def test_a_pickle_is_not_opened(copy: Path) -> None:
    weights = load_file(copy / "model.safetensors")
    (copy / "model.safetensors").unlink()
    torch.save(weights, copy / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"cannot be loaded.*safetensors"):
        load_masked_lm(str(copy))


@pytest.mark.parametrize("kept", [0, 5, 1000, -100])
def test_damaged_weights_are_refused(copy: Path, kept: int) -> None:
    path = copy / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ModelError, match=r"weights of .* cannot be loaded"):
        load_masked_lm(str(copy))
