"""What a step of dual training would gain from leaving out or reusing parts of it.

    python experiments/step_ideas.py TEACHER RUN --out FILE.json

RUN has the corpus and lexicon to read. Steps of 32 x 128 are taken in turns on the same batches: whole;
without shared projections, which is what taking them every k-th step can gain at most; with embeddings and
lower half of the teacher frozen; with the teacher fixed, which is what reusing its scores k times comes down
to, divided by k; and by the student alone. Beside it stands how much of the rows is padding, for packing.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from statistics import median

from benchmarks.lilliput_step import LilliputStep
from benchmarks.stage import BenchmarkStage
from benchmarks.training import benchmark_recipe
from lilliput.common.files import write_json
from lilliput.common.machine import describe_machine
from lilliput.config import ObjectiveWeights
from lilliput.run import RunDir

WAYS = {
    "whole": {},
    "without projections": {"projection_down": 0.0},
    "lower half frozen": {},
    "teacher fixed": {"teacher_masked_lm": 0.0, "projection_down": 0.0},
    "student alone": {"teacher_masked_lm": 0.0, "projection_down": 0.0, "soft_labels": 0.0},
}
DUAL = {"teacher_masked_lm": 1.0, "student_masked_lm": 1.0, "projection_down": 1e-4, "soft_labels": 1.0}


def freeze_lower_half(ours: LilliputStep) -> None:
    """Keeps the teacher's embeddings and first layers as they are."""
    teacher = ours._stepper.models.teacher
    assert teacher is not None
    layers = teacher.model.bert.encoder.layer
    for part in (teacher.model.bert.embeddings, *layers[: len(layers) // 2]):
        part.requires_grad_(False)


def main() -> None:
    """Takes the steps and writes medians and ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("teacher")
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    recipe = benchmark_recipe()
    dual = recipe.stage("dual")
    ways: dict[str, LilliputStep] = {}
    for name, changed in WAYS.items():
        stage = replace(dual, objectives=ObjectiveWeights(**{**DUAL, **changed}))
        ways[name] = LilliputStep(BenchmarkStage(RunDir(options.run), recipe, stage, options.teacher, None))
    freeze_lower_half(ways["lower half frozen"])
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    padding: dict[str, list[float]] = {"teacher": [], "student": []}
    for index in range(1, options.rounds + 1):
        for name, way in ways.items():
            seconds[name].append(way.step(index).seconds)
        batch = ways["whole"]._source.batch(index)
        for name, reading in (("teacher", batch.teacher), ("student", batch.student)):
            padding[name].append(0.0 if reading.padding is None else float(reading.padding.float().mean()))
    found = {
        "machine": describe_machine(),
        "rounds": options.rounds,
        "milliseconds": {name: median(spent) * 1e3 for name, spent in seconds.items()},
        "of the whole step": {
            name: median(one / whole for one, whole in zip(spent, seconds["whole"], strict=True))
            for name, spent in seconds.items()
        },
        "padding": {name: median(shares) for name, shares in padding.items()},
    }
    write_json(options.out, found)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
