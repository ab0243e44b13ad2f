"""The whole way on a small world: every recipe, skipping what is done, noticing what is not the same."""

import dataclasses
import io
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
import torch
from rich.console import Console
from transformers import AutoModelForMaskedLM, AutoTokenizer

import lilliput
from conftest import LENGTH, STUDENT_PIECES, World, small_text
from lilliput.common.files import digest_value
from lilliput.compression import BERT_BASE_BYTES, BERT_BASE_PARAMETERS, Summary, compress, render
from lilliput.config import Recipe
from lilliput.errors import ConfigError, InputError, StorageError
from lilliput.models.student import load_student, parameter_count
from lilliput.recipes import RECIPES, tiny
from lilliput.run import RunDir
from lilliput.training import loop as training
from lilliput.training.evaluation import evaluate

Shrink = Callable[..., Recipe]


def files(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Returns when files were last written, and what they hold."""
    found = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes()) for path in found}


def table_of(summary: Summary) -> str:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(render(summary))
    return console.export_text()


@pytest.fixture
def finished(tiny_run: tuple[RunDir, Summary]) -> tuple[RunDir, Summary]:
    return tiny_run


@pytest.fixture
def copy(finished: tuple[RunDir, Summary], tmp_path: Path) -> RunDir:
    return RunDir(Path(shutil.copytree(finished[0].path, tmp_path / "run")))


# What comes out


def test_the_summary_tells_true_sizes(world: World, finished: tuple[RunDir, Summary]) -> None:
    run, summary = finished
    weights = run.student / "model.safetensors"
    assert summary.student_parameters == parameter_count(load_student(run.student))
    assert summary.student_bytes == weights.stat().st_size
    assert 4 * summary.student_parameters < summary.student_bytes < 4 * summary.student_parameters + 10_000
    assert summary.folder_bytes == sum(path.stat().st_size for path in run.student.iterdir())
    assert summary.teacher_bytes == (Path(world.teacher) / "model.safetensors").stat().st_size
    assert 4 * summary.teacher_parameters < summary.teacher_bytes
    assert summary.stages.keys() == {"teacher", "dual", "student"}
    assert summary.words == sum(stage["words"] for stage in summary.stages.values())
    assert 6000 <= summary.words < 7000
    assert summary.training_seconds < summary.total_seconds
    assert json.loads(run.summary.read_text()) == json.loads(json.dumps(dataclasses.asdict(summary)))
    assert summary.recipe == tiny().to_dict()
    assert Recipe.from_dict(json.loads(run.summary.read_text())["recipe"]) == tiny()
    assert summary.teacher == world.teacher


@pytest.mark.slow
def test_the_bytes_of_a_sharded_teacher_are_those_of_all_shards(world: World, tmp_path: Path) -> None:
    sharded = tmp_path / "teacher"
    AutoModelForMaskedLM.from_pretrained(world.teacher).save_pretrained(sharded, max_shard_size="50KB")
    shutil.copy(Path(world.teacher) / "tokenizer.json", sharded)
    shards = list(sharded.glob("model-*-of-*.safetensors"))
    assert len(shards) > 1
    assert not (sharded / "model.safetensors").exists()
    recipe = tiny().replace({"budget.words": "300"})
    summary = compress(str(sharded), [str(world.text)], tmp_path / "run", recipe, workers=1)
    assert summary.teacher_bytes == sum(path.stat().st_size for path in shards)
    assert 4 * summary.teacher_parameters < summary.teacher_bytes


def test_the_table_shows_it(finished: tuple[RunDir, Summary]) -> None:
    _, summary = finished
    table = table_of(summary)
    for value in (
        summary.student_parameters,
        summary.student_bytes,
        summary.teacher_parameters,
        summary.teacher_bytes,
        summary.words,
        BERT_BASE_PARAMETERS,
        BERT_BASE_BYTES,
    ):
        assert f"{value:,}" in table
    assert "teacher compressed by recipe 'tiny'" in table
    assert f"{summary.teacher_parameters / summary.student_parameters:.1f}x" in table
    before = summary.stages["dual"]["before"]["student/bits_per_character"]
    after = summary.stages["student"]["after"]["student/bits_per_character"]
    lines = {line.split("│")[1].strip(): line for line in table.splitlines() if line.count("│") == 5}
    assert f"{before:.3f}" in lines["bits per character, before"]
    assert f"{after:.3f}" in lines["bits per character, after"]
    assert f"{summary.stages['dual']['after']['teacher/accuracy']:.1%}" in lines["masked pieces right, after"]


def test_a_later_stage_begins_where_the_earlier_ended(finished: tuple[RunDir, Summary]) -> None:
    _, summary = finished
    stages = summary.stages
    for model, first, second in (("teacher", "teacher", "dual"), ("student", "dual", "student")):
        after, before = stages[first]["after"], stages[second]["before"]
        assert after[f"{model}/loss"] == before[f"{model}/loss"]
        assert stages[first]["before"][f"{model}/loss"] != after[f"{model}/loss"]


def test_the_student_is_a_plain_checkpoint(finished: tuple[RunDir, Summary]) -> None:
    run, _ = finished
    model, tokenizer = (kind.from_pretrained(run.student) for kind in (AutoModelForMaskedLM, AutoTokenizer))
    assert type(model).__name__ == "BertForMaskedLM"
    assert model.config.vocab_size == tokenizer.vocab_size == STUDENT_PIECES
    encoded = tokenizer("The brinimhood [MASK]!", return_tensors="pt")
    with torch.no_grad():
        assert model(**encoded).logits.isfinite().all()


def test_evaluation_on_the_runs_own_text_repeats_the_last_figures(
    copy: RunDir, finished: tuple[RunDir, Summary]
) -> None:
    found = evaluate(copy.path, rows=512)
    after = finished[1].stages["student"]["after"]
    assert found["student"].bits_per_character == after["student/bits_per_character"]
    assert found.keys() == {"teacher", "student"}
    written = json.loads((copy.path / "evaluation.json").read_text())
    assert written["teacher"] == dataclasses.asdict(found["teacher"])


def test_evaluation_on_other_text(world: World, copy: RunDir) -> None:
    found = evaluate(copy.path, [str(world.other_text)])
    assert found["student"].words > 200
    assert math.isfinite(found["student"].bits_per_character)
    assert found["teacher"].words == found["student"].words
    before = files(copy.path / "evaluation")
    assert evaluate(copy.path, [str(world.other_text)]) == found
    assert files(copy.path / "evaluation") == before


def test_evaluation_on_a_text_that_changed(world: World, copy: RunDir, tmp_path: Path) -> None:
    """There is no --overwrite to tell it so."""
    text = Path(shutil.copy(world.other_text, tmp_path / "text.txt"))
    found = evaluate(copy.path, [str(text)])
    text.write_text(small_text(4, 20, odd=True), encoding="utf-8")
    assert evaluate(copy.path, [str(text)])["student"].words != found["student"].words


# Once is enough


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_second_call_trains_nothing(
    world: World,
    copy: RunDir,
    finished: tuple[RunDir, Summary],
    monkeypatch: pytest.MonkeyPatch,
    overwrite: bool,
) -> None:
    before = files(copy.path)
    monkeypatch.setattr(training, "Stepper", None)
    summary = compress(world.teacher, [str(world.text)], copy.path, tiny(), workers=1, overwrite=overwrite)
    after = files(copy.path)
    assert before.keys() == after.keys()
    for name, (written, content) in before.items():
        if name.split("/")[0] in ("corpus", "lexicon", "training"):
            assert after[name] == (written, content), name
        elif name != "summary.json":
            assert after[name][1] == content, name
    assert summary.stages == finished[1].stages


def test_the_same_corpus_in_another_place_is_the_same(world: World, copy: RunDir, tmp_path: Path) -> None:
    moved = shutil.copy(world.text, tmp_path / "text.txt")
    before = files(copy.path / "training")
    compress(world.teacher, [str(moved)], copy.path, tiny(), workers=1)
    assert files(copy.path / "training") == before


def test_a_missing_last_stage_is_made_again(world: World, copy: RunDir) -> None:
    before = files(copy.path / "training")
    shutil.rmtree(copy.training("student"))
    shutil.rmtree(copy.student)
    compress(world.teacher, [str(world.text)], copy.path, tiny(), workers=1)
    after = files(copy.path / "training")
    for name, (written, content) in before.items():
        if not name.startswith("student/"):
            assert after[name] == (written, content), name
    weights = "student/student/model.safetensors"
    assert after[weights][1] == before[weights][1], "the same inputs give the same bits"
    assert (copy.student / "model.safetensors").read_bytes() == before[weights][1]


def everything(folder: Path) -> dict[str, tuple[int, int]]:
    """Returns when all files and folders were last changed, and how large they are."""
    found = [folder, *folder.rglob("*")]
    return {str(path): (path.lstat().st_mtime_ns, path.lstat().st_size) for path in found}


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_finished_run_is_not_written_to(
    world: World, copy: RunDir, finished: tuple[RunDir, Summary], overwrite: bool
) -> None:
    before = everything(copy.path.parent)
    summary = compress(world.teacher, [str(world.text)], copy.path, tiny(), workers=1, overwrite=overwrite)
    assert everything(copy.path.parent) == before
    assert summary == Summary(**json.loads(json.dumps(dataclasses.asdict(finished[1]))))


def as_before(run: RunDir) -> None:
    """Makes of a run what the version before wrote: no digests of files, and inputs for earlier stages."""
    digests: dict[str, str] = {}
    folders = [run.corpus, run.lexicon, *(run.training(name) for name in ("teacher", "dual", "student"))]
    for folder in folders:
        manifest = json.loads((folder / "manifest.json").read_text())
        del manifest["files"]
        made_from = manifest["made_from"]
        made_from |= {name: digests[of] for name, of in BEGAN_WITH.get(folder.name, {}).items()}
        manifest["digest"] = digests[folder.name] = digest_value({"format": 1, "made_from": made_from})
        (folder / "manifest.json").write_text(json.dumps(manifest))
    summary = json.loads(run.summary.read_text())
    del summary["student_files"]
    run.summary.write_text(json.dumps(summary))


BEGAN_WITH = {
    "dual": {"earlier_teacher": "teacher"},
    "student": {"earlier_teacher": "dual", "earlier_student": "dual"},
}


def test_a_run_of_the_version_before_is_finished_too(
    world: World, copy: RunDir, finished: tuple[RunDir, Summary], monkeypatch: pytest.MonkeyPatch
) -> None:
    as_before(copy)
    monkeypatch.setattr(training, "Stepper", None)
    before = everything(copy.path)
    summary = compress(world.teacher, [str(world.text)], copy.path, tiny(), workers=1)
    assert summary.stages == finished[1].stages
    assert everything(copy.path) == before
    assert copy.trained_teacher() == copy.training("dual") / "teacher"
    assert evaluate(copy.path, rows=16).keys() == {"teacher", "student"}


# Damage


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize("damage", [flip, cut, Path.unlink])
@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_a_damaged_stage_is_trained_anew_and_not_copied(
    world: World, copy: RunDir, damage: Callable[[Path], None], name: str
) -> None:
    good = files(copy.student)
    damage(copy.training("student") / "student" / name)
    compress(world.teacher, [str(world.text)], copy.path, tiny(), workers=1)
    assert {name: content for name, (_, content) in files(copy.student).items()} == {
        name: content for name, (_, content) in good.items()
    }
    weights = copy.training("student") / "student" / "model.safetensors"
    assert weights.read_bytes() == good["model.safetensors"][1]


@pytest.mark.parametrize(
    ("model", "damage"),
    [
        ("student/model.safetensors", flip),
        ("student/model.safetensors", cut),
        ("student/model.safetensors", Path.unlink),
        ("teacher/second_vocabulary.safetensors", flip),
    ],
)
def test_a_stage_does_not_begin_with_what_is_damaged(
    world: World, copy: RunDir, model: str, damage: Callable[[Path], None]
) -> None:
    damage(copy.training("dual") / model)
    shutil.rmtree(copy.training("student"))
    is_read = model.startswith("student")  # the last stage reads no teacher
    if is_read:
        with pytest.raises(
            StorageError, match=r"dual/student/model.*run the same `lilliput compress` again, or"
        ):
            training.train(copy, tiny(), "student", world.teacher)
    training.train(copy, tiny(), "dual", world.teacher)
    assert "words" in training.train(copy, tiny(), "student", world.teacher)
    assert "words" in training.train(copy, tiny(), "student", world.teacher)


@pytest.mark.parametrize("damage", [flip, cut, Path.unlink])
def test_a_damaged_student_is_refused_and_put_in_its_place_again(
    world: World, copy: RunDir, damage: Callable[[Path], None]
) -> None:
    good = (copy.student / "model.safetensors").read_bytes()
    damage(copy.student / "model.safetensors")
    with pytest.raises(StorageError, match=r"model\.safetensors .*; run the same `lilliput compress` again"):
        evaluate(copy.path)
    compress(world.teacher, [str(world.text)], copy.path, tiny(), workers=1)
    assert (copy.student / "model.safetensors").read_bytes() == good
    evaluate(copy.path, rows=16)


@pytest.mark.parametrize("name", ["shards/00000.npy", "words.txt", "counts.npy"])
def test_a_flipped_byte_of_a_corpus_is_noticed_before_it_is_trained_on(
    world: World, copy: RunDir, name: str
) -> None:
    flip(copy.corpus / name)
    shutil.rmtree(copy.training("student"))
    sentence = rf"{name} was altered.*; remove (\S+) and build the corpus again"
    with pytest.raises(StorageError, match=sentence):
        training.train(copy, tiny(), "student", world.teacher)
    with pytest.raises(StorageError, match=sentence):
        compress(world.teacher, [str(world.text)], copy.path, tiny(), workers=1)
    shutil.rmtree(copy.corpus)
    compress(world.teacher, [str(world.text)], copy.path, tiny(), workers=1)


def test_a_kill_while_the_student_was_copied_is_mended(world: World, copy: RunDir) -> None:
    good = (copy.student / "model.safetensors").read_bytes()
    copy.summary.unlink()
    cut(copy.student / "model.safetensors")
    (copy.student / "tokenizer.json").unlink()
    (copy.path / ".student.partial").mkdir()
    compress(world.teacher, [str(world.text)], copy.path, tiny(), workers=1)
    assert (copy.student / "model.safetensors").read_bytes() == good
    assert not (copy.path / ".student.partial").exists()


# What belongs to others


@pytest.mark.parametrize("name", ["summary.json", "student/README.md", "student/config.json"])
def test_files_of_others_are_not_replaced(world: World, tmp_path: Path, name: str) -> None:
    precious = tmp_path / "run" / name
    precious.parent.mkdir(parents=True)
    precious.write_text('{"years": "of work"}')
    with pytest.raises(StorageError, match=rf"did not write \({precious.name}\), .*choose another --out"):
        compress(world.teacher, [str(world.text)], tmp_path / "run", tiny(), workers=1)
    assert files(tmp_path / "run").keys() == {name}


def test_a_finished_student_may_have_files_of_others_beside_it(world: World, copy: RunDir) -> None:
    card = copy.student / "README.md"
    card.write_text("my card")
    compress(world.teacher, [str(world.text)], copy.path, tiny(), workers=1)
    recipe = tiny().replace({"student.width": "8"})
    with pytest.raises(StorageError, match=r"did not write \(README\.md\)"):
        compress(world.teacher, [str(world.text)], copy.path, recipe, workers=1, overwrite=True)
    assert card.read_text() == "my card"


# Two at once


def test_a_summary_that_lacks_something_is_written_anew(world: World, copy: RunDir) -> None:
    whole = json.loads(copy.summary.read_text())
    copy.summary.write_text(json.dumps(whole | {"recipe": {}}))
    compress(world.teacher, [str(world.text)], copy.path, tiny(), workers=1)
    assert json.loads(copy.summary.read_text())["recipe"] == whole["recipe"]


@pytest.mark.slow
def test_two_processes_do_not_work_on_one_run(world: World, copy: RunDir) -> None:
    shutil.rmtree(copy.training("student"))
    command = [sys.executable, "-m", "lilliput", "compress", world.teacher, "--corpus", str(world.text)]
    in_use = f"{copy.path} is in use by process {os.getpid()} on"
    before = everything(copy.path)
    with copy.locked():
        other = subprocess.run(
            [*command, "--recipe", "tiny", "--out", str(copy.path)],
            capture_output=True,
            text=True,
            check=False,
        )
        in_thread = ThreadPoolExecutor(1)  # which is refused as a process is, and loads no torch first
        for call in (
            partial(training.train, copy, tiny(), "student", world.teacher),
            partial(lilliput.build_corpus, [str(world.other_text)], world.teacher, copy, overwrite=True),
            partial(lilliput.build_lexicon, copy, world.teacher, tiny().lexicon, overwrite=True),
        ):
            with pytest.raises(StorageError, match=in_use):
                in_thread.submit(call).result()
    assert other.returncode == 1
    assert other.stdout == ""
    assert other.stderr.startswith(f"lilliput: {in_use}")
    assert other.stderr.count("\n") == 1, "nothing that is loaded says anything"
    assert {**everything(copy.path), str(copy.path): None} == {**before, str(copy.path): None}


# What is not the same


def test_a_changed_corpus_is_noticed(world: World, copy: RunDir, tmp_path: Path) -> None:
    changed = tmp_path / "text.txt"
    changed.write_text(world.text.read_text(encoding="utf-8") + "\nOne sentence more.\n", encoding="utf-8")
    before = files(copy.path / "training") | files(copy.path / "corpus")
    with pytest.raises(StorageError, match=r"corpus was made from something else.*--overwrite"):
        compress(world.teacher, [str(changed)], copy.path, tiny(), workers=1)
    assert files(copy.path / "training") | files(copy.path / "corpus") == before
    summary = compress(world.teacher, [str(changed)], copy.path, tiny(), workers=1, overwrite=True)
    after = files(copy.path / "training") | files(copy.path / "corpus")
    assert after.keys() & before.keys()
    weights = "student/student/model.safetensors"
    assert after[weights][1] != before[weights][1]
    assert (copy.student / "model.safetensors").read_bytes() == after[weights][1]
    assert summary.words >= 6000


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"lexicon.size": "280"}, "vocabulary: 300 there, 280 now"),
        ({"student.width": "8"}, "student.width: 16 there, 8 now"),
        ({"stages.teacher.optimizer.teacher_rate": "0.5"}, "stage.optimizer.teacher_rate: 0.0002 there"),
    ],
)
def test_changed_settings_are_noticed(
    world: World, copy: RunDir, settings: dict[str, str], named: str
) -> None:
    before = files(copy.path / "training")
    with pytest.raises(StorageError, match="was made from something else") as caught:
        compress(world.teacher, [str(world.text)], copy.path, tiny().replace(settings), workers=1)
    assert named in str(caught.value)
    assert files(copy.path / "training") == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({"lexicon.size": "280"}, {"corpus"}),
        ({"stages.teacher.optimizer.teacher_rate": "0.5"}, {"corpus", "lexicon"}),
        ({"student.width": "8"}, {"corpus", "lexicon", "training/teacher"}),
        ({"stages.student.batch.rows": "4"}, {"corpus", "lexicon", "training/teacher", "training/dual"}),
    ],
)
def test_overwriting_makes_anew_only_what_the_change_concerns(
    world: World, copy: RunDir, settings: dict[str, str], kept: set[str]
) -> None:
    parts = ("corpus", "lexicon", "training/teacher", "training/dual", "training/student")
    before = {part: files(copy.path / part) for part in parts}
    recipe = tiny().replace(settings)
    summary = compress(world.teacher, [str(world.text)], copy.path, recipe, workers=1, overwrite=True)
    assert {part for part in parts if files(copy.path / part) == before[part]} == kept
    made_from = json.loads((copy.training("student") / "manifest.json").read_text())["made_from"]
    assert made_from["student"]["width"] == recipe.student.width
    assert load_student(copy.student).config.hidden_size == recipe.student.width
    assert load_student(copy.student).config.vocab_size == recipe.lexicon.size
    assert summary.recipe == recipe.to_dict()
    again = compress(world.teacher, [str(world.text)], copy.path, recipe, workers=1)
    assert again.stages == summary.stages
    assert evaluate(copy.path, [str(world.other_text)])["student"].words > 200


def test_a_changed_teacher_is_noticed(world: World, copy: RunDir) -> None:
    with pytest.raises(StorageError, match="teacher: "):
        compress(world.headless, [str(world.text)], copy.path, tiny(), workers=1)


@pytest.mark.slow
def test_separate_held_out_text(world: World, tmp_path: Path, shrunken: Shrink) -> None:
    single = tmp_path / "single.txt"  # of which nothing could be held out
    text = small_text(5, 150, odd=False).replace("\n\n", " ")
    single.write_text(text, encoding="utf-8")
    recipe, out = shrunken("lilliput"), tmp_path / "run"
    with pytest.raises(InputError, match=r"--held-out"):
        compress(world.teacher, [str(single)], out, recipe, workers=1)
    summary = compress(world.teacher, [str(single)], out, recipe, held_out=[str(world.other_text)], workers=1)
    assert summary.stages[recipe.stages[-1].name]["after"]["student/words"] > 200
    with pytest.raises(StorageError, match="separate held-out text"):
        compress(world.teacher, [str(single)], out, recipe, workers=1)


@pytest.mark.slow
def test_held_out_text_cannot_be_added_later(world: World, copy: RunDir) -> None:
    text, other = [str(world.text)], [str(world.other_text)]
    before = files(copy.path)
    with pytest.raises(StorageError, match="begun without separate held-out text"):
        compress(world.teacher, text, copy.path, tiny(), held_out=other, workers=1)
    assert files(copy.path) == before
    compress(world.teacher, text, copy.path, tiny(), held_out=other, workers=1, overwrite=True)
    assert copy.held_out("lexicon").exists()
    summary = compress(world.teacher, text, copy.path, tiny(), workers=1, overwrite=True)
    assert not copy.held_out("lexicon").exists()
    assert summary.words >= 6000


def test_a_recipe_without_student_is_refused_before_it_costs_anything(
    world: World, tmp_path: Path, shrunken: Shrink
) -> None:
    values = shrunken("lilliput").to_dict()
    stage = values["stages"][0]
    values["stages"] = [{**stage, "share": 1.0, "objectives": {"teacher_masked_lm": 1.0}}]
    with pytest.raises(ConfigError, match="no stage of recipe 'lilliput' trains a student"):
        compress(world.teacher, [str(world.text)], tmp_path / "run", Recipe.from_dict(values), workers=1)
    assert not (tmp_path / "run").exists()


# Every recipe


def test_recipes_of_the_paper_differ_in_nothing_but_their_size(shrunken: Shrink) -> None:
    """So that below one of them stands for all."""
    papers = [shrunken(name).to_dict() | {"name": "paper"} for name in ("paper48", "paper96", "paper192")]
    assert papers[0] == papers[1] == papers[2]
    known = {"lilliput", "sentence", "paper48", "paper96", "paper192", "mixed_vocabulary", "tiny"}
    assert RECIPES.keys() == known


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "teacher"),
    [
        ("lilliput", "teacher"),
        ("lilliput", "headless"),
        ("paper96", "headless"),
        ("mixed_vocabulary", "teacher"),
        ("sentence", "teacher"),
    ],
)
def test_every_recipe_runs_shrunken(
    world: World, tmp_path: Path, shrunken: Shrink, name: str, teacher: str
) -> None:
    recipe = shrunken(name)
    summary = compress(getattr(world, teacher), [str(world.text)], tmp_path / "run", recipe, workers=1)
    assert summary.stages.keys() == {stage.name for stage in recipe.stages}
    for results in summary.stages.values():
        for when in ("before", "after"):
            assert results[when]
            assert all(math.isfinite(value) for value in results[when].values())
    model = AutoModelForMaskedLM.from_pretrained(tmp_path / "run" / "student")
    assert model.config.num_hidden_layers == 2
    assert model.config.hidden_size == 16
    assert model.config.max_position_embeddings == LENGTH
    assert table_of(summary)
