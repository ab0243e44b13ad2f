"""Settings: complete, strict, checked, and the same after a round trip."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from lilliput.common.settings import build
from lilliput.config import (
    BatchConfig,
    Budget,
    LexiconConfig,
    ObjectiveWeights,
    OptimizerConfig,
    Recipe,
    StageConfig,
    StudentConfig,
)
from lilliput.errors import ConfigError
from lilliput.finetuning.config import FinetuningConfig
from lilliput.recipes import RECIPES, lilliput, tiny

STUDENT_ALONE = ObjectiveWeights(student_masked_lm=1.0)


def recipe(**changes: Any) -> Recipe:
    values = {"name": "r", "budget": Budget(minutes=1), "stages": (StageConfig("student", 1, STUDENT_ALONE),)}
    return Recipe(**(values | changes))


def changed(path: str, value: Any) -> dict[str, Any]:
    """Returns the values of a recipe with one of them replaced or added; `path` is dotted."""
    values = tiny().to_dict()
    *parents, last = path.split(".")
    node: Any = values
    for part in parents:
        node = node[int(part)] if part.isdigit() else node[part]
    node[last] = value
    return json.loads(json.dumps(values))


# What values mean together


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (LexiconConfig, {"size": 99}, "lexicon.size must be a whole number from 100 to 1,000,000, found 99"),
        (StudentConfig, {"layers": 0}, "student.layers must be a whole number from 1 to 256, found 0"),
        (StudentConfig, {"width": 0}, "student.width must be a whole number from 1 to 16,384, found 0"),
        (StudentConfig, {"heads": -1}, "student.heads must be a whole number from 1 to 1,024, found -1"),
        (
            StudentConfig,
            {"feed_forward": 0},
            "student.feed_forward must be a whole number from 1 to 131,072, found 0",
        ),
        (
            StudentConfig,
            {"positions": 0},
            "student.positions must be a whole number from 8 to 65,536, found 0",
        ),
        (StudentConfig, {"width": 100}, "found width 100 and 12 heads; with 12 heads try width 96"),
        (StudentConfig, {"width": 5}, "found width 5 and 12 heads; with 12 heads try width 12"),
        (ObjectiveWeights, {}, "every objective of a stage has weight 0"),
        (
            ObjectiveWeights,
            {"soft_labels": -1.0},
            "objectives.soft_labels must lie in [0, 1,000,000], found -1.0",
        ),
        (BatchConfig, {"rows": 0}, "batch.rows must be a whole number from 1 to 1,000,000, found 0"),
        (BatchConfig, {"accumulation": 0}, "batch.accumulation must be a whole number from 1"),
        (BatchConfig, {"rows": 8, "accumulation": 3}, "must divide batch.rows, found 3 and 8"),
        (BatchConfig, {"length": 7}, "batch.length must be a whole number from 8 to 65,536, found 7"),
        (BatchConfig, {"masked": 0.0}, "batch.masked must lie in (0, 1), found 0.0"),
        (BatchConfig, {"masked": 1.0}, "batch.masked must lie in (0, 1), found 1.0"),
        (BatchConfig, {"mixing": 1.5}, "batch.mixing must lie in [0, 1], found 1.5"),
        (OptimizerConfig, {"warm_up": 1.0}, "optimizer.warm_up must lie in [0, 1), found 1.0"),
        (OptimizerConfig, {"student_rate": 0.0}, "optimizer.student_rate must lie in (0, 10], found 0.0"),
        (OptimizerConfig, {"teacher_rate": -1.0}, "optimizer.teacher_rate must lie in (0, 10], found -1.0"),
        (OptimizerConfig, {"clip": 0.0}, "optimizer.clip must lie in (0, 1,000,000], found 0.0"),
        (OptimizerConfig, {"clip": float("nan")}, "optimizer.clip must lie in (0, 1,000,000], found nan"),
        (OptimizerConfig, {"beta2": 1.0}, "optimizer.beta2 must lie in [0, 1), found 1.0"),
        (OptimizerConfig, {"beta2": -0.1}, "optimizer.beta2 must lie in [0, 1), found -0.1"),
        (OptimizerConfig, {"beta2": float("nan")}, "optimizer.beta2 must lie in [0, 1), found nan"),
        (OptimizerConfig, {"weight_decay": -0.1}, "optimizer.weight_decay must lie in [0, 100], found -0.1"),
        (OptimizerConfig, {"weight_decay": float("nan")}, "weight_decay must lie in [0, 100], found nan"),
        (LexiconConfig, {"size": 2_000_000_000}, "from 100 to 1,000,000, found 2000000000"),
        (LexiconConfig, {"size": "4928"}, "lexicon.size must be a whole number"),
        (LexiconConfig, {"size": 500.0}, "lexicon.size must be a whole number"),
        (LexiconConfig, {"size": True}, "lexicon.size must be a whole number"),
        (LexiconConfig, {"size": 1 << 20_000}, "found a int too large to be shown"),
        (StudentConfig, {"layers": 1_000_000}, "student.layers must be a whole number from 1 to 256"),
        (BatchConfig, {"rows": 1_000_000}, "make 128,000,000 pieces at once, 16,777,216 are the most"),
        (OptimizerConfig, {"student_rate": float("inf")}, "must lie in (0, 10], found inf"),
        (ObjectiveWeights, {"soft_labels": 1e308}, "must lie in [0, 1,000,000], found 1e+308"),
        (StageConfig, {"name": "a" * 200, "share": 1, "objectives": STUDENT_ALONE}, "at most 100 bytes"),
        (
            StageConfig,
            {"name": "a b", "share": 1, "objectives": STUDENT_ALONE},
            "plain word of at most 100 bytes, found 'a b'",
        ),
        (StageConfig, {"name": "../up", "share": 1, "objectives": STUDENT_ALONE}, "found '../up'"),
        (StageConfig, {"name": "a", "share": 0, "objectives": STUDENT_ALONE}, "must lie in (0, 1], found 0"),
        (StageConfig, {"name": "a", "share": 2, "objectives": STUDENT_ALONE}, "must lie in (0, 1], found 2"),
        (Budget, {}, "a budget is either budget.words or budget.minutes"),
        (Budget, {"words": 1, "minutes": 1.0}, "a budget is either budget.words or budget.minutes"),
        (Budget, {"words": 10**30}, "budget.words must be a whole number from 1 to"),
        (Budget, {"minutes": 1e308}, "budget.minutes must lie in (0, 5,256,000], found 1e+308"),
        (Budget, {"words": 0}, "budget.words must be a whole number from 1 to"),
        (Budget, {"minutes": -1.0}, "budget.minutes must lie in (0, 5,256,000], found -1.0"),
    ],
)
def test_impossible_values_are_refused(kind: type[Any], values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        kind(**values)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stages": ()}, "a recipe needs at least one stage"),
        ({"stages": (StageConfig("a", 0.5, STUDENT_ALONE),) * 2}, "two stages share a name: a, a"),
        ({"stages": (StageConfig("a", 0.9, STUDENT_ALONE),)}, "must add up to 1, found 0.9"),
        ({"student": StudentConfig(positions=64)}, "stage 'student' reads 128 pieces but the student has 64"),
    ],
)
def test_recipes_that_do_not_fit_together_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        recipe(**changes)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("objective", "teacher", "student", "reads_teacher"),
    [
        ("teacher_masked_lm", True, False, True),
        ("student_masked_lm", False, True, False),
        ("projection_down", False, True, True),
        ("projection_up", False, True, True),
        ("soft_labels", False, True, True),
    ],
)
def test_an_objective_says_which_models_it_needs(
    objective: str, teacher: bool, student: bool, reads_teacher: bool
) -> None:
    weights = ObjectiveWeights(**{objective: 0.5})
    assert (weights.trains_teacher, weights.trains_student) == (teacher, student)
    assert weights.uses_teacher == reads_teacher
    (one,) = weights.active
    assert (one.name, one.compares_variables) == (objective, objective.startswith("projection"))


def test_settings_cannot_be_changed_in_place() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe().student.width = 1  # type: ignore[misc]


# Strictness


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("sede", 1, "unknown key 'sede'; did you mean 'seed'?"),
        ("student.widht", 96, "unknown key 'student.widht'; did you mean 'width'?"),
        (
            "student.q",
            96,
            "unknown key 'student.q'; known: feed_forward, heads, layers, positions, width",
        ),
        ("stages.1.batch.row", 4, "unknown key 'stages[1].batch.row'; did you mean 'rows'?"),
        ("student.width", "96", "'student.width' must be int, found '96'"),
        ("student.width", 96.0, "'student.width' must be int, found 96.0"),
        ("student.width", True, "'student.width' must be int, found True"),
        ("student.width", None, "'student.width' must be int, found None"),
        ("student", 96, "'student' must be a table of settings, found 96"),
        ("stages", {}, "'stages' must be a list, found {}"),
        ("stages.0", [], "'stages[0]' must be a table of settings, found []"),
        (
            "stages.0.optimizer.name",
            "sgd",
            "'stages[0].optimizer.name' must be one of adamw, lamb, muon, found 'sgd'",
        ),
        ("start.student", 1, "'start.student' must be one of teacher, random, found 1"),
        ("budget.words", 1.5, "'budget.words' must be int or nothing, found 1.5"),
        ("lexicon.tokenizer", 3, "'lexicon.tokenizer' must be str or nothing, found 3"),
        ("budget.minutes", float("inf"), "'budget.minutes' must be float or nothing, found inf"),
        ("stages.0.share", float("nan"), "'stages[0].share' must be float, found nan"),
        ("stages.0.optimizer.teacher_rate", float("inf"), "teacher_rate' must be float, found inf"),
        ("stages.1.objectives.soft_labels", float("-inf"), "soft_labels' must be float, found -inf"),
    ],
)
def test_unknown_names_and_wrong_types_are_refused(path: str, value: Any, message: str) -> None:
    parents, _, last = path.rpartition(".")
    values = changed(path, value) if not last.isdigit() else tiny().to_dict() | {parents: [value]}
    with pytest.raises(ConfigError) as caught:
        Recipe.from_dict(values)
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["name", "budget", "stages"])
def test_what_has_no_default_must_be_given(name: str) -> None:
    values = {key: value for key, value in tiny().to_dict().items() if key != name}
    with pytest.raises(ConfigError, match=f"key '{name}' is missing"):
        Recipe.from_dict(values)


def test_whole_numbers_are_taken_where_fractions_may_stand() -> None:
    read = Recipe.from_dict(changed("budget", {"minutes": 2}))
    assert read.budget.minutes == 2.0
    assert isinstance(read.budget.minutes, float)


@pytest.mark.parametrize("values", [[], "recipe", None, 3])
def test_a_recipe_is_a_table(values: Any) -> None:
    with pytest.raises(ConfigError, match="expected is a table of settings"):
        Recipe.from_dict(values)


# Files


def as_toml(values: dict[str, Any]) -> str:
    """Writes nested values as TOML in one line per setting; what is None is left out."""

    def inline(value: Any) -> str:
        if isinstance(value, dict):
            inside = (f"{key} = {inline(item)}" for key, item in value.items() if item is not None)
            return f"{{{', '.join(inside)}}}"
        if isinstance(value, list):
            return f"[{', '.join(map(inline, value))}]"
        return json.dumps(value)

    return "".join(f"{key} = {inline(value)}\n" for key, value in values.items() if value is not None)


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize(("ending", "write"), [(".json", json.dumps), (".toml", as_toml)])
def test_a_recipe_survives_a_file(name: str, ending: str, write: Any, tmp_path: Path) -> None:
    path = tmp_path / f"recipe{ending}"
    path.write_text(write(json.loads(json.dumps(RECIPES[name]().to_dict()))), encoding="utf-8")
    assert Recipe.load(path) == RECIPES[name]()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("r.toml", b"name = ", r"r\.toml is not valid toml"),
        ("r.json", b"{", r"r\.json is not valid json"),
        ("r.json", b"\xff", r"r\.json is not valid json"),
    ],
)
def test_a_damaged_recipe_file_is_refused(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        Recipe.load(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("r.json", "[]", "expected is a table of settings, found []"),
        ("r.json", '{"nmae": "r"}', "unknown key 'nmae'; did you mean 'name'?"),
        ("r.json", '{"name": "r", "budget": {"minutes": Infinity}, "stages": []}', "found inf"),
        ("r.toml", 'name = "r"\nbudget.minutes = nan\nstages = []', "found nan"),
        ("r.toml", 'name = "r"\nbudget.words = 0\nstages = []', "budget.words must be a whole number"),
        ("r.toml", 'name = "r"\nbudget.words = 1\nstages = []', "a recipe needs at least one stage"),
    ],
)
def test_a_recipe_file_with_impossible_settings_is_named(
    name: str, content: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ConfigError) as caught:
        Recipe.load(tmp_path / name)
    assert str(caught.value).startswith(f"recipe file {tmp_path / name}: ")
    assert message in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=8,
)
PLACES = sorted(
    f"{prefix}{name}"
    for prefix, values in (
        ("", tiny().to_dict()),
        ("student.", tiny().to_dict()["student"]),
        ("lexicon.", tiny().to_dict()["lexicon"]),
        ("budget.", tiny().to_dict()["budget"]),
        ("stages.dual.batch.", tiny().to_dict()["stages"][0]["batch"]),
        ("stages.dual.optimizer.", tiny().to_dict()["stages"][0]["optimizer"]),
        ("stages.dual.objectives.", tiny().to_dict()["stages"][0]["objectives"]),
    )
    for name in values
)
ODD_TOML = [
    b"a = " + b"[" * 100_000,
    b"a = 0x" + b"f" * 10_000,
    b"a = " + b"9" * 5_000,
    b'name = "r"\nseed = 0x' + b"f" * 10_000 + b"\nstages = []\nbudget.words = 1",
    b"name = 1979-05-27T07:32:00Z\nstages = 1979-05-27\nbudget = 07:32:00",
    b"a.b = 1\na = 2",
    b"\xef\xbb\xbfname = 'x'",
    b'name = "\\u0000"',
]


def recipe_or_refused(make: Callable[[], Recipe]) -> None:
    try:
        made = make()
    except ConfigError as error:
        assert len(str(error)) < 2_000  # noqa: PT017
    else:
        assert Recipe.from_dict(json.loads(json.dumps(made.to_dict()))) == made


@given(
    content=st.binary(max_size=60)
    | JSON.map(lambda value: json.dumps(value).encode())
    | st.sampled_from([*ODD_TOML, b"[" * 100_000, b'{"a":' * 100_000]),
    ending=st.sampled_from([".toml", ".json"]),
)
def test_any_recipe_file_is_a_recipe_or_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, ending: str
) -> None:
    path = tmp_path_factory.getbasetemp() / f"any{ending}"
    path.write_bytes(content)
    recipe_or_refused(lambda: Recipe.load(path))


@given(place=st.sampled_from(PLACES), value=JSON)
def test_any_change_of_a_recipe_is_a_recipe_or_refused(place: str, value: Any) -> None:
    recipe_or_refused(lambda: Recipe.from_dict(changed(place.replace("dual", "1"), value)))


TEXTS = st.text(max_size=9) | JSON.map(json.dumps)


@given(settings=st.dictionaries(st.sampled_from(PLACES) | st.text(max_size=9), TEXTS))
def test_any_settings_are_taken_or_refused(settings: dict[str, str]) -> None:
    recipe_or_refused(lambda: tiny().replace(settings))


@given(settings=st.dictionaries(st.sampled_from([*vars(FinetuningConfig()), "distillation.near"]), TEXTS))
def test_any_settings_of_fine_tuning_are_taken_or_refused(settings: dict[str, str]) -> None:
    try:
        made = FinetuningConfig().replace(settings)
    except ConfigError as error:
        assert len(str(error)) < 2_000  # noqa: PT017
    else:
        assert made.rows in range(1, 100_001)


# Replacing


@given(
    seed=st.integers(0, 2**31),
    heads=st.integers(1, 16),
    rate=st.floats(1e-6, 1.0),
    words=st.integers(1, 10**12),
    optimizer=st.sampled_from(["adamw", "lamb", "muon"]),
)
def test_replaced_settings_are_there_and_others_stay(
    seed: int, heads: int, rate: float, words: int, optimizer: str
) -> None:
    made = tiny().replace(
        {
            "seed": str(seed),
            "student.heads": str(heads),
            "student.width": str(8 * heads),
            "stages.dual.optimizer.student_rate": repr(rate),
            "stages.dual.optimizer.name": optimizer,
            "budget.words": str(words),
        }
    )
    assert (made.seed, made.student.heads, made.student.width) == (seed, heads, 8 * heads)
    assert made.stage("dual").optimizer == OptimizerConfig(optimizer, student_rate=rate)
    assert made.budget == Budget(words=words)
    assert made.stage("teacher") == tiny().stage("teacher")
    assert Recipe.from_dict(json.loads(json.dumps(made.to_dict()))) == made


def test_nothing_replaced_gives_the_same_recipe() -> None:
    assert lilliput().replace({}) == lilliput()


@pytest.mark.parametrize(("key", "unit"), [("budget.words", "words"), ("budget.minutes", "minutes")])
def test_one_kind_of_budget_takes_the_place_of_the_other(key: str, unit: str) -> None:
    made = {name: getattr(RECIPES[name]().replace({key: "7"}).budget, unit) for name in RECIPES}
    assert made == dict.fromkeys(RECIPES, 7)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("student.widht", "96", "unknown setting 'student.widht'; did you mean 'width'?"),
        ("studnet.width", "96", "unknown setting 'studnet'; did you mean 'student'?"),
        ("stages.daul.share", "1", "unknown setting 'stages.daul'; did you mean 'dual'?"),
        ("seed.x", "1", "unknown setting 'seed.x'"),
        ("seed.x.y", "1", "unknown setting 'seed.x'"),
        ("", "1", "unknown setting ''"),
        ("student.width", "wide", "'student.width' must be int, found 'wide'"),
        ("student.width", "17", "with 2 heads try width 16"),
        ("stages.dual.optimizer.name", "sgd", "must be one of adamw, lamb, muon, found 'sgd'"),
        ("stages.dual.share", "0.5", "the shares of the stages must add up to 1, found 1.1"),
        ("stages.dual.optimizer.clip", "Infinity", "'stages[1].optimizer.clip' must be float, found inf"),
        ("stages.dual.optimizer.student_rate", "1e999", "must be float, found inf"),
        ("stages.dual.objectives.soft_labels", "NaN", "must be float, found nan"),
        ("stages.dual.optimizer.beta2", "1", "optimizer.beta2 must lie in [0, 1), found 1.0"),
        ("stages.dual.optimizer.weight_decay", "-0.1", "optimizer.weight_decay must lie in [0, 100]"),
        ("budget.minutes", "Infinity", "'budget.minutes' must be float or nothing, found inf"),
        ("budget.minutes", "inf", "'budget.minutes' must be float or nothing, found 'inf'"),
        ("budget.minutes", "1" + 400 * "0", "'budget.minutes' must be float or nothing, found 1000"),
    ],
)
def test_a_replacement_that_cannot_be_is_refused(key: str, value: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        tiny().replace({key: value})
    assert message in str(caught.value)


@pytest.mark.parametrize("stages", ["[1]", '[{"a": 1}]', '[{"name": [1]}]', "[[]]", "{}", "3"])
def test_a_setting_of_a_stage_that_an_earlier_one_took_away_is_unknown(stages: str) -> None:
    with pytest.raises(ConfigError, match=r"unknown setting 'stages\.a"):
        tiny().replace({"stages": stages, "stages.a.share": "1"})


def test_a_text_is_taken_as_it_stands() -> None:
    made = lilliput().replace({"lexicon.tokenizer": "some/folder", "name": '"5"'})
    assert (made.lexicon.tokenizer, made.name) == ("some/folder", "5")
    assert made.replace({"lexicon.tokenizer": "null"}).lexicon.tokenizer is None


def test_a_stage_is_found_by_name_or_refused_with_the_nearest() -> None:
    assert tiny().stage("dual").name == "dual"
    with pytest.raises(ConfigError, match="recipe 'tiny' has no stage 'studnet'; did you mean 'student'"):
        tiny().stage("studnet")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": "1e308"}, "epochs must lie in (0, 1,000,000], found 1e+308"),
        ({"evaluations": "1000000"}, "evaluations must be a whole number from 1 to 10,000"),
        ({"epochs": "0"}, "epochs must lie in (0, 1,000,000], found 0"),
        ({"rate": "-1"}, "rate must lie in (0, 10], found -1"),
        ({"warm_up": "1"}, "warm_up must lie in [0, 1), found 1"),
        ({"dropout": "1"}, "dropout must lie in [0, 1), found 1"),
        ({"balance": "-1"}, "balance must lie in [0, 10], found -1"),
        ({"distillation.weight": "2"}, "distillation.weight must lie in [0, 1], found 2"),
        ({"distillation.temperature": "0"}, "distillation.temperature must lie in (0, 1,000], found 0"),
        (
            {"distillation.near": "-5"},
            "distillation.near must be a whole number from 0 to 100,000,000, found -5",
        ),
        ({"distillation.nera": "5"}, "unknown setting 'distillation.nera'; did you mean 'near'?"),
        ({"rows": "many"}, "'rows' must be int, found 'many'"),
        ({"quantization": "int3"}, "no quantization is called 'int3'; did you mean 'int"),
    ],
)
def test_impossible_settings_of_fine_tuning_are_refused(changes: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        FinetuningConfig().replace(changes)
    assert message in str(caught.value)


@dataclasses.dataclass(frozen=True)
class _Everything:
    flag: bool
    table: dict[str, tuple[int, ...]]
    anything: Any


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"flag": True, "table": {"a": [1, 2]}, "anything": [None]}, None),
        ({"flag": 1, "table": {}, "anything": 0}, "'flag' must be bool, found 1"),
        ({"flag": False, "table": [], "anything": 0}, "'table' must be a table, found []"),
        ({"flag": False, "table": {"a": ["x"]}, "anything": 0}, "'table.a[0]' must be int, found 'x'"),
    ],
)
def test_flags_and_tables_are_read_strictly(values: dict[str, Any], message: str | None) -> None:
    if message is None:
        assert build(_Everything, values, "") == _Everything(True, {"a": (1, 2)}, [None])
        return
    with pytest.raises(ConfigError) as caught:
        build(_Everything, values, "")
    assert message in str(caught.value)
