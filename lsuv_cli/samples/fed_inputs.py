"""The inputs of a model with the batch axes, shapes and values that options give them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsuv_cli.core.errors import DataError, UsageError
from lsuv_cli.core.options import SampleOptions
from lsuv_cli.core.records import Feeds, InputSpec
from lsuv_cli.samples.input_arrays import fits, same_for_all
from lsuv_cli.samples.input_shapes import with_shapes
from lsuv_cli.samples.normalisation import natural_dtype


@dataclass(frozen=True, slots=True)
class FedInputs:
    """The inputs of a model, and where their values come from.

    Attributes:
        specs: all inputs, with their batch axes and the sizes that `--input-shape` gives.
        constants: what `--feed` gives inputs without a batch axis.
        every_sample: what it gives the others: the array of one sample, which all have.
    """

    specs: Sequence[InputSpec]
    constants: Feeds
    every_sample: Feeds

    @property
    def sampled(self) -> list[InputSpec]:
        """The inputs whose arrays are among the samples."""
        given = self.constants.keys() | self.every_sample.keys()
        return [spec for spec in self.specs if spec.name not in given]


def fed_inputs(inputs: Sequence[InputSpec], options: SampleOptions) -> FedInputs:
    """Return the inputs as options say that they are fed.

    Args:
        inputs: the model's.
        options: those of the samples.

    Raises:
        UsageError: an option contradicts the model's inputs.
    """
    _refuse_unknown("--batch-axis", options.batch_axes, inputs)
    _refuse_unknown("--feed", options.feeds, inputs)
    axes = {
        **{name: None for name in options.feeds if _is_unknown(name, inputs)},
        **options.batch_axes,
    }
    specs = with_shapes([_with_axis(spec, axes) for spec in inputs], options.input_shapes)
    constants: dict[str, NDArray[Any]] = {}
    every_sample: dict[str, NDArray[Any]] = {}
    for spec in specs:
        if spec.name in options.feeds:
            value = np.asarray(options.feeds[spec.name])
            typed = replace(spec, dtype=spec.dtype or natural_dtype(value.dtype))
            if spec.batch_axis is None:
                constants[spec.name] = _given(value, typed)
            else:
                every_sample[spec.name] = _of_one_sample(value, typed)
    if len(constants) + len(every_sample) == len(specs):
        raise UsageError("--feed gives all of the model's inputs a value, and none is left to feed")
    return FedInputs(specs, constants, every_sample)


def _refuse_unknown(option: str, given: Iterable[str], inputs: Sequence[InputSpec]) -> None:
    names = [spec.name for spec in inputs]
    for name in given:
        if name not in names:
            raise UsageError(
                f"{option} {name}: the model has no such input to feed; it has {', '.join(names)}"
            )


def _is_unknown(name: str, inputs: Sequence[InputSpec]) -> bool:
    """Return whether not even the number of an input's axes is known."""
    return any(spec.name == name and spec.shape is None for spec in inputs)


def _with_axis(spec: InputSpec, axes: Mapping[str, int | None]) -> InputSpec:
    if spec.name not in axes:
        return spec
    axis = axes[spec.name]
    if axis is None or spec.shape is None:
        if axis is not None and axis < 0:
            raise UsageError(
                f"--batch-axis {spec.name}={axis}: the model does not tell how many axes that "
                "input has; count from the front, 0 being the first"
            )
        return replace(spec, batch_axis=axis)
    rank = len(spec.shape)
    if not -rank <= axis < rank:
        raise UsageError(
            f"--batch-axis {spec.name}={axis}: the model's input {spec.describe()} has "
            f"{rank} ax{'is' if rank == 1 else 'es'}, the first being 0"
        )
    return replace(spec, batch_axis=axis % rank)


def _given(value: NDArray[Any], spec: InputSpec) -> NDArray[Any]:
    try:
        return same_for_all(value, spec, "--feed: the array")
    except DataError as error:
        raise UsageError(str(error)) from None


def _of_one_sample(value: NDArray[Any], spec: InputSpec) -> NDArray[Any]:
    """Return the array of one sample; one number fills it."""
    sizes = spec.sample_shape or ()
    axis = spec.batch_axis or 0
    if value.ndim == len(sizes) + 1 and value.shape[axis] == 1:
        value = value.squeeze(axis)
    known = tuple(size for size in sizes if size is not None)
    if value.size == 1 and len(known) == len(sizes):
        value = np.broadcast_to(value.reshape(()), known)
    if not fits(value.shape, sizes):
        raise UsageError(
            f"--feed {spec.name}: the array has the shape {list(value.shape)}, and does not fit "
            f"one sample of the model's input {spec.describe()}"
        )
    return _given(value, replace(spec, shape=value.shape, batch_axis=None))
