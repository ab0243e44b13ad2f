"""How fast text becomes numbers: lilliput, TinyBERT's pregeneration and datasets.map beside each other.

    python experiments/corpus_speed.py TEXT TEACHER TINYBERT --out FILE.json

TEXT is a text file with blank lines between documents, TEACHER a folder with a tokenizer, TINYBERT the folder
of that name in a checkout of huawei-noah/Pretrained-Language-Model; nothing is fetched, and nothing of it is
changed on disk. Each peer reads the beginning of the text, as much as takes it a minute or so, and lilliput
reads the same, and the whole. Every measurement has a process of its own; rounds are interleaved.

- lilliput: `build_corpus`, from the file to word ids on disk, imports and starting of workers included.
- TinyBERT: `pregenerate_training_data.py`, lower case where the teacher is, one epoch or as many as are asked
  for (its own default is three, each made anew; a corpus of lilliput serves all), else its own defaults.
- datasets: `load_dataset("text")`, then `map` with the fast tokenizer once per vocabulary, the teacher's and
  the one that lilliput learns from the text; batched, num_proc=1, nothing but ids. Imports are not counted.

Words are what lilliput counts in the same text; "per core" is per second of processor time of all processes.
Figures go to FILE.json and, in short, to standard output.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import resource
import runpy
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Any

from lilliput.common.files import write_json
from lilliput.common.machine import describe_machine
from lilliput.config import LexiconConfig
from lilliput.pieces.bert_tokenizer import load_tokenizer
from lilliput.pieces.corpus import build_corpus
from lilliput.pieces.lexicon import build_lexicon

Sample = dict[str, float]


def lilliput(text: Path, out: Path, teacher: str, workers: int) -> Callable[[], object]:
    """Returns the work that builds a corpus."""
    tokenizer = load_tokenizer(teacher)
    return lambda: build_corpus([str(text)], tokenizer, out / "corpus", workers=workers)


def tinybert(text: Path, out: Path, teacher: str, checkout: Path, epochs: int) -> Callable[[], object]:
    """Returns the work that pregenerates some epochs."""
    tokenizer = load_tokenizer(teacher)
    vocabulary = tokenizer.get_vocab()
    pieces = sorted(vocabulary, key=vocabulary.__getitem__)
    (out / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    # The package imports models for an old torch and a downloader; the program needs its tokenizer alone.
    package = ModuleType("transformer")
    package.__path__ = [str(checkout / "transformer")]
    sys.modules["transformer"] = package
    program = checkout / "pregenerate_training_data.py"
    sys.argv = [program.name, "--train_corpus", str(text), "--bert_model", str(out)]
    sys.argv += ["--output_dir", str(out / "pregenerated"), "--epochs_to_generate", str(epochs)]
    sys.argv += ["--do_lower_case"] if json.loads(tokenizer.normalizer.__getstate__())["lowercase"] else []

    def work() -> None:
        with (out / "log").open("w") as log, contextlib.redirect_stderr(log):
            runpy.run_path(str(program), run_name="__main__")

    return work


def mapped(text: Path, out: Path, *tokenizers: str) -> Callable[[], object]:
    """Returns the work that maps lines to the pieces of each vocabulary."""
    import datasets
    from transformers import AutoTokenizer

    datasets.disable_progress_bars()
    fast = [AutoTokenizer.from_pretrained(name, use_fast=True) for name in tokenizers]

    def work() -> None:
        lines = datasets.load_dataset("text", data_files=str(text), split="train", cache_dir=str(out))
        for tokenizer in fast:
            ids = {"return_attention_mask": False, "return_token_type_ids": False}
            lines.map(tokenizer, input_columns="text", fn_kwargs=ids, batched=True, remove_columns="text")

    return work


def measure(way: Callable[..., Callable[[], object]], *arguments: object) -> Sample:
    """Returns what the work of a way took in a new process."""
    with (
        tempfile.TemporaryDirectory() as out,
        ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool,
    ):
        return pool.submit(_measure, way, arguments[0], Path(out), *arguments[1:]).result()


def _measure(way: Callable[..., Callable[[], object]], *arguments: object) -> Sample:
    work = way(*arguments)
    begun, before = time.perf_counter(), sum(os.times()[:4])
    work()
    seconds, processor = time.perf_counter() - begun, sum(os.times()[:4]) - before
    peaks = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return {"seconds": seconds, "processor_seconds": processor, "peak_bytes_of_a_process": max(peaks) * 1024}


def beginning(text: Path, size: int, out: Path) -> Path:
    """Returns a file with the whole documents among that many bytes."""
    with text.open("rb") as file:
        head = file.read(size)
    out.write_bytes(head if len(head) < size else head[: head.rindex(b"\n\n") + 1])
    return out


def compare(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Returns the figures of all rounds."""
    teacher = load_tokenizer(options.teacher)
    whole, cores = options.text, os.cpu_count() or 1
    few = beginning(whole, options.tinybert_bytes, folder / "few.txt")
    many = beginning(whole, options.datasets_bytes, folder / "many.txt")
    corpora = {text: build_corpus([str(text)], teacher, folder / text.stem) for text in (few, many, whole)}
    lexicon = build_lexicon(corpora[whole], teacher, LexiconConfig(), folder / "lexicon")
    ways: dict[str, tuple[Any, ...]] = {
        "lilliput": (lilliput, whole, options.teacher, 1),
        f"lilliput, {cores} workers": (lilliput, whole, options.teacher, cores),
        "lilliput, TinyBERT's text": (lilliput, few, options.teacher, 1),
        "TinyBERT": (tinybert, few, options.teacher, options.tinybert, options.epochs),
        "lilliput, datasets' text": (lilliput, many, options.teacher, 1),
        "datasets": (mapped, many, options.teacher, str(lexicon.tokenizer_folder)),
    }
    rounds: list[dict[str, Sample]] = []
    for _ in range(options.rounds):
        rounds.append({name: measure(*way) for name, way in ways.items()})
        print(json.dumps(rounds[-1]), file=sys.stderr, flush=True)

    def ratio(ours: str, theirs: str, of: str = "processor_seconds") -> float:
        return median(one[theirs][of] / one[ours][of] for one in rounds)

    figures: dict[str, Any] = {"machine": describe_machine(), "ways": {}}
    for name, (_, text, *_) in ways.items():
        medians = {key: median(one[name][key] for one in rounds) for key in rounds[0][name]}
        words = corpora[text].words
        speed = {"words_per_core_second": words / medians["processor_seconds"]}
        figures["ways"][name] = {"bytes": text.stat().st_size, "words": words, **speed, **medians}
    figures["ratios"] = {
        "lilliput / TinyBERT, per core": ratio("lilliput, TinyBERT's text", "TinyBERT"),
        "lilliput / datasets, per core": ratio("lilliput, datasets' text", "datasets"),
        f"{cores} workers / 1, by the clock": ratio(f"lilliput, {cores} workers", "lilliput", "seconds"),
    }
    return figures | {"rounds": rounds}


def main() -> None:
    """Measures everything and writes the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("text", type=Path)
    parser.add_argument("teacher")
    parser.add_argument("tinybert", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tinybert-bytes", type=int, default=4_000_000)
    parser.add_argument("--epochs", type=int, default=1, help="epochs that TinyBERT pregenerates")
    parser.add_argument("--datasets-bytes", type=int, default=20_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if not (options.tinybert / "pregenerate_training_data.py").is_file():
        parser.error(f"{options.tinybert} holds no pregenerate_training_data.py; give the folder that does")
    os.environ |= {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}  # one core; nothing is fetched
    with tempfile.TemporaryDirectory() as folder:
        figures = compare(options, Path(folder))
    write_json(options.out, figures)
    for name, way in figures["ways"].items():
        print(f"{name:28}{way['words']:>12,} words {way['words_per_core_second']:>12,.0f} words/s/core")
    print("\n".join(f"{name}: {value:.2f}" for name, value in figures["ratios"].items()))


if __name__ == "__main__":
    main()
