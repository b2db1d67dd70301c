"""What `lsuv inspect` tells of a model without any samples."""

from __future__ import annotations

from dataclasses import dataclass

from lsuv_cli.core.records import InputSpec, PlannedLayer


@dataclass(frozen=True, slots=True)
class InspectedLayer:
    """A layer, before anything is measured.

    Attributes:
        planned: the layer, named as in a file of weights, and what would be done with it.
        onnx_weight: the weight's name in the ONNX file, with the part that it is.
        shares_with: the names of the layers that use elements of its weight, too.
    """

    planned: PlannedLayer
    onnx_weight: str
    shares_with: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class InspectedInput:
    """An input, and what it is to be fed.

    Attributes:
        spec: the input.
        meaning: what samples feed it, in words.
    """

    spec: InputSpec
    meaning: str


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """What a run of `lsuv init` is going to take.

    Attributes:
        samples: how many.
        batch_size: how many of them at once.
        segments: how many there are.
        working_bytes: of memory, while a batch runs.
        kept_bytes: of memory, between segments, at most.
        spilled_bytes: of disk, at most.
        executions: of the model's nodes, in a sweep.
        repeated: those of them that are run again because what they gave is not kept.
        weight_bytes: of the largest segment's weights.
        text: all that in words.
    """

    samples: int
    batch_size: int
    segments: int
    working_bytes: int
    kept_bytes: int
    spilled_bytes: int
    executions: int
    repeated: int
    weight_bytes: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """Everything `lsuv inspect` has to say.

    Attributes:
        version: this tool's version.
        model: the model file's path, as it was given.
        model_sha256: of the model file, in hexadecimal.
        opset: the model's version of the default operator set.
        producer: what wrote the file; "" where it does not tell.
        nodes: how many the graph has.
        parameters: elements of all tensors of a file of weights.
        inputs: what must be fed.
        layers: in execution order.
        left_alone: what looks like a layer but is left as it is, as `name (operator)`.
        plan: what a run is going to take; None where that was not asked.
    """

    version: str
    model: str
    model_sha256: str
    opset: int
    producer: str
    nodes: int
    parameters: int
    inputs: tuple[InspectedInput, ...]
    layers: tuple[InspectedLayer, ...]
    left_alone: tuple[str, ...]
    plan: PlannedRun | None = None
