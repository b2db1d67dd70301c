"""Descriptions of the samples that an input takes, by its type and shape."""

from __future__ import annotations

from lsuv_cli.core.errors import DataError, UsageError
from lsuv_cli.core.records import InputSpec
from lsuv_cli.samples.formats import FORMATS
from lsuv_cli.samples.images import picture_transform

COLOURS = {1: "grey", 3: "RGB", 4: "RGBA"}


def describe_feed(spec: InputSpec) -> str:
    """Describe the samples that feed an input."""
    if spec.batch_axis is None:
        return "one array for all samples, from the .npz file or --feed"
    return _describe_samples(spec)


def _describe_samples(spec: InputSpec) -> str:
    if spec.shape is None:
        return "anything: the model does not declare its shape"
    if spec.dtype.startswith(("int", "uint")) and spec.dtype != "uint8":
        if len(spec.shape) == 2:
            return f"{FORMATS.describe_kind('token ids')} or arrays of integers"
        return "arrays of integers"
    try:
        picture = picture_transform(spec, None, None)
    except (DataError, UsageError):
        open_picture = _open_picture(spec)
        return open_picture or FORMATS.describe_kind("arrays")
    size = f"{picture.height}x{picture.width}"
    order = "channels first" if picture.channels_first else "channels last"
    colour = COLOURS.get(picture.channels, f"{picture.channels} channels")
    if spec.dtype == "uint8":
        return f"pictures, {colour}, {size}, {order}, as bytes: the model normalises them itself"
    return (
        f"pictures, {colour}, {size}, {order}, in [0, 1]; normalise them as in training: --preset, "
        "or --mean and --std"
    )


def _open_picture(spec: InputSpec) -> str:
    """Describe the pictures that feed an input of open size; "" if none do."""
    shape = spec.shape or ()
    if len(shape) != 4 or spec.dtype.startswith(("int", "bool")):
        return ""
    if shape[1] not in COLOURS and shape[3] not in COLOURS:
        return ""
    channels = shape[1] if shape[1] in COLOURS else shape[3]
    return (
        f"pictures, {COLOURS[channels or 3]}, of a size to be given: --input-shape; normalise "
        "them as in training: --preset, or --mean and --std"
    )
