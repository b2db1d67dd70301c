"""How much memory a model larger than it takes.

    python benchmarks/large_model.py                  # 6 GB of weights; 13 GB on the disk
    python benchmarks/large_model.py --gigabytes 1

The most memory resident (ru_maxrss) of `lsuv init` on a transformer encoder with external data,
written as one file and as shards.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import common

GOAL_BYTES = 2 * 10**9
SAMPLES = 16


def measure(model: Path, out: Path, *more: str) -> list[str]:
    """One row of the table."""
    command = [
        *(common.executable(), "init", str(model), "--data", str(model.with_name("samples.npy"))),
        *("--samples", str(SAMPLES), "--quiet", "--force", "--out", str(out), *more),
    ]
    started = time.perf_counter()
    peak = common.peak_bytes(command)
    seconds = time.perf_counter() - started
    weights = model.with_suffix(".bin").stat().st_size
    written = sorted(out.parent.glob("init*"))
    size = sum(path.stat().st_size for path in written)
    row = [
        " ".join(("init", *more)),
        f"{weights / common.MIB:.0f}",
        f"{len(written)}",
        f"{size / common.MIB:.0f}",
        f"{peak / common.MIB:.0f}",
        f"{peak / weights:.2f}",
        f"{seconds:.0f}",
        common.verdict(peak <= GOAL_BYTES),
    ]
    for path in written:
        path.unlink()
    return row


def main() -> None:
    """Build the model and measure."""
    parser = argparse.ArgumentParser(description="Memory for a model larger than it.")
    parser.add_argument("--gigabytes", type=float, default=6.0, help="of weights")
    parser.add_argument("--folder", type=Path, help="for the model; a temporary one by default")
    options = parser.parse_args()
    builder = common.SAMPLE_MODELS / "large.py"
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        size = str(options.gigabytes)
        common.captured([sys.executable, str(builder), "--gigabytes", size, "--out", name])
        model, out = Path(name, "large.onnx"), Path(name, "init.safetensors")
        common.print_table(
            f"Peak resident memory, MiB, on {SAMPLES} samples; goal: {GOAL_BYTES / 1e9:.0f} GB",
            ["command", "weights", "files", "written", "peak", "peak / weights", "seconds", "goal"],
            [measure(model, out), measure(model, out, "--no-verify", "--max-shard-size", "2GB")],
        )


if __name__ == "__main__":
    main()
