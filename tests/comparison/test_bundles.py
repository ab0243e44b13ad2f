"""The benchmark of bundles: what is measured is what answers, and the figures are what they say."""

import dataclasses
import inspect
import io
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from rich.console import Console
from safetensors.numpy import save_file
from scipy.stats import spearmanr

import lilliput
from bundles import CLASSES, PIECES, TAGS, Tiny, graph, make_bundle, tokenizer
from conftest import World
from finetuned import finished
from lilliput import cli
from lilliput.cli import measuring
from lilliput.comparison import bundle_report, bundles as benchmark
from lilliput.comparison.answering import Found
from lilliput.comparison.candidates import Candidate, find_candidate
from lilliput.comparison.forms import Graph, Static, open_model
from lilliput.comparison.quality import fitted, quality
from lilliput.errors import BundleError, ConfigError, LilliputError, StorageError
from lilliput.tasks.loading import load_task
from lilliput.tasks.task import Examples, Labels, Task, TaskData

PAGE = (Path(__file__).parent.parent.parent / "docs" / "how-to" / "compare-bundles.md").read_text(
    encoding="utf-8"
)
COMMANDS = re.findall(r"^lilliput .+", PAGE, re.MULTILINE)
TEXTS = ("the film is good", "a bad film", "jazz by miles davis", "do n ' t play", "new york", "bad , good !")
TASK = Task("toy", "classification", classes=CLASSES)
JOINT = Task("toy", "joint", classes=CLASSES, tags=TAGS, metric="frame_accuracy")
SCORES = Task("toy", "regression", pairs=True, metric="pearson")


@dataclasses.dataclass(frozen=True)
class Models:
    """A bundle, and other models beside it."""

    bundle: Tiny
    graph: Path
    """The same model as a graph alone."""
    table: np.ndarray[Any, Any]
    static: Path
    """The table as static embeddings."""
    task: Path
    """What the task is called."""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    folder = tmp_path_factory.mktemp("models")
    bundle = make_bundle(folder / "tiny", "classification")
    (folder / "others").mkdir()
    shutil.copy(folder / "tiny" / "model.onnx", folder / "others" / "graph.onnx")
    shutil.copy(folder / "tiny" / "tokenizer.json", folder / "others" / "tokenizer.json")
    table = np.random.default_rng(0).normal(size=(len(PIECES), 8)).astype(np.float16)
    save_file({"embeddings": table}, folder / "others" / "table.safetensors", {"format": "pt"})
    labels = [CLASSES[index % 3] for index in range(len(TEXTS))]
    rows = [f'"{text}",{label}' for text, label in zip(TEXTS, labels, strict=True)]
    for part in ("train", "dev"):
        (folder / f"toy_{part}.csv").write_text("\n".join(["text,label", *rows]))
    static = folder / "others" / "table.safetensors"
    return Models(bundle, folder / "others" / "graph.onnx", table, static, folder / "toy")


def data_of(task: Task, **labels: Any) -> TaskData:
    pairs = TEXTS[::-1] if task.pairs else ()
    examples = Examples(TEXTS, pairs, Labels(**labels))
    return TaskData(task, examples, examples)


# What answers


def test_a_static_model_gives_the_mean_of_its_rows(models: Models) -> None:
    answers = open_model(models.static, 1)([*TEXTS, "(", ""])
    for text, answer in zip(TEXTS, answers, strict=False):
        ids = tokenizer().encode(text, add_special_tokens=False).ids
        assert answer == pytest.approx(models.table[ids].astype(np.float32).mean(axis=0), abs=1e-6)
    assert not answers[-1].any()


@pytest.mark.parametrize("texts", [TEXTS, TEXTS[:1], tuple(zip(TEXTS, TEXTS[::-1], strict=True))])
def test_a_graph_answers_as_the_bundle_that_it_is_of(models: Models, texts: tuple[Any, ...]) -> None:
    answers = open_model(models.graph, 1)(texts)
    for text, answer in zip(texts, answers, strict=True):
        parts = (text,) if isinstance(text, str) else text
        assert answer == pytest.approx(models.bundle.scores(*parts).mean(axis=0), abs=1e-5)


