"""Programs exported with a fixed batch size: the batch axis is opened where the graph allows it.

`torch.export.export(module, (x,))` fixes every size, so that the graph has `view(2, 12, 32)` where
the module said `view(x.shape[0], 12, 32)`. Such sizes are found (see `batch_sizes`) and computed
from the input instead, and the graph is exported anew. The result is used only if it computes for
two batches at once what the program computes for each of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lsuv_cli.reading.batch_sizes import open_sizes
from lsuv_cli.reading.program_runs import examples, inference_module, input_values, is_tensor

if TYPE_CHECKING:
    import torch

# float32 sums in another order.
TOLERANCE = 1e-4


def fixed_batch(program: torch.export.ExportedProgram) -> int | None:
    """Return the one batch size that a program was exported for; None where it is dynamic."""
    values = [value for value in input_values(program) if is_tensor(value) and value.ndim]
    sizes = [value.shape[0] for value in values]
    is_fixed = bool(sizes) and all(isinstance(size, int) and size == sizes[0] for size in sizes)
    return sizes[0] if is_fixed else None


def with_open_batch(
    program: torch.export.ExportedProgram,
) -> torch.export.ExportedProgram | None:
    """Return a program with a dynamic batch axis in place of one for a fixed batch size.

    Args:
        program: the program; not modified.

    Returns:
        The program; None where its graph does not allow it.
    """
    import torch

    size = fixed_batch(program)
    spec = program.call_spec.in_spec
    if size is None or spec is None:
        return None
    first, second = (examples(program, factor) for factor in (1.0, 0.5))
    both = [_joined(pair) for pair in zip(first, second, strict=True)]
    try:
        with inference_module(program) as module:
            expected = [
                module(*args, **kwargs) for args, kwargs in map(spec.unflatten, (first, second))
            ]
            if not open_sizes(module, size):
                return None
            args, kwargs = spec.unflatten(both)
            shapes: Any = torch.export.ShapesCollection()  # type: ignore[no-untyped-call]
            batch = torch.export.Dim("batch")
            for value, tensor in zip(input_values(program), both, strict=True):
                if is_tensor(value) and value.ndim:
                    free = (
                        axis for axis, one in enumerate(value.shape) if not isinstance(one, int)
                    )
                    shapes[tensor] = {0: batch, **dict.fromkeys(free, torch.export.Dim.AUTO)}
            opened = torch.export.export(module, args, kwargs, dynamic_shapes=shapes)
            found = opened.module(check_guards=False)(*args, **kwargs)
    except Exception:  # noqa: BLE001 - whatever PyTorch stumbles over in a graph changed like that
        return None
    return opened if _are_equal(found, expected) else None


def _joined(pair: Sequence[Any]) -> Any:
    """Return two batches of an input as one; what has no batch axis is the same in both."""
    import torch

    return torch.cat(list(pair)) if is_tensor(pair[0]) and pair[0].ndim else pair[0]


def _are_equal(found: Any, expected: Sequence[Any]) -> bool:
    """Say whether each output of two batches at once is that of the one and of the other."""
    import torch

    flatten = torch.utils._pytree.tree_leaves  # noqa: SLF001
    leaves, *parts = (flatten(outputs) for outputs in (found, *expected))
    for one, *those in zip(leaves, *parts, strict=True):
        if not is_tensor(one):
            continue
        axis = next((a for a, size in enumerate(those[0].shape) if size != one.shape[a]), None)
        whole = those[0] if axis is None else torch.cat(those, axis)
        if whole.shape != one.shape or not torch.allclose(
            one.double(), whole.double(), rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True
        ):
            return False
    return True
