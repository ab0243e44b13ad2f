"""A bundle opened: texts -> classes, scores, tags, guesses for [MASK] or vectors, without torch.

    bundle = lilliput.load("bundle")
    bundle.classify(["a film to remember"])[0].label

Texts are read in windows and, sorted by length, in batches of a bounded number of pieces, so that any number
of texts takes the memory of a few. Where a graph rounds to int8, it does so on grids that are the same for
all texts, so an answer does not depend on the texts beside it.
"""

import copy
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Encoding as Pieces, Tokenizer

from lilliput.common.arguments import PathLike, path_of
from lilliput.common.repositories import is_repository
from lilliput.errors import BundleError, ConfigError, InputError, LilliputError, bounded, first_line
from lilliput.inference.answers import Answer, Classification, Filling, Score, Tagging
from lilliput.inference.format import MODEL, TOKENIZER, BundleConfig, BundleFiles, read_bundle
from lilliput.inference.graph_size import check_sizes
from lilliput.inference.kinds import KINDS, Reading
from lilliput.inference.onnx_file import read_graph
from lilliput.inference.outputs import Floats
from lilliput.inference.session import open_session
from lilliput.inference.space import Space
from lilliput.inference.texts import BATCH_PIECES, Text, batches, problem, shortened, windows
from lilliput.inference.vectors import Precision, check_precision, cosines, stored, unit
from lilliput.pieces.tokenizer_file import SpecialPieces, build_tokenizer

