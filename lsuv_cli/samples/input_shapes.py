"""The shapes of a model's inputs, with `--input-shape`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from lsuv_cli.core.errors import UsageError
from lsuv_cli.core.records import InputSpec


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
        if spec.shape is None:
            specs.append(replace(spec, shape=(None, *sizes)))
            continue
        # Users of other tools write the batch axis too; a leading 1 can only be that.
        sizes = sizes[1:] if len(sizes) == len(spec.shape) and sizes[0] == 1 else sizes
        if len(sizes) != len(spec.shape) - 1 or any(
            known not in (None, size) for known, size in zip(spec.shape[1:], sizes, strict=True)
        ):
            raise UsageError(
                f"--input-shape {spec.name}:{','.join(map(str, sizes))} contradicts the model's "
                f"input {spec.describe()}"
            )
        specs.append(replace(spec, shape=(spec.shape[0], *sizes)))
    return specs
