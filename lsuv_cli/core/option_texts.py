"""Parsers of the options that have a syntax of their own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lsuv_cli.core.choices import Init
from lsuv_cli.core.errors import UsageError
from lsuv_cli.core.limits import STD_RANGE, check_divisors
from lsuv_cli.core.options import Size

MAX_PIXELS = 1 << 15


@dataclass(frozen=True, slots=True)
class Preset:
    """A data set's usual normalisation, for pixels in [0, 1].

    Attributes:
        mean: one value a channel.
        std: one value a channel.
        source: where the numbers come from.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    source: str


PRESETS = {
    "imagenet": Preset(
        (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "torchvision's classification weights"
    ),
    "cifar10": Preset(
        (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616), "CIFAR-10's training set"
    ),
    "mnist": Preset((0.1307,), (0.3081,), "MNIST's training set"),
    "half": Preset((0.5,), (0.5,), "pixels to [-1, 1], as Inception and ViT in TensorFlow"),
}


def parse_size(text: str, option: str) -> Size:
    """Parse `256` (the shorter side) or `224x320` (height x width).

    Raises:
        UsageError: the text is neither.
    """
    match = re.fullmatch(r"(?:([1-9]\d*)x)?([1-9]\d*)", text)
    if match is None:
        raise UsageError(f"{option} {text}: not a size; write pixels, as 256, or HEIGHTxWIDTH")
    size = Size(int(match.group(1)) if match.group(1) else None, int(match.group(2)))
    if max(size.height or 1, size.width) > MAX_PIXELS:
        raise UsageError(f"{option} {text}: at most {MAX_PIXELS} pixels")
    return size


def parse_samples(text: str, option: str = "--samples") -> int | None:
    """Parse a number of samples, or `all`, which gives None.

    Raises:
        UsageError: the text is neither.
    """
    if text.strip().lower() == "all":
        return None
    if not text.strip().isascii() or not text.strip().isdigit() or int(text) < 1:
        raise UsageError(f"{option} {text}: not a number of samples; write one, as 128, or all")
    return int(text)


def parse_inits(text: str) -> tuple[Init, ...]:
    """Parse names of initialisations, separated by commas.

    Raises:
        UsageError: one is unknown, or there twice.
    """
    names = [name.strip().lower() for name in text.split(",")]
    known = {init.value: init for init in Init}
    for name in names:
        if name not in known:
            raise UsageError(
                f"--inits {text}: no initialisation {name or '(empty)'}; there are "
                f"{', '.join(known)}"
            )
        if names.count(name) > 1:
            raise UsageError(f"--inits {text}: {name} is listed twice; name each once")
    return tuple(known[name] for name in names)


BYTES = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
BINARY_BYTES = {"KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}

# A plain number below this was meant with a unit.
UNIT_EXPECTED = 1024


def parse_bytes(text: str, option: str) -> int:
    """Parse `5GB`, `500 MB`, `2GiB` or a plain number of bytes.

    Raises:
        UsageError: the text is none of these, or a number so small that its unit is missing.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]I?)?B?", text.strip().upper())
    size = 0
    if match is not None:
        unit = match.group(2) or ""
        size = int(float(match.group(1)) * (BYTES | BINARY_BYTES)[unit])
    if size < 1:
        raise UsageError(f"{option} {text}: not a size; write bytes, as 5GB, 500MB or 2GiB")
    if size < UNIT_EXPECTED and text.strip().isdigit():
        raise UsageError(f"{option} {text}: {size} bytes; write a unit, as {size}GB or {size}MB")
    return size


def parse_numbers(text: str, option: str) -> tuple[float, ...]:
    """Parse `0.5` or `0.485,0.456,0.406`.

    Raises:
        UsageError: a part is no finite number.
    """
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = (float("nan"),)
    if any(number - number != 0 for number in numbers):
        raise UsageError(
            f"{option} {text}: not numbers; write one, or one per channel, as 0.5,0.4,0.3"
        )
    return numbers


def parse_input_shape(text: str) -> tuple[str, tuple[int, ...]]:
    """Parse `x:3,224,224` or, for a model with one input, `3,224,224`; without the batch axis.

    Raises:
        UsageError: the text is neither.
    """
    match = re.fullmatch(r"(?:(.+):)?\[?(\d+(?:[,x]\d+)*)\]?", text)
    sizes = tuple(map(int, re.split("[,x]", match.group(2)))) if match else (0,)
    if match is None or 0 in sizes:
        raise UsageError(
            f"--input-shape {text}: not a shape; write NAME:SIZES without the batch axis, "
            "as x:3,224,224"
        )
    return match.group(1) or "", sizes


def parse_target(text: str) -> tuple[str, float]:
    """Parse `GLOB=STD`.

    Raises:
        UsageError: the text has another form, or the number is not positive and finite.
    """
    glob, separator, number = text.rpartition("=")
    try:
        std = float(number)
    except ValueError:
        std = 0.0
    if not (separator and glob) or not STD_RANGE[0] <= std <= STD_RANGE[1]:
        raise UsageError(f"--target {text}: write GLOB=STD with a positive STD, as 'fc*=0.5'")
    return glob, std


def parse_input_shapes(texts: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Parse every `--input-shape`.

    Raises:
        UsageError: one is malformed, or two are for the same input.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for text in texts:
        name, sizes = parse_input_shape(text)
        if name in shapes:
            raise UsageError(f"--input-shape {text}: there is another for the same input")
        shapes[name] = sizes
    return shapes


def parse_batch_axes(texts: Sequence[str]) -> dict[str, int | None]:
    """Parse every `--batch-axis`: `NAME=AXIS`, or `NAME=none`.

    Raises:
        UsageError: one is malformed, or two are for the same input.
    """
    axes: dict[str, int | None] = {}
    for text in texts:
        name, _, axis = text.rpartition("=")
        if not name or not re.fullmatch(r"-?\d{1,3}|none", axis.strip().lower()):
            raise UsageError(
                f"--batch-axis {text}: write NAME=AXIS, the first axis being 0, or NAME=none for "
                "an input that is the same for all samples"
            )
        if name in axes:
            raise UsageError(f"--batch-axis {text}: there is another for the same input")
        axes[name] = None if axis.strip().lower() == "none" else int(axis)
    return axes


def normalisation(
    preset: str | None, mean: str | None, std: str | None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation, from a preset or from their own options.

    Raises:
        UsageError: no such preset, a preset together with either, or a std that is not positive.
    """
    if preset is not None:
        if mean is not None or std is not None:
            raise UsageError("--preset sets --mean and --std; give one or the other")
        if preset not in PRESETS:
            raise UsageError(f"no such preset: {preset}; choose from {', '.join(PRESETS)}")
        return PRESETS[preset].mean, PRESETS[preset].std
    means = parse_numbers(mean, "--mean") if mean is not None else ()
    stds = parse_numbers(std, "--std") if std is not None else ()
    check_divisors("--std", stds)
    return means, stds


def parse_targets(texts: Sequence[str]) -> tuple[tuple[str, float], ...]:
    """Parse every `--target`."""
    return tuple(parse_target(text) for text in texts)
