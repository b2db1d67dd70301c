"""The frozen records that pass from stage to stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsuv_cli.core.choices import Bias, Per, Status
from lsuv_cli.core.distribution import Distribution
from lsuv_cli.core.indices import LayerIndex, WeightIndex, by_layer
from lsuv_cli.core.layout import WeightLayout
from lsuv_cli.core.moments import Moments
from lsuv_cli.core.scale_rule import ScaleRule, ScaleTarget


@dataclass(frozen=True, slots=True)
class ScaledPart:
    """A parameter of a computed weight that is multiplied by the layer's scale.

    Attributes:
        value: the graph value that holds it: a parameter or a view of one.
        name: the name under which it is written, like `Layer.weight_name`.
        channel_axis: the axis of its output channels; None where it has none, or none is known.
    """

    value: str
    name: str
    channel_axis: int | None = None


@dataclass(frozen=True, slots=True)
class Layer:
    """A node that is linear in a constant weight.

    Attributes:
        name: what it is called: its module's path where the exporter's framework has one, with the
            part of the weight in brackets and the number of a later call behind it; else `node`.
        node: the node's name, or its first output's where it has none.
        op: the node's operator.
        weight_value: the graph value that holds the weight: a parameter or a view of one. Of a
            weight that is computed from parameters, the view of the one that holds the matrix or,
            where none does, the first of them.
        weight_name: the name under which the weight is written, and which part of that tensor it
            is; its name in the model until names are chosen.
        original_weight_name: the parameter of the model that the weight is, and which part of it.
        tied_values: other graph values that show elements of the weight.
        bias_value: the graph value that holds the bias; None without one.
        bias_name: the name under which the bias is written, like `weight_name`; None without one.
        bias_shape: the shape of `bias_value`; () without one.
        bias_values: the graph values that show elements of the bias, its own included.
        has_fixed_bias: whether training does not change the bias, as far as the file tells.
        foreign_addend: whether the node itself adds something that is no bias of its own.
        foreign_use: the name of a node that is no layer and reads the weight too; "" if none.
        dtype: the parameter's dtype.
        layout: the weight's shape and the meaning of its axes.
        output: the graph value that holds the layer's output, its bias added; "" for a recurrent
            matrix.
        parameter_count: elements of weight and bias.
        recurrent: whether it is a recurrent layer's matrix on its own last output, which is drawn
            and never scaled.
        computed_weight: the graph value of a weight that is computed from parameters; "" for one
            that is a parameter.
        scaled_parts: the parameters of a computed weight that are multiplied by its scale.
        is_drawn: whether `weight_value` is drawn: not where no parameter holds the matrix, or none
            scales a computed weight.
        computed_bias: the values whose zeros make zero of a bias that is computed from them.
    """

    name: str
    node: str
    op: str
    weight_value: str
    weight_name: str
    original_weight_name: str
    tied_values: frozenset[str]
    bias_value: str | None
    bias_name: str | None
    bias_shape: tuple[int, ...]
    bias_values: frozenset[str]
    has_fixed_bias: bool
    foreign_addend: bool
    foreign_use: str
    dtype: np.dtype[Any]
    layout: WeightLayout
    output: str
    parameter_count: int
    recurrent: bool = False
    computed_weight: str = ""
    scaled_parts: tuple[ScaledPart, ...] = ()
    is_drawn: bool = True
    computed_bias: tuple[str, ...] = ()

    @property
    def weight_values(self) -> frozenset[str]:
        """Every graph value that shows elements of the weight."""
        return self.tied_values | {self.weight_value}


@dataclass(frozen=True, slots=True)
class PlannedLayer:
    """A layer and its treatment.

    Attributes:
        layer: the layer.
        target_std: the standard deviation its output is to have.
        bias: the treatment of its bias.
        first_use: its weight, by the index of the first layer that uses it, possibly its own.
        needs_more_sweeps: whether its scale may not be final after one sweep, because the weight is
            also used where the sweep does not follow it.
        swept: whether the sweep measures it and follows its scale.
        skipped: the reason why the layer is left as it is; None where it is initialised.
        skipped_status: the status of a skipped layer.
    """

    layer: Layer
    target_std: float
    bias: Bias
    first_use: WeightIndex
    needs_more_sweeps: bool = False
    swept: bool = True
    skipped: str | None = None
    skipped_status: Status = Status.EXCLUDED

    @property
    def centres(self) -> bool:
        """Return whether the layer's bias is set so that each channel's mean is zero.

        One bias for all channels can only centre the blob, which leaves its variance alone.
        """
        layer = self.layer
        vector = max(layer.bias_shape, default=1) > 1 or layer.layout.out_channels == 1
        return self.bias is Bias.CENTER and layer.bias_value is not None and vector


@dataclass(frozen=True, slots=True)
class Plan:
    """The treatment of a model's layers.

    Attributes:
        layers: every layer, in execution order.
        per: the elements that share one scale.
        rule: the rule that scales them.
    """

    layers: tuple[PlannedLayer, ...]
    per: Per
    rule: ScaleRule

    def target(self, index: LayerIndex) -> ScaleTarget:
        """Return the output that a layer is to have."""
        planned = self.layers[index]
        return ScaleTarget(planned.target_std, self.per is Per.CHANNEL, planned.centres)

    @property
    def needs_more_sweeps(self) -> bool:
        """Return whether one sweep may not be enough for every scale to be final."""
        return any(planned.needs_more_sweeps for planned in self.layers)

    def initialised(self) -> list[WeightIndex]:
        """Return the weights that are drawn."""
        return [
            planned.first_use
            for index, planned in by_layer(self.layers)
            if planned.skipped is None and planned.first_use == WeightIndex(index)
        ]

    def scaled(self) -> list[WeightIndex]:
        """Return the weights that get a scale."""
        return [weight for weight in self.initialised() if self.layers[weight].swept]


@dataclass(frozen=True, slots=True)
class InputSpec:
    """An input of the model.

    Attributes:
        name: its name.
        dtype: its numpy dtype's name; "" where the model does not tell.
        shape: its shape, the batch axis included; None for a size the model leaves open, or for
            all of it.
        batch_axis: the axis along which samples lie; None where the input is the same for all.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...] | None
    batch_axis: int | None = 0

    @property
    def declared_batch(self) -> int | None:
        """The number of samples that the model declares; None where it leaves it open."""
        if self.shape is None or self.batch_axis is None:
            return None
        return self.shape[self.batch_axis]

    @property
    def sample_shape(self) -> tuple[int | None, ...] | None:
        """The shape of one sample; None where the model leaves it open."""
        if self.shape is None or self.batch_axis is None:
            return self.shape
        return self.shape[: self.batch_axis] + self.shape[self.batch_axis + 1 :]

    def opened(self) -> InputSpec:
        """Return the input with any number of samples."""
        axis = self.batch_axis
        if self.shape is None or axis is None:
            return self
        return replace(self, shape=(*self.shape[:axis], None, *self.shape[axis + 1 :]))

    def with_sample_shape(self, sizes: Sequence[int | None]) -> InputSpec:
        """Return the input with the sizes of one sample filled in."""
        axis = self.batch_axis
        if axis is None:
            return replace(self, shape=tuple(sizes))
        return replace(self, shape=(*sizes[:axis], self.declared_batch, *sizes[axis:]))

    def fed(self, sample_shape: tuple[int, ...], dtype: np.dtype[Any]) -> InputSpec:
        """Return the input with the samples' own shape and dtype, the batch axis open."""
        filled = self.with_sample_shape(sample_shape)
        return replace(filled.opened(), dtype=dtype.name)

    def describe(self) -> str:
        """Return the name and shape in one word, `x:?,3,224,224`."""
        if not self.shape:
            return self.name
        sizes = ",".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.name}:{sizes}"


