"""The command line: its surface, its help, and one sentence for everything that it refuses."""

import importlib.metadata
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import lilliput
from bundles import make_bundle
from conftest import World, full_disk
from lilliput import cli, compression
from lilliput.cli.options import show_report
from lilliput.cli.overview import example
from lilliput.config import Recipe
from lilliput.recipes import RECIPES, tiny
from lilliput.run import RunDir

Run = Callable[..., tuple[int, str, str]]
Refused = Callable[..., str]

SURFACE = {
    "compress": "teacher corpus out recipe set_ minutes words held_out text_column workers checkpoint_minutes"
    " overwrite",
    "build-corpus": "teacher corpus out text_column workers ray overwrite",
    "build-lexicon": "teacher out recipe set_ overwrite",
    "vocabulary": "teacher out sizes width overwrite",
    "train": "teacher stage out recipe set_ minutes words checkpoint_minutes overwrite",
    "distill": "classifier texts out minutes corpus task teacher_labels text_column set_ overwrite",
    "evaluate": "runs text text_column rows teacher out pairs label retrieval task pair tags",
    "finetune": "model task train dev test text pair label tags negative kind metric out teacher"
    " teacher_labels unlabelled seeds search_minutes set_ overwrite",
    "plan": "teacher corpus recipe set_ minutes words text_column workers checkpoint_minutes",
    "benchmark": "of",
    "report": "runs out",
    "bundle": "model out task quantization kind space executorch licence language datasets layout",
    "run": "bundle text_ input_ column out top json_",
    "recipes": "name",
    "settings": "name",
    "push": "model name task private revision",
}


POSITIONAL = ("teacher", "classifier", "model", "runs", "bundle", "text_", "name", "of")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command line in this process; returns exit code, standard output and standard error."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["lilliput", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "110")
        code = 0
        try:
            cli.main()
        except SystemExit as error:
            code = int(error.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def refused(run: Run) -> Refused:
    """Runs a command that has to be refused, and returns the sentence."""

    def call(*arguments: object) -> str:
        code, out, error = run(*arguments)
        assert code == 1, error
        assert out == ""
        assert "Traceback" not in error
        sentence = error.strip().splitlines()[-1]
        assert sentence.startswith("lilliput: ")
        assert len(sentence) > 30, "a sentence says what was wrong and what to do"
        return sentence

    return call


# Surface and help


def test_the_surface_is_pinned() -> None:
    found = {name: " ".join(inspect.signature(command).parameters) for name, command in cli._COMMANDS.items()}
    assert found == SURFACE


@pytest.mark.parametrize("command", SURFACE)
def test_help_names_every_option(run: Run, command: str) -> None:
    code, out, error = run(command, "--help")
    assert code == 0
    assert error == ""
    for name in SURFACE[command].split():
        option = name.strip("_").replace("_", "-")
        assert name in POSITIONAL or re.search(rf"--{option}[ ,\n]", out)
    assert "(required)" in out or command in ("recipes", "evaluate", "report", "settings")
    assert example(cli._COMMANDS[command]) in " ".join(out.split())
    assert not re.search(r"\b(STR|PATH)\b", re.sub(r"--kind {None}\|STR", "", out)), (
        "a metavar says something"
    )


@pytest.mark.parametrize("arguments", [(), ("-h",), ("--help",)])
def test_help_names_every_command_in_its_group_with_an_example(run: Run, arguments: tuple[str, ...]) -> None:
    code, out, _ = run(*arguments)
    assert code == 0
    lines = out.splitlines()
    assert [line for line in lines if line.endswith(":")] == ["make:", "measure:", "use:"]
    named = {
        line.split()[0]: lines[at + 1].strip() for at, line in enumerate(lines) if re.match("  [a-z]", line)
    }
    assert named == {name: example(command) for name, command in cli._COMMANDS.items()}
    for name, line in named.items():
        assert f"lilliput {name} " in line


def test_the_version_is_that_of_the_package(run: Run) -> None:
    installed = importlib.metadata.version("lilliput")
    assert run("--version") == (0, f"lilliput {installed}\n", "")
    assert lilliput.__version__ == installed
    assert "__version__" in dir(lilliput)


def test_settings_lists_every_key_that_set_takes(run: Run) -> None:
    code, out, _ = run("settings", "tiny")
    assert code == 0
    keys = [line.split("=")[0] for line in out.splitlines()]
    assert {"student.width", "stages.dual.objectives.soft_labels", "budget.words", "seed"} <= set(keys)
    assert len(keys) == len(set(keys)) > 60
    for key, value in (line.split("  ")[0].split("=") for line in out.splitlines()):
        assert key == "budget.minutes" or tiny().replace({key: value}) == tiny()
    (width,) = (line for line in out.splitlines() if line.startswith("student.width="))
    assert re.fullmatch(r"student\.width=16 +whole number from 1 to 16,384\. Hidden size\.", width)
    assert "batch.masked=0.15 " in out
    assert "number in (0, 1). Share of the words that are masked, whole." in out
    assert "one of adamw, lamb, muon. AdamW of torch, or LAMB or Muon of pytorch-optimizer." in out


@pytest.mark.parametrize(
    ("name", "key"), [("finetune", "distillation.near=0 "), ("distill", "finetuning.epochs=40.0 ")]
)
def test_settings_of_commands_that_have_no_recipe(run: Run, name: str, key: str) -> None:
    code, out, _ = run("settings", name)
    assert code == 0
    assert key in out


def test_settings_of_nothing_name_the_nearest(refused: Refused) -> None:
    assert refused("settings", "sentense").endswith(
        "there are no settings of 'sentense'; did you mean 'sentence'?"
    )


def test_help_loads_no_torch() -> None:
    script = "import sys; sys.argv = ['lilliput', 'compress', '--help']\nfrom lilliput.cli import main\n"
    script += "main()\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_a_command_without_its_extra_says_how_to_install_it() -> None:
    script = "import sys; sys.modules['filelock'] = None; from lilliput.cli import main\n"
    script += "sys.argv = 'lilliput build-corpus t --corpus c --out o'.split(); main()"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("lilliput: this needs the package filelock, which is not installed")
    assert done.stderr.strip().endswith("pip install 'lilliput[train]'")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["compress", "t", "--corpus", "c", "--out", "o", "--recipy", "tiny"], "--recipe"),
        (["train", "t", "--stage", "dual", "--out", "o", "--checkpoint-minute", "3"], "--checkpoint-minutes"),
        (["evaluate", "o", "--txt", "x"], "--text"),
    ],
)
def test_an_unknown_option_names_the_nearest(run: Run, arguments: list[str], named: str) -> None:
    code, _, error = run(*arguments)
    assert code == 2
    assert f"{named} " in error
    assert "Traceback" not in error


