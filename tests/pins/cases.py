"""Pinned cases: a model, and the commands that run on it one after the other."""

from __future__ import annotations

from dataclasses import dataclass

from pins.graphs import MODEL
from pins.models import INPUTS

HALF_PRECISION = 2e-3  # float16 has a spacing of 1e-3, and a draw may round either way


@dataclass(frozen=True)
class Case:
    """Commands on a model.

    Attributes:
        name: of the case.
        model: a key of `pins.models.MODELS`.
        commands: the arguments of each.
        processes: of each command, started by torchrun where there are several.
        rounding: relative difference that rounding makes from one processor to another.
    """

    name: str
    model: str
    commands: tuple[str, ...]
    processes: int = 1
    rounding: float = 1e-5


def on_cpu(command: str, threads: int = 1) -> str:
    """A command with what makes its result the same however busy the machine is."""
    return f"{command} --json --quiet --device cpu --threads {threads}"


def init(
    *options: str,
    model: str = MODEL,
    data: str = "x.npy",
    out: str = "out.safetensors",
    threads: int = 1,
) -> str:
    """`lsuv init` on all samples."""
    words = ["init", model, "--data", data, "--samples all", "--out", out, *options]
    return on_cpu(" ".join(words), threads)


APPLY = f"apply {MODEL} out.safetensors --out applied.onnx"
VERIFY = on_cpu(f"verify {MODEL} out.safetensors --data x.npy --samples all")
COMPARE = on_cpu(f"compare {MODEL} --data x.npy --samples all --inits lsuv,he,keep")
INSPECT = on_cpu(f"inspect {MODEL} --plan")
SPILL = "--batch-size 3 --memory 20KB"

CASES = (
    *(Case(name, name, (init(),)) for name in INPUTS),
    Case(
        "pictures",
        "digits",
        (init("--mean 0.4 --std 0.3 --resize 30 --crop 28", data="pictures"),),
    ),
    # Options of init.
    Case("samples and seed", "perceptron", (init("--samples 20 --seed 3"),)),
    Case("bias keep", "perceptron", (init("--bias keep"),)),
    Case("bias center", "convolutions", (init("--bias center"),)),
    Case("per channel", "convolutions", (init("--per channel"),)),
    Case("pre-init he", "perceptron", (init("--pre-init he"),)),
    Case("pre-init keep", "convolutions", (init("--pre-init keep"),)),
    Case("pre-init delta", "convolutions", (init("--pre-init delta-orthogonal"),)),
    Case("chosen layers", "perceptron", (init("--exclude fc2* --target fc3*=0.5"),)),
    Case("two threads", "convolutions", (init(threads=2),)),
    # Graphs.
    Case("perceptron", "perceptron", (init(), INSPECT, VERIFY, COMPARE, APPLY)),
    Case("convolutions", "convolutions", (init(), INSPECT, VERIFY, APPLY)),
    Case("ties", "ties", (init(),)),
    Case("lstm", "lstm", (init(), VERIFY, APPLY)),
    Case("gru", "gru", (init(),)),
    Case("control flow", "control_flow", (init(), INSPECT)),
    Case("transformer", "transformer", (init(), VERIFY, APPLY)),
    Case("fused attention", "fused_attention", (init(), APPLY)),
    Case("einsum", "einsum", (init(),)),
    Case("float16", "float16", (init(),), rounding=HALF_PRECISION),
    Case("torchscript", "torchscript", (init(model="model.pt"),)),
    # BatchNormalization.
    Case("batch norm", "batch_norm", (init(), APPLY)),
    Case("batch norm in batches", "batch_norm", (init("--batch-size 4"), VERIFY)),
    Case("batch norm running", "batch_norm", (init("--bn running"),)),
    # Memory, files and processes.
    Case("spilled", "convolutions", (init(SPILL),)),
    Case("batch norm spilled", "batch_norm", (init(SPILL),)),
    Case("shards", "convolutions", (init("--max-shard-size 2KB"), VERIFY)),
    Case("model at once", "batch_norm", (init("--out-model model-out.onnx"),)),
    Case("two processes", "batch_norm", (init(SPILL),), processes=2),
)
