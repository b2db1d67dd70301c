"""A PyTorch module in memory as a model file: converted to ONNX, with its own state_dict.

The module stays as it is: a copy of it is run and converted. To be imported only where a module is
at hand: it imports torch.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from lsuv_cli.core.errors import DataError, ModelError
from lsuv_cli.core.records import Feeds, InputSpec
from lsuv_cli.graph.model_source import ModelSource
from lsuv_cli.reading.flat_module import FlatModule
from lsuv_cli.reading.module_call import ModuleCall, batch_forms, call_on, main_inputs
from lsuv_cli.reading.module_copy import eval_copy, has_hooks
from lsuv_cli.reading.module_roads import convert_module
from lsuv_cli.reading.onnx_file import source_of
from lsuv_cli.reading.torch_export import ConversionError, first_line, quiet
from lsuv_cli.reading.torch_program import with_known_ties
from lsuv_cli.reading.torch_state import TorchState, sha256_of_tensors, storage

# The dtypes that a file of weights can hold.
STORED = frozenset(
    (
        torch.float64,
        torch.float32,
        torch.float16,
        torch.bfloat16,
        torch.int64,
        torch.int32,
        torch.int16,
        torch.int8,
        torch.uint8,
        torch.bool,
    )
)


class ModuleFile:
    """A module, read as a model file is.

    Attributes:
        path: what it is called in messages.
        state: the module's state_dict.
        road: how it was converted, in words; "" before that.
        doubt: what may be wrong with the result, in words; "" where nothing is known.
        call: how it is called on a batch; None before `bind`.
    """

    def __init__(self, module: nn.Module, name: str = "") -> None:
        """Copy a module.

        Args:
            module: the module; not changed.
            name: what it is called in messages; "" for its class.

        Raises:
            ModelError: it can't be copied.
        """
        self._inner = unwrapped(module)
        self._copy = eval_copy(self._inner, with_hooks=False)
        self._inputs: dict[str, torch.Tensor] = {}
        self.path = Path(name or type(self._inner).__name__)
        self.call: ModuleCall | None = None
        self.road = self.doubt = ""
        self._tensors = {
            key: value
            for key, value in module.state_dict().items()
            if isinstance(value, torch.Tensor) and value.dtype in STORED
        }
        self.state = TorchState("an exported program", self._tensors, self._save)
        self._own_names = _own_names(self._tensors, self._inner)

    @property
    def example_inputs(self) -> tuple[InputSpec, ...]:
        """The inputs whose examples `source` must be given; none once the module is bound."""
        if self.call is not None:
            return ()
        return tuple(InputSpec(name, "", None) for name in main_inputs(self._inner))

    def bind(self, batch: Any) -> ModuleCall:
        """Find how the module is called on a batch.

        Args:
            batch: a batch of samples, as a loader gives it.

        Raises:
            DataError: its forward takes no part of the batch.
        """
        self.call, self._inputs = self._find_call(batch)
        if has_hooks(self._inner):
            self._keep_hooks_that_matter(self.call)
        return self.call

    def source(self, examples: Feeds) -> ModelSource:
        """Convert to ONNX, nothing folded and nothing renamed.

        Args:
            examples: a few samples for each of `example_inputs`, shape (samples, ...).

        Raises:
            ModelError: no road leads there.
            DataError: the module can't be run on the examples.
        """
        call = self.call or self._bind_examples(examples)
        flat = FlatModule(self._copy, call.arguments)
        try:
            converted = convert_module(flat, self._inputs)
        except ConversionError as error:
            raise ModelError(
                f"{self.path} can't be converted to ONNX: {error}; replace the operation"
            ) from None
        self.road = converted.road
        if converted.doubts:
            self.doubt = (
                "what Python code decides by the samples' values is fixed as the first samples "
                f"have it, at {', '.join(converted.doubts[:3])}; use torch.where or torch.cond"
            )
        graph = converted.graph
        self.state.renamed = {
            key: graph.renamed.get(name, name) for key, name in self._own_names.items()
        }
        sha256 = sha256_of_tensors(self._tensors)
        source = source_of(graph.skeleton, sha256, self.path, graph.parameters)
        return with_known_ties(source, graph)

    def _bind_examples(self, examples: Feeds) -> ModuleCall:
        try:
            return self.bind(dict(examples))
        except DataError:
            # Zeros that stand for samples, which may have to be token ids.
            if any(value.any() for value in examples.values()):
                raise
            return self.bind({name: value.astype(np.int64) for name, value in examples.items()})

    def _find_call(self, batch: Any) -> tuple[ModuleCall, dict[str, torch.Tensor]]:
        failures = []
        for form in batch_forms(self._inner, batch):
            try:
                call = call_on(self._inner, batch, form)
                inputs = self._as_inputs(call.inputs(batch))
                with torch.no_grad(), quiet():
                    FlatModule(self._copy, call.arguments)(*inputs.values())
            except Exception as error:  # noqa: BLE001 - the module's code may raise any
                failures.append(f"{type(error).__name__}: {first_line(error)}")
            else:
                return call, inputs
        raise DataError(
            f"{self.path} can't be called on these samples: {failures[0]}; give batches that its "
            "forward takes: its inputs in order, or a mapping by the names of its parameters"
        )

    def _as_inputs(self, arrays: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """Return two samples or more of each input, on the CPU, as the module computes."""
        tensors = {}
        dtypes = {one.dtype for one in self._copy.parameters() if one.is_floating_point()}
        for name, array in arrays.items():
            value = torch.as_tensor(array).detach().cpu()
            if value.is_floating_point() and len(dtypes) == 1:
                value = value.to(next(iter(dtypes)))
            tensors[name] = torch.cat([value, value]) if len(value) < 2 else value
        return tensors

    def _keep_hooks_that_matter(self, call: ModuleCall) -> None:
        """Take the module's hooks along if they change what it computes; most only look."""
        hooked = eval_copy(self._inner, with_hooks=True)
        with torch.no_grad(), quiet():
            outputs = [
                FlatModule(one, call.arguments)(*self._inputs.values())
                for one in (self._copy, hooked)
            ]
        same = len(outputs[0]) == len(outputs[1]) and all(map(torch.equal, *outputs))
        if not same:
            self._copy = hooked

    def _save(self, file: io.BytesIO) -> None:
        """Write the module with the values that it has now as a program.

        Raises:
            ModelError: torch.export can't export it.
        """
        if self.call is None:
            raise ValueError("the module is not bound")
        # The copy of before has the buffers that it was run with.
        copy = eval_copy(self._inner, with_hooks=False)
        args, kwargs = self.call.arguments(list(self._inputs.values()))
        batch = torch.export.Dim("batch")
        shapes: Any = torch.export.ShapesCollection()  # type: ignore[no-untyped-call]
        for value in self._inputs.values():
            shapes[value] = {0: batch}
        with quiet():
            try:
                program = torch.export.export(copy, args, kwargs, dynamic_shapes=shapes)
            except Exception as error:  # noqa: BLE001 - it runs the module's code
                raise ModelError(
                    f"torch.export can't export {self.path}: {first_line(error)}; write the "
                    "weights alone, without --out-model"
                ) from None
            torch.export.save(program, file)


def unwrapped(module: nn.Module) -> nn.Module:
    """Return the module that torch.compile, DataParallel and the like have wrapped."""
    while True:
        if isinstance(inner := getattr(module, "_orig_mod", None), nn.Module):
            module = inner
        elif isinstance(module, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            module = module.module
        else:
            return module


def _own_names(state: Mapping[str, torch.Tensor], module: nn.Module) -> dict[str, str]:
    """Return the names that the tensors of a state_dict have in the module, by their keys.

    Args:
        state: the state_dict, perhaps of a module around it.
        module: the module.
    """
    named = {
        **dict(module.named_buffers(remove_duplicate=False)),
        **dict(module.named_parameters(remove_duplicate=False)),
    }
    by_storage = {storage(value): name for name, value in reversed(named.items())}
    return {
        key: key if key in named else by_storage.get(storage(value), key)
        for key, value in state.items()
    }