def test_an_unknown_command_lists_those_that_are(run: Run) -> None:
    code, _, error = run("compres", "t")
    assert code == 2
    assert "build-lexicon" in error


# What options do


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Collects what `compress` is called with, and stops there."""
    found: dict[str, Any] = {}

    def remember(*arguments: Any, **options: Any) -> None:
        found.update(inspect.signature(compression.compress).bind(*arguments, **options).arguments)
        raise SystemExit(0)

    # Signature first: afterwards it would be that of `remember`.
    usual = compression.compress
    monkeypatch.setattr(compression, "compress", remember)
    remember.__signature__ = inspect.signature(usual)  # type: ignore[attr-defined]
    return found


def test_options_arrive(run: Run, given: dict[str, Any]) -> None:
    options = "--recipe tiny --set student.width=8 --set seed=4 --set stages.dual.batch.rows=2 --words 77"
    options += " --held-out h1 h2 --text-column body --workers 3 --checkpoint-minutes 0.5 --overwrite"
    run("compress", "t", "--corpus", "c1", "c2", "--out", "o", *options.split())
    recipe = given.pop("recipe")
    assert callable(given.pop("before_training"))
    assert given == {
        "teacher": "t",
        "corpus": ("c1", "c2"),
        "run": RunDir(Path("o")),
        "held_out": ("h1", "h2"),
        "text_column": "body",
        "workers": 3,
        "checkpoint_minutes": 0.5,
        "overwrite": True,
    }
    changes = {"student.width": "8", "seed": "4", "stages.dual.batch.rows": "2", "budget.words": "77"}
    assert recipe == tiny().replace(changes)


def test_minutes_replace_words(run: Run, given: dict[str, Any]) -> None:
    run("compress", "t", "--corpus", "c", "--out", "o", "--recipe", "tiny", "--minutes", "2.5")
    assert given["recipe"].budget.minutes == 2.5
    assert given["recipe"].budget.words is None


def test_the_recipe_is_lilliput_by_default(run: Run, given: dict[str, Any]) -> None:
    run("compress", "t", "--corpus", "c", "--out", "o")
    assert given["recipe"] == RECIPES["lilliput"]()
    assert not given["overwrite"]


@pytest.mark.parametrize("name", RECIPES)
def test_a_printed_recipe_is_a_recipe(run: Run, tmp_path: Path, name: str) -> None:
    code, out, _ = run("recipes", name)
    assert code == 0
    (tmp_path / "mine.json").write_text(out)
    assert Recipe.load(tmp_path / "mine.json") == RECIPES[name]()


def test_recipes_are_listed(run: Run) -> None:
    code, out, _ = run("recipes")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == list(RECIPES)


# The way of the data


@pytest.mark.slow
def test_stage_by_stage_is_the_same_as_all_at_once(world: World, run: Run, tmp_path: Path) -> None:
    once, steps = tmp_path / "once", RunDir(tmp_path / "steps")
    teacher, text, settings = world.teacher, world.text, ("--recipe", "tiny", "--words", 1500)
    code, out, _ = run("compress", teacher, "--corpus", text, "--out", once, "--workers", 1, *settings)
    assert code == 0
    assert "parameters" in out
    assert "bits per character, after" in out
    code, out, _ = run("build-corpus", teacher, "--corpus", text, "--out", steps.path, "--workers", 1)
    assert code == 0
    assert f"{world.corpus.words:,} words, {world.corpus.documents:,} documents" in out
    code, out, _ = run("build-lexicon", teacher, "--out", steps.path, "--recipe", "tiny")
    assert code == 0
    assert "fertility" in out
    for stage in ("teacher", "dual", "student"):
        code, out, _ = run("train", teacher, "--stage", stage, "--out", steps.path, *settings)
        assert code == 0
        assert json.loads(out)["words"] > 400
    weights = "training/student/student/model.safetensors"
    assert (once / weights).read_bytes() == (steps.path / weights).read_bytes()
    code, out, _ = run("evaluate", once, "--rows", 32)
    assert code == 0
    assert re.search(
        r"^student: \d+\.\d{3} bits per character, \d+\.\d% of the masked pieces right", out, re.M
    )
    code, out, _ = run("vocabulary", teacher, "--out", steps.path, "--sizes", "200,300", "--width", "16")
    assert code == 0
    assert "300" in out
    assert (steps.vocabulary / "vocabulary.svg").exists()


def test_a_bundle_is_evaluated_on_a_file(run: Run, refused: Refused, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle", "classification").folder
    file, answers = tmp_path / "new.csv", tmp_path / "answers.csv"
    file.write_text("review,stars\na good film,good\nthe bad film,bad\n")
    named = ("--task", file, "--text", "review", "--label", "stars")
    code, out, _ = run("evaluate", bundle, *named, "--out", answers)
    assert code == 0
    assert "2 examples of" in out
    assert "expected calibration error" in out
    assert f"its answers are in {answers}" in out
    assert answers.read_text().startswith("text,label,answer,probability,probability of bad")
    assert "is a bundle; name a labelled file for it with --task FILE" in refused("evaluate", bundle)
    assert "--task evaluates one bundle, found 2" in refused("evaluate", bundle, bundle, *named)
    assert "--text names one column, found 2" in refused(
        "evaluate", bundle, "--task", file, "--text", "a", "b"
    )
    assert "its ending must be one of .csv" in refused("evaluate", bundle, *named, "--out", "answers.txt")
    assert "has no manifest.json" in refused("evaluate", tmp_path, *named)


def test_a_page_that_cannot_be_written_takes_nothing_from_a_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    show_report(tmp_path)
    assert "no page about the run was written (" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


# Refusals: texts


@pytest.fixture
def compress(world: World, tmp_path: Path) -> Callable[..., list[object]]:
    """Returns the arguments of a small `compress`; keywords change them, None leaves one away."""

    def arguments(*more: object, **options: object) -> list[object]:
        teacher = options.pop("teacher", world.teacher)
        usual = {"corpus": world.text, "out": tmp_path / "run", "recipe": "tiny", "workers": 1} | options
        pairs = [(f"--{name.replace('_', '-')}", value) for name, value in usual.items()]
        return ["compress", teacher, *(item for pair in pairs for item in pair), *more]

    return arguments


def write(path: Path, content: bytes | str) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        ("empty.txt", "", "no text"),
        ("blank.txt", " \n\n \n", "no text"),
        ("picture.txt", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "PNG|not UTF-8|binary"),
        ("binary.txt", b"text\0text", "binary file"),
        ("latin.txt", "Ein schöner Tag.\n".encode("latin-1"), "not UTF-8 at byte 7 .*LATIN1"),
        ("rows.jsonl", '{"body": "some text"}\n', "no column 'text' but body.*--text-column"),
        ("broken.jsonl", '{"text": ', "not valid JSON"),
        ("cut.txt.gz", b"\x1f\x8b\x08\0\0", "damaged or cut short"),
        ("one.txt", "a word or two\n", "characters|pieces at most|lexicon.size"),
    ],
)
def test_unusable_text(
    refused: Refused, compress: Any, tmp_path: Path, name: str, content: bytes | str, named: str
) -> None:
    assert re.search(named, refused(*compress(corpus=write(tmp_path / name, content))))


@pytest.mark.parametrize(
    "name", ["missing.txt", "missing[abc].txt", "missing[/b]*.txt", "no/such/folder/x.txt"]
)
def test_no_such_file_is_named(refused: Refused, compress: Any, tmp_path: Path, name: str) -> None:
    """Brackets too, which the terminal's library would take for markup."""
    assert name in refused(*compress(corpus=tmp_path / name))
    assert not (tmp_path / "run" / "corpus").exists()


