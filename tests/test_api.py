"""The Python way in: strings, paths or objects, sentences for wrong types, a repr worth reading."""

import ast
import inspect
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import lilliput
from conftest import World
from lilliput.comparison.bundles import benchmark_bundle
from lilliput.compression import Summary
from lilliput.config import LexiconConfig
from lilliput.errors import ConfigError
from lilliput.finetuning.config import FinetuningConfig
from lilliput.pieces.bert_tokenizer import load_tokenizer
from lilliput.recipes import tiny
from lilliput.run import RunDir

ONCE = FinetuningConfig(epochs=1)


@pytest.fixture(scope="module")
def folder(world: World, tiny_run: tuple[RunDir, Summary], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a user has it: a text, a labelled set, and a run with a model of that task."""
    folder = tmp_path_factory.mktemp("api")
    shutil.copy(world.text, folder / "text.txt")
    rows = [f"the {kind} boxes {index},{kind}" for index in range(20) for kind in ("my", "every")]
    (folder / "toy_train.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    shutil.copytree(tiny_run[0].path, folder / "runs/x")
    lilliput.finetune(str(folder / "runs/x"), str(folder / "toy"), config=ONCE)
    return folder


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(folder)
    return folder


def test_type_checkers_and_python_find_the_same_names() -> None:
    (guarded,) = (
        node
        for node in ast.parse(inspect.getsource(lilliput)).body
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name)
    )
    imports = [node for node in guarded.body if isinstance(node, ast.ImportFrom)]
    assert {alias.asname: node.module for node in imports for alias in node.names} == lilliput._PLACES
    assert all(alias.name == alias.asname for node in imports for alias in node.names)
    for name in lilliput._PLACES:
        assert getattr(lilliput, name).__name__ == name


# What is done is not done again, so each of these calls takes a moment.


def test_compress_takes_strings_paths_and_objects(world: World, here: Path) -> None:
    by_name = lilliput.compress(world.teacher, "text.txt", "runs/x", "tiny")
    by_path = lilliput.compress(Path(world.teacher), Path("text.txt"), Path("runs/x"), tiny())
    assert by_name == by_path == lilliput.compress(world.teacher, ["text.txt"], RunDir("runs/x"), tiny())
    with pytest.raises(ConfigError, match=r"student\.width is 120"):  # that of recipe lilliput, the default
        lilliput.compress(world.teacher, "text.txt", "runs/x")


def test_finetune_and_bundle_and_load(here: Path) -> None:
    learnt = lilliput.finetune("runs/x", "toy", config=ONCE)
    assert learnt == lilliput.finetune(RunDir("runs/x"), lilliput.load_task("toy"), "runs/x", ONCE)
    made = lilliput.bundle("runs/x", "bundle", task="toy", quantization="float32")
    answers = lilliput.load("bundle").classify(["the my boxes"])
    assert answers[0].label in ("my", "every")
    found = lilliput.compare(["runs/x"])
    assert Path("runs/x/comparison/comparison.json").is_file()
    report = lilliput.benchmark_bundle("bundle", "toy", "bench", threads=(1,), rounds=1)
    scored = lilliput.evaluate("bundle", "toy_train.csv", predictions="answers.jsonl")
    assert re.match(r"<Evaluation of bundle on 40 examples: accuracy \d", repr(scored))
    assert len(Path("answers.jsonl").read_text().splitlines()) == 40
    assert lilliput.report("runs/x") == lilliput.report(RunDir("runs/x")) == Path("runs/x/report.html")
    assert re.match(r"<\w+ of toy: accuracy \d", repr(learnt))
    assert re.match(r"<BundleResult: classification, float32, [\d,]+ bytes, accuracy \d", repr(made))
    assert repr(lilliput.load("bundle")).startswith(
        "<Bundle bundle: classification of toy, 2 classes, float32"
    )
    assert re.match(r"<Comparison:\n  x, toy: accuracy \d", repr(found))
    assert re.match(
        r"<BundleReport of toy, 4 dev examples:\n  bundle: [\d,]+ bytes, accuracy \d", repr(report)
    )


def test_evaluate(here: Path) -> None:
    found = lilliput.evaluate("runs/x", rows=8)
    assert found == lilliput.evaluate(RunDir("runs/x"), rows=8)
    assert "bits per character" in repr(found)


def test_every_stage_by_itself(world: World, here: Path) -> None:
    words = lilliput.build_corpus("text.txt", world.teacher, "runs/y", workers=1)
    assert words.path == Path("runs/y/corpus")
    lexicon = lilliput.build_lexicon("runs/y", world.teacher, LexiconConfig(size=300))
    assert lexicon.path == Path("runs/y/lexicon")
    assert lilliput.build_lexicon(words, world.teacher, LexiconConfig(size=300)).path == lexicon.path
    assert [one.student_size for one in lilliput.vocabulary("runs/y", world.teacher, [300])] == [300]
    done = lilliput.train("runs/y", "tiny", "teacher", world.teacher)
    assert done == lilliput.train(RunDir("runs/y"), tiny(), "teacher", Path(world.teacher))
    assert repr(words) == f"<Corpus runs/y/corpus: {words.words:,} words in 300 documents>"
    assert repr(lexicon).startswith("<Lexicon runs/y/lexicon: ")
    assert repr(RunDir("runs/y")) == "<RunDir runs/y: corpus, lexicon>"
    assert repr(RunDir("runs/x")) == "<RunDir runs/x: corpus, lexicon, student, fine-tuned toy>"


def test_a_recipe_a_task_and_a_summary_show_what_they_are(world: World, here: Path) -> None:
    stages = "teacher 30%, dual 40%, student 30%"
    assert repr(tiny()) == f"<Recipe 'tiny': 6,000 words ({stages}); student of width 16>"
    sizes = "36 examples to learn from, 4 to be scored on"
    assert repr(lilliput.load_task("toy")) == f"<TaskData toy: classification, 2 classes; {sizes}>"
    shown = repr(lilliput.compress(world.teacher, "text.txt", "runs/x", "tiny"))
    assert shown.startswith("<Summary of teacher compressed by recipe 'tiny': ")
    assert len(shown.splitlines()) == 4


# Wrong types


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            lambda teacher: lilliput.compress(3, "t", "r"),
            "`teacher` must be the folder or hub name of a",
        ),
        (lambda teacher: lilliput.compress(teacher, 3, "r"), "`corpus` must be a string, a path or a list"),
        (lambda teacher: lilliput.compress(teacher, [3], "r"), r"`corpus\[0\]` must be a string or a path"),
        (lambda teacher: lilliput.compress(teacher, b"t", "r"), "`corpus` must be .* which is of type bytes"),
        (lambda teacher: lilliput.compress(teacher, "t", None), "`run` must be a string or a path"),
        (lambda teacher: lilliput.compress(teacher, "t", "r", {}), "`recipe` must be a recipe's name"),
        (lambda teacher: lilliput.train("r", "tiny", 3, teacher), "`stage` must be the name of a stage"),
        (lambda teacher: lilliput.finetune(3, "toy", "r"), "`model` must be a run, or the folder"),
        (lambda teacher: lilliput.finetune(teacher, 3, "r"), "`task` must be a task's name"),
        (lambda teacher: lilliput.finetune(teacher, "toy", "r", {}), "`config` must be a FinetuningConfig"),
        (lambda teacher: lilliput.finetune(teacher, "toy"), "is no run with a finished student"),
        (lambda teacher: lilliput.evaluate(3), "`run` must be"),
        (lambda teacher: lilliput.compare(3), "`runs` must be a string, a path or a list of these"),
        (lambda teacher: lilliput.compare([]), "no run was named"),
        (lambda teacher: lilliput.bundle(None, "out"), "`model` must be"),
        (lambda teacher: lilliput.load(None), "`folder` must be"),
        (lambda teacher: lilliput.plan(None, 1000), "`teacher` must be"),
        (lambda teacher: lilliput.plan(teacher, {"a": 1}.items()), r"`corpus\[0\]` must be"),
        (lambda teacher: lilliput.build_corpus("t", 3, "r"), "`teacher` must be"),
        (
            lambda teacher: lilliput.build_lexicon(3, teacher),
            "`corpus` must be the path of a run, or a",
        ),
        (
            lambda teacher: lilliput.build_lexicon("r", teacher, {}),
            "`config` must be a LexiconConfig",
        ),
        (
            lambda teacher: lilliput.vocabulary(None, teacher),
            "`corpus` must be .*, found None, which is",
        ),
        (lambda teacher: RunDir(3), "`run` must be the path of a run, or a RunDir, found 3"),
    ],
)
def test_a_wrong_type_gets_a_sentence(
    call: Callable[[str], Any], said: str, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=said):
        call(world.teacher)


# Calls of version 0.1


def test_old_keywords_work_with_a_warning(world: World, here: Path) -> None:
    with pytest.warns(DeprecationWarning, match=r"compress\(out=\.\.\.\) is now compress\(run=\.\.\.\)"):
        lilliput.compress(world.teacher, ["text.txt"], out=Path("runs/x"), recipe=tiny())
    with pytest.warns(DeprecationWarning, match=r"evaluate\(out"):
        lilliput.evaluate(out=Path("runs/x"), rows=8)
    with pytest.warns(DeprecationWarning, match=r"finetune\(.*is now finetune\((task|run)="):
        lilliput.finetune("runs/x", data=lilliput.load_task("toy"), out=RunDir("runs/x"), config=ONCE)
    with pytest.warns(DeprecationWarning, match=r"benchmark_bundle\(data"), pytest.raises(ConfigError):
        benchmark_bundle([], data=lilliput.load_task("toy"), out=Path("bench"))


def test_a_tokenizer_for_a_teacher_works(world: World, here: Path) -> None:
    tokenizer = load_tokenizer(world.teacher)
    with pytest.warns(DeprecationWarning, match="takes the corpus's own folder"):
        words = lilliput.build_corpus(["text.txt"], tokenizer, Path("old/corpus"), workers=1)
    assert words.path == Path("old/corpus")
    lexicon = lilliput.build_lexicon(words, tokenizer, LexiconConfig(size=300), Path("old/words"))
    assert lexicon.path == Path("old/words")
    assert lilliput.vocabulary(words, tokenizer, [300], Path("old/sizes"))[0].student_size == 300
    assert Path("old/sizes/vocabulary.json").is_file()
    assert not Path("old/lexicon").exists()
