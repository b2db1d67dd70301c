"""New weights written into a module, whole or not at all; and random states left as they were."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch


def load_in_place(state: Mapping[str, Any], new: Mapping[str, torch.Tensor]) -> None:
    """Copy new values into the tensors of a module.

    Args:
        state: the module's state_dict, whose tensors share the module's memory.
        new: values of the same shapes.

    Raises:
        BaseException: whatever ended it, Ctrl-C too; the tensors have the values of before.
    """
    import torch

    replaced: list[tuple[torch.Tensor, torch.Tensor]] = []
    with torch.no_grad():
        try:
            for name, value in new.items():
                own = state[name]
                there = value.to(own.device)
                if not torch.equal(own, there):
                    replaced.append((own, own.clone()))
                    own.copy_(there)
        except BaseException:
            for own, before in reversed(replaced):
                own.copy_(before)
            raise


@contextmanager
def kept_random_states() -> Iterator[None]:
    """Leave the global random states of Python, NumPy and PyTorch as they were."""
    torch = sys.modules.get("torch")
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - that of users' code
    try:
        if torch is None:
            yield
        else:
            devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
            with torch.random.fork_rng(devices):
                yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