def test_a_single_document(refused: Refused, compress: Any, world: World, tmp_path: Path) -> None:
    text = write(tmp_path / "one.txt", world.text.read_text(encoding="utf-8").replace("\n\n", " "))
    assert "--held-out" in refused(*compress(corpus=text))


# Refusals: teachers


@pytest.mark.parametrize("kind", ["gpt2", "t5", "mamba"])
def test_a_teacher_of_another_kind(
    refused: Refused, compress: Any, world: World, tmp_path: Path, kind: str
) -> None:
    folder = Path(shutil.copytree(world.teacher, tmp_path / "teacher"))
    write(folder / "config.json", json.dumps({"model_type": kind}))
    assert re.search(f"'{kind}' model, which is no encoder", refused(*compress(teacher=folder)))


def test_a_teacher_without_fast_tokenizer(
    refused: Refused, compress: Any, world: World, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(world.teacher, tmp_path / "teacher"))
    (folder / "tokenizer.json").unlink()
    assert re.search("no fast tokenizer.*save_pretrained", refused(*compress(teacher=folder)))


def test_no_such_teacher(refused: Refused, compress: Any, tmp_path: Path) -> None:
    assert "name the folder of a checkpoint" in refused(*compress(teacher=tmp_path / "nobody"))


@pytest.mark.parametrize("kept", [0, 100])
def test_a_teacher_with_damaged_weights(
    refused: Refused, compress: Any, world: World, tmp_path: Path, kept: int
) -> None:
    folder = Path(shutil.copytree(world.teacher, tmp_path / "teacher"))
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:kept])
    assert "cannot be loaded" in refused(*compress(teacher=folder))


