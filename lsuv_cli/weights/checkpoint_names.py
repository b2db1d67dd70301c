"""Names under which a checkpoint has a model's tensors: tied ones, and those of wrapped modules."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from lsuv_cli.graph.torch_origin import is_uniform
from lsuv_cli.weights.checkpoint import Checkpoint

# What DistributedDataParallel and torch.compile put before the names of the module that they wrap.
PREFIXES = ("module.", "_orig_mod.")


def unwrapped(checkpoint: Checkpoint, names: Collection[str]) -> tuple[Checkpoint, str]:
    """Return a checkpoint without the prefixes of wrapped modules, and what was removed.

    Args:
        checkpoint: the checkpoint.
        names: the names of the model's tensors; a prefix that one of them has is not removed.
    """
    removed = ""
    while checkpoint.infos:
        prefix = next((one for one in PREFIXES if all(n.startswith(one) for n in checkpoint)), "")
        if not prefix or any(name.startswith(prefix) for name in names):
            break
        checkpoint = checkpoint.without_prefix(prefix)
        removed += prefix
    return checkpoint, removed


def tied_name(checkpoint: Checkpoint, name: str, names: Collection[str]) -> str:
    """Return which of some names a checkpoint has the same tensor under as under another name.

    Args:
        checkpoint: the checkpoint.
        name: one of its tensors.
        names: other names, of which it may lack some.

    Returns:
        The first of them that is the same tensor; in a file that keeps no ties, the first of the
        same values, which are not all equal. "" where there is none.
    """
    first = checkpoint.ties.get(name, name)
    for other in names:
        if other in checkpoint and other != name and checkpoint.ties.get(other, other) == first:
            return other
    info = checkpoint.infos[name]
    if checkpoint.ties or info.dtype.type is np.void:
        return ""
    alike = [
        other
        for other in names
        if other != name and other in checkpoint and checkpoint.infos[other] == info
    ]
    value = checkpoint[name] if alike else np.zeros(1)
    if is_uniform(value):
        return ""
    return next((other for other in alike if np.array_equal(checkpoint[other], value)), "")