def test_padding_and_cutting_are_not_left_to_the_tokenizer(models: Models, tmp_path: Path) -> None:
    made = tokenizer()
    made.enable_padding(length=12)
    made.enable_truncation(6)
    made.save(str(tmp_path / "tokenizer.json"))
    shutil.copy(models.graph, tmp_path / "graph.onnx")
    shutil.copy(models.static, tmp_path / "table.safetensors")
    cut = Graph(tmp_path / "graph.onnx", 1)
    assert cut.positions == 6
    assert cut.answer([TEXTS[1]])[0] == pytest.approx(open_model(models.graph, 1)([TEXTS[1]])[0])
    long = " ".join(TEXTS)
    assert Static(tmp_path / "table.safetensors").answer([long])[0] == pytest.approx(
        Static(models.static).answer([long])[0]
    )


# Texts of so many pieces


@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize("form", ["bundle", "static"])
def test_texts_have_the_pieces_that_they_are_said_to_have(models: Models, form: Any, pairs: bool) -> None:
    path = models.bundle.folder if form == "bundle" else models.static
    one = Candidate("x", path, form, None, None, 32 if form == "bundle" else None, pairs, 1)
    texts = one.texts((8, 32, 128), Examples(TEXTS))
    assert [*texts] == ([8, 32] if form == "bundle" else [8, 32, 128])
    for length, text in texts.items():
        parts = text if isinstance(text, tuple) else (text,)
        assert len(parts) == 1 + pairs
        assert all(parts)
        assert len(tokenizer().encode(*parts, add_special_tokens=form == "bundle")) == length


def test_a_length_that_no_words_come_to_is_left_out(models: Models) -> None:
    one = find_candidate(models.static, "x", TASK)
    assert not one.texts((1,), Examples(("playing",)))
    assert [*one.texts((2,), Examples(("playing",)))] == [2]


@pytest.mark.parametrize(("form", "given"), [("static", "a b c d"), ("onnx", ("a b", "c d"))])
def test_who_reads_no_pairs_is_given_both_texts_as_one(models: Models, form: str, given: Any) -> None:
    path = models.static if form == "static" else models.graph
    one = find_candidate(path, "x", SCORES)
    assert one.given(Examples((("a", "b"),), ("c d",))) == [given]


# Quality


def test_a_head_is_least_squares() -> None:
    rng = np.random.default_rng(0)
    features, asked, matrix = (rng.normal(size=shape) for shape in ((200, 5), (9, 5), (5, 2)))
    found = fitted(features, features @ matrix + 3, asked)
    assert found == pytest.approx(asked @ matrix + 3, abs=0.02)


@pytest.mark.parametrize("form", ["static", "encode"])
@pytest.mark.parametrize(
    ("task", "labels", "metric"),
    [
        (TASK, {"values": (0, 0, 1, 1, 2, 2)}, "accuracy"),
        (JOINT, {"values": (0, 0, 1, 1, 2, 2), "tags": ((0,),) * 6}, "intent_accuracy"),
        (SCORES, {"values": (0.5, 1.0, 4.0, 2.0, 3.0, 1.5)}, "pearson"),
        (Task("toy", "tagging", tags=TAGS, metric="f1"), {"tags": ((0,),) * 6}, None),
    ],
)
def test_vectors_alone_are_scored_by_a_head(
    models: Models, tmp_path: Path, form: str, task: Task, labels: dict[str, Any], metric: str | None
) -> None:
    """Six texts and at least as many features: the head can tell all of them."""
    path = models.static if form == "static" else make_bundle(tmp_path / "encode", "encode").folder
    scores = quality(find_candidate(path, "x", task), data_of(task, **labels), 1)
    assert scores.get(metric, 0) > 0.95 if metric else scores == {}


@pytest.mark.parametrize(
    "config",
    [
        {"classes": CLASSES[::-1]},
        {"id2label": {"0": CLASSES[2], "1": CLASSES[1], "2": CLASSES[0]}},
    ],
)
def test_classes_of_a_graph_are_those_named_beside_it(
    models: Models, tmp_path: Path, config: dict[str, Any]
) -> None:
    folder = shutil.copytree(models.graph.parent, tmp_path / "named")
    graph = find_candidate(folder / "graph.onnx", "x", TASK)
    in_order = quality(graph, data_of(TASK, values=(0, 0, 1, 1, 2, 2)), 1)
    (folder / "config.json").write_text(json.dumps(config))
    assert quality(graph, data_of(TASK, values=(2, 2, 1, 1, 0, 0)), 1) == pytest.approx(in_order)


def test_a_graph_whose_output_is_not_of_classes_has_no_score(models: Models) -> None:
    task = dataclasses.replace(TASK, classes=CLASSES[:2])
    assert quality(find_candidate(models.graph, "x", task), data_of(task, values=(0, 1) * 3), 1) == {}