INPUTS = ["input_ids", "attention_mask", "token_type_ids"]

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
        self._tokenizer = _tokenizer(folder / TOKENIZER, files.tokenizer)
        _check_graph(folder / MODEL, files.model, files.config.positions)
        self._session = open_session(folder / MODEL, threads, files.model)
        self._pad = SpecialPieces.of(self._tokenizer).pad
        self._kind = KINDS[files.config.kind]
        self._tokenizer.enable_truncation(files.config.positions)
        self._without_words = len(self._pieces([("", "") if files.config.pairs else files.config.prompt])[0])
        self._space = Space(folder, files.model, self._check())

    def __repr__(self) -> str:
        config = self.config
        names = [
            f"{len(of)} {what}" for what, of in (("classes", config.classes), ("tags", config.tags)) if of
        ]
        told = [f"{config.kind}{f' of {config.task}' if config.task else ''}", *names, config.quantization]
        return f"<Bundle {self.folder}: {', '.join(told)}, texts of up to {config.positions} pieces>"

    def classify(self, texts: Iterable[str], pairs: Iterable[str] | None = None) -> list[Classification]:
        """Returns the class of each text, or of each text with the one of `pairs` beside it."""
        return self._answers("classify", texts, pairs)

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
        plain = copy.copy(self)
        plain.config = self.config._replace(normalize=False)
        normalize = self.config.normalize if normalize is None else normalize

        def finished(vector: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
            kept = vector if truncate_dim is None else self._space.turned(vector, truncate_dim)
            return stored(unit(kept) if normalize else kept, precision)

        answers = plain._answers("encode", texts)
        like = finished(np.zeros(self._space.width, np.float32))
        return np.stack([finished(answer.vector) for answer in answers]) if answers else like[None][:0]

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
        one, and BundleError at one to which the model gives no numbers, with its number.
        """
        number, top = 0, bounded("top", top, 1, TOP_AT_MOST)
        for window in windows(texts, self.config.positions):
            for answer in self.answer(window, top):
                number += 1
                if isinstance(answer, LilliputError):
                    kind = type(answer)
                    raise kind(f"text {number:,} {answer}") from answer
                yield answer

    def answer(self, texts: Sequence[Text], top: int = 5) -> list[Answer | LilliputError]:
        """Returns the answers to a few texts at once, with an error in the place of a text that has none."""
        problems = [problem(text, self.config) for text in texts]
        found: list[Answer | LilliputError] = [InputError(what) for what in problems]
        good = [index for index, what in enumerate(problems) if not what]
        read = [shortened(texts[index], self.config.positions) for index in good]
        pieces = self._pieces([self._before(text) for text in read])
        for batch in batches([len(item) for item in pieces]):
            output = self._run([pieces[place] for place in batch])
            for place, row in zip(batch, output, strict=True):
                text = texts[good[place]]
                cut = read[place] != text or bool(pieces[place].overflowing)
                if len(pieces[place]) > self._without_words:
                    found[good[place]] = self._read(row, pieces[place], text, cut, top)
                else:
                    found[good[place]] = InputError("has no words, only characters without a meaning")
        return found

    def _before(self, text: Text) -> Text:
        """Returns a text with the prompt before it; no pairs have one."""
        return self.config.prompt + text if isinstance(text, str) else text

    def _pieces(self, texts: Sequence[Text]) -> list[Pieces]:
        if len(texts) != 1:
            return self._tokenizer.encode_batch(list(texts))
        (text,) = texts  # in this thread: those that the tokenizer starts for a batch take a while to start
        return [self._tokenizer.encode(text) if isinstance(text, str) else self._tokenizer.encode(*text)]

    def _answers(
        self, method: str, texts: Iterable[str], pairs: Iterable[str] | None = None, top: int = 5
    ) -> list[Any]:
        """Returns the answers to all texts; raises BundleError where the bundle does not do that."""
        self._require(method)
        if isinstance(texts, str) or isinstance(pairs, str):
            raise InputError(
                f"{method}() takes a list of texts, found a single one; put it in brackets: [text]"
            )
        given = texts if pairs is None else _together(texts, pairs)
        return [self._kind.part(answer, method) for answer in self.stream(given, top)]

    def _require(self, method: str) -> None:
        if method not in self._kind.methods:
            calls = " and ".join(f"{name}()" for name in self._kind.methods)
            raise BundleError(
                f"{self.folder} has no {method}(): it is a model of the kind {self.config.kind}, with {calls}"
            )

    def _run(self, pieces: Sequence[Pieces]) -> Floats:
        """Returns the model's output for a batch."""
        shape = len(pieces), max(len(item) for item in pieces)
        ids, mask, types = (np.full(shape, value, np.int64) for value in (self._pad, 0, 0))
        for row, item in enumerate(pieces):
            ids[row, : len(item)] = item.ids
            mask[row, : len(item)] = 1
            types[row, : len(item)] = item.type_ids
        return self._compute(ids, mask, types)

    def _compute(self, *arrays: np.ndarray[Any, np.dtype[np.int64]]) -> Floats:
        try:
            (output,) = self._session.run(None, dict(zip(INPUTS, arrays, strict=True)))
        except Exception as error:  # the library raises kinds of its own that have no common ancestor
            raise BundleError(
                f"{self.folder / MODEL} fails on {arrays[0].shape[1]} pieces, ids up to {arrays[0].max()} "
                f"({first_line(error)}); it does not belong to this {TOKENIZER}, or has fewer positions "
                "than config.json says: fetch or export the bundle again"
            ) from error
        return np.asarray(output)

    def _read(self, row: Floats, pieces: Pieces, text: Text, cut: bool, top: int) -> Answer | BundleError:
        """Returns the answer that a row of the output is; an error where it has NaN or infinity."""
        if row.ndim > 1:
            row = row[: len(pieces)]
        if not np.isfinite(row).all():
            return BundleError(
                f"has no answer: {MODEL} gives what is no number (NaN or infinite); export the bundle again, "
                "and where that does not help, train the model again"
            )
        answer: Answer = self._kind.answer(row, self.config, Reading(text, pieces, cut, self._tokenizer, top))
        return answer

    def _check(self) -> int:
        """Returns how many numbers the graph gives a text or a piece, by one short run.

        Raises BundleError where model, tokenizer and config do not belong together.
        """
        found = [item.name for item in self._session.get_inputs()]
        if sorted(found) != sorted(INPUTS):
            raise BundleError(
                f"{self.folder / MODEL} takes {', '.join(found) or 'nothing'}, expected are "
                f"{', '.join(INPUTS)}; export it again"
            )
        pieces = max(self._tokenizer.get_vocab().values()) + 1
        ids = np.array([[self._pad, pieces - 1]])
        shape = self._compute(ids, np.ones_like(ids), np.zeros_like(ids)).shape
        columns = self._kind.columns(self.config, pieces)
        expected = (1,) if self._kind.head == "text" else (1, 2)
        if shape[:-1] != expected or columns not in (None, shape[-1]):
            raise BundleError(
                f"{self.folder / MODEL} gives scores of the shape {shape} for two pieces, expected is "
                f"{(*expected, columns or 'width')} by config.json ({self.config.kind}) and {TOKENIZER}; "
                "they are not of one bundle: fetch or export it again"
            )
        return int(shape[-1])


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


def _tokenizer(path: Path, content: bytes) -> Tokenizer:
    try:
        return build_tokenizer(content)[0]
    except ValueError as error:
        raise BundleError(
            f"{path} is not a tokenizer that a bundle can have: {error}; fetch or export the bundle again"
        ) from error


def _check_graph(path: Path, content: bytes, positions: int) -> None:
    """Raises BundleError where a graph is none of a bundle's, or would compute too much on any batch."""
    try:
        graph = read_graph(content)
        for batch, length in ((1, positions), (BATCH_PIECES // 2, 2)):
            check_sizes(graph, len(content), batch, length)
    except ValueError as error:
        raise BundleError(
            f"{path} is not a graph that a bundle can have: {error}; fetch or export the bundle again"
        ) from error
