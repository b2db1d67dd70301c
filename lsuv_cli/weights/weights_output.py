"""The written checkpoint, filled parameter by parameter as the weights become final."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsuv_cli.graph.parameters import Parameters, ParameterSource
from lsuv_cli.graph.written_tensors import Naming, assemble_parameter, tensors_by_parameter
from lsuv_cli.reading.model import OnnxModel
from lsuv_cli.weights.shards import ShardedWriter, ShardPlan, open_sharded_writer

Advance = Callable[[int, int], None]


class WeightsOutput:
    """The open checkpoint that a run writes."""

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

    def put_final(self, parameters: Collection[str], weights: Parameters) -> None:
        """Write parameters that have become final; their values are read from here from then on.

        Args:
            parameters: their names; those that were not changed are left to `put_rest`.
            weights: their values.
        """
        for parameter in sorted(weights.changed & set(parameters) & self._tensors.keys()):
            self._put(parameter, weights)

    def put_rest(self, weights: Parameters, advance: Advance) -> None:
        """Write what has not been written: unchanged parameters, and tensors that are none.

        Args:
            weights: the parameters' values.
            advance: receives the number of parameters written, and of all.
        """
        for name, tensor in self._naming.items():
            if not tensor.parameter:
                value = self._others.get(name, np.zeros(tensor.info.shape, tensor.info.dtype))
                self.writer.put(name, value)
        for done, parameter in enumerate(self._tensors, 1):
            if parameter not in self._written or parameter in weights.changed:
                self._put(parameter, weights)
            advance(done, len(self._tensors))

    def _put(self, parameter: str, weights: Parameters) -> None:
        info = self._model.parameters[parameter]
        value = weights.stored(parameter, info.dtype)
        tensors = {name: self._naming[name] for name in self._tensors[parameter]}
        for name, tensor in tensors.items():
            self.writer.put(name, tensor.of(value))
        self._written.add(parameter)
        weights.read_from(
            parameter,
            ParameterSource(info, lambda: assemble_parameter(tensors, info, self.writer.read)),
        )


@contextmanager
def open_weights_output(
    shards: ShardPlan,
    model: OnnxModel,
    naming: Naming,
    others: Mapping[str, NDArray[Any]],
    *,
    describe: Callable[[Sequence[str]], Mapping[str, str]],
    force: bool,
) -> Iterator[WeightsOutput]:
    """Open the checkpoint to write; its files get their names when the context is left unharmed.

    Args:
        shards: which files hold which tensors.
        model: the model.
        naming: the written tensors.
        others: values of tensors that are not parameters of the model.
        describe: returns the header's texts for a file with some tensors, of their final length.
        force: replace existing files.

    Raises:
        OutputError: a file exists, or can't be written.
    """
    infos = {name: tensor.info for name, tensor in naming.items()}
    with open_sharded_writer(shards, infos, describe, force=force) as writer:
        yield WeightsOutput(writer, model, naming, others)
