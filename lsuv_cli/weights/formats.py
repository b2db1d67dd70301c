"""The known formats of weights; another one is a file beside this and a line here."""

from __future__ import annotations

import json
from pathlib import Path

from lsuv_cli.core.errors import DataError
from lsuv_cli.weights.checkpoint import Checkpoint
from lsuv_cli.weights.output_checks import refuse_misleading_name
from lsuv_cli.weights.safetensors_file import SAFETENSORS, SafetensorsWriter
from lsuv_cli.weights.torch_checkpoint import TORCH_CHECKPOINT
from lsuv_cli.weights.weights_format import CreateWriter, WeightsFormat

# In the order in which they are asked; the last takes what nobody else claims, and explains why it
# can't be read.
FORMATS: tuple[WeightsFormat, ...] = (
    SAFETENSORS,
    TORCH_CHECKPOINT,
)


def writer_for(path: Path) -> CreateWriter:
    """Return what begins a file to be written: of the format of its suffix, or else safetensors.

    Raises:
        UsageError: the suffix stands for another kind of file.
    """
    for one in FORMATS:
        if one.create is not None and path.suffix.lower() in one.suffixes:
            return one.create
    refuse_misleading_name(path, SAFETENSORS.name)
    return SafetensorsWriter


def open_checkpoint(path: Path, option: str = "") -> Checkpoint:
    """Open a checkpoint of any format, or the shards that an index lists.

    A name without a file stands for the shards of its index, if there is one.

    Args:
        path: the file.
        option: the option it was given with, for messages.

    Raises:
        DataError: there is no such file, or it is not a checkpoint.
    """
    called = f"{option} {path}".strip()
    index = path.parent / f"{path.name}.index.json"
    if not path.exists() and index.is_file():
        path = index
    if not path.is_file():
        raise DataError(f"{called}: there is no such file")
    if _is_index(path):
        return _open_shards(path, called)
    return _open_file(path, called)


def _open_file(path: Path, called: str) -> Checkpoint:
    return next(one for one in FORMATS if one.claims(path)).open(path, called)


def _is_index(path: Path) -> bool:
    suffixes = [suffix for one in FORMATS if one.create is not None for suffix in one.suffixes]
    return path.name.endswith(tuple(f"{suffix}.index.json" for suffix in suffixes))


def _open_shards(index: Path, called: str) -> Checkpoint:
    try:
        files = json.loads(index.read_bytes())["weight_map"]
        places = {str(name): index.with_name(file) for name, file in files.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{called}: not an index of shards, no weight_map: {error}") from None
    found: dict[str, Checkpoint] = {}
    shards = sorted(set(places.values()))
    for shard in shards:
        if not shard.is_file():
            raise DataError(f"{called}: the shard {shard.name} is missing; put it beside the index")
        checkpoint = _open_file(shard, str(shard))
        found |= {name: checkpoint for name in checkpoint if places.get(name) == shard}
    lacking = sorted(places.keys() - found.keys())
    if lacking:
        raise DataError(f"{called}: no shard holds {lacking[0]}, against what the index says")
    infos = {name: checkpoint.infos[name] for name, checkpoint in found.items()}
    kinds = {name: one.kinds[name] for name, one in found.items() if name in one.kinds}
    texts = next((one.texts for one in found.values()), {})
    return Checkpoint(
        (*shards, index), infos, lambda name: found[name][name], kinds=kinds, texts=texts
    )
