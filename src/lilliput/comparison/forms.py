"""The forms of model that a benchmark of bundles opens: bundles, other ONNX graphs, static embeddings.

A model is a folder, a file.onnx or a file.safetensors, the files with a tokenizer.json beside them. Each form
imports only what it needs, as the time of that counts.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Encoding, Tokenizer

from lilliput.errors import BundleError, first_line
from lilliput.inference.texts import Text, batches

GRAPH, STATIC = ".onnx", ".safetensors"
"""How files of the other forms end."""
POSITIONS = 512
"""Pieces that another graph is taken to read, where its tokenizer does not say how many."""

_INPUTS = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
"""What a graph may take, and what the tokenizers library calls it."""
_TYPES = {"F32": np.float32, "F16": np.float16}
Arrays = list[npt.NDArray[Any]]


def open_model(path: Path, threads: int) -> Callable[[Sequence[Text]], Sequence[Any]]:
    """Opens a model and returns what answers texts; raises BundleError where it cannot be opened."""
    if path.suffix == GRAPH:
        return Graph(path, threads).answer
    if path.suffix == STATIC:
        return Static(path).answer
    from lilliput.inference.bundle import load

    return load(path, threads).answer


def open_tokenizer(path: Path) -> Tokenizer:
    """Opens a tokenizer.json without its padding; raises BundleError where there is none."""
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise BundleError(
            f"{path} is not a tokenizer ({error}); a model's tokenizer.json has to stand beside it"
        ) from error
    tokenizer.no_padding()
    return tokenizer


def encode(tokenizer: Tokenizer, texts: Sequence[Text], special: bool) -> list[Encoding]:
    """Returns the pieces of each text; of a single one in this thread, as bundles do."""
    if len(texts) != 1:
        return tokenizer.encode_batch(list(texts), add_special_tokens=special)
    first, second = (texts[0], None) if isinstance(texts[0], str) else texts[0]
    return [tokenizer.encode(first, second, add_special_tokens=special)]


class Graph:
    """An ONNX graph of anyone's, opened with onnxruntime's own settings; answers with its first output."""

    def __init__(self, path: Path, threads: int) -> None:
        from lilliput.inference.session import open_session

        self._path, self._tokenizer = path, open_tokenizer(path.parent / "tokenizer.json")
        self.positions: int = (self._tokenizer.truncation or {}).get("max_length", POSITIONS)
        """Pieces of the longest text that is read whole."""
        self._tokenizer.enable_truncation(self.positions)
        self._session = open_session(path, threads, own_settings=True)
        self._inputs = [item.name for item in self._session.get_inputs()]
        if unknown := {*self._inputs} - {*_INPUTS}:
            raise BundleError(
                f"{path} takes {', '.join(sorted(unknown))}, expected are input_ids, attention_mask and "
                "perhaps token_type_ids alone; export it with these"
            )

    def answer(self, texts: Sequence[Text]) -> Arrays:
        """Returns the first output's row for each text, computed in batches as a bundle's are."""
        pieces = encode(self._tokenizer, texts, special=True)
        found: Arrays = [np.empty(0)] * len(pieces)
        for batch in batches([len(item) for item in pieces]):
            shape = len(batch), max(len(pieces[place]) for place in batch)
            arrays = {name: np.zeros(shape, np.int64) for name in self._inputs}
            for row, place in enumerate(batch):
                for name, array in arrays.items():
                    array[row, : len(pieces[place])] = getattr(pieces[place], _INPUTS[name])
            try:
                output = self._session.run(None, arrays)[0]
            except Exception as error:
                raise BundleError(
                    f"{self._path} fails on {shape[1]} pieces ({first_line(error)}); if it has fewer "
                    "positions, set max_length under truncation in its tokenizer.json"
                ) from error
            for row, place in enumerate(batch):
                found[place] = output[row]
        return found


class Static:
    """A table with a row for each piece; answers with the mean of a text's rows."""

    def __init__(self, path: Path) -> None:
        self._table = _read_table(path)
        self._tokenizer = open_tokenizer(path.parent / "tokenizer.json")
        self._tokenizer.no_truncation()
        if (pieces := self._tokenizer.get_vocab_size()) > len(self._table):
            raise BundleError(
                f"{path} has {len(self._table):,} rows, and the tokenizer.json beside it {pieces:,} pieces; "
                "expected is a row for each piece: they are not of one model"
            )

    def answer(self, texts: Sequence[Text]) -> Arrays:
        """Returns a vector for each text; that of a text without pieces is 0."""
        pieces = encode(self._tokenizer, texts, special=False)
        sums = (self._table[item.ids].sum(axis=0, dtype=np.float32) for item in pieces)
        return [total / max(len(item), 1) for total, item in zip(sums, pieces, strict=True)]


def _read_table(path: Path) -> npt.NDArray[Any]:
    """Returns the only array of a safetensors file, without that library; raises BundleError for another."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            arrays = json.loads(file.read(min(length, path.stat().st_size)))
            arrays.pop("__metadata__", None)
            (entry,) = arrays.values()
            table = np.fromfile(file, _TYPES[entry["dtype"]], offset=entry["data_offsets"][0])
            rows, width = entry["shape"]
            return table.reshape(rows, width)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(
            f"{path} is no table of static embeddings, which has one array, a float row for each piece; of a "
            "checkpoint make a bundle with `lilliput bundle`"
        ) from error
