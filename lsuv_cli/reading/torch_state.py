"""The state_dict of a PyTorch module: its names and tensors beside those of the converted graph."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lsuv_cli.core.layout import TensorInfo
from lsuv_cli.graph.parameters import Parameters
from lsuv_cli.graph.torch_arrays import as_numpy, as_tensor
from lsuv_cli.graph.torch_origin import MADE_UP
from lsuv_cli.graph.written_tensors import Naming, WrittenTensor, written_as
from lsuv_cli.reading.model import OnnxModel

if TYPE_CHECKING:
    import torch

Array = NDArray[Any]
Storage = tuple[int, tuple[int, ...], tuple[int, ...]]


def storage(value: torch.Tensor) -> Storage:
    """Return address, shape and strides, equal for tensors that are the same memory."""
    return value.data_ptr(), tuple(value.shape), tuple(value.stride())


class TorchState:
    """The state_dict of a module or program, which is a `ModelState`.

    Attributes:
        kind: the kind of its files, as in `output_checks.KIND_OF_SUFFIX`.
        renamed: the names in the graph of tensors that have another one there, by their own.
    """

    def __init__(
        self, kind: str, state: Mapping[str, torch.Tensor], save: Callable[[io.BytesIO], object]
    ) -> None:
        """Keep a state_dict.

        Args:
            kind: see the attribute.
            state: the module's own tensors, by name; `with_values` changes them.
            save: writes the module to a file.
        """
        self.kind = kind
        self._state = state
        self._save = save
        self.renamed: Mapping[str, str] = {}

    def naming(self, model: OnnxModel, parameters: Parameters) -> tuple[Naming, dict[str, Array]]:
        """Return the tensor of each name, and the values of those that the graph does not hold.

        A tensor with several names is written under each. Of a scripted module's recurrent layers
        the exporter loses the names, and the values tell.
        """
        naming: dict[str, WrittenTensor] = {}
        others: dict[str, Array] = {}
        by_storage: dict[Storage, str] = {}
        state = self._state
        for name, value in state.items():
            parameter = self.renamed.get(name, name)
            if parameter in model.parameters:
                by_storage[storage(value)] = parameter
        nameless = {n: v for n, v in state.items() if storage(v) not in by_storage}
        for name, parameter in _by_value(model, parameters, nameless).items():
            by_storage[storage(state[name])] = parameter
        for name, value in state.items():
            parameter = self.renamed.get(name, name)
            is_own = parameter in model.parameters
            source = parameter if is_own else by_storage.get(storage(value), "")
            if source:
                naming[name] = written_as(source, model.parameters[source])
            else:
                others[name] = _contiguous(value)
                naming[name] = WrittenTensor("", (), TensorInfo(value.shape, others[name].dtype))
        return naming, others

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each tensor of the state_dict."""
        return {name: tuple(value.shape) for name, value in self._state.items()}

    def with_values(self, tensors: Mapping[str, Array]) -> bytes:
        """Return the bytes of a file of the module with other values.

        Args:
            tensors: a value for each name of its state_dict, in any precision.
        """
        import torch

        with torch.no_grad():
            for name, value in self._state.items():
                value.copy_(as_tensor(np.array(tensors[name])))
        # Saved to a path, the file would hold that path's name.
        buffer = io.BytesIO()
        self._save(buffer)
        return buffer.getvalue()


def _by_value(
    model: OnnxModel, parameters: Parameters, state: Mapping[str, torch.Tensor]
) -> dict[str, str]:
    """Find the parameters that have lost their names, by the names of tensors of equal value.

    Among equals, a new layer's zero biases say, both are in the order of the module.
    """
    found: dict[str, str] = {}
    lost = [name for name in model.parameters if MADE_UP.fullmatch(name)]
    for name, value in state.items():
        array = _contiguous(value)
        for parameter in lost:
            info = model.parameters[parameter]
            if (info.shape, info.dtype) == (array.shape, array.dtype) and np.array_equal(
                parameters.stored(parameter, info.dtype), array
            ):
                found[name] = parameter
                lost.remove(parameter)
                break
    return found


def _contiguous(value: torch.Tensor) -> Array:
    return np.require(as_numpy(value), requirements="C")
