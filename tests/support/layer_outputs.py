"""Outputs of a module's layers before their activations, read by hooks in PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

Note = Callable[[str, Tensor], None]
Probe = Callable[[nn.Module, tuple[Tensor, ...]], Mapping[str, Tensor]]

TOLERANCE = 1e-3  # of --tol; what a run in float32 leaves is about 1e-6
LAYERS = (
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)


def outputs_by_layer(
    module: nn.Module, inputs: tuple[Tensor, ...], probe: Probe | None = None
) -> dict[str, list[Tensor]]:
    """Return each layer's outputs before its activation, a call after the other.

    An attention has the layers `q`, `k`, `v` and `out_proj`; a layer whose weight is computed is
    seen with the weight that it computes.

    Args:
        module: the module, in eval mode.
        inputs: the samples.
        probe: gives the outputs of layers that are no modules.
    """
    found: dict[str, list[Tensor]] = {}

    def note(name: str, output: Tensor) -> None:
        found.setdefault(name, []).append(output.detach())

    handles = []
    for name, one in module.named_modules():
        if isinstance(one, nn.MultiheadAttention):
            hook = partial(_note_attention, note, name)
            handles.append(one.register_forward_hook(hook, with_kwargs=True))
        elif isinstance(one, LAYERS):
            handles.append(one.register_forward_hook(partial(_note_layer, note, name)))
    torch.backends.mha.set_fastpath_enabled(False)
    with torch.no_grad():
        module(*inputs)
        for name, output in (probe(module, inputs) if probe else {}).items():
            note(name, output)
    for handle in handles:
        handle.remove()
    return found


def _note_layer(note: Note, name: str, _module: nn.Module, _inputs: Any, output: Tensor) -> None:
    note(name, output)


def _note_attention(
    note: Note, name: str, module: nn.MultiheadAttention, given: Any, named: Any, output: Any
) -> None:
    sources = dict(zip(("query", "key", "value"), given, strict=False)) | named
    for part, projected in _projections(module, sources).items():
        note(f"{name}.{part}", projected)
    note(f"{name}.out_proj", output[0])


def _projections(module: nn.MultiheadAttention, sources: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return what an attention, called by a function of PyTorch, makes of its three sources."""
    packed = module.in_proj_weight
    weights = (
        packed.chunk(3)
        if packed is not None
        else (module.q_proj_weight, module.k_proj_weight, module.v_proj_weight)
    )
    biases = module.in_proj_bias.chunk(3) if module.in_proj_bias is not None else (None,) * 3
    return {
        part: linear(sources[source], weight, bias)
        for part, source, weight, bias in zip(
            "qkv", ("query", "key", "value"), weights, biases, strict=True
        )
    }


def variance(outputs: Iterable[Tensor]) -> float:
    """Return the population variance of several calls' outputs together, summed in float64."""
    return torch.cat([output.double().flatten() for output in outputs]).var(correction=0).item()


def off_target(
    outputs: Mapping[str, list[Tensor]],
    target_std: float = 1.0,
    passed_over: Iterable[str] = (),
) -> dict[str, float]:
    """Return the variances of the layers that miss their target.

    Args:
        outputs: of each layer; see `outputs_by_layer`.
        target_std: the standard deviation that they are to have.
        passed_over: layers that have no target, and others whose names begin with theirs.
    """
    found = {name: variance(values) for name, values in outputs.items()}
    return {
        name: value
        for name, value in found.items()
        if not abs(value / target_std**2 - 1) <= TOLERANCE
        and not name.startswith(tuple(passed_over))
    }
