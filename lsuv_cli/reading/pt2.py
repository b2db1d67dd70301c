"""Files of torch.export.save (`.pt2`): converted to ONNX in memory, with the program's state_dict.

Loading one runs no code but PyTorch's own, and imports nothing that the file names; torch is
imported only once such a file is opened.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lsuv_cli.core.errors import ModelError
from lsuv_cli.core.records import Feeds, InputSpec
from lsuv_cli.graph.model_source import ModelSource
from lsuv_cli.reading.model_format import ModelFormat, file_sha256
from lsuv_cli.reading.onnx_file import source_of
from lsuv_cli.reading.open_batch import fixed_batch, with_open_batch
from lsuv_cli.reading.program_runs import check_program
from lsuv_cli.reading.pt2_archive import archive_members, check_archive, is_program
from lsuv_cli.reading.torch_export import ConversionError
from lsuv_cli.reading.torch_program import (
    convert,
    load_program,
    on_cpu,
    with_known_ties,
    without_clashes,
)
from lsuv_cli.reading.torch_state import TorchState, sha256_of_tensors

if TYPE_CHECKING:
    import torch

EXPORT_CALL = (
    'torch.export.export(module.eval(), (x,), dynamic_shapes=({0: torch.export.Dim("batch")},))'
)


class ProgramFile:
    """An exported program, read as a model file is.

    Attributes:
        path: its file, or what it is called in messages.
        example_inputs: none; the program tells its inputs' shapes.
        state: the program's state_dict.
        road: the exporter, in words.
        doubt: "".
    """

    example_inputs: tuple[InputSpec, ...] = ()
    road = "torch.onnx.export(dynamo=True)"
    doubt = ""

    def __init__(
        self,
        path: Path,
        program: torch.export.ExportedProgram,
        sha256: Callable[[], str] | None = None,
    ) -> None:
        """Keep a program.

        Args:
            path: its file, or what it is called in messages.
            program: the program; not changed but by `state.with_values`.
            sha256: returns the SHA-256 of its file, in hexadecimal; None where it has none.
        """
        import torch

        self.path = path
        self._program = program
        self.state = TorchState(PT2.name, program.state_dict, partial(torch.export.save, program))
        self._sha256 = sha256 or partial(sha256_of_tensors, program.state_dict)

    def source(self, _examples: Feeds) -> ModelSource:
        """Convert to ONNX, nothing folded and nothing renamed.

        Raises:
            ModelError: PyTorch's exporter can't convert it.
        """
        program = without_clashes(on_cpu(self._program))
        size = fixed_batch(program)
        if size is not None:
            opened = with_open_batch(program)
            if opened is None:
                raise ModelError(
                    f"{self.path} was exported for batches of exactly {size}; export it with a "
                    f"dynamic batch axis, on two samples or more: {EXPORT_CALL}"
                )
            program = opened
        try:
            converted = convert(program)
            check_program(program, converted)
        except ConversionError as error:
            raise ModelError(
                f"PyTorch's exporter can't convert {self.path} to ONNX: {error}; replace the "
                "operation, or export the model to ONNX yourself"
            ) from None
        self.state.renamed = converted.renamed
        source = source_of(converted.skeleton, self._sha256(), self.path, converted.parameters)
        return with_known_ties(source, converted)


def open_pt2(path: Path, content: bytes | None = None) -> ProgramFile:
    """Open a file of torch.export.save.

    Args:
        path: the file.
        content: its bytes, if they have been read already.

    Raises:
        ModelError: it is no exported program, could only be loaded by running code of its own, or
            is broken.
    """
    archive = check_archive(path, content)
    program = load_program(path, content, archive)
    return ProgramFile(path, program, partial(file_sha256, path, content))


def _is_program(path: Path, content: bytes | None) -> bool:
    return is_program(archive_members(path, content))


PT2 = ModelFormat("an exported program", _is_program, open_pt2)
