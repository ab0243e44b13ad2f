"""Every recipe is complete, valid and described."""

import json
import re
import tomllib
from pathlib import Path

import pytest

from lilliput.config import Recipe
from lilliput.errors import ConfigError
from lilliput.recipes import RECIPES, find_recipe

PAPER = {"paper48": 48, "paper96": 96, "paper192": 192}
every_recipe = pytest.mark.parametrize("name", RECIPES)


def test_recipes_are_those_that_the_documentation_names() -> None:
    assert list(RECIPES) == [
        "lilliput",
        "sentence",
        "paper48",
        "paper96",
        "paper192",
        "mixed_vocabulary",
        "tiny",
    ]


@every_recipe
def test_a_recipe_bears_the_name_it_is_found_by(name: str) -> None:
    assert find_recipe(name) == RECIPES[name]()
    assert find_recipe(name).name == name


@every_recipe
def test_a_recipe_is_headed_by_a_sentence_and_its_command(name: str) -> None:
    heading, _, command, *_ = (RECIPES[name].__doc__ or "").split("\n", 3)
    assert heading.endswith(".")
    assert command.startswith("    lilliput compress ")
    named = re.search(r"--recipe (\w+)", RECIPES[name].__doc__ or "")
    assert (named[1] if named else "lilliput") == name


@every_recipe
def test_the_last_stage_of_a_recipe_trains_the_student(name: str) -> None:
    assert find_recipe(name).stages[-1].objectives.trains_student


@every_recipe
def test_what_a_recipe_trains_a_student_against_is_there(name: str) -> None:
    recipe = find_recipe(name)
    assert recipe.student.width % recipe.student.heads == 0
    assert recipe.lexicon.size < 30_522


@pytest.mark.parametrize(("name", "width"), PAPER.items())
def test_recipes_of_the_paper_have_its_shape(name: str, width: int) -> None:
    recipe = find_recipe(name)
    assert (recipe.student.layers, recipe.student.width, recipe.student.heads) == (12, width, 12)
    assert recipe.student.feed_forward == 4 * width
    assert recipe.lexicon.size == 4928
    assert [stage.batch.mixing for stage in recipe.stages] == [0.5]


@every_recipe
def test_a_recipe_is_read_back_from_json(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"{name}.json"
    path.write_text(json.dumps(find_recipe(name).to_dict()))
    assert find_recipe(str(path)) == find_recipe(name)


def test_a_recipe_in_toml_says_only_what_differs(tmp_path: Path) -> None:
    text = """
        name = "mine"
        budget.minutes = 5
        student = {layers = 4, width = 96}
        [[stages]]
        name = "student"
        share = 1
        objectives.student_masked_lm = 1
        batch = {rows = 16}
    """
    (tmp_path / "mine.toml").write_text(text)
    recipe = find_recipe(str(tmp_path / "mine.toml"))
    assert recipe == Recipe.from_dict(tomllib.loads(text))
    assert (recipe.student.layers, recipe.student.heads) == (4, 12)
    assert (recipe.budget.minutes, recipe.budget.words) == (5.0, None)
    assert (recipe.stages[0].batch.rows, recipe.stages[0].batch.length) == (16, 128)


def test_an_unknown_recipe_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match=r"no recipe is called 'papper48' .*; did you mean 'paper48'\?"):
        find_recipe("papper48")


def test_a_recipe_file_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"recipe file nowhere\.toml cannot be read: No such file"):
        find_recipe("nowhere.toml")
