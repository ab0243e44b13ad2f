"""A bundle opened: texts -> classes, scores, tags, guesses for [MASK] or vectors, without torch.

    bundle = lilliput.load("bundle")
    bundle.classify(["a film to remember"])[0].label

Texts are read in windows and, sorted by length, in batches of a bounded number of pieces, so that any number
of texts takes the memory of a few. Where a graph rounds to int8, it does so on grids that are the same for
all texts, so an answer does not depend on the texts beside it.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lilliput.common.arguments import PathLike, path_of
from lilliput.common.repositories import is_repository
from lilliput.errors import (
    BundleError,
    ConfigError,
    InputError,
    LilliputError,
    bounded,
    printable,
)
from lilliput.inference.answers import Answer, Classification, Filling, Labelling, Score, Tagging
from lilliput.inference.format import MODEL, BundleConfig, BundleFiles, read_bundle, sizes
from lilliput.inference.kinds import KINDS, Reading
from lilliput.inference.network import Network
from lilliput.inference.outputs import unknown_share
from lilliput.inference.space import Space
from lilliput.inference.texts import Missing, Text, is_missing, problem, shortened, windows
from lilliput.inference.vectors import Precision, check_precision, cosines, stored, unit

TOP_AT_MOST, THREADS_AT_MOST = 1_000_000, 1024


def load(
    folder: PathLike, threads: int = 1, *, revision: str | None = None, token: str | None = None
) -> "Bundle":
    """Opens a bundle, after checking all of its files.

    Args:
        folder: The bundle: a folder, or a repository on the hub as owner/name, which is downloaded once.
        threads: Threads that compute one batch.
        revision: Of a repository, its branch, tag or commit; by default the newest.
        token: The token to read a repository with; by default that of HF_TOKEN or of `hf auth login`.

    Raises:
        BundleError: When it is not whole, not of this version, its parts do not belong together, or it asks
            for more than any bundle needs.
        HubError: If it is a repository that cannot be read.
        ConfigError: If the number of threads is out of bounds, or a folder is given with a revision.
    """
    threads = bounded("threads", threads, 1, THREADS_AT_MOST)
    path = path_of("folder", folder)
    if is_repository(str(path)):
        from lilliput.inference.download import bundle_folder

        path = bundle_folder(str(path), revision, token)
    elif revision is not None:
        raise ConfigError(f"a revision is one of a repository on the hub, and {path} is none; leave it out")
    return Bundle(path, read_bundle(path), threads)


class Bundle:
    """A model that answers texts; `config` says what it is for. Several threads may call it at once."""

    def __init__(self, folder: Path, files: BundleFiles, threads: int) -> None:
        self.folder: Path = folder
        """Where it was read."""
        self.config: BundleConfig = files.config
        """What it answers."""
        self.bytes: int = sum(sizes(folder).values())
        """Bytes of its files."""
        self._threads, self._kind = threads, KINDS[files.config.kind]
        self._network = Network(folder, files, threads)
        self._space = Space(folder, files.model, self._network.width)

    def __repr__(self) -> str:
        config = self.config
        names = [
            f"{len(of)} {what}" for what, of in (("classes", config.classes), ("tags", config.tags)) if of
        ]
        told = [f"{config.kind}{f' of {config.task}' if config.task else ''}", *names, config.quantization]
        told += [f"{self.bytes:,} bytes", f"texts of up to {config.positions} pieces"]
        return printable(f"<Bundle {self.folder}: {', '.join(told)}>")

    @property
    def empty(self) -> Answer:
        """The answer to a text that is missing."""
        found: Answer = self._kind.empty(self._network.width)
        return found

    def __reduce__(self) -> tuple[Any, ...]:
        """Returns what opens the bundle anew from its folder, as in another process."""
        return load, (str(self.folder.absolute()), self._threads)

    def classify(self, texts: Iterable[str], pairs: Iterable[str] | None = None) -> list[Classification]:
        """Returns the class of each text, or of each text with the one of `pairs` beside it."""
        return self._answers("classify", texts, pairs)

    def label(self, texts: Iterable[str], pairs: Iterable[str] | None = None) -> list[Labelling]:
        """Returns the classes of each text, of which it may have several, or those of each pair."""
        return self._answers("label", texts, pairs)

    def score(self, texts: Iterable[str], pairs: Iterable[str] | None = None) -> list[Score]:
        """Returns the score of each text, or of each text with the one of `pairs` beside it."""
        return self._answers("score", texts, pairs)

    def tag(self, texts: Iterable[str]) -> list[Tagging]:
        """Returns the words of each text with their tags, and the slots they make."""
        return self._answers("tag", texts)

    def fill(self, texts: Iterable[str], top: int = 5) -> list[Filling]:
        """Returns for each [MASK] of each text the `top` most probable pieces."""
        return self._answers("fill", texts, top=top)

    def encode(
        self,
        texts: Iterable[str],
        *,
        normalize: bool | None = None,
        truncate_dim: int | None = None,
        precision: Precision = "float32",
    ) -> npt.NDArray[Any]:
        """Returns a vector for each text [texts, width]; `stream` also says which texts were cut.

        That of a missing text is NaN, or zeros where the precision has no NaN.

        Args:
            texts: The texts.
            normalize: Whether vectors have length 1; None for what the model was made for: sentence encoders
                that normalise do, other encoders' vectors are the mean of the states as it is.
            truncate_dim: Numbers of a vector, as `truncate` makes them; None for all.
            precision: `float32`; `int8`, in steps of 1/127 of a vector's largest number; or `binary`, the
                signs, eight to a byte (uint8). All but float32 keep directions, not lengths.

        Raises:
            BundleError: If the bundle makes no vectors.
            InputError: At a text that has none, with its number.
            ConfigError: If there is no such precision, or vectors are shorter than `truncate_dim`.
        """
        check_precision(precision)
        normalize = self.config.normalize if normalize is None else normalize

        def finished(vector: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
            kept = vector if truncate_dim is None else self._space.turned(vector, truncate_dim)
            return stored(unit(kept) if normalize else kept, precision)

        answers = self._answers("encode", texts, config=self.config._replace(normalize=False))
        like = finished(np.zeros(self._space.width, np.float32))
        missing = np.full_like(like, np.nan) if precision == "float32" else like
        rows = [missing if np.isnan(one.vector[0]) else finished(one.vector) for one in answers]
        return np.stack(rows) if rows else like[None][:0]

    def truncate(self, vectors: npt.ArrayLike, dim: int) -> npt.NDArray[np.float32]:
        """Returns the vectors [N, dim] of length 1 that stand for vectors [N, width] of this bundle's space.

        A student's vectors lie in as many directions of its teacher's space as its states are wide. These
        come first, the widest before the others. So vectors of the teacher are made comparable with
        `encode(texts, truncate_dim=dim)`. Of an encoder without such a map the first numbers are taken.

        Raises ConfigError where vectors are shorter, InputError where they are not of this bundle's width.
        """
        self._require("encode")
        return unit(self._space.turned(vectors, dim))

    def similarity(self, one: npt.ArrayLike, other: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Returns the cosine of each vector [N, width] of one array with each [M, width] of another [N, M].

        Raises InputError where they are not of one width, bits, or have values that are NaN or infinite.
        """
        return cosines(one, other)

    def stream(self, texts: Iterable[Text], top: int = 5) -> Iterator[Answer]:
        """Yields the answer to each text, in order, as the bundle's kind has it; pairs come as tuples.

        Takes the memory of one window, however many texts there are. Raises InputError at a text that is not
        one, and BundleError at one to which the model gives no numbers, with its number. A text that is
        missing (None, NaN, empty or white space alone) has an empty answer, and a warning at the end says
        how many there were.
        """
        return self._stream(texts, top, self.config, stacklevel=2)

    def _stream(
        self, texts: Iterable[Text], top: int, config: BundleConfig, stacklevel: int
    ) -> Iterator[Answer]:
        """Yields the answers that `config` says; `stacklevel` is whose line a warning at the end is of."""
        number, missing, top = 0, Missing("text"), bounded("top", top, 1, TOP_AT_MOST)
        for window in windows(texts, config.positions):
            for text, answer in zip(window, self._window(window, top, config), strict=True):
                number += 1
                missing.look(number, text)
                if isinstance(answer, LilliputError):
                    kind = type(answer)
                    raise kind(f"text {number:,} {answer}") from answer
                yield answer
        missing.warn(number, stacklevel)

    def answer(self, texts: Iterable[Text], top: int = 5) -> list[Answer | LilliputError]:
        """Returns the answers to a few texts at once, with an error in the place of a text that has none.

        A text that is missing (None, NaN, empty or white space alone) has an empty answer, and a warning
        says how many there were.
        """
        if isinstance(texts, str):
            raise _single("answer")
        every, missing = list(texts), Missing("text")
        for number, text in enumerate(every, start=1):
            missing.look(number, text)
        found = self._window(every, bounded("top", top, 1, TOP_AT_MOST), self.config)
        missing.warn(len(every), stacklevel=2)
        return found

    __call__ = answer

    def _window(self, texts: Sequence[Text], top: int, config: BundleConfig) -> list[Answer | LilliputError]:
        """Returns the answers to texts that are computed together, in their order."""
        network, kind = self._network, self._kind
        found = [self._unread(text, config) for text in texts]
        good = [place for place, one in enumerate(found) if one is None]
        read = [shortened(texts[place], config.positions) for place in good]
        pieces = network.pieces([self._before(text) for text in read])
        for index, row in network.rows(pieces):
            place, cut_into = good[index], pieces[index]
            cut = read[index] != texts[place] or bool(cut_into.overflowing)
            if len(cut_into) <= network.without_words:
                found[place] = InputError("has no words, only characters without a meaning")
            elif not np.isfinite(row).all():
                found[place] = BundleError(
                    f"has no answer: {MODEL} gives what is no number (NaN or infinite); export the bundle "
                    "again, and where that does not help, train the model again"
                )
            else:
                share = unknown_share(cut_into, network.special.unk, len(config.prompt))
                reading = Reading(texts[place], cut_into, cut, share, network.tokenizer, top)
                found[place] = kind.answer(row, config, reading)
        return found

    def _unread(self, text: Text, config: BundleConfig) -> Any:
        """Returns the answer or the error of a text that there is no need to read; None for all others."""
        if is_missing(text):
            return self.empty
        what = problem(text, config)
        return InputError(what) if what else None

    def _before(self, text: Text) -> Text:
        """Returns a text with the prompt before it; no pairs have one."""
        return self.config.prompt + text if isinstance(text, str) else text

    def _answers(
        self,
        method: str,
        texts: Iterable[str],
        pairs: Iterable[str] | None = None,
        top: int = 5,
        config: BundleConfig | None = None,
    ) -> list[Any]:
        """Returns the answers to all texts; raises BundleError where the bundle does not do that."""
        self._require(method)
        if isinstance(texts, str) or isinstance(pairs, str):
            raise _single(method)
        given = texts if pairs is None else _together(texts, pairs)
        answers = list(self._stream(given, top, config or self.config, stacklevel=4))
        return [self._kind.part(answer, method) for answer in answers]

    def _require(self, method: str) -> None:
        if method not in self._kind.methods:
            calls = " and ".join(f"{name}()" for name in self._kind.methods)
            raise BundleError(
                f"{self.folder} has no {method}(): it is a model of the kind {self.config.kind}, with {calls}"
            )


def _single(method: str) -> InputError:
    return InputError(f"{method}() takes a list of texts, found a single one; put it in brackets: [text]")


def _together(texts: Iterable[str], pairs: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yields texts with their second ones; what the caller's own iterators raise stays as it is."""
    others, none = iter(pairs), object()
    for text in texts:
        other: Any = next(others, none)
        if other is none:
            raise InputError("texts and pairs have to be of the same number, but there are fewer pairs")
        yield text, other
    if next(others, none) is not none:
        raise InputError("texts and pairs have to be of the same number, but there are fewer texts")
