"""Results of `lsuv inspect`: a model's layers and inputs, and the plan of a run."""

from __future__ import annotations

from dataclasses import dataclass

from lsuv_cli.core.records import InputSpec, PlannedLayer


@dataclass(frozen=True, slots=True)
class InspectedLayer:
    """A layer, before anything is measured.

    Attributes:
        planned: the layer, named as in a weights file, and what would be done with it.
        onnx_weight: the weight's name in the ONNX file, with the part of it where it is a part.
        shares_with: the names of other layers that use elements of its weight.
        undecided: whether it is inside an If, Loop or Scan of which the samples decide whether it
            runs, and how often.
    """

    planned: PlannedLayer
    onnx_weight: str
    shares_with: tuple[str, ...]
    undecided: bool = False


@dataclass(frozen=True, slots=True)
class InspectedInput:
    """An input, and the samples that it takes.

    Attributes:
        spec: the input.
        meaning: the samples that feed it, in words.
    """

    spec: InputSpec
    meaning: str


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """Costs that a run of `lsuv init` is expected to have.

    Attributes:
        samples: the number of samples.
        batch_size: samples per batch.
        segments: the number of segments.
        working_bytes: bytes of memory while a batch runs.
        kept_bytes: most bytes of memory between segments.
        spilled_bytes: most bytes on disk.
        executions: executions of the model's nodes in a sweep.
        repeated: executions of nodes that run again because their outputs are not kept.
        weight_bytes: bytes of the largest segment's weights.
        text: the plan in words.
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
    """Results of a run of `lsuv inspect`.

    Attributes:
        version: this tool's version.
        model: the model file's path, as it was given.
        model_sha256: the model file's SHA-256, in hexadecimal.
        opset: the model's version of the default operator set.
        producer: the exporter that wrote the file; "" where the file does not say.
        nodes: the number of nodes in the graph.
        parameters: elements of all tensors in a weights file.
        inputs: the inputs to feed.
        layers: in execution order.
        left_alone: nodes that look like layers but are left as they are, as
            `name (operator): reason`.
        plan: the expected costs of a run; None where they were not requested.
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
