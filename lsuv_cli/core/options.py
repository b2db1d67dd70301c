"""What the user asked for, and the small languages some options are written in."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lsuv_cli.core.choices import BatchNorm, Bias, Names, Per, PreInit
from lsuv_cli.core.errors import UsageError

MAX_PIXELS = 1 << 15

# Above this a model runs in several sessions; each takes about three times its weights (measured).
SEGMENT_BYTES = 256 * 2**20

# Not what the machine has, so that the same command makes the same batches everywhere.
MEMORY_BYTES = 4 * 10**9

# Beyond these a variance, or its inverse, may leave the range of float32.
STD_RANGE = (1e-15, 1e15)


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


@dataclass(frozen=True, slots=True)
class Size:
    """A picture's size in pixels; a None height means that `width` is the shorter side."""

    height: int | None
    width: int

    def __str__(self) -> str:
        return str(self.width) if self.height is None else f"{self.height}x{self.width}"


@dataclass(frozen=True, slots=True)
class SampleOptions:
    """Which samples are taken, and how pictures become arrays.

    Attributes:
        data: files, folders and globs.
        count: samples to take; None for all.
        seed: which samples are taken where there are more.
        mean: subtracted from every channel, pixels being in [0, 1]; one value, or one a channel.
        std: divides every channel after that.
        resize: pictures are resized to this first.
        crop: the centre that is cut out afterwards.
        input_shapes: sizes of an input without its batch axis, by the input's name; "" for the
            only one.
        strict: refuse pictures that can't be read instead of leaving them out.
        leave_out: files in the data's folders that are outputs, not samples.
    """

    data: tuple[str, ...]
    count: int | None = 128
    seed: int = 0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    resize: Size | None = None
    crop: Size | None = None
    input_shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    strict: bool = False
    leave_out: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class InitOptions:
    """Everything `lsuv init` is told.

    Attributes:
        model: the ONNX or TorchScript file.
        out: the safetensors file to write.
        out_model: a TorchScript file to write, too.
        samples: which samples, and how they are read.
        seed: seeds the draws of the weights.
        target_std: standard deviation each layer's output is to have.
        targets: (glob, std) pairs that override `target_std`; the last match counts.
        tol: tolerated |Var / target_std^2 - 1|.
        max_iter: sweeps at most.
        pre_init: what the weights are before they are scaled.
        bias: what becomes of the biases.
        per: what shares one scale.
        bn: what BatchNormalization normalises with.
        include: globs on layer and weight names; only matching layers are initialised.
        exclude: globs on layer and weight names; matching layers are left as they are.
        names: what the parameters are called in the written file.
        like: a file of weights whose names and shapes the written one must have.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        provider: an ONNX Runtime execution provider, overriding `device`.
        threads: threads within an operator and for decoding; 0 for one a core.
        verify: measure the written file.
        force: overwrite an existing output.
        max_shard_bytes: bytes of tensors in one written file; None for one file.
        max_segment_bytes: bytes of weights in memory at once while the model runs.
        batch_size: samples that go through the network at once; None to choose.
        memory_bytes: bytes of samples and activations in memory.
        device_memory_bytes: the same of an accelerator that has its own.
        spill_dir: where activations go that don't fit; None for the system's temporary folder.
        checkpoint: a folder from which a run that was ended goes on; None for none.
        timeout: seconds to wait for another process.
        local_rank: this process's number on its machine.
    """

    model: Path
    out: Path
    samples: SampleOptions
    seed: int = 0
    target_std: float = 1.0
    targets: tuple[tuple[str, float], ...] = ()
    tol: float = 1e-3
    max_iter: int = 10
    pre_init: PreInit = PreInit.ORTHONORMAL
    bias: Bias = Bias.ZERO
    per: Per = Per.LAYER
    bn: BatchNorm = BatchNorm.BATCH
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    names: Names = Names.AUTO
    like: Path | None = None
    out_model: Path | None = None
    device: str = "auto"
    provider: str | None = None
    threads: int = 0
    verify: bool = True
    force: bool = False
    max_shard_bytes: int | None = None
    max_segment_bytes: int = SEGMENT_BYTES
    batch_size: int | None = None
    memory_bytes: int = MEMORY_BYTES
    device_memory_bytes: int = MEMORY_BYTES
    spill_dir: Path | None = None
    checkpoint: Path | None = None
    timeout: float = 600.0
    local_rank: int = 0

    def settings(self, samples: int, batch_size: int) -> dict[str, object]:
        """The options that decide the numbers, by name, for reports and metadata.

        No paths: what is written must not depend on where files lie.

        Args:
            samples: the number of samples that were really used.
            batch_size: how many of them went through the network at once.
        """
        pictures = self.samples
        return {
            "samples": samples,
            "batch_size": batch_size,
            "seed": self.seed,
            "target_std": self.target_std,
            "targets": [list(pair) for pair in self.targets],
            "tol": self.tol,
            "max_iter": self.max_iter,
            "pre_init": self.pre_init.value,
            "bias": self.bias.value,
            "per": self.per.value,
            "bn": self.bn.value,
            "include": list(self.include),
            "exclude": list(self.exclude),
            "mean": list(pictures.mean),
            "std": list(pictures.std),
            "resize": str(pictures.resize) if pictures.resize else None,
            "crop": str(pictures.crop) if pictures.crop else None,
            "input_shapes": {name: list(sizes) for name, sizes in pictures.input_shapes.items()},
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


def parse_samples(text: str) -> int | None:
    """Parse a number of samples, or `all`, which gives None.

    Raises:
        UsageError: the text is neither.
    """
    if text.strip().lower() == "all":
        return None
    if not text.strip().isascii() or not text.strip().isdigit() or int(text) < 1:
        raise UsageError(f"--samples {text}: not a number of samples; write one, as 128, or all")
    return int(text)


BYTES = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
BINARY_BYTES = {"KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}


def parse_bytes(text: str, option: str) -> int:
    """Parse `5GB`, `500 MB`, `2GiB` or a plain number of bytes.

    Raises:
        UsageError: the text is none of these, or less than one byte.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]I?)?B?", text.strip().upper())
    size = 0
    if match is not None:
        unit = match.group(2) or ""
        size = int(float(match.group(1)) * (BYTES | BINARY_BYTES)[unit])
    if size < 1:
        raise UsageError(f"{option} {text}: not a size; write bytes, as 5GB, 500MB or 2GiB")
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
            f"{option} {text}: not numbers; write one, or one a channel, as 0.5,0.4,0.3"
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


def check_positive(option: str, value: float) -> None:
    """Refuse a value that is no usable standard deviation or tolerance.

    Raises:
        UsageError: it is not positive, or far from any size of a float32.
    """
    low, high = STD_RANGE
    if not low <= value <= high:
        raise UsageError(f"{option} {value}: must be between {low:g} and {high:g}")


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


def normalisation(
    preset: str | None, mean: str | None, std: str | None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation from a preset's name or from their own options.

    Raises:
        UsageError: no such preset, a preset together with either, or a std that is not positive.
    """
    if preset is not None:
        if mean is not None or std is not None:
            raise UsageError("--preset sets --mean and --std; give one or the other")
        if preset not in PRESETS:
            raise UsageError(f"no such preset: {preset}; there are {', '.join(PRESETS)}")
        return PRESETS[preset].mean, PRESETS[preset].std
    means = parse_numbers(mean, "--mean") if mean is not None else ()
    stds = parse_numbers(std, "--std") if std is not None else ()
    if any(value < STD_RANGE[0] for value in stds):
        raise UsageError(f"--std {std}: must be positive")
    return means, stds


def parse_targets(texts: Sequence[str]) -> tuple[tuple[str, float], ...]:
    """Parse every `--target`."""
    return tuple(parse_target(text) for text in texts)
