"""What survives compression on tasks: students with different beginnings, beside their teacher.

    python experiments/tasks.py TEACHER RUN OUT --tasks DATA/stsb DATA/mrpc [--seeds 3] [--also tiny=TINY_RUN]

RUN is a finished run of `lilliput compress` from TEACHER. Fine-tuned are, all by the same code: the teacher;
its first two layers; the run's student; the same shape from a random start and from the warm start without
training; other encoders named with --also, such as the run of bert_tiny.toml; and the run's student again,
taught by the fine-tuned teacher. Everything lies in OUT and is done once, so the script can be
interrupted and run again. The comparison is in OUT/comparison.
"""

import argparse
from pathlib import Path

from transformers import BertModel

from lilliput.common.files import read_json
from lilliput.comparison.runs import compare, markdown
from lilliput.config import Recipe
from lilliput.finetuning.config import DistillationConfig, FinetuningConfig
from lilliput.finetuning.finetune import finetune
from lilliput.models.student import random_student, save_student, student_config
from lilliput.pieces.bert_tokenizer import load_tokenizer, save_tokenizer
from lilliput.run import RunDir
from lilliput.tasks.loading import load_task
from lilliput.training.data import Data
from lilliput.training.first_models import first_models

TEACHER_EPOCHS = {"sst2": 1, "mrpc": 3, "stsb": 4, "sick": 3, "snips": 7}
EPOCHS = {"sst2": 1, "mrpc": 4, "stsb": 4, "sick": 4, "snips": 4}
"""Passes over the labelled examples at most, for encoders that no teacher teaches."""
DISTILLED = {
    "stsb": (4, DistillationConfig(recombined=15_000)),
    "mrpc": (5, DistillationConfig(recombined=10_000)),
    "sick": (5, DistillationConfig(recombined=10_000)),
    "sst2": (4, DistillationConfig()),
    "snips": (9.5, DistillationConfig(weight=0.5, recombined=26_000)),
}
"""Passes over labelled and unlabelled texts, and what is learnt of the teacher."""
AFTER = {"mrpc": "stsb", "sick": "stsb"}
"""Tasks that go on from the student distilled for another, if that is there: from it they have how two texts
are compared, which no student has from masked words."""


def first_students(teacher: str, run: RunDir, out: Path) -> None:
    """Writes students of the run's shape that no text has trained, as runs `random` and `warm`."""
    recipe = Recipe.from_dict(read_json(run.summary)["recipe"])
    stage = next(stage for stage in recipe.stages if stage.objectives.trains_student)
    data = Data.open(run, stage.batch.length, recipe.student.positions)
    tokenizer = data.lexicon.student_tokenizer()
    config = student_config(recipe.student, data.lexicon.student_size, data.lexicon.student_special)
    save_student(random_student(config, recipe.seed), tokenizer, RunDir(out / "random").student)
    source = data.source(stage, (recipe.seed, recipe.stages.index(stage)))
    warm = first_models(run, recipe, stage, teacher, data.lexicon, source, fit=True).student
    assert warm is not None
    save_student(warm, tokenizer, RunDir(out / "warm").student)


def two_layers(teacher: str, out: Path) -> None:
    """Writes the teacher's embeddings and first two layers as run `two_layers`."""
    folder = RunDir(out / "two_layers").student
    BertModel.from_pretrained(teacher, num_hidden_layers=2).save_pretrained(folder)
    save_tokenizer(load_tokenizer(teacher), folder)


def main() -> None:
    """Fine-tunes everything and prints the comparison."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("teacher", help="folder of the original teacher")
    parser.add_argument("run", type=Path, help="a finished run of lilliput compress")
    parser.add_argument("out", type=Path)
    parser.add_argument("--tasks", nargs="+", required=True)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument(
        "--ways", nargs="+", default=["lilliput", "distilled", "warm", "random", "two_layers"]
    )
    parser.add_argument("--also", nargs="*", default=[], metavar="NAME=FOLDER")
    parser.add_argument(
        "--unlabelled", nargs="*", default=[], metavar="TASK=FILE", help="texts that the teacher labels too"
    )
    options = parser.parse_args()
    run, out, ways = RunDir(options.run), options.out, options.ways
    if {"random", "warm"} & set(ways) and not (out / "warm").exists():
        first_students(options.teacher, run, out)
    if "two_layers" in ways and not (out / "two_layers").exists():
        two_layers(options.teacher, out)
    encoders = {name: str(out / name) for name in ways} | {"lilliput": str(run.path)}
    encoders |= dict(item.split("=", 1) for item in options.also)
    unlabelled = dict(item.split("=", 1) for item in options.unlabelled)
    for name in options.tasks:
        data = load_task(name)
        task = data.task.name
        config = FinetuningConfig(epochs=EPOCHS[task])
        taught = FinetuningConfig(epochs=TEACHER_EPOCHS[task])
        finetune(options.teacher, data, RunDir(out / "teacher"), taught)
        for way in [*ways, *(item.split("=", 1)[0] for item in options.also)]:
            if way == "distilled":
                epochs, distillation = DISTILLED[task]
                before = RunDir(out / way).finetuned(AFTER.get(task, ""))
                finetune(
                    str(before if task in AFTER and before.exists() else run.path),
                    data,
                    RunDir(out / way),
                    FinetuningConfig(epochs=epochs, distillation=distillation),
                    teacher=str(out / "teacher"),
                    unlabelled=[unlabelled[task]] if task in unlabelled else [],
                    seeds=options.seeds,
                )
            else:
                finetune(encoders[way], data, RunDir(out / way), config, seeds=options.seeds)
    runs = [out / way for way in [*ways, *(item.split("=", 1)[0] for item in options.also)]]
    print(markdown(compare(runs, out / "comparison", teacher=out / "teacher")))


if __name__ == "__main__":
    main()
