"""Bundles made by hand: a graph of a few operators, its tokenizer, and the same model in numpy as a twin."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from lilliput.inference.kinds import KINDS

PIECES = (  # noqa: SIM905
    "[PAD] [UNK] [CLS] [SEP] [MASK] a by the film is good bad play ##ing ##ed jazz miles davis in new york "
    "café do n ##t ' . , !"
).split()
WIDTH = 6
POSITIONS = 32
CLASSES = ("bad", "good", "neither")
TAGS = ("O", "B-city", "I-city", "B-artist", "I-artist")
Arrays = dict[str, npt.NDArray[Any]]


def tokenizer(pieces: list[str] = PIECES) -> Tokenizer:
    made = Tokenizer(
        models.WordPiece({piece: index for index, piece in enumerate(pieces)}, unk_token="[UNK]")
    )
    made.normalizer = normalizers.BertNormalizer(strip_accents=False)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    made.add_special_tokens(pieces[:5])
    return made


def graph(
    arrays: Arrays, pooled: bool, output: str = "scores", opset: int = 20, ir: int = 10
) -> onnx.ModelProto:
    """Returns embeddings of pieces and types, added, averaged over the mask where pooled, times a matrix."""
    node = helper.make_node
    nodes = [
        node("Gather", ["pieces", "input_ids"], ["a"]),
        node("Gather", ["types", "token_type_ids"], ["b"]),
        node("Add", ["a", "b"], ["added"]),
        node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        node("Unsqueeze", ["mask", "last"], ["column"]),
        node("Mul", ["added", "column"], ["seen"]),
    ]
    if pooled:
        nodes += [
            node("ReduceSum", ["seen", "middle"], ["sum"], keepdims=0),
            node("ReduceSum", ["mask", "middle"], ["number"], keepdims=1),
            node("Div", ["sum", "number"], ["read"]),
        ]
    nodes.append(node("MatMul", ["read" if pooled else "seen", "matrix"], [output]))
    constants = arrays | {"last": np.array([-1]), "middle": np.array([1])}
    names = ("input_ids", "attention_mask", "token_type_ids")
    shape = ["batch", None] if pooled else ["batch", "length", None]
    made = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "length"]) for name in names],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = ir
    return model


def sign(folder: Path) -> None:
    """Writes the manifest of whatever is in a folder."""
    (folder / "manifest.json").unlink(missing_ok=True)
    files = {
        path.name: {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        for path in folder.iterdir()
    }
    (folder / "manifest.json").write_text(json.dumps({"format": 1, "files": files}))


@dataclass(frozen=True)
class Tiny:
    """A bundle on disk, and what its model computes."""

    folder: Path
    arrays: Arrays

    def states(self, first: str, second: str | None = None) -> npt.NDArray[np.float32]:
        """Returns the states of all pieces of a text or a pair."""
        encoded = tokenizer().encode(first, second)
        return self.arrays["pieces"][encoded.ids] + self.arrays["types"][encoded.type_ids]

    def scores(self, first: str, second: str | None = None) -> npt.NDArray[np.float32]:
        """Returns the scores of each piece; their mean is the score of the text."""
        return self.states(first, second) @ self.arrays["matrix"]

    def probabilities(self, first: str, second: str | None = None) -> npt.NDArray[np.float32]:
        return shares(self.scores(first, second).mean(axis=0))


def shares(scores: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)


def make_bundle(folder: Path, kind: str, pairs: bool = False, **changes: Any) -> Tiny:
    """Writes a bundle with weights drawn by its kind; `changes` go into config.json."""
    classes = CLASSES if KINDS[kind].has_classes else ()
    tags = TAGS if KINDS[kind].has_tags else ()
    columns = {"regression": 1, "fill": len(PIECES), "encode": WIDTH}.get(kind, len(classes) + len(tags))
    rng = np.random.default_rng(len(kind))
    shapes = {"pieces": (len(PIECES), WIDTH), "types": (2, WIDTH), "matrix": (WIDTH, columns)}
    arrays: Arrays = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    if kind == "encode":
        arrays["matrix"] = np.eye(WIDTH, dtype=np.float32)
    folder.mkdir(parents=True)
    pooled = KINDS[kind].head == "text"
    onnx.save(graph(arrays, pooled, "states" if kind == "encode" else "scores"), folder / "model.onnx")
    tokenizer().save(str(folder / "tokenizer.json"))
    config = {
        "format": 1,
        "kind": kind,
        "task": None,
        "pairs": pairs,
        "classes": classes,
        "tags": tags,
        "positions": POSITIONS,
        "opset": 20,
        "quantization": "float32",
        "lilliput": "0.1.0",
    }
    (folder / "config.json").write_text(json.dumps(config | changes))
    sign(folder)
    return Tiny(folder, arrays)
