"""GPUs to plan for that are not here: the rates of their data sheets, and the assumed shares of them.

Rates are NVIDIA's for products of dense matrices, summed up in float32: data sheets of T4, L4, A10G (in AWS's
G5 instances), A100 (80 GB SXM) and H100 (SXM), Ada architecture whitepaper for the RTX 4090. Where one is
given with sparsity, half of it is taken. Nothing here was measured by us.
"""

from dataclasses import dataclass

from lilliput.errors import ConfigError, nearest
from lilliput.planning.cost import step_operations
from lilliput.planning.footprint import Footprint
from lilliput.planning.probes import Load, Pace

PEAK_SHARE = 0.3
"""Share of the peak at which matrix products are assumed to run."""
BANDWIDTH_SHARE = 0.6
"""Share of the bandwidth at which everything else is assumed to run."""
MOVES = 6
"""How often a byte that is kept for the backward pass is assumed to be moved: written and read going forward,
read again going backward, its gradient written, read, and read again."""


@dataclass(frozen=True)
class Gpu:
    """What a data sheet says, in units without prefix."""

    name: str
    """What it is called."""
    dtype: str
    """The precision in which lilliput trains there."""
    peak: float
    """Floating-point operations a second of products of dense matrices in that precision."""
    bandwidth: float
    """Bytes of its memory read or written a second."""
    memory: float
    """Bytes of its memory."""

    def describe(self) -> str:
        """Returns the name, with what is assumed."""
        return (
            f"{self.name}, assumed to reach {PEAK_SHARE:.0%} of {self.peak / 1e12:g} TFLOP/s {self.dtype} "
            f"and {BANDWIDTH_SHARE:.0%} of {self.bandwidth / 1e9:,.0f} GB/s"
        )

    def seconds(self, operations: float, moved: float) -> float:
        """Returns the time for so many operations of products and so many bytes moved besides."""
        return operations / (PEAK_SHARE * self.peak) + moved / (BANDWIDTH_SHARE * self.bandwidth)


_ALL = (
    Gpu("T4", "float32", 8.1e12, 320e9, 16e9),  # its tensor cores know no bfloat16
    Gpu("L4", "bfloat16", 121e12, 300e9, 24e9),
    Gpu("A10G", "bfloat16", 70e12, 600e9, 24e9),
    Gpu("A100", "bfloat16", 312e12, 2039e9, 80e9),
    Gpu("H100", "bfloat16", 989e12, 3350e9, 80e9),
    Gpu("RTX4090", "bfloat16", 165e12, 1008e9, 24e9),
)
GPUS = {gpu.name.lower(): gpu for gpu in _ALL}
"""By name, in small letters."""


def find_gpu(name: str) -> Gpu:
    """Returns the GPU of that name, or raises ConfigError naming the nearest."""
    found = GPUS.get(name.lower().replace(" ", ""))
    if found is None:
        raise ConfigError(f"there are no rates for a GPU called '{name}'; {nearest(name.lower(), GPUS)}")
    return found


def gpu_pace(gpu: Gpu, footprint: Footprint, load: Load) -> Pace:
    """Returns how fast a stage goes on a GPU that is not here, from counts and assumed shares.

    The optimiser moves gradients and weights once each way and its state too; a row that is evaluated takes a
    third of the time of one that is learnt from.
    """
    batch, muon = footprint.stage.batch, footprint.stage.optimizer.name == "muon"
    counted = step_operations(
        footprint.stage.objectives,
        footprint.teacher,
        footprint.student,
        load.batch,
        affine=footprint.affine,
        parts=batch.accumulation,
        muon=muon,
    )
    moved = MOVES * load.kept_bytes * batch.accumulation + 12 * footprint.trained + 2 * footprint.moment_bytes
    seconds = gpu.seconds(sum(part.total for part in counted.values()), moved)
    return Pace(seconds, dict.fromkeys(("teacher", "student"), seconds / batch.rows / 3))
