"""How large, how good and how fast bundles are, beside their teacher and beside models of other makes."""

import dataclasses
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from lilliput.common.arguments import PathLike, Texts, path_of, renamed, texts_of
from lilliput.common.files import digest_folder, write_json
from lilliput.common.machine import MOST_ROUNDS, describe_machine
from lilliput.common.progress import bar
from lilliput.common.stage_dir import StageDir
from lilliput.comparison.answering import SCRIPT, Found, Work
from lilliput.comparison.bundle_report import (
    LENGTHS,
    BundleReport,
    LatencyReport,
    ModelReport,
    SpeedReport,
    plot,
)
from lilliput.comparison.candidates import Candidate, find_candidate
from lilliput.comparison.quality import quality
from lilliput.errors import BundleError, ConfigError, StorageError, bounded
from lilliput.export.bundling import bundle
from lilliput.inference.bundle import THREADS_AT_MOST
from lilliput.inference.texts import Text
from lilliput.tasks.loading import task_of
from lilliput.tasks.task import TaskData

_TOGETHER = 100
"""Dev examples that are answered in batches."""
_TEACHER = ("float32", "int8")
"""How the weights of the teacher's bundles are stored."""


@renamed(data="task")
def benchmark_bundle(
    models: Texts,
    task: PathLike | TaskData,
    out: PathLike,
    *,
    teacher: PathLike | None = None,
    threads: Sequence[int] = (1, 2),
    rounds: int = 5,
) -> BundleReport:
    """Measures models side by side, and writes bundle.json, .svg and .png into `out`.

    Each measurement is of a process of its own; models and numbers of threads take turns, round by round.

    Args:
        models: Bundles, and for comparison other models: a file.onnx, whose first output has the task's
            classes in their order to be scored, or a file.safetensors with static embeddings, both with a
            tokenizer.json beside them. Where there are vectors alone, a linear head is fitted to them.
        task: The task that they are scored on, and whose texts they answer: a name or files, as `load_task`
            takes them, or what it returns.
        out: Folder to write.
        teacher: Folder of a teacher fine-tuned for the task, of which bundles in float32 and int8 are made in
            `out`/teacher, once.
        threads: Numbers of threads.
        rounds: Times everything is measured.

    Raises:
        ConfigError: If nothing is to be measured, or a number of threads or rounds is not positive.
        BundleError: If a model cannot be opened, or is one of another task.
        StorageError: If there is no teacher, or `out` cannot be written.
        ModelError: If the teacher cannot be exported.
    """
    paths, folder = [Path(model) for model in texts_of("models", models)], path_of("out", out)
    counts = sorted({bounded("threads", count, 1, THREADS_AT_MOST) for count in threads})
    rounds = bounded("rounds", rounds, 1, MOST_ROUNDS)
    if not counts:
        raise ConfigError("no number of threads was given; give one or more, such as 1")
    if not paths and teacher is None:
        raise ConfigError("no model was named; give one or more bundles: lilliput benchmark bundle BUNDLE")
    data = task_of(task)
    candidates = [find_candidate(path, name, data.task) for path, name in _names(paths).items()]
    if teacher is not None:  # after those that cost nothing were found good
        made = _teacher_bundles(path_of("teacher", teacher), folder / "teacher")
        candidates += [find_candidate(path, f"teacher {path.name}", data.task) for path in made]
    measured = [_Measured(candidate, data, {count: [] for count in counts}) for candidate in candidates]
    with bar("Measuring bundles", rounds) as progress:
        for done in range(1, rounds + 1):
            for count in counts:
                for one in measured:
                    one.measure(count)
            progress.update(done)
    report = BundleReport(
        machine=describe_machine(),
        task=data.task.name,
        metric=data.task.metric,
        examples=len(data.dev),
        rounds=rounds,
        models=tuple(one.report(quality(one.candidate, data, counts[-1])) for one in measured),
    )
    write_json(folder / "bundle.json", dataclasses.asdict(report))
    plot(report, folder)
    return report


def _names(models: Sequence[Path]) -> dict[Path, str]:
    """Returns what each model is called: the name of its folder or file or, if others have it, its path."""
    paths = list(dict.fromkeys(models))
    named = Counter(path.absolute().name for path in paths)
    return {path: name if named[name := path.absolute().name] == 1 else str(path) for path in paths}


def _teacher_bundles(teacher: Path, out: Path) -> list[Path]:
    """Returns the bundles of a fine-tuned teacher, made unless they are there."""
    if not teacher.is_dir():
        raise StorageError(f"{teacher} does not exist; make it with `lilliput finetune`, as --teacher")
    stage = StageDir(out, {"teacher": digest_folder(teacher), "quantizations": list(_TEACHER)})
    with stage.locked():
        if not stage.is_whole(overwrite=True):
            stage.begin()
            for quantization in _TEACHER:
                bundle(teacher, out / quantization, quantization=quantization)
            stage.finish({})
    return [out / quantization for quantization in _TEACHER]


@dataclass
class _Measured:
    """A model with everything that was measured of it, by the number of threads."""

    candidate: Candidate
    data: TaskData
    found: dict[int, list[Found]]
    texts: dict[int, Text] = field(init=False)

    def __post_init__(self) -> None:
        self.texts = self.candidate.texts(LENGTHS, self.data.dev)

    def measure(self, threads: int) -> None:
        """Measures it once more, in a new process."""
        given = self.candidate.given(self.data.dev)[:_TOGETHER]
        work: Work = {"alone": list(self.texts.values()), "together": given}
        count = str(threads)  # tokenizers and numpy too would else take all cores
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(self.candidate.path), count],
            input=f"{json.dumps(given[0])}\n{json.dumps(work)}\n",
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"RAYON_NUM_THREADS": count, "OMP_NUM_THREADS": count},
        )
        found: Any = json.loads(done.stdout) if done.returncode == 0 else {"error": _last_line(done)}
        if "error" in found:
            raise BundleError(f"{self.candidate.path} could not be measured: {found['error']}")
        self.found[threads].append(found)

    def report(self, scores: dict[str, float]) -> ModelReport:
        """Returns the medians."""
        candidate = self.candidate
        return ModelReport(
            name=candidate.name,
            path=str(candidate.path),
            form=candidate.form,
            quantization=candidate.quantization,
            bytes=candidate.bytes,
            scores=scores,
            speed=tuple(self._speed(threads) for threads in self.found),
        )

    def _speed(self, threads: int) -> SpeedReport:
        rounds = self.found[threads]
        latency = []
        for index, pieces in enumerate(self.texts):
            clock, processor = (
                tuple(median(each[side] for each in found["alone"][index]) for found in rounds)
                for side in (0, 1)
            )
            latency.append(LatencyReport(pieces, median(clock), median(processor), clock))
        first, first_processor = zip(*(found["first"] for found in rounds), strict=True)
        return SpeedReport(
            threads=threads,
            first_seconds=median(first),
            first_processor_seconds=median(first_processor),
            latency=tuple(latency),
            texts_per_second=median(found["together"] for found in rounds),
            memory=max(found["memory"] for found in rounds),
            first_samples=first,
        )


def _last_line(done: subprocess.CompletedProcess[str]) -> str:
    """Returns how a process ended, with the last that it said."""
    said = done.stderr.strip().rpartition("\n")[2]
    return (
        f"its process ended with code {done.returncode}{f' ({said})' if said else ', so memory may be short'}"
    )
