"""Run all benchmarks, one after another.

python benchmarks/run_all.py
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version

import common

SCRIPTS = (
    "startup.py",
    "sweep_overhead.py",
    "peak_memory.py",
    "orthonormalisation.py",
    "whole_command.py",
    "segmented.py",
    "growth.py",
    "flat_memory.py",
    "input_pipeline.py",
    "distributed.py",
    "gpu.py",
)
LIBRARIES = ("numpy", "onnx", "onnxruntime", "onnxruntime-gpu", "torch", "lsuv")


def machine() -> str:
    """The cores and the versions of what is measured."""
    parts = [
        f"{os.cpu_count()} cores ({platform.machine()})",
        f"Python {platform.python_version()}",
    ]
    for library in LIBRARIES:
        try:
            parts.append(f"{library} {version(library)}")
        except PackageNotFoundError:
            continue
    return ", ".join(parts)


def main() -> int:
    """Run every script; report a failure only after the others have run."""
    print(machine(), flush=True)
    failed = []
    for script in SCRIPTS:
        print(f"\n## {script}", flush=True)
        if subprocess.run([sys.executable, str(common.HERE / script)], check=False).returncode:
            failed.append(script)
    if failed:
        print(f"\nfailed: {', '.join(failed)}", file=sys.stderr)
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())
