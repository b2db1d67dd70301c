"""Runs of a program of torch.export on made-up samples, in eval mode."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lsuv_cli.reading.conversion_check import check_conversion
from lsuv_cli.reading.torch_export import ConversionError, quiet
from lsuv_cli.reading.torch_program import ConvertedGraph

if TYPE_CHECKING:
    import torch
    from torch.fx import GraphModule, Node

# Where a symbolic size has no example.
SAMPLES = 2

# What inputs of integers are filled with, in turn. One of them may mask everything, for which
# PyTorch and ONNX define different results; a conversion is wrong where it is with either.
INTEGERS = (1, 0)

# Arguments that make operators random or have them mix samples: their positions and their values
# in eval mode.
INFERENCE: Mapping[str, tuple[int, Any]] = {
    "aten.batch_norm.default": (5, False),
    "aten.dropout.default": (2, False),
    "aten.feature_dropout.default": (2, False),
    "aten.scaled_dot_product_attention.default": (4, 0.0),
}


def input_values(program: torch.export.ExportedProgram) -> list[Any]:
    """Return what each input of a program was exported with, tensors without their data."""
    values = {
        node.name: node.meta.get("val") for node in program.graph.find_nodes(op="placeholder")
    }
    names = program.graph_signature.user_inputs
    return [values.get(name) if isinstance(name, str) else name for name in names]


def is_tensor(value: Any) -> bool:
    """Return whether a value is a tensor, with or without data."""
    return hasattr(value, "ndim")


def examples(program: torch.export.ExportedProgram, factor: float, integer: int = 0) -> list[Any]:
    """Return values for the inputs of a program, in their order: noise, and one integer.

    Args:
        program: the program.
        factor: multiplies the noise, and seeds it.
        integer: what inputs of integers and truth values are filled with.
    """
    import torch

    noise = torch.Generator().manual_seed(int(10 * factor))
    made = []
    for value in input_values(program):
        if not is_tensor(value):
            made.append(value)
        elif value.is_floating_point():
            values = torch.randn(list(map(_size, value.shape)), generator=noise) * factor
            made.append(values.to(value.dtype))
        else:
            sizes = list(map(_size, value.shape))
            made.append(torch.full(sizes, integer).to(value.dtype))
    return made


def _size(size: Any) -> int:
    """Return a size, and of a symbolic one that of the example that it was exported on."""
    # Taken as a number, a symbol would have that value from then on.
    return size if isinstance(size, int) else int(size.node.hint or SAMPLES)


@contextmanager
def inference_module(program: torch.export.ExportedProgram) -> Iterator[GraphModule]:
    """Yield a module that runs a program in eval mode; its buffers are as before afterwards.

    Args:
        program: the program, whose tensors the module shares.
    """
    import torch

    with torch.no_grad(), quiet():
        module = program.module(check_guards=False)
        # It checks the sizes of the inputs.
        module._forward_pre_hooks.clear()  # noqa: SLF001
        for node in module.graph.nodes:
            position, value = _inference_argument(node)
            if len(node.args) > position:
                node.update_arg(position, value)
        module.recompile()
        kept = [(buffer, buffer.clone()) for buffer in module.buffers()]
        try:
            yield module
        finally:
            for buffer, value in kept:
                buffer.copy_(value)


def check_program(program: torch.export.ExportedProgram, converted: ConvertedGraph) -> None:
    """Check that a graph computes what the program computes, if that can be run on made-up samples.

    Args:
        program: the program.
        converted: the graph that it was converted to.

    Raises:
        ConversionError: it does not.
    """
    from lsuv_cli.reading.flat_module import tensors_in

    spec = program.call_spec.in_spec
    in_training = any(
        len(node.args) > position and node.args[position] != value
        for node in program.graph.nodes
        for position, value in (_inference_argument(node),)
    )
    if spec is None or in_training:
        return
    names = [value.name for value in converted.skeleton.graph.input]
    failure: ConversionError | None = None
    with inference_module(program) as module:
        for integer in INTEGERS:
            values = examples(program, 1.0, integer)
            tensors = list(filter(is_tensor, values))
            if len(names) != len(tensors):  # numbers may be inputs, too
                return
            args, kwargs = spec.unflatten(values)

            def run(args: Any = args, kwargs: Any = kwargs) -> list[torch.Tensor]:
                return list(tensors_in(module(*args, **kwargs)))

            try:
                run()
            except Exception:  # noqa: BLE001, S112 - the samples are made up, and may be impossible
                continue
            try:
                check_conversion(converted, run, dict(zip(names, tensors, strict=True)))
            except ConversionError as error:
                failure = error
            else:
                return
    if failure is not None:
        raise failure


def _inference_argument(node: Node) -> tuple[int, Any]:
    """Return the position and the value in eval mode of the argument that differs in training."""
    return INFERENCE.get(str(node.target), (sys.maxsize, None))
