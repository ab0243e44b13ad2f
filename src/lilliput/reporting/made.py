"""What a run was made of, how small it is, what it cost, and how to make it again."""

import dataclasses
import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lilliput.common.sheet import Sheet, duration, size
from lilliput.finetuning.config import FinetuningConfig
from lilliput.recipes import RECIPES, find_recipe
from lilliput.reporting.blocks import Code, Facts, Grid, Note, Section, Tile, Tiles, bars, section
from lilliput.reporting.sources import Run, Tuned
from lilliput.tasks.kinds import KINDS
from lilliput.tasks.known import KNOWN
from lilliput.tasks.metrics import of_all
from lilliput.tasks.task import Task

_SHOWN_INPUTS = 8
_PATHS = (
    "A run knows files of text by their names and digests, not by where they were, and tasks by their names."
)


def made_of(run: Run) -> list[Section]:
    """Returns what a run was made of what."""
    return section("What was made of what", _tiles(run), Facts(rows) if (rows := _facts(run)) else None)


def sizes(run: Run, bundles: Sequence[tuple[str, int]]) -> list[Section]:
    """Returns how large teacher, student and bundles are.

    Args:
        run: The run.
        bundles: Name and bytes of the bundles in it.
    """
    found = {**run.distillation, **run.summary}
    every = [(name, found[f"{name}_bytes"]) for name in ("teacher", "student") if f"{name}_bytes" in found]
    every += [(f"bundle {name}", total) for name, total in bundles]
    if len(every) < 2:
        return []
    rows = []
    for name, count in every:
        parameters = found.get(f"{name}_parameters")
        smaller = ratio(every[0][1], count) if every[0][0] == "teacher" else ""
        rows.append((name, f"{count:,}", smaller, "" if parameters is None else f"{parameters:,}"))
    if "folder_bytes" in found:
        rows.append(("student with tokenizer", f"{found['folder_bytes']:,}", "", ""))
    lengths = bars([(name, count, f"{count / 1e6:,.2f} MB") for name, count in every])
    note = Note("Of teacher and student the bytes of weights, of a bundle those of all files.")
    return section("Sizes", lengths, Grid(Sheet(("", "bytes", "smaller", "parameters"), rows)), note)


def cost(run: Run) -> list[Section]:
    """Returns what each stage took."""
    headings = ("", "words", "time", "words/s", "expected")
    rows = [
        (
            one.name,
            f"{one.words:,}",
            duration(one.seconds),
            f"{one.words / one.seconds:,.0f}" if one.seconds else "",
            "" if one.expected_seconds is None else duration(one.expected_seconds),
        )
        for one in run.stages
        if one.words is not None and one.seconds is not None
    ]
    rows += [(f"task {one.result.task.name}", "", duration(one.result.seconds), "", "") for one in run.tuned]
    facts = []
    for key, name, shown in (
        ("total_seconds", "time of the last call", duration),
        ("memory_bytes", "memory at its peak", size),
    ):
        if key in run.summary:
            facts.append((name, shown(run.summary[key])))
    if "seconds" in run.distillation:
        facts.append(("time of the distillation's last call", duration(run.distillation["seconds"])))
    return section(
        "Cost", Grid(Sheet(headings, rows)) if rows else None, Facts(tuple(facts)) if facts else None
    )


def again(run: Run) -> list[Section]:
    """Returns the versions, and the commands that make the run again."""
    lines = _commands(run)
    recipe = json.dumps(run.summary["recipe"], indent=2, ensure_ascii=False) if run.summary else ""
    versions = tuple(run.versions.items())
    return section(
        "To make it again",
        Code("\n".join(lines)) if lines else None,
        Note(_PATHS) if lines else None,
        Code(recipe, "The whole recipe, which --recipe takes as a .json file") if recipe else None,
        Facts(versions) if versions else None,
    )


def ratio(larger: float, smaller: float) -> str:
    """Returns how often one number goes into another."""
    return f"{larger / smaller:,.1f}x" if smaller else ""


def short_name(teacher: str) -> str:
    """Returns the last parts of a name: those of a hub, or of a folder."""
    parts = teacher.rstrip("/").split("/")
    return "/".join(parts[-2:])


def sources_of(made_from: Mapping[str, Any] | None) -> list[str]:
    """Returns the names of the files and data sets that a corpus was read from."""
    inputs = made_from.get("inputs", []) if made_from else []
    return [
        str(one.get("file") or ":".join(str(one[key]) for key in ("data_set", "config") if one.get(key)))
        for one in inputs
        if isinstance(one, dict)
    ]


def _tiles(run: Run) -> Tiles | None:
    found, tiles = run.summary, []
    if found.keys() >= {"teacher_bytes", "student_bytes"}:
        ours, theirs = found["student_bytes"], found["teacher_bytes"]
        tiles.append(Tile("smaller", ratio(theirs, ours), f"{size(theirs)} to {size(ours)} of weights"))
    if "student_parameters" in found:
        tiles.append(Tile("parameters", f"{found['student_parameters'] / 1e6:.2f} M", "of the student"))
    if "bundle_bytes" in run.distillation:
        of = f"teacher {size(run.distillation['teacher_bytes'])}"
        tiles.append(Tile("bundle", f"{run.distillation['bundle_bytes'] / 1e6:.2f} MB", of))
    for name, value in list(of_all(run.distillation.get("agreement", {})).items())[:1]:
        tiles.append(Tile(name.replace("_", " "), f"{value:.1%}", "the bundle, as its teacher"))
    if "words" in found:
        tiles.append(Tile("words read", f"{found['words'] / 1e6:,.1f} M", "in training"))
    if "training_seconds" in found:
        tiles.append(Tile("training", duration(found["training_seconds"]), "all stages"))
    for one in run.tuned[:3]:
        value = one.result.mean[one.result.task.metric]
        tiles.append(Tile(one.result.task.metric, f"{value:.1%}", one.result.task.name))
    return Tiles(tuple(tiles)) if tiles else None


