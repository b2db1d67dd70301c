"""The state_dict of a PyTorch module: its names and tensors beside those of the converted graph."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Collection, Mapping
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

# The buffers of a normalisation that keeps running statistics.
NORM = ("running_mean", "running_var", "num_batches_tracked")
Storage = tuple[int, tuple[int, ...], tuple[int, ...]]


def storage(value: torch.Tensor) -> Storage:
    """Return address, shape and strides, equal for tensors that are the same memory."""
    return value.data_ptr(), tuple(value.shape), tuple(value.stride())


def sha256_of_tensors(state: Mapping[str, torch.Tensor]) -> str:
    """Return the SHA-256 of tensors and their names, in hexadecimal."""
    digest = hashlib.sha256()
    for name, value in state.items():
        digest.update(name.encode())
        digest.update(_contiguous(value).tobytes())
    return digest.hexdigest()


class TorchState:
    """The state_dict of a module or program, which is a `ModelState`.

    Attributes:
        kind: the kind of its files, as in `output_checks.KIND_OF_SUFFIX`.
        doubtful: the names of those tensors that the state_dict may lack.
        renamed: the names in the graph of tensors that have another one there, by their own.
    """

    def __init__(
        self,
        kind: str,
        state: Mapping[str, torch.Tensor],
        save: Callable[[io.BytesIO], object],
        doubtful: frozenset[str] = frozenset(),
    ) -> None:
        """Keep a state_dict.

        Args:
            kind: see the attribute.
            state: the module's own tensors, by name; `with_values` changes them.
            save: writes the module to a file.
            doubtful: see the attribute.
        """
        self.kind = kind
        self.doubtful = doubtful
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

    def needed(self, given: Collection[str]) -> frozenset[str]:
        """Return the tensors that a file of weights must have; see `ModelState.needed`."""
        state = self._state
        held = {storage(value) for name, value in state.items() if name in given}
        return frozenset(
            name
            for name, value in state.items()
            if name in given or (storage(value) not in held and name not in self.doubtful)
        )

    def with_values(self, tensors: Mapping[str, Array]) -> bytes:
        """Return the bytes of a file of the module with other values.

        Args:
            tensors: a value for each name of its state_dict that is `needed`, in any precision.
        """
        import torch

        own = self._state
        given = {storage(value): tensors[name] for name, value in own.items() if name in tensors}
        with torch.no_grad():
            for value in own.values():
                if storage(value) in given:
                    value.copy_(as_tensor(np.array(given[storage(value)])))
        # Saved to a path, the file would hold that path's name.
        buffer = io.BytesIO()
        self._save(buffer)
        return buffer.getvalue()


def doubtful_buffers(module: torch.nn.Module) -> frozenset[str]:
    """Return the buffers of a TorchScript module that its own state_dict may lack.

    TorchScript forgets which buffers are persistent; a normalisation's statistics and step counter
    always are.
    """
    buffers = {name for name, _ in module.named_buffers(remove_duplicate=False)}
    return frozenset(
        name for name in buffers if not {f"{_path(name)}{leaf}" for leaf in NORM} <= buffers
    )


def _path(name: str) -> str:
    return name[: name.rfind(".") + 1]


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
