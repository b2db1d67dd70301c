"""Variances of the outputs of layers, measured in PyTorch by hooks."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Array = NDArray[Any]


def variances_by_call(model: nn.Module, inputs: tuple[Tensor, ...]) -> dict[str, list[float]]:
    """Return the variances of each layer's outputs, by the layer's name, in the order of calls."""
    found: dict[str, list[float]] = {}

    def hook(name: str) -> Any:
        def note(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            found.setdefault(name, []).append(output.double().var(correction=0).item())

        return note

    kinds = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.Linear)
    for name, module in model.named_modules():
        if isinstance(module, kinds):
            module.register_forward_hook(hook(name))

    def note_packed(name: str) -> Any:
        def note(module: nn.MultiheadAttention, args: Any, _output: Any) -> None:
            packed = nn.functional.linear(args[0], module.in_proj_weight, module.in_proj_bias)
            parts = [part.double().var(correction=0).item() for part in packed.chunk(3, -1)]
            found[f"{name}.in_proj"] = parts

        return note

    for name, module in model.named_modules():
        if isinstance(module, nn.MultiheadAttention):
            module.register_forward_hook(note_packed(name))
            # Called by function, not as a module, so that its own hook never runs.
            found[f"{name}.out_proj"] = [1.0]
    torch.backends.mha.set_fastpath_enabled(False)
    with torch.no_grad():
        model(*inputs)
    return found


def variances_by_layer(model: nn.Module, batch: Array) -> dict[str, float]:
    """Return the variance of the output of each convolution and linear layer, by its name."""
    found: dict[str, float] = {}

    def hook(name: str) -> Any:
        def note(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            found[name] = output.double().var(correction=0).item()

        return note

    handles = [
        module.register_forward_hook(hook(name))
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    ]
    with torch.no_grad():
        model(torch.from_numpy(batch))
    for handle in handles:
        handle.remove()
    return found
