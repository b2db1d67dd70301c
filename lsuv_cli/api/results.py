"""What the functions return: reports that print as the command's table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lsuv_cli.core.comparison import Comparison
from lsuv_cli.core.inspection import Inspection
from lsuv_cli.core.records import Report
from lsuv_cli.core.verification import Verification
from lsuv_cli.graph.torch_arrays import as_tensor

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True, repr=False)
class Initialized:
    """The result of `initialize` and `initialize_`.

    Attributes:
        report: what was measured and done at each layer.
        weights: the tensors by name, as the command would write them; bfloat16 as ml_dtypes'.
        own: a module's own state_dict, of which `weights` has all that a file of weights can hold.
    """

    report: Report
    weights: dict[str, NDArray[Any]]
    own: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return (
            f"<Initialized: {len(self.report.layers)} layers, {len(self.report.failures)} of them "
            f"failed, {len(self.weights)} tensors, {self.report.samples} samples>"
        )

    def __str__(self) -> str:
        from lsuv_cli.report.in_memory import init_text

        return init_text(self.report)

    def _repr_html_(self) -> str:
        from lsuv_cli.report.in_memory import init_html

        return init_html(self.report)

    @property
    def converged(self) -> bool:
        """True if every layer is within tolerance."""
        return not self.report.failures

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return the weights as PyTorch tensors, for `load_state_dict`; a module's in its order."""
        tensors = {name: as_tensor(np.array(value)) for name, value in self.weights.items()}
        return {**self.own, **tensors}


@dataclass(frozen=True, slots=True, repr=False)
class Verified:
    """The result of `verify`.

    Attributes:
        report: what was measured at each layer.
    """

    report: Verification

    def __repr__(self) -> str:
        return (
            f"<Verified: {len(self.report.layers)} layers, {len(self.report.failures)} of them "
            f"outside the tolerance, {self.report.samples} samples>"
        )

    def __str__(self) -> str:
        from lsuv_cli.report.in_memory import verification_text

        return verification_text(self.report)

    def _repr_html_(self) -> str:
        from lsuv_cli.report.in_memory import verification_html

        return verification_html(self.report)

    @property
    def within(self) -> bool:
        """True if every layer is within tolerance."""
        return not self.report.failures


@dataclass(frozen=True, slots=True, repr=False)
class Compared:
    """The result of `compare`.

    Attributes:
        report: what was measured at each layer, by initialisation.
    """

    report: Comparison

    def __repr__(self) -> str:
        inits = ", ".join(one.init.value for one in self.report.inits)
        return f"<Compared: {len(self.report.layers)} layers with {inits}>"

    def __str__(self) -> str:
        from lsuv_cli.report.in_memory import comparison_text

        return comparison_text(self.report)

    def _repr_html_(self) -> str:
        from lsuv_cli.report.in_memory import comparison_html

        return comparison_html(self.report)


@dataclass(frozen=True, slots=True, repr=False)
class Inspected:
    """The result of `inspect`.

    Attributes:
        report: the model's inputs and layers.
    """

    report: Inspection

    def __repr__(self) -> str:
        return f"<Inspected: {len(self.report.layers)} layers>"

    def __str__(self) -> str:
        from lsuv_cli.report.in_memory import inspection_text

        return inspection_text(self.report)

    def _repr_html_(self) -> str:
        from lsuv_cli.report.in_memory import inspection_html

        return inspection_html(self.report)
