"""How fast lilliput prepares text and trains, beside TinyBERT's distillation and transformers' Trainer.

    python experiments/peers.py TEACHER --corpus TEXT --out FILE.json [--tinybert CHECKOUT/TinyBERT]

The checkout is of huawei-noah/Pretrained-Language-Model; nothing is fetched, and nothing of it is changed
on disk. Every way takes the same number of steps from the same teacher, to a student of the same shape (6 x
120, with 12 heads, as TinyBERT compares attention head by head), on batches of the same rows and length
from the same text, with AdamW (TinyBERT: its own Adam), as many threads, the same allocator, no dropout.
Each measurement has a process of its own; repetitions are interleaved. With --bfloat16 every way is measured
once more in it: lilliput's passes, the peers under autocast; a processor without instructions for it takes
minutes a step. Figures go to FILE.json and to standard output as Markdown tables.

What differs makes the methods what they are: TinyBERT's student keeps the teacher's vocabulary, matches
every layer's states and attention scores of a fixed teacher, and predicts no pieces; its rows hold pairs of
sentences and are padded. The Trainer masks pieces, not words, and scores every position. So words are
counted alike everywhere: real ones, cut as BERT cuts them, without specials and padding. The Trainer is
given the vocabulary of lilliput's student; learning that counts as lilliput's preparation.
"""

import argparse
import json
import multiprocessing
import os
import random
import re
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from peer_tinybert import tinybert_prepared, tinybert_steps
from peer_ways import (
    LILLIPUT,
    TRAINER,
    WARM_UP,
    Clock,
    Setting,
    lilliput_prepared,
    lilliput_steps,
    now,
    trainer_prepared,
    trainer_steps,
)

from lilliput.common.files import write_json
from lilliput.common.machine import describe_machine
from lilliput.common.memory import peak_memory
from lilliput.common.workers import end_with_parent, keep_freed_memory
from lilliput.text.sources import Reader, find_sources

TINYBERT = "TinyBERT"
WAYS = {
    **dict.fromkeys(LILLIPUT, (lilliput_prepared, lilliput_steps)),
    **dict.fromkeys(TRAINER, (trainer_prepared, trainer_steps)),
    TINYBERT: (tinybert_prepared, tinybert_steps),
}
"""What makes the work that prepares a way, and what takes steps and returns their words and pieces."""

RATIOS = (
    ("lilliput, teacher", "Trainer, teacher"),
    ("lilliput, student", "Trainer, student"),
    ("lilliput, dual", TINYBERT),
    ("lilliput, fixed teacher", TINYBERT),
    ("lilliput, student", TINYBERT),
)
RATES = ("words_per_second", "words_per_processor_second", "pieces_per_processor_second")
Figures = dict[str, float]
Round = dict[str, Figures]
"""What each way took once."""


