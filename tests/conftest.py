"""A small world that the tests share: text of its own making, tiny teachers, a corpus and a lexicon."""

import contextlib
import dataclasses
import gc
import json
import os
import random
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test asks the hub

import pytest
import torch
from hypothesis import HealthCheck, settings
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import BertConfig, BertForMaskedLM, BertModel

from lilliput import recipes
from lilliput.compression import Summary, compress
from lilliput.config import BatchConfig, LexiconConfig, Recipe
from lilliput.pieces.bert_tokenizer import load_tokenizer
from lilliput.pieces.corpus import build_corpus
from lilliput.pieces.lexicon import Lexicon, build_lexicon
from lilliput.run import RunDir
from lilliput.text.corpus import Corpus
from lilliput.training.batches import BatchSource
from lilliput.training.rows import Rows, cut_rows

# `make fuzz` asks for thousands of examples, other ones each time; without that they are the same every time.
_EXAMPLES = os.environ.get("LILLIPUT_EXAMPLES")
settings.register_profile(
    "lilliput",
    max_examples=int(_EXAMPLES or 50),
    derandomize=_EXAMPLES is None,
    print_blob=True,
    deadline=None,  # other work may share the processor
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("lilliput")

collect_ignore = ["version_0_1"]

LENGTH = 32
STUDENT_PIECES = 300
TEACHER_PIECES = 600
_ODD = ("café", "naïve", "Ærø", "Zürich", "señor", "3.14", "2,000", "don't", "中文", "λόγος", "→", "ø")
"""Words with accents, digits and marks; the teacher's vocabulary has no piece for some of them."""


def small_text(seed: int, documents: int, odd: bool) -> str:
    """Returns English-like documents, separated by blank lines, of a small grammar over made-up stems."""
    rng = random.Random(seed)
    onsets, codas = (*"bcdfghlmnprstw", "br", "cl", "st", "tr"), (*"tnrlm", "ck", "st")
    stems = [f"{o}{v}{c}{v}{k}" for o in onsets for v in "aeiou" for c in "nrt" for k in codas]
    rng_stems = random.Random(7)  # every text has the same words
    nouns, verbs, adjectives = (rng_stems.sample(stems, 90) for _ in range(3))

    def noun_phrase() -> str:
        adjective = rng.choice(adjectives) + rng.choice(("", "ish", "er", "est", "ful")) + " "
        noun = rng.choice(nouns) + rng.choice(("", "s", "hood"))
        return f"{rng.choice(('the', 'a', 'my', 'every'))} {adjective * (rng.random() < 0.4)}{noun}"

    def sentence() -> str:
        verb = rng.choice(verbs) + rng.choice(("s", "ed", "ing", "able"))
        words = f"{noun_phrase()} {verb} {rng.choice(('in', 'of', 'with', 'under'))} {noun_phrase()}"
        if odd and rng.random() < 0.3:
            words += f" ({rng.choice(_ODD)})"
        if rng.random() < 0.3:
            words += f", and {noun_phrase()} was {rng.choice(adjectives)}"
        return words.capitalize() + rng.choice((".", ".", "!", "?"))

    texts = (" ".join(sentence() for _ in range(rng.randint(3, 9))) for _ in range(documents))
    return "\n\n".join(texts) + "\n"


def teacher_tokenizer(text: str) -> Tokenizer:
    """Returns a BERT tokenizer learnt by the tokenizers library itself, not by lilliput."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]  # other ids than the student's
    trainer = trainers.WordPieceTrainer(
        vocab_size=TEACHER_PIECES, special_tokens=special, show_progress=False
    )
    tokenizer.train_from_iterator(text.splitlines(), trainer)
    return tokenizer


def teacher_config(vocabulary: int) -> BertConfig:
    return BertConfig(
        vocab_size=vocabulary,
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=48,
    )


def stir(model: torch.nn.Module, seed: int = 0) -> None:
    """Gives every parameter values that matter: large weights, uneven gains, biases that are not zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(1 + 0.2 * noise if "LayerNorm.weight" in name else 0.15 * noise)


def row_words(rows: Rows, index: int) -> list[int]:
    """Returns the word ids of one row."""
    return rows.shards[rows.shard[index]][rows.start[index] : rows.end[index]].tolist()


@contextlib.contextmanager
def full_disk(size: int) -> Iterator[None]:
    """Lets no file grow beyond a size, as on a full disk: writing raises OSError."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@dataclasses.dataclass(frozen=True)
class World:
    """What the tests share. Nothing in it may be changed."""

    folder: Path
    text: Path
    """The corpus as a text file."""
    other_text: Path
    """A smaller text of the same kind."""
    teacher: str
    """Folder of a BertForMaskedLM checkpoint."""
    headless: str
    """Folder of a BertModel checkpoint."""
    corpus: Corpus
    lexicon: Lexicon
    train_rows: Rows
    held_out_rows: Rows

    def spelling(self) -> list[list[int]]:
        """Returns the teacher's pieces of each of the student's pieces."""
        return self.lexicon.teacher_tokenizer().spell(self.lexicon.student_tokenizer())

    def source(self, config: BatchConfig, seed: int = 0) -> BatchSource:
        """Returns training batches of the rows to train on."""
        return BatchSource(self.train_rows, self.lexicon, config, (seed,))


def pytest_collection_finish() -> None:
    """Takes what imports made out of garbage collection: every training collects once, which took as long."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)  # the same order of sums here and in subprocesses


@pytest.fixture(scope="session", autouse=True)
def _no_kernels_known(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("small_world")
    text, other = folder / "text.txt", folder / "other.txt"
    text.write_text(small_text(1, 300, odd=True), encoding="utf-8")
    other.write_text(small_text(2, 40, odd=True), encoding="utf-8")
    tokenizer = teacher_tokenizer(small_text(3, 200, odd=False))
    config = teacher_config(tokenizer.get_vocab_size())
    torch.manual_seed(0)
    for name, kind in (("teacher", BertForMaskedLM), ("headless", BertModel)):
        model = kind(config)
        stir(model)
        model.save_pretrained(folder / name)
        tokenizer.save(str(folder / name / "tokenizer.json"))
    corpus = build_corpus([str(text)], load_tokenizer(str(folder / "teacher")), folder / "corpus", workers=1)
    lexicon = build_lexicon(corpus, tokenizer, LexiconConfig(size=STUDENT_PIECES), folder / "lexicon")
    rows = cut_rows(corpus, lexicon, LENGTH, hold_out=True)
    teacher, headless = str(folder / "teacher"), str(folder / "headless")
    return World(folder, text, other, teacher, headless, corpus, lexicon, *rows)


@pytest.fixture(scope="session")
def tiny_run(world: World, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunDir, Summary]:
    """A finished run of recipe tiny. Not to be changed."""
    out = tmp_path_factory.mktemp("finished") / "run"
    return RunDir(out), compress(world.teacher, [str(world.text)], out, recipes.tiny(), workers=1)


@pytest.fixture(scope="session")
def shrunken() -> Callable[..., Recipe]:
    """A recipe of RECIPES cut down to the small world, with further settings."""

    def shrink(name: str, settings: dict[str, str] | None = None) -> Recipe:
        recipe = recipes.RECIPES[name]()
        small = {
            "student.layers": "2",
            "student.width": "16",
            "student.heads": "2",
            "student.feed_forward": "32",
            "student.positions": str(LENGTH),
            "lexicon.size": str(STUDENT_PIECES),
            "budget.words": "1000",
        }
        batch = json.dumps({"rows": 4, "length": LENGTH})
        stages = {f"stages.{stage.name}.batch": batch for stage in recipe.stages}
        return recipe.replace(stages | small | (settings or {}))

    return shrink
