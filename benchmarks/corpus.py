"""How fast a text becomes word ids here, by one process and by several."""

import dataclasses
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.in_process import InProcess, Sample, timed
from lilliput.common.charts import new_figure, save_figure, tidy
from lilliput.common.files import write_json
from lilliput.common.machine import MOST_ROUNDS, describe_machine
from lilliput.common.progress import bar
from lilliput.common.sheet import Sheet
from lilliput.common.workers import worker_count
from lilliput.errors import bounded
from lilliput.pieces.bert_tokenizer import load_tokenizer
from lilliput.pieces.corpus import build_corpus
from lilliput.text.sources import Reader, find_sources


@dataclass(frozen=True)
class WorkersReport:
    """What some worker processes took for a text: medians."""

    workers: int
    """Processes that split text, the one that builds the corpus among them."""
    seconds: float
    """From text to a finished corpus, by the clock; starting the workers included."""
    words_per_second: float
    """Running words over seconds."""
    words_per_core_second: float
    """Running words over the processor's seconds, of all processes together: what a free core would do."""
    bytes_per_second: float
    """Bytes of text, without compression, over seconds."""
    speed_up: float
    """Times the speed of the fewest workers."""
    memory: int
    """Most bytes of all processes together; what they share, such as libraries, counts in each."""
    samples: tuple[float, ...]
    """Seconds of every time."""


@dataclass(frozen=True)
class CorpusReport:
    """A benchmark of building a corpus."""

    machine: dict[str, str]
    """What it was measured on."""
    words: int
    """Running words of the text."""
    bytes: int
    """Bytes of the text in UTF-8, without compression."""
    reading_bytes_per_second: float
    """Bytes of text over seconds when it is only read: the limit of any preparation in one process."""
    workers: tuple[WorkersReport, ...]
    """Fewest first."""


def benchmark_corpus(
    teacher: str,
    corpus: Sequence[str],
    out: Path,
    *,
    text_column: str = "text",
    workers: Sequence[int] = (),
    rounds: int = 3,
) -> CorpusReport:
    """Measures how fast a text becomes a corpus, and writes corpus.json, .svg and .png into `out`.

    Each build is in a process of its own and is removed again; numbers of workers take turns.

    Args:
        teacher: Folder or hub name of the teacher, whose tokenizer says what a word is.
        corpus: Text: files, folders, globs, or hub data sets (see `corpus.build_corpus`).
        out: Folder to write; builds are made there, so it should be on the disk that runs are on.
        text_column: Which column of tables and data sets holds the text.
        workers: Numbers of processes to try; by default one, and as many as there are cores.
        rounds: Times everything is measured.

    Raises:
        ConfigError: If a number of workers or rounds is not positive.
        InputError: If the text cannot be used.
        StorageError: If `out` cannot be written.
    """
    chosen = sorted({worker_count(count) for count in workers or (1, None)})
    rounds = bounded("rounds", rounds, 1, MOST_ROUNDS)
    reads: list[tuple[int, float]] = []
    builds: dict[int, list[tuple[Sample, int]]] = {count: [] for count in chosen}
    with bar("Measuring the corpus", rounds) as progress:
        for done in range(1, rounds + 1):
            with InProcess(_Text, teacher, corpus, text_column, out) as text:
                reads.append(text.call("read"))
            for count, samples in builds.items():
                with InProcess(_Text, teacher, corpus, text_column, out) as text:
                    samples.append(text.watch("build", count))
            progress.update(done)
    report = _report(reads, builds)
    write_json(out / "corpus.json", dataclasses.asdict(report))
    plot(report, out)
    return report


class _Text:
    """A text to be read and built."""

    def __init__(self, teacher: str, corpus: Sequence[str], text_column: str, out: Path) -> None:
        self._tokenizer = load_tokenizer(teacher)
        self._corpus, self._column, self._out = corpus, text_column, out

    def read(self) -> tuple[int, float]:
        """Reads the text and returns its bytes and the seconds that took."""
        started = time.perf_counter()
        reader = Reader(find_sources(self._corpus), self._column)
        size = sum(len(block) for _, block in reader.blocks())
        return size, time.perf_counter() - started

    def build(self, workers: int) -> Sample:
        """Builds the corpus and returns what that took, the workers' processor seconds included."""
        folder = self._out / "benchmark_corpus.building"
        shutil.rmtree(folder, ignore_errors=True)  # of a benchmark that was killed
        try:
            return timed(
                lambda: (
                    build_corpus(
                        self._corpus, self._tokenizer, folder, text_column=self._column, workers=workers
                    ).words
                )
            )
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _report(
    reads: Sequence[tuple[int, float]], builds: Mapping[int, Sequence[tuple[Sample, int]]]
) -> CorpusReport:
    """Returns the medians of what was measured."""
    size, words = reads[0][0], builds[min(builds)][0][0].words
    slowest = median(sample.seconds for sample, _ in builds[min(builds)])
    reports = []
    for workers, built in builds.items():
        seconds = median(sample.seconds for sample, _ in built)
        reports.append(
            WorkersReport(
                workers=workers,
                seconds=seconds,
                words_per_second=words / seconds,
                words_per_core_second=words / median(sample.processor_seconds for sample, _ in built),
                bytes_per_second=size / seconds,
                speed_up=slowest / seconds,
                memory=max(memory for _, memory in built),
                samples=tuple(sample.seconds for sample, _ in built),
            )
        )
    rate = median(size / seconds for _, seconds in reads)
    return CorpusReport(describe_machine(), words, size, rate, tuple(reports))


def render(report: CorpusReport) -> Sheet:
    """Returns the report as a table, a line for each number of workers."""
    rows = [
        (
            f"{one.workers}",
            f"{one.seconds:,.2f}",
            f"{one.words_per_second:,.0f}",
            f"{one.words_per_core_second:,.0f}",
            f"{one.bytes_per_second / 1e6:,.1f}",
            f"{one.speed_up:.2f} x",
            f"{one.memory / 1e6:,.0f}",
        )
        for one in report.workers
    ]
    return Sheet(
        ("workers", "seconds", "words/s", "per core", "MB/s", "speed-up", "memory MB"),
        rows,
        left=0,
        title=f"{report.words:,} words, {report.bytes / 1e6:,.1f} MB, {report.machine['processor']}",
        caption=f"the text is only read at {report.reading_bytes_per_second / 1e6:,.0f} MB/s",
    )


def plot(report: CorpusReport, out: Path) -> None:
    """Writes corpus.svg and corpus.png: words a second and memory against workers."""
    counts = [one.workers for one in report.workers]
    figure = new_figure(9, 3.8)
    speed, memory = figure.subplots(1, 2)
    speed.plot(counts, [one.words_per_second for one in report.workers], "o-", label="measured")
    first = report.workers[0]
    linear = [first.words_per_second / first.workers * count for count in counts]
    speed.plot(counts, linear, "--", color="0.6", label="in proportion")
    speed.set(title="Words a second", ylim=(0, None))
    speed.yaxis.set_major_formatter("{x:,.0f}")
    memory.plot(counts, [one.memory / 1e6 for one in report.workers], "o-", label="all processes")
    memory.set(title="Memory, megabytes", ylim=(0, None))
    for panel in (speed, memory):
        panel.set(xlabel="workers", xticks=counts)
        panel.legend(frameon=False)
    tidy((speed, memory))
    save_figure(figure, out, "corpus")


if __name__ == "__main__":
    from benchmarks.commands import corpus, main

    main(corpus)
