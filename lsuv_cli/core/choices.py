"""The words of options and reports; without numpy, so that the help appears at once."""

from __future__ import annotations

from enum import StrEnum

# The words of --names that are no exporter's; those of exporters are in `names.exporters`.
AUTO_NAMES = "auto"
ONNX_NAMES = "onnx"


class Bias(StrEnum):
    """The treatment of a layer's bias."""

    ZERO = "zero"
    KEEP = "keep"
    CENTER = "center"


class Per(StrEnum):
    """The elements that share one scale."""

    LAYER = "layer"
    CHANNEL = "channel"


class BatchNorm(StrEnum):
    """The statistics that BatchNormalization uses during the sweep."""

    BATCH = "batch"
    RUNNING = "running"


class PreInit(StrEnum):
    """The values of the weights before they are scaled."""

    ORTHONORMAL = "orthonormal"
    DELTA_ORTHOGONAL = "delta-orthogonal"
    HE = "he"
    XAVIER = "xavier"
    LECUN = "lecun"
    GAUSSIAN = "gaussian"
    KEEP = "keep"


class Init(StrEnum):
    """An initialisation to compare: LSUV, a draw, or the model's own weights."""

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
        """The values of the weights where nothing scales them; None for LSUV."""
        return None if self is Init.LSUV else PreInit(self.value)


class Status(StrEnum):
    """The outcome at a layer."""

    CONVERGED = "converged"
    MAX_ITERATIONS = "max_iterations"
    NOISY = "noisy"
    ZERO_VARIANCE = "zero_variance"
    NON_FINITE = "non_finite"
    UNREACHABLE = "unreachable"
    SHARED = "shared"
    EXCLUDED = "excluded"
    FIXED = "fixed"
    UNSCALABLE = "unscalable"
    UNSCALED = "unscaled"
    WITHIN = "within"
    OUTSIDE = "outside"

    @property
    def is_failure(self) -> bool:
        """Return whether the layer missed its target, so that the command exits with 4."""
        return self in _FAILURES


_FAILURES = frozenset(
    (
        Status.MAX_ITERATIONS,
        Status.NOISY,
        Status.ZERO_VARIANCE,
        Status.NON_FINITE,
        Status.UNREACHABLE,
        Status.UNSCALABLE,
        Status.OUTSIDE,
    )
)
