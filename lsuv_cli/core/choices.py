"""The words that options and reports are made of; free of numpy, which the help can do without."""

from __future__ import annotations

from enum import StrEnum

# The words of --names that are no exporter's; those of exporters are in `names.exporters`.
AUTO_NAMES = "auto"
ONNX_NAMES = "onnx"


class Bias(StrEnum):
    """What becomes of a layer's bias."""

    ZERO = "zero"
    KEEP = "keep"
    CENTER = "center"


class Per(StrEnum):
    """What shares one scale."""

    LAYER = "layer"
    CHANNEL = "channel"


class BatchNorm(StrEnum):
    """What BatchNormalization normalises with during the sweep."""

    BATCH = "batch"
    RUNNING = "running"


class PreInit(StrEnum):
    """What the weights are before they are scaled."""

    ORTHONORMAL = "orthonormal"
    DELTA_ORTHOGONAL = "delta-orthogonal"
    HE = "he"
    XAVIER = "xavier"
    LECUN = "lecun"
    GAUSSIAN = "gaussian"
    KEEP = "keep"


class Init(StrEnum):
    """An initialisation that others can be compared with: LSUV, a draw, or what there is."""

    LSUV = "lsuv"
    ORTHONORMAL = "orthonormal"
    DELTA_ORTHOGONAL = "delta-orthogonal"
    HE = "he"
    XAVIER = "xavier"
    LECUN = "lecun"
    GAUSSIAN = "gaussian"
    KEEP = "keep"

    @property
    def draw(self) -> PreInit | None:
        """What the weights are, where nothing scales them; None for LSUV."""
        return None if self is Init.LSUV else PreInit(self.value)


class Status(StrEnum):
    """How a layer ended."""

    CONVERGED = "converged"
    MAX_ITERATIONS = "max_iterations"
    ZERO_VARIANCE = "zero_variance"
    NON_FINITE = "non_finite"
    UNREACHABLE = "unreachable"
    SHARED = "shared"
    EXCLUDED = "excluded"
    UNSCALED = "unscaled"
    WITHIN = "within"
    OUTSIDE = "outside"

    @property
    def is_failure(self) -> bool:
        """Whether the layer is not what the user asked for, so that the command exits with 4."""
        return self in _FAILURES


_FAILURES = frozenset(
    (
        Status.MAX_ITERATIONS,
        Status.ZERO_VARIANCE,
        Status.NON_FINITE,
        Status.UNREACHABLE,
        Status.OUTSIDE,
    )
)