# Refusals: settings


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("student.width=15", "width must be divisible by student.heads, found width 15 and 2 heads"),
        ("student.width=64", "student is larger than its teacher: student.width is 64, the teacher has 32"),
        ("student.layers=9", "student.layers is 9, the teacher has 3"),
        ("student.widht=8", "unknown setting 'student.widht'; did you mean 'width'"),
        ("stages.duel.batch.rows=8", "unknown setting 'stages.duel'; did you mean 'dual'"),
        ("stages.dual.objectives.soft_lables=1", "did you mean 'soft_labels'"),
        ("student.width=wide", "'student.width' must be int, found 'wide'"),
        ("stages.dual.optimizer.name=sgd", "must be one of adamw, lamb, muon, found 'sgd'"),
        ("stages.dual.objectives.soft_labels=-1", "must lie in [0, 1,000,000]"),
        ("stages.dual.batch.masked=1.5", "must lie in (0, 1), found 1.5"),
        ("stages.dual.batch.accumulation=3", "batch.accumulation must divide batch.rows"),
        ("stages.dual.batch.length=64", "reads 64 pieces but the student has 32 positions"),
        ("stages.dual.share=0.9", "shares of the stages must add up to 1"),
        ("lexicon.size=30000", "pieces at most, 30000 were asked for"),
        ("lexicon.size=5", "lexicon.size must be a whole number from 100"),
        ("lexicon.tokenizer=no/such/tokenizer", "no/such/tokenizer"),
        ("stages.dual.optimizer.beta2=1.5", "optimizer.beta2 must lie in [0, 1), found 1.5"),
        ("stages.dual.optimizer.weight_decay=-1", "optimizer.weight_decay must lie in [0, 100], found -1.0"),
        ("stages.dual.optimizer.clip=Infinity", "optimizer.clip' must be float, found inf"),
        ("budget.minutes=NaN", "'budget.minutes' must be float or nothing, found nan"),
        ("student.width", "--set takes KEY=VALUE, found 'student.width'"),
    ],
)
def test_impossible_settings(refused: Refused, compress: Any, setting: str, named: str) -> None:
    assert named in refused(*compress("--set", setting))


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        ("mine.json", '{"nmae": "x"}', "unknown key 'nmae'; did you mean 'name'"),
        ("mine.toml", "[student]\nwidht = 3\n", "unknown key|is missing"),
        ("mine.toml", "name = \n", "is not valid toml"),
        ("mine.json", "[1, 2]", "expected a table of settings"),
        ("mine.json", "{}", "key 'name' is missing"),
        ("mine.json", b"\xff\xfe", "is not valid json"),
        ("missing.json", None, "cannot be read: No such file"),
        ("tni", None, "no recipe is called"),
    ],
)
def test_unusable_recipes(
    refused: Refused, compress: Any, tmp_path: Path, name: str, content: bytes | str | None, named: str
) -> None:
    path: Path | str = name if "." not in name else tmp_path / name
    if content is not None:
        write(tmp_path / name, content)
    sentence = refused(*compress(recipe=path))
    assert re.search(named, sentence)
    assert str(path) in sentence


