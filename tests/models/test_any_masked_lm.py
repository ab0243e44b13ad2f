"""Masked LMs of any architecture through one interface, against transformers' own modules."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForMaskedLM, PreTrainedModel

from any_checkpoints import save_masked_lm
from conftest import World
from lilliput.models.any_masked_lm import open_masked_lm, outline
from lilliput.models.masked_lm import MaskedLM
from lilliput.models.teacher import Teacher, build_teacher
from lilliput.pieces.teacher_tokenizer import load_tokenizer

LIKE_BERT = ("bert", "roberta", "xlm-roberta", "camembert", "distilbert", "mpnet")
OTHERS = ("electra", "albert", "deberta-v2", "modernbert", "nomic_bert", "eurobert")
KINDS = (*LIKE_BERT, *OTHERS)


@pytest.fixture(scope="module")
def folders(world: World, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    tokenizer, folder = load_tokenizer(world.teacher), tmp_path_factory.mktemp("any")
    return {kind: save_masked_lm(folder / kind, kind, tokenizer) for kind in KINDS}


def twin(folder: Path) -> PreTrainedModel:
    return AutoModelForMaskedLM.from_pretrained(folder, attn_implementation="eager").eval()


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    pieces = torch.randint(6, 600, (3, 17), generator=torch.Generator().manual_seed(0))
    padding = torch.arange(17) >= torch.tensor([17, 9, 4])[:, None]
    return torch.where(padding, 0, pieces), padding


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_states_and_scores_are_those_of_transformers(folders: dict[str, Path], kind: str) -> None:
    model, has_head = open_masked_lm(str(folders[kind]))
    pieces, padding = batch()
    theirs = twin(folders[kind])
    seen = {"attention_mask": (~padding).long()}
    states = theirs.base_model(input_ids=pieces, **seen)[0]
    logits = theirs(input_ids=pieces, **seen).logits
    ours = MaskedLM(model)
    found = ours.read(pieces, padding)
    assert has_head
    torch.testing.assert_close(found[~padding], states[~padding], atol=2e-5, rtol=2e-4)
    torch.testing.assert_close(ours.scores(found[~padding]), logits[~padding], atol=1e-4, rtol=5e-4)
    chosen = torch.tensor([0, 3, 18, 35])
    torch.testing.assert_close(ours.read(pieces, padding, at=chosen), found.flatten(0, 1)[chosen])


def build(folder: Path, world: World, start: str = "pieces") -> Teacher:
    model, _ = open_masked_lm(str(folder))
    return build_teacher(model, world.spelling(), start, 12, 0)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
def test_both_vocabularies_learn(world: World, folders: dict[str, Path], kind: str) -> None:
    teacher = build(folders[kind], world)
    before = {name: value.detach().clone() for name, value in teacher.named_parameters()}
    pieces, padding = batch()
    pieces[:, 2:6] = 700  # of the student's vocabulary
    at = torch.tensor([0, 3, 18, 20, 35])
    optimizer = torch.optim.SGD(teacher.parameters(), 0.05)

    def loss() -> torch.Tensor:
        hidden = teacher.transform(teacher.hidden(pieces, padding, at=at))
        scores = (teacher.own_scores(hidden), teacher.second_scores(hidden))
        return sum((-each.log_softmax(1)[:, 7].mean() for each in scores), torch.zeros(()))

    first = loss()
    first.backward()
    without = [
        name for name, value in teacher.named_parameters() if value.requires_grad and value.grad is None
    ]
    optimizer.step()
    assert loss() < first
    for name in ("second.weight", "second_bias", *(["second_output"] if kind == "eurobert" else [])):
        assert not torch.equal(before[name], teacher.get_parameter(name)), name
    assert without == []


@pytest.mark.parametrize("start", ["pieces", "affine"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_teacher_is_saved_and_loaded(
    world: World, folders: dict[str, Path], tmp_path: Path, kind: str, start: str
) -> None:
    teacher = build(folders[kind], world, start)
    with torch.no_grad():
        teacher.second_bias.add_(torch.arange(len(teacher.second_bias)) * 0.01)
    teacher.save(tmp_path)
    loaded = dict(Teacher.load(tmp_path).named_parameters())
    assert loaded.keys() == dict(teacher.named_parameters()).keys()
    for name, parameter in teacher.named_parameters():
        assert torch.equal(loaded[name], parameter), name


@pytest.mark.parametrize("kind", KINDS)
def test_a_table_is_cut_to_the_tokenizer(folders: dict[str, Path], kind: str) -> None:
    model, _ = open_masked_lm(str(folders[kind]))
    pieces, padding = torch.tensor([[7, 8, 9]]), None
    with torch.no_grad():
        whole = MaskedLM(model).scores(MaskedLM(model).read(pieces, padding)[0])
        model.resize_token_embeddings(500)
        ours = MaskedLM(model)
        assert len(ours.table) == len(ours.output_table) == len(ours.bias) == 500
        torch.testing.assert_close(ours.scores(ours.read(pieces, padding)[0]), whole[:, :500])
    assert ours.is_tied == (kind != "eurobert")


@pytest.mark.parametrize("kind", KINDS)
def test_sizes_are_known_before_weights_are_read(folders: dict[str, Path], kind: str) -> None:
    found = outline(str(folders[kind]))
    shape = found.shape
    assert (shape.layers, shape.width, shape.heads, shape.feed_forward) == (2, 24, 3, 32)
    assert shape.positions == 40
    assert found.has_blocks == (kind in LIKE_BERT)