Feeds = Mapping[str, NDArray[Any]]
Specs = Mapping[str, InputSpec]


@dataclass(frozen=True, slots=True)
class InputStatistics:
    """The measured values of one input, per channel and in total."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    mean: float
    std: float
    channel_mean: tuple[float, ...] = ()
    channel_std: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class LayerResult:
    """The result at one layer.

    Attributes:
        planned: the layer and its target.
        status: how it ended.
        detail: the status's reason in words; empty where there is nothing to add.
        scale: () or (out_channels,) float64, written weight over pre-initialised weight.
        iterations: sweeps that set the scale.
        before: moments of the output with the weights the model file has; None if not measured.
        after: moments of the output with the weights that were written; None if not measured.
        deviation: of that output from its target; None if not measured.
    """

    planned: PlannedLayer
    status: Status
    detail: str
    scale: NDArray[np.float64]
    iterations: int
    before: Moments | None
    after: Moments | None
    deviation: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """The report of any job with samples.

    Attributes:
        version: this tool's version.
        model: the model file's path, as it was given.
        model_sha256: of the model file, in hexadecimal.
        opset: the model's version of the default operator set.
        settings: the options that decide the numbers, by name.
        device: the device that the sessions ran on.
        per: the elements that shared one scale.
        tol: tolerated |Var / target_std^2 - 1|.
        samples: samples that were fed.
        processes: how many shared them.
        available_samples: samples that were found.
        skipped_samples: (file, reason) of what could not be read.
        inputs: the measured values of each input.
        left_alone: nodes that look like layers but are left as they are, as
            `name (operator): reason`.
    """

    version: str
    model: str
    model_sha256: str
    opset: int
    settings: Mapping[str, object]
    device: str
    per: Per
    tol: float
    samples: int
    processes: int
    available_samples: int
    skipped_samples: tuple[tuple[str, str], ...]
    inputs: tuple[InputStatistics, ...]
    left_alone: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Report(RunReport):
    """The report of `lsuv init`.

    Attributes:
        out: the written file's path, as it was given.
        files: the written files' paths: the same one, or shards and last their index.
        bytes_written: their size, but for the index.
        layers: in execution order.
        distributions: for each layer that was looked at how its output is distributed with the
            written weights; empty unless that was asked for.
    """

    out: str
    files: tuple[str, ...]
    bytes_written: int
    layers: tuple[LayerResult, ...]
    distributions: Mapping[LayerIndex, Distribution] = field(default_factory=dict)

    @property
    def failures(self) -> tuple[LayerResult, ...]:
        """The layers that missed their targets."""
        return tuple(result for result in self.layers if result.status.is_failure)