def test_a_recipe_in_toml(run: Run, given: dict[str, Any], tmp_path: Path) -> None:
    text = 'name = "mine"\nbudget = {words = 5}\n[student]\nwidth = 24\n[[stages]]\nname = "all"\nshare = 1\n'
    path = write(tmp_path / "mine.toml", text + "objectives = {student_masked_lm = 1}\n")
    run("compress", "t", "--corpus", "c", "--out", "o", "--recipe", path)
    assert given["recipe"].student.width == 24
    assert given["recipe"].stages[0].share == 1.0


def test_minutes_and_words(refused: Refused, compress: Any) -> None:
    assert "either --minutes or --words" in refused(*compress("--minutes", 1, "--words", 2))


def test_sizes_that_are_no_numbers(refused: Refused, world: World, tmp_path: Path) -> None:
    assert "found '1,x'" in refused("vocabulary", world.teacher, "--out", tmp_path, "--sizes", "1,x")


# Refusals: runs


@pytest.fixture
def finished(tiny_run: tuple[RunDir, compression.Summary]) -> Path:
    return tiny_run[0].path


@pytest.fixture
def out(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def test_another_recipe_in_the_same_place(refused: Refused, compress: Any, out: Path) -> None:
    sentence = refused(*compress("--set", "student.width=8"))
    assert "student.width: 16 there, 8 now" in sentence
    assert "--overwrite" in sentence


def test_a_truncated_shard(refused: Refused, compress: Any, out: Path, world: World) -> None:
    shard = out / "corpus" / "shards" / "00000.npy"
    shard.write_bytes(shard.read_bytes()[:-8])
    shutil.rmtree(out / "training")
    assert re.search(r"00000.npy has .* bytes instead of .*; remove .*corpus and build", refused(*compress()))
    assert "00000.npy" in refused(
        "train", world.teacher, "--stage", "teacher", "--out", out, "--recipe", "tiny"
    )


def test_the_remedy_for_a_truncated_shard_is_one(
    run: Run, refused: Refused, compress: Any, out: Path, finished: Path
) -> None:
    shard = out / "corpus" / "shards" / "00000.npy"
    shard.write_bytes(shard.read_bytes()[:-8])
    found = re.search(r"remove (\S+) and build the corpus again", refused(*compress("--overwrite")))
    assert found
    shutil.rmtree(found[1])
    code, _, error = run(*compress())
    assert code == 0, error
    name = shard.relative_to(out)
    assert shard.read_bytes() == (finished / name).read_bytes()


@pytest.mark.parametrize("name", ["student_pieces.npy", "tokenizer/tokenizer.json", "manifest.json"])
def test_a_truncated_lexicon(refused: Refused, compress: Any, out: Path, name: str) -> None:
    path = out / "lexicon" / name
    path.write_bytes(path.read_bytes()[:-8])
    assert path.name in refused(*compress())


def test_a_truncated_checkpoint(refused: Refused, compress: Any, out: Path) -> None:
    """As it is after an interruption: begun, not finished, with a checkpoint."""
    stage = out / "training" / "student"
    manifest = json.loads((stage / "manifest.json").read_text())
    (stage / "manifest.json").unlink()
    write(stage / "begun.json", json.dumps({key: manifest[key] for key in ("format", "digest", "made_from")}))
    checkpoint = stage / "checkpoints" / "step-00000007"
    checkpoint.mkdir(parents=True)
    state = {"position": {}, "optimizer": {}, "digests": {"weights.safetensors": "0"}, "digest": ""}
    write(checkpoint / "state.json", json.dumps(state))
    write(checkpoint / "weights.safetensors", b"cut")
    sentence = refused(*compress())
    assert re.search(
        r"weights.safetensors is missing, cut short or altered; remove .*step-00000007", sentence
    )


def test_a_truncated_student(refused: Refused, out: Path) -> None:
    weights = out / "student" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    assert "no student could be loaded" in refused("evaluate", out)


def test_a_loss_that_is_not_finite(refused: Refused, compress: Any, out: Path) -> None:
    """In the second stage; the first is finished."""
    for part in ("training/dual", "training/student", "student"):
        shutil.rmtree(out / part)
    (out / "summary.json").unlink()
    settings = (
        "--set",
        "stages.dual.optimizer.student_rate=10",
        "--set",
        "stages.dual.optimizer.weight_decay=100",
        "--set",
        "stages.dual.optimizer.warm_up=0",
    )
    assert re.search(r"is (nan|inf) at step \d+.*lower the learning rate", refused(*compress(*settings)))


@pytest.fixture(scope="module")
def short(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of fewer words."""
    out = tmp_path_factory.mktemp("short") / "run"
    compression.compress(
        world.teacher, [str(world.text)], out, tiny().replace({"budget.words": "300"}), workers=1
    )
    return out


@pytest.mark.slow
@pytest.mark.parametrize("size", [10, 5_000, 20_000, 60_000, 150_000])
def test_a_full_disk_at_any_time(run: Run, compress: Any, short: Path, tmp_path: Path, size: int) -> None:
    """Wherever it strikes, from corpus to a stage's end, the next call ends as if it had not."""
    with full_disk(size):
        code, _, error = run(*compress(words=300))
    assert code == 1
    assert "Traceback" not in error
    assert re.search("cannot be (written|saved)", error)
    code, _, error = run(*compress(words=300))
    assert code == 0, error
    weights = "student/model.safetensors"
    assert (tmp_path / "run" / weights).read_bytes() == (short / weights).read_bytes()


@pytest.mark.parametrize("place", ["file", "under a file"])
def test_a_place_that_is_no_folder(refused: Refused, compress: Any, tmp_path: Path, place: str) -> None:
    taken = write(tmp_path / "taken", "something")
    out = taken if place == "file" else taken / "run"
    assert str(out) in refused(*compress(out=out))
    assert taken.read_text() == "something"


def test_overwrite_removes_nothing_that_lilliput_did_not_write(
    refused: Refused, compress: Any, tmp_path: Path
) -> None:
    (tmp_path / "run" / "corpus").mkdir(parents=True)
    precious = write(tmp_path / "run" / "corpus" / "novel.txt", "Call me Ishmael.")
    assert "did not write" in refused(*compress("--overwrite"))
    assert precious.read_text() == "Call me Ishmael."


@pytest.mark.parametrize(
    "arguments",
    [("train", "--stage", "teacher", "--recipe", "tiny"), ("build-lexicon",), ("vocabulary",)],
    ids=str,
)
def test_stages_before_their_time(
    refused: Refused, world: World, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    command, *options = arguments
    sentence = refused(command, world.teacher, *options, "--out", tmp_path / "none")
    assert "none" in sentence
    assert not (tmp_path / "none").exists()


def test_evaluation_before_its_time(refused: Refused, tmp_path: Path) -> None:
    assert "none" in refused("evaluate", tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_missing_stage_names_the_nearest(refused: Refused, world: World, out: Path) -> None:
    arguments = ("train", world.teacher, "--stage", "studnet", "--out", out, "--recipe", "tiny")
    assert "no stage 'studnet'; did you mean 'student'?" in refused(*arguments)


def test_as_a_command_of_its_own(tmp_path: Path, world: World) -> None:
    """In a process of its own: the sentence alone on standard error, nothing on standard output."""
    command = ["build-corpus", world.teacher, "--corpus", "none.txt", "--out", "run"]  # loads no torch
    done = subprocess.run(
        [sys.executable, "-m", "lilliput", *command],
        cwd=tmp_path,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("lilliput: there is no file or folder none.txt")
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.rglob("corpus"))