# The whole


@pytest.fixture(scope="module")
def measured(models: Models, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    out = tmp_path_factory.mktemp("speed")
    every = [models.bundle.folder, models.graph, models.static]
    data = load_task(str(models.task))
    return out, benchmark.benchmark_bundle(every, data, out, threads=(1,), rounds=1)


def test_models_are_measured_and_written(measured: tuple[Path, Any], models: Models) -> None:
    out, report = measured
    bundle, other, static = report.models
    assert bundle.bytes == sum(file.stat().st_size for file in models.bundle.folder.iterdir())
    beside = (models.graph.parent / "tokenizer.json").stat().st_size
    assert (other.bytes, static.bytes) == (
        models.graph.stat().st_size + beside,
        models.static.stat().st_size + beside,
    )
    said = [CLASSES[models.bundle.scores(text).mean(axis=0).argmax()] for text in TEXTS]
    right = sum(name == CLASSES[index % 3] for index, name in enumerate(said))
    assert bundle.scores == other.scores
    assert bundle.scores["accuracy"] == pytest.approx(right / len(TEXTS))
    lengths = [[one.pieces for one in model.speed[0].latency] for model in report.models]
    assert lengths == [[8, 32], [8, 32, 128], [8, 32, 128]]
    for model in report.models:
        (speed,) = model.speed
        assert (speed.threads, len(speed.first_samples)) == (1, 1)
        assert all(0 < one.seconds < speed.first_seconds < 60 for one in speed.latency)
        assert 10 << 20 < speed.memory < 300 << 20, "of that process alone"
    assert json.loads((out / "bundle.json").read_text()) == json.loads(json.dumps(dataclasses.asdict(report)))
    assert (out / "bundle.png").read_bytes().startswith(b"\x89PNG")


def test_tables_have_a_line_for_each_model(measured: tuple[Path, Any]) -> None:
    written = io.StringIO()
    Console(width=110, file=written).print(bundle_report.render(measured[1]))
    lines = written.getvalue()
    for model in measured[1].models:
        assert lines.count(model.name) == 2
        assert f"{model.bytes:,}" in lines
        assert f"{model.speed[0].texts_per_second:,.0f}" in lines


def test_reports_are_medians_and_the_largest_memory(models: Models) -> None:
    one = benchmark._Measured(find_candidate(models.static, "x", TASK), data_of(TASK), {})
    one.texts = {8: "a", 32: "b"}
    one.found[2] = [
        Found(
            first=(first, first / 2),
            alone=[[(1.0, 3.0), (9.0, 4.0), (2.0, 7.0)], [(first, 1.0)]],
            together=10 * first,
            memory=int(first),
        )
        for first in (3.0, 1.0, 2.0)
    ]
    (speed,) = one.report({}).speed
    assert (speed.threads, speed.first_seconds, speed.texts_per_second, speed.memory) == (2, 2.0, 20.0, 3)
    assert (speed.first_processor_seconds, speed.busy) == (1.0, 0.5)
    times = [(found.pieces, found.seconds, found.processor_seconds) for found in speed.latency]
    assert times == [(8, 2.0, 4.0), (32, 2.0, 1.0)]
    assert speed.latency[1].samples == (3.0, 1.0, 2.0)


@pytest.mark.parametrize(
    ("scores", "plotted"),
    [
        ([{"frame_accuracy": 0.5, "intent_accuracy": 0.9}, {}], "frame_accuracy"),
        ([{"frame_accuracy": 0.5, "intent_accuracy": 0.9}, {"intent_accuracy": 0.8}], "intent_accuracy"),
        ([{}], "frame_accuracy"),
    ],
)
def test_what_is_plotted_is_what_all_have(
    measured: tuple[Path, Any], scores: list[dict[str, float]], plotted: str
) -> None:
    several = tuple(dataclasses.replace(measured[1].models[0], scores=found) for found in scores)
    assert dataclasses.replace(measured[1], metric="frame_accuracy", models=several).plotted == plotted


def test_models_of_one_name_are_called_by_their_paths() -> None:
    names = benchmark._names([Path("a/b"), Path("c/b"), Path("a/x.onnx"), Path("a/b")])
    assert names == {Path("a/b"): "a/b", Path("c/b"): "c/b", Path("a/x.onnx"): "x.onnx"}


def test_the_teachers_bundles_are_made_once(world: World, tmp_path: Path) -> None:
    task = Task("c", "classification", classes=("no", "yes"))
    finished(world, tmp_path, task, Labels((0, 1, 1, 1)), 0.8)
    teacher, out = tmp_path / "finetuned" / "c", tmp_path / "out" / "teacher"
    made = benchmark._teacher_bundles(teacher, out)
    assert [find_candidate(path, "x", task).quantization for path in made] == ["float32", "int8"]
    before = (out / "int8" / "model.onnx").stat().st_mtime_ns
    benchmark._teacher_bundles(teacher, out)
    assert (out / "int8" / "model.onnx").stat().st_mtime_ns == before
    (teacher / "more.txt").write_text("another teacher")
    benchmark._teacher_bundles(teacher, out)
    assert (out / "int8" / "model.onnx").stat().st_mtime_ns > before


# Refusals


def write_others(folder: Path) -> None:
    """Writes models that cannot be measured."""
    for name, kind, changes in (
        ("fill", "fill", {}),
        ("task", "classification", {"task": "sst2"}),
        ("pairs", "classification", {"pairs": True}),
        ("classes", "classification", {"classes": ("bad", "good", "odd")}),
    ):
        make_bundle(folder / name, kind, **{"pairs": False, **changes})
    (folder / "empty").mkdir()
    tokenizer().save(str(folder / "tokenizer.json"))
    made = onnx.load(folder / "task" / "model.onnx")
    for node in (made.graph.input[0], *made.graph.node):
        if isinstance(node, onnx.NodeProto):
            node.input[:] = ["pixels" if name == "input_ids" else name for name in node.input]
        else:
            node.name = "pixels"
    onnx.save(made, folder / "inputs.onnx")
    (folder / "torn.onnx").write_bytes(b"no graph")
    rows = np.zeros((len(PIECES), 2), np.float32)
    save_file({"rows": rows[1:]}, folder / "short.safetensors")
    save_file({"rows": rows, "bias": rows}, folder / "checkpoint.safetensors")
    (folder / "torn.safetensors").write_bytes(b"\xff" * 20)
    (folder / "lone").mkdir()
    save_file({"rows": rows}, folder / "lone" / "table.safetensors")


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("others")
    write_others(folder)
    return folder


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("nothing", "is not a folder; expected is a bundle"),
        ("nothing.onnx", "there is no file"),
        ("empty", "is not a bundle, or not a finished one"),
        ("fill", r"only fills in \[MASK\], so it has no answers for task 'toy'"),
        ("task", "was made for task 'sst2' .* and the examples are of 'toy'"),
        ("pairs", r"\(classification of pairs\), and the examples are of 'toy' \(classification\)"),
        ("classes", "has other classes than task 'toy': 'neither' is not in the bundle"),
        ("inputs.onnx", "takes pixels, expected are input_ids"),
        ("torn.onnx", "cannot be opened by onnxruntime"),
        ("short.safetensors", "has 28 rows, and the tokenizer.json beside it 29 pieces"),
        ("checkpoint.safetensors", "of a checkpoint make a bundle with `lilliput bundle`"),
        ("torn.safetensors", "is no table of static embeddings"),
        ("lone/table.safetensors", "a model's tokenizer.json has to stand beside it"),
    ],
)
def test_what_cannot_be_measured_is_a_sentence_before_anything_is(
    others: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, sentence: str
) -> None:
    monkeypatch.delattr(benchmark, "subprocess")  # no process may be started
    with pytest.raises(BundleError, match=sentence):
        benchmark.benchmark_bundle([others / name], data_of(TASK, values=(0, 1) * 3), tmp_path)


