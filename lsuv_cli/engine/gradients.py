"""The gradients of all layers, by PyTorch's autograd on a translation of the graph."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lsuv_cli.core.indices import LayerIndex
from lsuv_cli.core.layout import FloatArray
from lsuv_cli.core.moments import Moments
from lsuv_cli.core.preinit import generator
from lsuv_cli.core.records import Feeds
from lsuv_cli.instrument.differentiable import DifferentiableGraph

if TYPE_CHECKING:
    from torch import Tensor

EXTRA = "pip install 'lsuv-cli[compare]'"

# Float32 leaves differences of 1e-5 even in deep networks; a wrongly translated operator far more.
TOLERANCE = 1e-3


class NoGradientsError(Exception):
    """There are no gradients; the text is the reason, as a sentence."""


@dataclass(frozen=True, slots=True)
class Signal:
    """The signal in a network, forward and backward.

    Attributes:
        forward: for each layer's index (mean, standard deviation) of its output; without those
            that no sample reaches.
        backward: for each layer's index the standard deviation of the gradient with respect to its
            output; without those on which no output of the model depends.
    """

    forward: Mapping[LayerIndex, tuple[float, float]]
    backward: Mapping[LayerIndex, float]


class Differentiator:
    """Computes the gradients of a graph's layers for any weights.

    onnx2fx translates the graph into PyTorch's operators, on the CPU and in the graph's own
    precision; torch.autograd differentiates.
    """

    def __init__(self, graph: DifferentiableGraph, threads: int) -> None:
        """Translate a graph.

        Args:
            graph: the graph.
            threads: threads within an operator; 0 for PyTorch's own choice.

        Raises:
            NoGradientsError: a library is missing, or can't translate the graph.
        """
        try:
            import torch
            from onnx2fx import convert
        except ImportError as error:
            raise NoGradientsError(
                f"{error.name or 'a library'}, which translates the graph to PyTorch, is not "
                f"installed: {EXTRA}"
            ) from None
        if threads:
            torch.set_num_threads(threads)
        self._graph = graph
        with _refusing("onnx2fx can't translate the graph to PyTorch"):
            self._module = convert(graph.model)

    def run(self, weights: Mapping[str, FloatArray], feeds: Feeds, seed: int) -> Signal:
        """Send samples forward, and a random cotangent of unit variance backward.

        The cotangent of each floating-point output of the model, in their order, is standard
        normal; the gradient is that of the sum of all outputs times their cotangents.

        Args:
            weights: a value for each parameter.
            feeds: samples for each input.
            seed: seeds the cotangent.

        Raises:
            NoGradientsError: the translated graph does not run, or can't be differentiated.
        """
        import torch

        graph = self._graph
        # Copies, since a normalisation in training writes into its running statistics.
        parameters = [
            torch.tensor(np.asarray(weights[name])).requires_grad_(name in graph.weights)
            for name in graph.parameters
        ]
        inputs = [torch.tensor(feeds[name]) for name in graph.inputs]
        with _refusing("PyTorch can't run the translated graph"):
            # As a call it would print the generated code where that fails.
            found = self._module.forward(*inputs, *parameters)
        outputs: Sequence[Tensor] = found if isinstance(found, tuple) else (found,)
        layers = {index: outputs[place] for index, place in graph.layers.items()}
        ends = [
            output
            for output in outputs[: graph.own_outputs]
            if output.is_floating_point() and output.requires_grad
        ]
        if not ends:
            raise NoGradientsError("no floating-point output of the model depends on a layer")
        rng = generator(seed, "cotangent")
        cotangents = [
            torch.from_numpy(rng.standard_normal(tuple(end.shape), np.float32)).to(end.dtype)
            for end in ends
        ]
        with _refusing("PyTorch can't differentiate the graph"):
            gradients = torch.autograd.grad(
                ends, list(layers.values()), cotangents, allow_unused=True
            )
        return Signal(
            {
                index: _mean_and_std(output.detach())
                for index, output in layers.items()
                if output.numel()
            },
            {
                index: _mean_and_std(gradient)[1]
                for index, gradient in zip(layers, gradients, strict=True)
                if gradient is not None and gradient.numel()
            },
        )


def refuse_different(
    signal: Signal, measured: Mapping[LayerIndex, Moments], names: Sequence[str]
) -> None:
    """Refuse gradients of a graph that does not compute what ONNX Runtime does.

    Args:
        signal: that in the translated graph.
        measured: the moments that ONNX Runtime has measured on the same samples.
        names: of the layers.

    Raises:
        NoGradientsError: a layer's output differs.
    """
    for index, (mean, std) in signal.forward.items():
        moments = measured.get(index)
        if moments is None:
            continue  # none of these samples reaches it
        true_mean, true_std = moments.blob_mean, math.sqrt(moments.blob_variance)
        tolerated = TOLERANCE * math.sqrt(float(moments.mean_square.mean()))
        if not math.isfinite(tolerated):
            continue  # beyond the range of float32 the two need not agree on what is left of it
        if not (abs(std - true_std) <= tolerated and abs(mean - true_mean) <= tolerated):
            raise NoGradientsError(
                "the graph translated by onnx2fx does not compute what ONNX Runtime does: at "
                f"{names[index]} the mean and standard deviation are {mean:.4g} and {std:.4g}, "
                f"and not {true_mean:.4g} and {true_std:.4g}"
            )


def _mean_and_std(value: Tensor) -> tuple[float, float]:
    exact = value.double()
    return float(exact.mean()), float(exact.std(correction=0))


@contextmanager
def _refusing(what: str) -> Iterator[None]:
    """Turn an error of another library into one sentence."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    # A translator's handlers, and what they call, raise whatever they like.
    except Exception as error:  # noqa: BLE001
        lines = str(error).strip().splitlines()
        reason = lines[0].rstrip(".") if lines else type(error).__name__
        raise NoGradientsError(f"{what}: {reason}") from None
