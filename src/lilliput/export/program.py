"""Lowers a BERT to a program of ExecuTorch, model.pte, for XNNPACK on phones; and runs it for comparison.

A linear layer of eight or four bits rounds its input to eight bits, scaled by the largest value of each
piece: that is how XNNPACK multiplies small integers. So scores differ a little from those of model.onnx,
which rounds only weights.
"""

import importlib
import importlib.metadata
import warnings
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lilliput.errors import ConfigError, ExtraError
from lilliput.export.forward import Forward
from lilliput.models.quantization import SCHEMES, QuantizationScheme, find_scheme

_GROUP = 32
"""Columns that share a scale in XNNPACK's linear layers of four bits."""
SHORTEST, _EXAMPLE = 2, 7
"""Pieces of the shortest text, [CLS] and [SEP] alone, and of the text that the program is traced with."""


def check(quantization: str) -> None:
    """Raises ExtraError if ExecuTorch is not installed, ConfigError if it has no such quantization."""
    scheme = find_scheme(quantization)
    if 16 in (scheme.weights, scheme.embeddings):
        known = ", ".join(name for name, other in SCHEMES.items() if other.weights != 16)
        raise ConfigError(f"model.pte cannot be made in {quantization}; choose one of {known}")
    try:
        _import("executorch.runtime")
    except ModuleNotFoundError as error:
        raise ExtraError(
            f"model.pte needs the package {error.name}, which is not installed; it comes with: "
            "pip install 'lilliput[executorch]'"
        ) from error
    except ImportError as error:
        raise ExtraError(
            f"ExecuTorch {version()} cannot be loaded with torch {torch.__version__} ({error}); install the "
            "torch that this version was built with: 2.13 for 1.5"
        ) from error


def version() -> str:
    """Returns the installed version of ExecuTorch."""
    return importlib.metadata.version("executorch")


def lower(forward: Forward, positions: int, scheme: QuantizationScheme) -> bytes:
    """Returns the program of a forward pass; also quantizes the pass itself, so that it computes the same.

    Args:
        forward: The forward pass.
        positions: Pieces of the longest text.
        scheme: How weights are stored.

    Raises:
        ConfigError: If XNNPACK has no such linear layers.
    """
    _quantize(forward, scheme)
    exir = _import("executorch.exir")
    xnnpack = _import("executorch.backends.xnnpack.partition.xnnpack_partitioner")
    _import("executorch.kernels.quantized")
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # deprecations in torch's and ExecuTorch's own code
        length = torch.export.Dim("length", min=SHORTEST, max=positions)
        # Two tensors: the same tensor given twice would become one input of the program.
        example = tuple(torch.zeros(1, min(_EXAMPLE, positions), dtype=torch.int64) for _ in range(2))
        exported = torch.export.export(
            forward, example, dynamic_shapes={"input_ids": {1: length}, "token_type_ids": {1: length}}
        )
        edge = exir.to_edge_transform_and_lower(
            exported,
            partitioner=[xnnpack.XnnpackPartitioner()],
            # The check does not know the operators of quantized embeddings.
            compile_config=exir.EdgeCompileConfig(_check_ir_validity=False),
        )
        done = edge.to_executorch(exir.ExecutorchBackendConfig(do_quant_fusion_and_const_prop=True))
    return bytes(done.buffer)


def _quantize(forward: Forward, scheme: QuantizationScheme) -> None:
    """Quantizes linear layers and embeddings; raises ConfigError if XNNPACK has no such layers."""
    grids = forward.grids(scheme)
    for module, grid in grids.items():
        columns = module.weight.shape[1]
        if grid.bits == 4 and isinstance(module, nn.Linear) and columns % _GROUP:
            raise ConfigError(
                f"ExecuTorch has linear layers of 4 bits in groups of {_GROUP} columns, and one of this "
                f"model has {columns}; choose mixed, which has 4 bits only in embeddings, or int8"
            )
    if scheme.weights == scheme.embeddings == 32:
        return
    tools = _import("torchao.quantization")
    for module, grid in grids.items():
        if grid.bits == 32:
            continue
        kind = getattr(torch, f"int{grid.bits}")
        scales = tools.PerGroup(grid.length(module.weight.shape[1])) if grid.bits == 4 else tools.PerAxis(0)
        if isinstance(module, nn.Linear):
            config = tools.Int8DynamicActivationIntxWeightConfig(weight_dtype=kind, weight_granularity=scales)
        else:
            config = tools.IntxWeightOnlyConfig(weight_dtype=kind, granularity=scales)
        tools.quantize_(forward, config, lambda found, _, own=module: found is own)


class Program:
    """A program that runs on this machine, one text after the other."""

    def __init__(self, content: bytes) -> None:
        runtime = _import("executorch.runtime")
        _import("executorch.kernels.quantized")
        self._loaded = runtime.Runtime.get().load_program(content, verification=runtime.Verification.Minimal)
        self._method = self._loaded.load_method("forward")

    def run(self, inputs: dict[str, Tensor]) -> NDArray[np.float32]:
        """Returns the scores of a batch [B, columns] or [B, L, columns], with zeros at padding."""
        return by_text(lambda ids, types: cast(Tensor, self._method.execute([ids, types])[0]), inputs)


def by_text(forward: Any, inputs: dict[str, Tensor]) -> NDArray[np.float32]:
    """Returns the scores of a batch, computed one text at a time, with zeros at padding.

    Args:
        forward: The pieces and types of one text -> its scores, with an axis of one text.
        inputs: `input_ids`, `attention_mask` and `token_type_ids` [B, L]; padding is at the end.
    """
    ids, types = inputs["input_ids"], inputs["token_type_ids"]
    rows = []
    for row, length in enumerate(inputs["attention_mask"].sum(1).tolist()):
        scores = forward(ids[row : row + 1, :length].contiguous(), types[row : row + 1, :length].contiguous())
        found = scores[0].detach().numpy().copy()
        rows.append(np.pad(found, ((0, ids.shape[1] - length), (0, 0))) if found.ndim == 2 else found)
    return np.stack(rows)


def _import(name: str) -> Any:
    """Returns a module of ExecuTorch, imported without deprecation warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(name)