@pytest.mark.parametrize(
    ("given", "options", "error", "sentence"),
    [
        ([], {}, ConfigError, "no model was named"),
        (["x"], {"rounds": 0}, ConfigError, "(threads|rounds) must be a whole number from 1 to"),
        (["x"], {"threads": [0, 1]}, ConfigError, "threads must be .*, found 0"),
        (["x"], {"threads": []}, ConfigError, "no number of threads"),
        ([], {"teacher": Path("nowhere")}, StorageError, "nowhere does not exist"),
    ],
)
def test_options_that_mean_nothing_are_refused(
    tmp_path: Path, given: list[Any], options: dict[str, Any], error: type[LilliputError], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        benchmark.benchmark_bundle(given, data_of(TASK, values=(0, 1) * 3), tmp_path, **options)


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        ("import os; os._exit(9)", "ended with code 9, so memory may be short"),
        ("raise ValueError('so it is')", r"ended with code 1 \(ValueError: so it is\)"),
        ("""print('{"error": "too long"}')""", "could not be measured: too long"),
    ],
)
def test_a_process_that_fails_is_a_sentence(
    models: Models, monkeypatch: pytest.MonkeyPatch, script: str, sentence: str
) -> None:
    monkeypatch.setattr(benchmark, "SCRIPT", script)
    one = benchmark._Measured(find_candidate(models.static, "x", TASK), data_of(TASK), {1: []})
    with pytest.raises(BundleError, match=sentence):
        one.measure(1)