def _facts(run: Run) -> tuple[tuple[str, str], ...]:
    rows = []
    if run.teacher:
        rows.append(("teacher", run.teacher))
    if run.corpus is not None:
        names = sources_of(run.corpus["made_from"])
        more = f" and {len(names) - _SHOWN_INPUTS:,} more" if len(names) > _SHOWN_INPUTS else ""
        rows.append(("corpus", ", ".join(names[:_SHOWN_INPUTS]) + more))
        counts = run.corpus["results"]
        shown = (
            f"{counts[key]:,} {name}" for key, name in _COUNTS.items() if isinstance(counts.get(key), int)
        )
        rows.append(("its text", ", ".join(shown)))
    if run.summary:
        recipe = run.summary["recipe"]
        rows.append(("recipe", str(recipe["name"])))
        stages = (f"{one['name']} {one['share']:.0%}" for one in recipe["stages"])
        rows.append(("stages", ", ".join(stages)))
        shape = recipe.get("student")
        if isinstance(shape, dict):
            rows.append(("student", ", ".join(f"{name} {value}" for name, value in shape.items())))
    return tuple((name, value) for name, value in rows if value)


_COUNTS = {"words": "words", "documents": "documents", "word_types": "different words"}


def _commands(run: Run) -> list[str]:
    """Returns the commands, with the files by the names that are recorded."""
    place, lines = shlex.quote(str(run.place.path)), []
    if run.summary and run.corpus is not None:
        recipe, settings = _settings(run.summary["recipe"])
        names = sources_of(run.corpus["made_from"])
        lines.append(_line("lilliput compress", run.teacher or "", *_corpus(names), "--out", place, quote=2))
        lines[-1] += f" --recipe {shlex.quote(recipe)}"
        lines[-1] += "".join(f" --set {shlex.quote(one)}" for one in settings)
    if run.distillation:
        lines.append(_distill(run, place))
        return lines
    return lines + [_finetune(run, one, place) for one in run.tuned]


def _line(command: str, *arguments: str, quote: int) -> str:
    """Returns a command with its arguments, but the last few quoted."""
    split = len(arguments) - quote
    return " ".join([command, *map(shlex.quote, arguments[:split]), *arguments[split:]])


def _corpus(names: list[str]) -> list[str]:
    return ["--corpus", *names] if names else []


def _distill(run: Run, place: str) -> str:
    texts = sources_of(run.corpus["made_from"]) if run.corpus is not None else []
    teachers = (run.teacher or "").split(", ")
    return _line("lilliput distill", *teachers, "--texts", *texts, "--out", place, quote=2)


def _finetune(run: Run, one: Tuned, place: str) -> str:
    result, seeds = one.result, len(one.result.scores)
    encoder = place if result.encoder == str(run.place.student) else shlex.quote(result.encoder)
    parts = ["lilliput finetune", encoder, *map(shlex.quote, _asked(result.task)), "--out", place]
    parts += ["--seeds", str(seeds)] if seeds > 1 else []
    if result.teacher:
        parts += [f"--teacher {shlex.quote(name)}" for name in result.teacher.split(", ")]
    return " ".join([*parts, *(f"--set {shlex.quote(value)}" for value in _tuning(one.made_from))])


def _asked(task: Task) -> list[str]:
    """Returns the options that name a task: of one that is known by name also what differs from it."""
    known = next((name for name in KNOWN if task.name.startswith(f"{name}_")), None)
    kind = ["--kind", task.kind] if KINDS[task.kind].is_two_tower else []
    if known is None or task.name in KNOWN:
        return ["--task", task.name, *kind]
    rest = task.name.removeprefix(f"{known}_").removesuffix(task.kind)
    return ["--task", known, *(["--label", rest] if rest else []), *kind]


def _tuning(made_from: Mapping[str, Any]) -> list[str]:
    """Returns the settings of a fine-tuning that are not the default ones."""
    known, found = dataclasses.asdict(FinetuningConfig()), made_from.get("config")
    if not isinstance(found, dict):
        return []
    names = {name: value for name, value in found.items() if name != "distillation"}
    return [one for one in _changes(names, known) if not one.startswith("distillation.")]


def _settings(recipe: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Returns the recipe that a run began with, and what was set in it."""
    name = str(recipe["name"])
    if name not in RECIPES:
        return "recipe.json", []
    known = json.loads(json.dumps(find_recipe(name).to_dict()))
    budget = recipe.get("budget")
    changes = list(_changes({key: recipe[key] for key in recipe if key != "budget"}, known))
    if isinstance(budget, dict) and budget != known["budget"]:
        changes += [f"budget.{key}={json.dumps(value)}" for key, value in budget.items() if value is not None]
    return name, changes


def _changes(values: Mapping[str, Any], known: Mapping[str, Any], before: str = "") -> Iterable[str]:
    """Yields what --set takes, for all values that are other ones than those known."""
    for key, value in values.items():
        theirs = known.get(key)
        if key == "stages" and isinstance(value, list) and isinstance(theirs, list):
            named = {str(stage["name"]): stage for stage in theirs}
            for stage in value:
                yield from _changes(stage, named.get(stage["name"], {}), f"stages.{stage['name']}.")
        elif isinstance(value, dict) and isinstance(theirs, dict):
            yield from _changes(value, theirs, f"{before}{key}.")
        elif value != theirs and key in known:
            yield f"{before}{key}={value if isinstance(value, str) else json.dumps(value)}"
