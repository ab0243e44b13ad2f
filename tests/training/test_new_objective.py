"""A new objective is one class: recipes know it, a stage trains it, metrics report it and plans count it."""

import json
import shutil
from pathlib import Path

import pytest
from torch import Tensor, nn

from conftest import LENGTH, STUDENT_PIECES, World
from lilliput.common.metrics_log import MetricsLog
from lilliput.config import Recipe, StageConfig
from lilliput.errors import ConfigError
from lilliput.models.shape import EncoderShape
from lilliput.objectives import OBJECTIVES, Objective, Operations, objective_weights
from lilliput.planning.cost import BatchShape, ModelShapes, step_operations
from lilliput.planning.footprint import trained_parameters
from lilliput.planning.plan import plan
from lilliput.run import RunDir
from lilliput.training.batches import Batch
from lilliput.training.loop import train
from lilliput.training.outputs import Outputs
from lilliput.training.step import DualModel

OPERATIONS = 10**15


class MappedStates(Objective):
    """The size of the student's states, mapped to two numbers."""

    name = "mapped_states"
    meaning = "Mean square of the student's states under a map that is trained with it."
    trains = frozenset({"student"})
    reads = frozenset({"student"})
    module_name = "state_map"

    def sum(self, outputs: Outputs) -> Tensor:
        states = outputs.predictions["student"].states
        return outputs.module(self.module_name)(states.float()).square().sum()

    def count(self, batch: Batch) -> int:
        return len(batch.student.targets)

    def module(self, models: DualModel) -> nn.Module:
        assert models.student is not None
        return nn.Linear(models.student.config.hidden_size, 2, bias=False)

    def operations(self, models: ModelShapes, batch: BatchShape) -> dict[str, Operations]:
        return {"mapped_states": Operations(OPERATIONS, 2 * OPERATIONS)}

    def parameters(self, models: ModelShapes) -> int:
        return 2 * models.student.width


def values_of(**objectives: float) -> dict[str, object]:
    """Returns a recipe's values, as they are on disk."""
    batch = {"rows": 8, "length": LENGTH, "accumulation": 2}
    return {
        "name": "toy",
        "budget": {"words": 800},
        "stages": [{"name": "only", "share": 1.0, "objectives": objectives, "batch": batch}],
        "lexicon": {"size": STUDENT_PIECES},
        "student": {"layers": 2, "width": 16, "heads": 2, "feed_forward": 32, "positions": LENGTH},
    }


@pytest.fixture
def _with_toy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Adds the objective to the list, and so to the weights of a recipe's stages."""
    weights = objective_weights((*OBJECTIVES, MappedStates()))
    monkeypatch.setitem(StageConfig.__annotations__, "objectives", weights)


@pytest.mark.usefixtures("_with_toy")
def test_a_new_objective_is_trained_and_reported(world: World, tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    shutil.copytree(world.corpus.path, run.corpus)
    shutil.copytree(world.lexicon.path, run.lexicon)
    recipe = Recipe.from_dict(values_of(student_masked_lm=1.0))
    recipe = recipe.replace({"stages.only.objectives.mapped_states": "0.5"})
    assert json.loads(json.dumps(recipe.to_dict()))["stages"][0]["objectives"]["mapped_states"] == 0.5
    train(run, recipe, "only", world.teacher)
    lines = MetricsLog(run.training("only") / "metrics.jsonl").read()
    losses = [line["mapped_states"] for line in lines if "mapped_states" in line]
    assert len(losses) == lines[-1]["step"] > 3
    assert losses[-1] < losses[0]


@pytest.mark.usefixtures("_with_toy")
def test_a_new_objective_is_counted_by_a_plan(world: World) -> None:
    recipe = Recipe.from_dict(values_of(student_masked_lm=1.0, mapped_states=1.0))
    weights, student = recipe.stages[0].objectives, EncoderShape.of_student(recipe.student, STUDENT_PIECES)
    counted = step_operations(weights, student, student, BatchShape(8, 32, 32, 5, 5, 10))
    assert counted["mapped_states"].total == 3 * OPERATIONS
    assert trained_parameters(weights, student, student)["modules"] == 2 * student.width
    (stage,) = plan(world.teacher, [str(world.text)], recipe).stages
    assert stage.words_per_second > 10


def test_a_misspelt_objective_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match=r"objectives\.soft_lables'; did you mean 'soft_labels'"):
        Recipe.from_dict(values_of(soft_lables=1.0))
