"""The options of each command, as records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lsuv_cli.core.choices import AUTO_NAMES, BatchNorm, Bias, Init, Per, PreInit

# Above this a model runs in several sessions; each takes about three times its weights (measured).
SEGMENT_BYTES = 256 * 2**20

# Not what the machine has, so that the same command makes the same batches everywhere.
MEMORY_BYTES = 4 * 10**9


@dataclass(frozen=True, slots=True)
class Size:
    """A picture's size in pixels; a None height means that `width` is the shorter side."""

    height: int | None
    width: int

    def __str__(self) -> str:
        return str(self.width) if self.height is None else f"{self.height}x{self.width}"


@dataclass(frozen=True, slots=True)
class SampleOptions:
    """The samples to take, and the conversion of pictures to arrays.

    Attributes:
        data: files, folders and globs.
        count: samples to take; None for all.
        seed: which samples are taken where there are more.
        mean: subtracted from every channel, pixels being in [0, 1]; one value, or one per channel.
        std: divides every channel after that.
        resize: pictures are resized to this first.
        crop: the centre that is cut out afterwards.
        input_shapes: sizes of an input without its batch axis, by the input's name; "" for the
            only one.
        batch_axes: the axis along which an input's samples lie, by the input's name; None where it
            takes the same for all.
        feeds: numbers, or nested lists of them, that an input takes whatever the samples are, by
            the input's name.
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
    batch_axes: Mapping[str, int | None] = field(default_factory=dict)
    feeds: Mapping[str, Any] = field(default_factory=dict)
    strict: bool = False
    leave_out: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkOptions:
    """The options of all commands that run a model on samples.

    Attributes:
        model: the ONNX, .pt2 or TorchScript file, or the name of a factory of modules; what to call
            it where `content` holds it.
        content: the model's bytes; None to read the file. External data lies beside `model`.
        model_args: arguments of a factory, by name or in order, where `model` names one.
        samples: which samples, and how they are read.
        seed: seeds the draws of the weights.
        target_std: standard deviation each layer's output is to have.
        targets: (glob, std) pairs that override `target_std`; the last match counts.
        tol: tolerated |Var / target_std^2 - 1|.
        max_iter: sweeps at most.
        pre_init: the values of the weights before they are scaled.
        bias: the treatment of the biases.
        per: the elements that share one scale.
        bn: the statistics that BatchNormalization uses.
        include: globs on layer and weight names; only matching layers are initialised.
        exclude: globs on layer and weight names; matching layers are left as they are.
        names: whose names the tensors of a file of weights have: auto, onnx, or an exporter's word.
        like: a file of weights whose names and shapes those must be.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        provider: an ONNX Runtime execution provider, overriding `device`.
        tf32: let CUDA compute in TensorFloat-32.
        threads: threads within an operator and for decoding; 0 for one per core.
        max_segment_bytes: bytes of weights in memory at once while the model runs.
        batch_size: samples that go through the network at once; None to choose.
        memory_bytes: bytes of samples and activations in memory.
        device_memory_bytes: the same of an accelerator that has its own.
        spill_dir: where activations go that don't fit; None for the system's temporary folder.
        resume: a folder for the resume journal, from which an interrupted run goes on; None for
            none.
        timeout: seconds to wait for another process.
        local_rank: this process's number on its machine.
        force: overwrite existing outputs.
    """

    model: Path
    content: bytes | None = field(default=None, repr=False)
    model_args: Mapping[str, Any] | Sequence[Any] = ()
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
    names: str = AUTO_NAMES
    like: Path | None = None
    device: str = "auto"
    provider: str | None = None
    tf32: bool = False
    threads: int = 0
    max_segment_bytes: int = SEGMENT_BYTES
    batch_size: int | None = None
    memory_bytes: int = MEMORY_BYTES
    device_memory_bytes: int = MEMORY_BYTES
    spill_dir: Path | None = None
    resume: Path | None = None
    timeout: float = 600.0
    local_rank: int = 0
    force: bool = False

    @property
    def inputs(self) -> dict[str, Path]:
        """The files that every command reads besides the samples, by their role."""
        files = {"the model": self.model, "the file of --like": self.like}
        return {role: path for role, path in files.items() if path is not None}

    @property
    def outputs(self) -> tuple[Path, ...]:
        """The files that will be written."""
        return ()

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
            "batch_axes": dict(pictures.batch_axes),
            "feeds": dict(pictures.feeds),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class InitOptions(WorkOptions):
    """The options of `lsuv init`.

    Attributes:
        out: the safetensors file to write.
        out_model: the model to write, too, in the format it was read from.
        verify: measure the written file.
        distributions: look at how its layers' outputs are distributed, too, if it is measured.
        max_shard_bytes: bytes of tensors in one written file; None for one file.
    """

    out: Path
    out_model: Path | None = None
    verify: bool = True
    distributions: bool = False
    max_shard_bytes: int | None = None

    @property
    def outputs(self) -> tuple[Path, ...]:
        """The files that will be written."""
        return (self.out,) if self.out_model is None else (self.out, self.out_model)


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyOptions(WorkOptions):
    """The options of `lsuv verify`.

    Attributes:
        weights: a file of weights; None to measure the model's own.
        given: the names of the options that the user gave; for others those with which the file
            was made are the defaults.
        from_file: the fields whose values come from the file.
    """

    weights: Path | None = None
    given: frozenset[str] = frozenset()
    from_file: frozenset[str] = frozenset()

    def settings(self, samples: int, batch_size: int) -> dict[str, object]:
        """The options that decide the numbers; see `WorkOptions.settings`."""
        settings = WorkOptions.settings(self, samples, batch_size)
        return {name: value for name, value in settings.items() if name not in DRAWING}


# The options that decide how weights are made, not how they are measured.
DRAWING = frozenset(("bias", "max_iter", "pre_init"))


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectOptions(WorkOptions):
    """The options of `lsuv inspect`.

    Attributes:
        plan: say what a run is going to take.
    """

    plan: bool = False


# Those of the paper's tables, and the weights that a framework or a checkpoint has given the model.
DEFAULT_INITS = (Init.LSUV, Init.ORTHONORMAL, Init.HE, Init.XAVIER, Init.LECUN, Init.KEEP)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareOptions(WorkOptions):
    """The options of `lsuv compare`.

    Attributes:
        inits: the initialisations to compare, in the order of the columns; none twice.
        backward: also find each layer's gradient.
    """

    inits: tuple[Init, ...] = DEFAULT_INITS
    backward: bool = True

    def settings(self, samples: int, batch_size: int) -> dict[str, object]:
        """The options that decide the numbers; see `WorkOptions.settings`."""
        settings = WorkOptions.settings(self, samples, batch_size)
        return {**settings, "inits": [init.value for init in self.inits], "backward": self.backward}


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyOptions:
    """The options of `lsuv apply`.

    Attributes:
        model: the ONNX, .pt2 or TorchScript file; what to call it where `content` holds it.
        content: the model's bytes; None to read the file.
        weights: a file of weights.
        out: the model to write, in the same format.
        names: whose the file's names are.
        force: overwrite existing outputs.
    """

    model: Path
    content: bytes | None = field(default=None, repr=False)
    weights: Path
    out: Path
    names: str = AUTO_NAMES
    force: bool = False
