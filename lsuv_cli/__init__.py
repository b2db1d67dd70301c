"""lsuv: layer-sequential unit-variance initialisation of ONNX models from sample data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lsuv_cli.api import Initialized, initialize
    from lsuv_cli.core.errors import LsuvError, LsuvWarning

__all__ = ["Initialized", "LsuvError", "LsuvWarning", "__version__", "initialize"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # Late, so that the command's --version and --help don't wait for numpy, onnx and ONNX Runtime.
    if name in ("Initialized", "initialize"):
        from lsuv_cli import api

        return getattr(api, name)
    if name in ("LsuvError", "LsuvWarning"):
        from lsuv_cli.core import errors

        return getattr(errors, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
