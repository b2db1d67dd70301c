"""Files that PyTorch writes: ONNX from both of its exporters, and TorchScript."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from support.tracer import untraced

EXPORTERS = ("script", "script, unfolded", "dynamo")


@untraced()
def export(model: nn.Module, inputs: tuple[Tensor, ...], path: Path, exporter: str) -> None:
    """Export to ONNX with one of `EXPORTERS`; inputs are called `input0`, `input1`, ..."""
    names = [f"input{index}" for index in range(len(inputs))]
    few = tuple(value[:2] for value in inputs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        if exporter == "dynamo":
            batch = torch.export.Dim("batch")
            torch.onnx.export(
                model,
                few,
                str(path),
                dynamo=True,
                input_names=names,
                verbose=False,
                dynamic_shapes=[{0: batch} for _ in inputs],
                external_data=False,
            )
        else:
            whole = exporter == "script"
            mode = torch.onnx.TrainingMode
            torch.onnx.export(
                model,
                few,
                str(path),
                dynamo=False,
                input_names=names,
                dynamic_axes={name: {0: "batch"} for name in names},
                do_constant_folding=whole,
                training=mode.EVAL if whole else mode.PRESERVE,
            )
        logging.disable(logging.NOTSET)


@untraced()
def save_torchscript(model: nn.Module, inputs: tuple[Tensor, ...], path: Path, kind: str) -> None:
    """Save as TorchScript, "traced" or else scripted."""
    trace: Callable[..., Any] = torch.jit.trace
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        few = tuple(value[:2] for value in inputs)
        script = trace(model, few) if kind == "traced" else torch.jit.script(model)
        torch.jit.save(script, path)


def export_with_batch_norm(
    model: nn.Module, path: Path, shape: tuple[int, ...], training: bool = False
) -> Path:
    """Export with BatchNorm kept, as the documentation tells users to."""
    mode = torch.onnx.TrainingMode.TRAINING if training else torch.onnx.TrainingMode.PRESERVE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (torch.zeros(2, *shape),),
            str(path),
            dynamo=False,
            training=mode,
            do_constant_folding=False,
            input_names=["x"],
            dynamic_axes={"x": {0: "n"}},
        )
    return path
