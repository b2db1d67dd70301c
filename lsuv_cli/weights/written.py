"""The written file, filled parameter by parameter as the weights become final."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsuv_cli import __version__
from lsuv_cli.core.choices import Per
from lsuv_cli.core.moments import Float64Array
from lsuv_cli.core.records import Plan
from lsuv_cli.graph.parameters import Parameters, ParameterSource
from lsuv_cli.graph.written_tensors import Naming, parameter_of, tensors_by_parameter
from lsuv_cli.reading.model import OnnxModel
from lsuv_cli.weights.shards import Layout, ShardedWriter, writing_shards

# A float64 in JSON has this many characters at most; shorter ones are padded, so that the header's
# length is known before the scales are.
NUMBER_WIDTH = 24

Scales = Mapping[int, Float64Array]
Advance = Callable[[int, int], None]


class WeightsFile:
    """The written file, or shards, while it is being written."""

    def __init__(
        self,
        writer: ShardedWriter,
        model: OnnxModel,
        naming: Naming,
        others: Mapping[str, NDArray[Any]],
    ) -> None:
        self.writer = writer
        self._model = model
        self._naming = naming
        self._tensors = tensors_by_parameter(naming)
        self._others = others
        self._written: set[str] = set()

    def settle(self, parameters: Collection[str], weights: Parameters) -> None:
        """Write parameters that have become final, and read them from here from now on.

        Args:
            parameters: their names; those that were not changed are written at the end.
            weights: where their values are.
        """
        for parameter in sorted(weights.changed & set(parameters) & self._tensors.keys()):
            self._put(parameter, weights)

    def finish(self, weights: Parameters, advance: Advance) -> None:
        """Write what has not been written: what was not changed, and what is no parameter."""
        for name, stored in self._naming.items():
            if not stored.parameter:
                value = self._others.get(name, np.zeros(stored.info.shape, stored.info.dtype))
                self.writer.put(name, value)
        for done, parameter in enumerate(self._tensors, 1):
            if parameter not in self._written or parameter in weights.changed:
                self._put(parameter, weights)
            advance(done, len(self._tensors))

    def _put(self, parameter: str, weights: Parameters) -> None:
        info = self._model.parameters[parameter]
        value = weights.stored(parameter, info.dtype)
        tensors = {name: self._naming[name] for name in self._tensors[parameter]}
        for name, stored in tensors.items():
            self.writer.put(name, stored.of(value))
        self._written.add(parameter)
        weights.read_from(
            parameter,
            ParameterSource(info, lambda: parameter_of(tensors, info, self.writer.read)),
        )


@contextmanager
def writing_weights(
    layout: Layout,
    model: OnnxModel,
    naming: Naming,
    others: Mapping[str, NDArray[Any]],
    *,
    describe: Callable[[Sequence[str]], Mapping[str, str]],
    force: bool,
) -> Iterator[WeightsFile]:
    """Open the written file; it is there, whole, when the context is left without an error.

    Args:
        layout: which files hold which tensors.
        model: the model.
        naming: the written tensors.
        others: values of tensors that are no parameters of the model.
        describe: the header's texts for a file with some tensors; of the length they will have.
        force: replace existing files.

    Raises:
        OutputError: a file exists, or can't be written.
    """
    infos = {name: stored.info for name, stored in naming.items()}
    with writing_shards(layout, infos, describe, force=force) as writer:
        yield WeightsFile(writer, model, naming, others)


def header_texts(
    model: OnnxModel, plan: Plan, settings: Mapping[str, object], scales: Scales
) -> Callable[[Sequence[str]], Mapping[str, str]]:
    """What the header of a file with some tensors says.

    Args:
        model: the model.
        plan: the layers, their parameters called as they are written.
        settings: what decides the numbers.
        scales: for each scaled layer's index its scale; texts of the same length without them.
    """
    common = {
        "format": "pt",  # the readers of Hugging Face's libraries ask for it
        "lsuv.version": __version__,
        "lsuv.model_sha256": model.sha256,
        "lsuv.seed": str(settings["seed"]),
        "lsuv.options": json.dumps(settings, sort_keys=True),
    }

    def texts(names: Sequence[str]) -> dict[str, str]:
        # A part of a tensor has its name and brackets behind it.
        beginnings = tuple(f"{name}[" for name in names)
        parts = []
        for index in plan.scaled():
            parameter = plan.layers[index].layer.weight_name
            if parameter in names or parameter.startswith(beginnings):
                parts.append(f"{json.dumps(parameter)}: {_scale(index, plan, scales)}")
        return {**common, "lsuv.scales": f"{{{', '.join(parts)}}}"}

    return texts


def _scale(index: int, plan: Plan, scales: Scales) -> str:
    one = math.nan
    if plan.per is Per.LAYER:
        return _number(float(scales.get(index, one)))
    count = plan.layers[index].layer.layout.out_channels
    values = np.broadcast_to(scales.get(index, one), (count,))
    return f"[{', '.join(_number(float(value)) for value in values)}]"


def _number(value: float) -> str:
    return json.dumps(value).rjust(NUMBER_WIDTH)
