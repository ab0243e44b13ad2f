"""The tokenizer and the graph of a bundle, opened and checked: texts -> pieces -> what the graph gives."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Encoding as Pieces, Tokenizer

from lilliput.errors import BundleError, first_line
from lilliput.inference.format import MODEL, TOKENIZER, BundleConfig, BundleFiles
from lilliput.inference.graph_size import check_sizes
from lilliput.inference.kinds import KINDS
from lilliput.inference.onnx_file import read_graph
from lilliput.inference.outputs import Floats
from lilliput.inference.session import open_session
from lilliput.inference.texts import BATCH_PIECES, Text, batches
from lilliput.pieces.tokenizer_file import SpecialPieces, build_tokenizer

INPUTS = ["input_ids", "attention_mask", "token_type_ids"]


class Network:
    """What computes the answers of a bundle. Several threads may call it at once."""

    def __init__(self, folder: Path, files: BundleFiles, threads: int) -> None:
        self.tokenizer: Tokenizer = _tokenizer(folder / TOKENIZER, files.tokenizer)
        """Cuts a text to the longest input."""
        self.special: SpecialPieces = SpecialPieces.of(self.tokenizer)
        """Ids of the pieces that are not text."""
        self._model = folder / MODEL
        _check_graph(self._model, files.model, files.config.positions)
        self._session = open_session(self._model, threads, files.model)
        self.tokenizer.enable_truncation(files.config.positions)
        self.without_words: int = self._least(files.config)
        """Pieces of a text without words."""
        self.width: int = self._check(files.config)
        """Numbers that the graph gives a text or a piece."""

    def pieces(self, texts: Sequence[Text]) -> list[Pieces]:
        """Returns the pieces of each text."""
        if len(texts) != 1:
            return self.tokenizer.encode_batch(list(texts))
        (text,) = texts  # in this thread: those that the tokenizer starts for a batch take a while to start
        return [self.tokenizer.encode(text) if isinstance(text, str) else self.tokenizer.encode(*text)]

    def rows(self, pieces: Sequence[Pieces]) -> Iterator[tuple[int, Floats]]:
        """Yields which text it was and what the graph gives it, the shortest texts first.

        That is [columns], or [length, columns] with a row for each of its pieces.
        """
        for batch in batches([len(item) for item in pieces]):
            output = self._run([pieces[place] for place in batch])
            for place, row in zip(batch, output, strict=True):
                yield place, row[: len(pieces[place])] if row.ndim > 1 else row

    def _least(self, config: BundleConfig) -> int:
        return len(self.pieces([("", "") if config.pairs else config.prompt])[0])

    def _run(self, pieces: Sequence[Pieces]) -> Floats:
        """Returns the model's output for a batch."""
        shape = len(pieces), max(len(item) for item in pieces)
        ids, mask, types = (np.full(shape, value, np.int64) for value in (self.special.pad, 0, 0))
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
                f"{self._model} fails on {arrays[0].shape[1]} pieces, ids up to {arrays[0].max()} "
                f"({first_line(error)}); it does not belong to this {TOKENIZER}, or has fewer positions "
                "than config.json says: fetch or export the bundle again"
            ) from error
        return np.asarray(output)

    def _check(self, config: BundleConfig) -> int:
        """Returns how many numbers the graph gives a text or a piece, by one short run.

        Raises BundleError where model, tokenizer and config do not belong together.
        """
        found = [item.name for item in self._session.get_inputs()]
        if sorted(found) != sorted(INPUTS):
            raise BundleError(
                f"{self._model} takes {', '.join(found) or 'nothing'}, expected are {', '.join(INPUTS)}; "
                "export it again"
            )
        kind, pieces = KINDS[config.kind], max(self.tokenizer.get_vocab().values()) + 1
        ids = np.array([[self.special.pad, pieces - 1]])
        shape = self._compute(ids, np.ones_like(ids), np.zeros_like(ids)).shape
        columns = kind.columns(config, pieces)
        expected = (1,) if kind.head == "text" else (1, 2)
        if shape[:-1] != expected or columns not in (None, shape[-1]):
            raise BundleError(
                f"{self._model} gives scores of the shape {shape} for two pieces, expected is "
                f"{(*expected, columns or 'width')} by config.json ({config.kind}) and {TOKENIZER}; "
                "they are not of one bundle: fetch or export it again"
            )
        return int(shape[-1])


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
