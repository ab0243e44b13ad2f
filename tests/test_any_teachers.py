"""Teachers of other architectures than BERT, from text to student, and those that are refused."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import CONFIG_MAPPING, AutoModel, AutoModelForMaskedLM

from any_checkpoints import save_masked_lm
from conftest import World
from lilliput import recipes
from lilliput.compression import compress
from lilliput.errors import ConfigError, LilliputError, ModelError
from lilliput.finetuning.model import find_head
from lilliput.models.any_masked_lm import open_masked_lm
from lilliput.pieces.teacher_tokenizer import load_tokenizer
from lilliput.run import RunDir
from lilliput.tasks.task import Task
from lilliput.training.data import check_teacher
from lilliput.training.evaluation import evaluate

WIDE = {"hidden_size": 32, "num_attention_heads": 4}
WIDE_DISTILBERT = {"dim": 32, "n_heads": 4}


def written(world: World, folder: Path, kind: str) -> Path:
    sizes = WIDE_DISTILBERT if kind == "distilbert" else WIDE
    return save_masked_lm(folder / kind, kind, load_tokenizer(world.teacher), **sizes)


@pytest.mark.parametrize("kind", ["distilbert", "mpnet"])
def test_from_text_to_student(world: World, tmp_path: Path, kind: str) -> None:
    teacher = str(written(world, tmp_path, kind))
    out, text = tmp_path / "run", [str(world.text)]
    made = compress(teacher, text, out, recipes.tiny(), workers=1)
    loss = made.stages["dual"]
    assert loss["after"]["student/loss"] < loss["before"]["student/loss"]
    assert loss["after"]["teacher/loss"] < loss["before"]["teacher/loss"]
    again = compress(teacher, text, out, recipes.tiny(), workers=1)
    assert again.stages == made.stages
    assert evaluate(out)["student"].loss == pytest.approx(made.stages["student"]["after"]["student/loss"])
    saved = AutoModelForMaskedLM.from_pretrained(RunDir(out).training("dual") / "teacher")
    assert saved.config.model_type == kind
    assert AutoModelForMaskedLM.from_pretrained(out / "student").config.model_type == "bert"


APART = {"stages.dual.objectives.projection_down": "0"}


@pytest.mark.parametrize("start", ["teacher", "random"])
def test_an_encoder_unlike_a_bert_teaches(
    world: World, tmp_path: Path, start: str, capsys: pytest.CaptureFixture[str]
) -> None:
    teacher = str(written(world, tmp_path, "modernbert"))
    recipe, out = recipes.tiny().replace(APART | {"start.student": start}), tmp_path / "run"
    made = compress(teacher, [str(world.text)], out, recipe, workers=1)
    for model in ("teacher", "student"):
        assert made.stages["dual"]["after"][f"{model}/loss"] < made.stages["dual"]["before"][f"{model}/loss"]
    assert evaluate(out).keys() == {"teacher", "student"}
    assert ("starts from what it computes" in " ".join(capsys.readouterr().err.split())) == (
        start == "teacher"
    )


def test_what_needs_its_matrices_is_refused_before_text_is_read(world: World, tmp_path: Path) -> None:
    teacher = str(written(world, tmp_path, "modernbert"))
    with pytest.raises(ConfigError, match=r"of a 'modernbert' lilliput does not know") as refused:
        compress(teacher, [str(world.text)], tmp_path / "run", recipes.tiny(), workers=1)
    for setting, value in APART.items():
        assert f"--set {setting}={value}" in str(refused.value)
    assert not (tmp_path / "run" / "corpus").exists()


@pytest.mark.parametrize("kind", ["roberta", "modernbert"])
def test_a_student_is_not_larger(world: World, tmp_path: Path, kind: str) -> None:
    teacher = str(written(world, tmp_path, kind))
    recipe = recipes.tiny().replace(APART | {"student.positions": "41"})
    with pytest.raises(ConfigError, match=r"student.positions is 41, the teacher has 40"):
        check_teacher(recipe, teacher)


def change(folder: Path, **settings: object) -> str:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))
    return str(folder)


def written_plainly(folder: Path, kind: str, **sizes: object) -> str:
    AutoModel.from_config(CONFIG_MAPPING[kind](**sizes)).save_pretrained(folder)
    return str(folder)


def a_decoder(world: World, folder: Path) -> str:
    return written_plainly(folder, "gpt2", n_embd=8, n_layer=1, n_head=1, vocab_size=60)


def an_encoder_decoder(world: World, folder: Path) -> str:
    sizes = {"d_model": 8, "encoder_layers": 1, "decoder_layers": 1, "vocab_size": 60}
    heads = {"encoder_attention_heads": 1, "decoder_attention_heads": 1}
    return written_plainly(folder, "bart", **sizes, **heads, encoder_ffn_dim=8, decoder_ffn_dim=8)


def a_decoder_of_roberta(world: World, folder: Path) -> str:
    return change(written(world, folder, "roberta"), is_decoder=True)


def code_of_its_own(world: World, folder: Path) -> str:
    return change(written(world, folder, "modernbert"), auto_map={"AutoModel": "model.Mine"})


def pickled_weights(world: World, folder: Path) -> str:
    made = written(world, folder, "mpnet")
    (made / "model.safetensors").rename(made / "pytorch_model.bin")
    return str(made)


def a_head_of_another_form(world: World, folder: Path) -> str:
    sizes = {"hidden_size": 32, "intra_bottleneck_size": 8, "embedding_size": 8, "num_attention_heads": 2}
    return written_plainly(folder, "mobilebert", **sizes, num_hidden_layers=1, vocab_size=60)


def no_text_at_once(world: World, folder: Path) -> str:
    return change(written(world, folder, "modernbert"), model_type="vit")


def weights_that_lack(world: World, folder: Path) -> str:
    return change(written(world, folder, "distilbert"), n_layers=3)


def a_missing_head_of_its_own(world: World, folder: Path) -> str:
    made = written(world, folder, "eurobert")
    AutoModel.from_pretrained(made).save_pretrained(made)
    return str(made)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (a_decoder, "no encoder that reads a text at once"),
        (an_encoder_decoder, "no encoder|has a decoder"),
        (a_decoder_of_roberta, "no encoder that reads a text at once"),
        (code_of_its_own, "names code of its own"),
        (pickled_weights, "pickled weights may run code"),
        (a_head_of_another_form, "cannot be read by embedded pieces"),
        (no_text_at_once, "no encoder that reads a text at once"),
        (weights_that_lack, "fetch it again"),
        (a_missing_head_of_its_own, "has no masked-LM head, and that of a 'eurobert' has a table of its own"),
    ],
)
def test_what_cannot_teach_is_refused(
    world: World, tmp_path: Path, make: Callable[[World, Path], str], reason: str
) -> None:
    with pytest.raises(ModelError, match=reason):
        open_masked_lm(make(world, tmp_path))


def test_more_pieces_than_rows_are_refused(world: World, tmp_path: Path) -> None:
    folder = tmp_path / "small"
    model = AutoModelForMaskedLM.from_config(CONFIG_MAPPING["distilbert"](vocab_size=500, **WIDE_DISTILBERT))
    model.save_pretrained(folder)
    load_tokenizer(world.teacher).save(str(folder / "tokenizer.json"))
    with pytest.raises(LilliputError, match="rows for 500 pieces"):
        compress(str(folder), [str(world.text)], tmp_path / "run", recipes.tiny(), workers=1)


def test_students_are_berts(world: World, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"'distilbert' model, and only a plain BERT is read here"):
        find_head(
            str(written(world, tmp_path, "distilbert")), Task("x", "classification", classes=("a", "b"))
        )