def write_text(corpus: list[str], documents: int, folder: Path) -> None:
    """Writes the same documents as everyone likes them: as JSON lines, and a sentence a line."""
    found = islice(Reader(find_sources(corpus), "text").documents(), documents)
    texts = [text.decode() for text in found]
    (folder / "text.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    lines = ("\n".join(filter(None, re.split(r"(?<=[.!?])\s+|\n+", text.strip()))) for text in texts)
    (folder / "text.txt").write_text("\n\n".join(lines) + "\n")


def prepare(way: str, setting: Setting) -> Figures:
    """Makes what a way reads of the text and returns the seconds that took."""
    work = WAYS[way][0](way, setting)
    random.seed(0)
    begun = now()
    work()
    seconds, processor = np.subtract(now(), begun).tolist()
    return {"preparation_seconds": seconds, "preparation_processor_seconds": processor}


def measure(way: str, setting: Setting) -> Figures:
    """Trains a way for some steps and returns what a step took."""
    load, clock = os.getloadavg()[0], Clock(setting.steps)
    keep_freed_memory()
    torch.set_num_threads(setting.threads)
    torch.manual_seed(0)
    words, pieces = WAYS[way][1](way, setting, clock)
    seconds, processor = clock.per_step()
    return {
        "words_per_second": words / seconds,
        "words_per_processor_second": words / processor,
        "pieces_per_second": pieces / seconds,
        "pieces_per_processor_second": pieces / processor,
        "step_seconds": seconds,
        "step_processor_seconds": processor,
        "words_per_step": words,
        "pieces_per_step": pieces,
        "peak_bytes": peak_memory(),
        "load": load,
    }


def apart(function: Callable[..., Any], *arguments: object) -> Any:
    """Calls a function in a new process, which ends with this one."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), end_with_parent) as pool:
        return pool.submit(function, *arguments).result()


def take_round(ways: list[str], corpus: list[str], documents: int, **options: Any) -> Round:
    """Prepares and measures every way once."""
    prepared: Round = {}
    found: Round = {}
    with tempfile.TemporaryDirectory() as name:
        setting = Setting(folder=Path(name), **options)
        write_text(corpus, documents, setting.folder)
        for way in ways:
            whose = "lilliput" if way in LILLIPUT else way  # which prepares once for all its ways
            if whose not in prepared:
                prepared[whose] = apart(prepare, way, setting)
            found[way] = prepared[whose] | apart(measure, way, setting)
            print(json.dumps({"way": way, **found[way]}), file=sys.stderr, flush=True)
    return found


def medians(rounds: list[Round], way: str) -> Figures:
    """Returns the median of each figure of a way."""
    return {key: median(one[way][key] for one in rounds) for key in rounds[0][way]}


def ratios(rounds: list[Round]) -> dict[str, Figures]:
    """Returns lilliput's speed in that of a peer: the median of the ratios within each round."""
    return {
        f"{ours} / {theirs}": {
            rate: median(one[ours][rate] / one[theirs][rate] for one in rounds) for rate in RATES
        }
        for ours, theirs in RATIOS
        if theirs in rounds[0]
    }


def tables(rounds: list[Round], half: Round) -> str:
    """Returns the medians of each way, and the ratios, as Markdown."""
    lines = [
        "| way | words/s | words/processor s | in bfloat16 | pieces/s | preparation, s (processor s) | GB |",
        "|---|---|---|---|---|---|---|",
    ]
    for way in rounds[0]:
        m = medians(rounds, way)
        once = f"{half[way]['words_per_processor_second']:,.0f}" if half else "-"
        lines.append(
            f"| {way} | {m['words_per_second']:,.0f} | {m['words_per_processor_second']:,.0f} "
            f"| {once} | {m['pieces_per_second']:,.0f} "
            f"| {m['preparation_seconds']:.1f} ({m['preparation_processor_seconds']:.1f}) "
            f"| {m['peak_bytes'] / 1e9:.1f} |"
        )
    lines += ["", "| ratio | words/s | words/processor s | pieces/processor s |", "|---|---|---|---|"]
    for name, rates in ratios(rounds).items():
        lines.append(f"| {name} | " + " | ".join(f"{rates[rate]:.2f}" for rate in RATES) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measures every way and writes the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("teacher", type=Path, help="a folder with model.safetensors")
    parser.add_argument("--corpus", nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tinybert", type=Path)
    parser.add_argument("--documents", type=int, default=2000)
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--bfloat16", action="store_true", help="measure every way once more in bfloat16")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = vars(parser.parse_args())
    for folder, name in (
        (options["teacher"], "model.safetensors"),
        (options["tinybert"], "general_distill.py"),
    ):
        if folder is not None and not (folder / name).is_file():
            parser.error(f"{folder} holds no {name}; give the folder that does")
    out, repetitions, again = (options.pop(name) for name in ("out", "repetitions", "bfloat16"))
    threads = str(options["threads"])
    os.environ |= {"OMP_NUM_THREADS": threads, "RAYON_NUM_THREADS": threads, "TQDM_DISABLE": "1"}
    ways = [way for way in WAYS if way != TINYBERT or options["tinybert"]]
    rounds = [take_round(ways, **options) for _ in range(repetitions)]
    half = take_round(ways, **options, bfloat16=True) if again else {}
    same = {key: value for key, value in options.items() if isinstance(value, int)}
    results = {
        "machine": describe_machine(),
        "same": {**same, "warm_up_steps": WARM_UP},
        "medians": {way: medians(rounds, way) for way in ways},
        "ratios": ratios(rounds),
        "rounds": rounds,
        "bfloat16_once": half,
    }
    write_json(out, results)
    print(tables(rounds, half))


if __name__ == "__main__":
    main()
