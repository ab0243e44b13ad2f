"""The one place that opens graphs with onnxruntime."""

import functools
from pathlib import Path

import numpy as np
import onnxruntime

from lilliput.errors import BundleError, first_line, printable

_PROBE = bytes.fromhex(
    "08053a580a180a01610a0162120163220d4d61744d756c496e74656765721201702a0f0804080110034201624a047f7f"
    "7f7f5a130a0161120e0a0c080212080a0208010a02080462130a0163120e0a0c080612080a0208010a02080142040a00"
    "100a"
)
"""A graph that multiplies [1, 4] numbers `a`, uint8, with four times 127, int8."""


def open_session(
    path: Path, threads: int, content: bytes | None = None, *, own_settings: bool = False
) -> onnxruntime.InferenceSession:
    """Opens a graph; raises BundleError where onnxruntime refuses it.

    Args:
        path: The file, or where `content` comes from.
        threads: Threads that compute one batch.
        content: The graph of a bundle, read and checked; without it onnxruntime reads the file.
        own_settings: Whether the graph is opened as onnxruntime does by default, not as a bundle's.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # errors are raised; they need not be printed too
    if not own_settings:
        _bundle_settings(options, path)
        if content is not None and b"MatMulIntegerToFloat" in content:
            _integer_settings(options)
    try:
        return onnxruntime.InferenceSession(
            path if content is None else content, options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # the library raises kinds of its own that have no common ancestor
        raise BundleError(
            f"{path} cannot be opened by onnxruntime {onnxruntime.__version__} ({first_line(error)}); if it "
            "was made for a newer one: pip install --upgrade onnxruntime; else export it again"
        ) from error


@functools.cache
def sums_exactly() -> bool:
    """Returns whether onnxruntime multiplies uint8 with int8 exactly here, whatever the numbers.

    On x86 without VNNI it sums two products in 16 bits, which may overflow.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(_PROBE, options, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"a": np.full((1, 4), 255, np.uint8)})
    return bool(found.item() == 4 * 255 * 127)


def _integer_settings(options: onnxruntime.SessionOptions) -> None:
    """Sets what a graph that multiplies integers needs."""
    # Saves a tenth of the time of a short text, for 1.5 kB for each shape of a batch (`texts.BATCH_PIECES`).
    options.enable_mem_pattern = True
    if not sums_exactly():
        # Multiplies uint8 with uint8, about as fast as floats. That takes more rewriting of the graph.
        options.add_session_config_entry("session.x64quantprecision", "1")
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED


def _bundle_settings(options: onnxruntime.SessionOptions, path: Path) -> None:
    """Sets what opens a bundle fast and reads nothing but the graph that was checked."""
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # More rewriting of the graph takes a third longer to open it and gains nothing measurable on batches.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    # A plan of memory for every shape that was seen; products of floats did not get faster.
    options.enable_mem_pattern = False
    # Weights in other files were not checked, so they are looked for where no file can be: below a file.
    options.add_session_config_entry("session.load_model_format", "ONNX")  # the one that was checked
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", printable(str(path))
    )