@pytest.mark.parametrize(
    ("form", "needed"),
    [("static", {"numpy", "tokenizers"}), ("bundle", {"numpy", "tokenizers", "onnxruntime"})],
)
def test_a_process_that_is_measured_imports_only_what_answers(
    models: Models, form: str, needed: set[str]
) -> None:
    path = models.static if form == "static" else models.bundle.folder
    script = "import sys; from pathlib import Path; from lilliput.comparison import answering\n"
    script += f"answering.open_model(Path({str(path)!r}), 1)\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    heavy = {"numpy", "tokenizers", "onnxruntime", "torch", "transformers", "psutil", "rich", "statistics"}
    assert {*done.stdout.split()} & heavy == needed


def test_a_graph_that_fails_on_a_text_says_so(tmp_path: Path) -> None:
    arrays = {"pieces": np.ones((3, 2)), "types": np.ones((2, 2)), "matrix": np.ones((2, 3))}
    made = graph({name: array.astype(np.float32) for name, array in arrays.items()}, pooled=True)
    onnx.save(made, tmp_path / "graph.onnx")
    tokenizer().save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(BundleError, match=r"graph.onnx fails on 4 pieces .* set max_length"):
        open_model(tmp_path / "graph.onnx", 1)(["good film"])


# The command


def test_the_surface_is_pinned_and_explained(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = "models task out kind teacher threads rounds"
    assert " ".join(inspect.signature(measuring.benchmark_bundle).parameters) == options
    monkeypatch.setattr(sys, "argv", ["lilliput", "benchmark", "bundle", "--help"])
    cli.main()
    shown = capsys.readouterr().out
    assert all(f"--{name} " in shown for name in options.split()[1:])


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_of_the_page_arrives(
    command: str, models: Models, monkeypatch: pytest.MonkeyPatch, measured: tuple[Path, Any]
) -> None:
    given: dict[str, Any] = {}

    def remember(*arguments: object, **options: object) -> object:
        given.update(inspect.signature(usual).bind(*arguments, **options).arguments)
        return measured[1]

    usual = benchmark.benchmark_bundle
    monkeypatch.setattr(benchmark, "benchmark_bundle", remember)
    monkeypatch.setattr(sys, "argv", shlex.split(command.replace("data/snips", str(models.task))))
    cli.main()
    assert (given["task"].task.name, given["out"]) == ("toy", Path("runs/sizes"))
    assert given["models"][0] == Path("bundle")
    if "--teacher" in command:
        assert given["teacher"] == Path("runs/teacher/finetuned/snips")
    assert (given["threads"], given["rounds"]) == (((1,), 9) if "--rounds" in command else ((1, 2), 5))
    if "--rounds" in command:
        assert given["models"][1:] == (Path("other/model.onnx"), Path("static/model.safetensors"))


def test_vectors_are_judged_by_their_cosines_where_the_kind_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = [("a good film", "good film", 5), ("a bad film", "good", 1), ("bad", "a bad film", 4)]
    for part in ("train", "dev"):
        lines = [json.dumps({"text": a, "text_pair": b, "label": label}) for a, b, label in pairs]
        (tmp_path / f"like_{part}.jsonl").write_text("\n".join(lines))
    bundle = make_bundle(tmp_path / "bundle", "encode").folder
    given = f"{bundle} --task {tmp_path}/like --kind similarity --threads 1 --rounds 1 --out {tmp_path}/out"
    monkeypatch.setattr(sys, "argv", shlex.split(f"lilliput benchmark bundle {given}"))
    cli.main()
    (found,) = json.loads((tmp_path / "out" / "bundle.json").read_text())["models"]
    one, other = (lilliput.load(bundle).encode([pair[side] for pair in pairs]) for side in (0, 1))
    cosines = np.diag(lilliput.load(bundle).similarity(one, other))
    assert found["scores"]["spearman"] == pytest.approx(spearmanr(cosines, [pair[2] for pair in pairs])[0])
    assert "spearman" in capsys.readouterr().out


def test_the_page_has_commands() -> None:
    assert len(COMMANDS) == 2
