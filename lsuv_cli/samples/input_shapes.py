"""The shapes of a model's inputs, with `--input-shape`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lsuv_cli.core.errors import UsageError
from lsuv_cli.core.records import InputSpec
from lsuv_cli.samples.input_arrays import fits


def with_shapes(
    inputs: Sequence[InputSpec], shapes: Mapping[str, tuple[int, ...]]
) -> list[InputSpec]:
    """Return the inputs, with the sizes they leave open filled in from `--input-shape`.

    Raises:
        UsageError: that contradicts them, or names no input.
    """
    names = [spec.name for spec in inputs]
    named = {name or names[0]: sizes for name, sizes in shapes.items()}
    if ("" in shapes and len(inputs) + len(shapes) > 2) or not set(named) <= set(names):
        raise UsageError(f"--input-shape must name one of the model's inputs: {', '.join(names)}")
    specs = []
    for spec in inputs:
        sizes = named.get(spec.name)
        if sizes is None:
            specs.append(spec)
            continue
        known = spec.sample_shape
        if known is None or spec.shape is None:
            specs.append(spec.with_sample_shape(sizes))
            continue
        # Users of other tools write the batch axis too; a 1 there can only be that.
        axis = spec.batch_axis
        if axis is not None and len(sizes) == len(spec.shape) and sizes[axis] == 1:
            sizes = sizes[:axis] + sizes[axis + 1 :]
        if not fits(sizes, known):
            raise UsageError(
                f"--input-shape {spec.name}:{','.join(map(str, sizes))} contradicts the model's "
                f"input {spec.describe()}"
            )
        specs.append(spec.with_sample_shape(sizes))
    return specs
