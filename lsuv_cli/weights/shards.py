"""Weights in one file, or in several and an index in Hugging Face's convention.

`model.safetensors` in three shards is `model-00001-of-00003.safetensors` and so on, with
`model.safetensors.index.json` telling which shard holds which tensor.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lsuv_cli.core.errors import OutputError
from lsuv_cli.core.layout import FloatArray, TensorInfo
from lsuv_cli.weights.atomic_files import explaining, replacing_files
from lsuv_cli.weights.formats import writer_for
from lsuv_cli.weights.output_checks import check_output, existing_output
from lsuv_cli.weights.weights_format import WeightsWriter

Tensors = Mapping[str, TensorInfo]


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """A checkpoint's files, and the tensors in each.

    Attributes:
        target: the file that the user asked for.
        shards: for each file the names of its tensors, in order; a single file is the target.
    """

    target: Path
    shards: Mapping[Path, Sequence[str]]

    @property
    def index(self) -> Path | None:
        """The index of the shards; None for a single file."""
        if len(self.shards) == 1:
            return None
        return self.target.with_name(f"{self.target.name}.index.json")

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file that will be written, the index last."""
        return (*self.shards, *([self.index] if self.index else ()))

    def bytes_written(self) -> int:
        """Return the bytes of all written files but the index."""
        return sum(path.stat().st_size for path in self.shards)

    def outdated(self) -> list[Path]:
        """Return files of an earlier run that would be loaded in place of these, or beside them."""
        index = self.target.with_name(f"{self.target.name}.index.json")
        shard = re.compile(rf"{re.escape(self.target.stem)}-\d{{5}}-of-\d{{5}}")
        found = [index, self.target]
        if _is_file(index):
            with contextlib.suppress(ValueError, AttributeError):
                names = set(json.loads(index.read_bytes())["weight_map"].values())
                found += [index.with_name(name) for name in sorted(names)]
        return [
            path
            for path in found
            if path not in self.files
            and _is_file(path)
            and (path in (index, self.target) or shard.fullmatch(path.stem))
        ]


def _is_file(path: Path) -> bool:
    """Return whether there is such a file, which there is not if the name is too long."""
    return os.path.isfile(path)  # noqa: PTH113 - Path.is_file raises for such a name


def plan_shards(target: Path, tensors: Tensors, max_bytes: int | None) -> ShardPlan:
    """Plan shards, filling one after the other in the tensors' order.

    Args:
        target: the file that a single shard is.
        tensors: shape and dtype of each tensor to be written.
        max_bytes: most bytes of tensors in a shard, unless one tensor alone has more; None for a
            single file.
    """
    shards: list[list[str]] = [[]]
    size = 0
    for name, info in tensors.items():
        if max_bytes is not None and shards[-1] and size + info.nbytes > max_bytes:
            shards.append([])
            size = 0
        shards[-1].append(name)
        size += info.nbytes
    if len(shards) == 1:
        return ShardPlan(target, {target: shards[0]})
    count = len(shards)
    return ShardPlan(
        target,
        {
            target.with_name(f"{target.stem}-{i:05}-of-{count:05}{target.suffix}"): names
            for i, names in enumerate(shards, 1)
        },
    )


def check_shards(plan: ShardPlan, *, force: bool) -> None:
    """Refuse files that can't be written, before any work is done.

    Raises:
        OutputError: one can't be written, or would be loaded in place of what is.
    """
    for path in plan.files:
        with explaining(path):
            check_output(path, force=force)
    if not force and (outdated := plan.outdated()):
        raise OutputError(existing_output(outdated[0]))


class ShardedWriter:
    """The open files of a checkpoint, filled tensor by tensor."""

    def __init__(
        self,
        writers: Mapping[Path, WeightsWriter],
        plan: ShardPlan,
    ) -> None:
        self._writers = writers
        self._plan = plan
        self._shard_of = {name: path for path, names in plan.shards.items() for name in names}

    def put(self, name: str, value: FloatArray) -> None:
        """Write a tensor, in place of what was written before."""
        self._writers[self._shard_of[name]].put(name, value)

    def read(self, name: str) -> FloatArray:
        """Read a tensor back from its file."""
        return self._writers[self._shard_of[name]].read(name)

    def set_metadata(self, metadata: Callable[[Sequence[str]], Mapping[str, str]]) -> None:
        """Replace each header's texts by others of the same length, given its tensors' names."""
        for path, names in self._plan.shards.items():
            self._writers[path].set_metadata(metadata(names))


@contextmanager
def open_sharded_writer(
    plan: ShardPlan,
    tensors: Tensors,
    metadata: Callable[[Sequence[str]], Mapping[str, str]],
    *,
    force: bool,
) -> Iterator[ShardedWriter]:
    """Open a checkpoint's files beside their targets, and rename them at the end.

    On any exception nothing is left behind.

    Args:
        plan: the files, and the tensors in each.
        tensors: shape and dtype of each tensor.
        metadata: returns the header's texts for a file with some tensors.
        force: replace existing files.

    Raises:
        OutputError: a file exists (without `force`), or can't be written.
    """
    create = writer_for(plan.target)
    # The index last, so that it never tells of shards that are not there yet.
    with replacing_files(plan.files, force=force) as pending:
        with explaining(plan.target):
            writers = {}
            for one, names in zip(pending, plan.shards.values(), strict=False):
                infos = {name: tensors[name] for name in names}
                writers[one.target] = create(one.file, one.temporary, infos, metadata(names))
            if plan.index is not None:
                pending[-1].file.write(_index(plan, tensors))
            yield ShardedWriter(writers, plan)
            for writer in writers.values():
                writer.finish()
            for one in pending:
                one.file.flush()
        if force:
            # First, so that no index ever tells of shards of which some are new.
            for path in (*plan.outdated(), *filter(None, (plan.index,))):
                path.unlink(missing_ok=True)


def _index(plan: ShardPlan, tensors: Tensors) -> bytes:
    weight_map = {name: path.name for path, names in plan.shards.items() for name in names}
    total = sum(info.nbytes for info in tensors.values())
    index = {
        "metadata": {"total_size": total},
        "weight_map": dict(sorted(weight_map.items())),
    }
    return (json.dumps(index, indent=2, ensure_ascii=False) + "\n").encode()
