"""lsuv: layer-sequential unit-variance initialisation of ONNX models from sample data."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lsuv_cli.api.calls import compare, initialize, initialize_, inspect, verify
    from lsuv_cli.api.results import Compared, Initialized, Inspected, Verified
    from lsuv_cli.core.errors import LsuvError, LsuvWarning

__all__ = [
    "Compared",
    "Initialized",
    "Inspected",
    "LsuvError",
    "LsuvWarning",
    "Verified",
    "__version__",
    "compare",
    "initialize",
    "initialize_",
    "inspect",
    "verify",
]

__version__ = "0.1.0"

# The module that each name is in.
_MODULES = {
    **dict.fromkeys(("compare", "initialize", "initialize_", "inspect", "verify"), "api.calls"),
    **dict.fromkeys(("Compared", "Initialized", "Inspected", "Verified"), "api.results"),
    **dict.fromkeys(("LsuvError", "LsuvWarning"), "core.errors"),
}


def __getattr__(name: str) -> Any:
    # Late, so that the command's --version and --help don't wait for numpy, onnx and ONNX Runtime.
    if name in _MODULES:
        return getattr(import_module(f"lsuv_cli.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
