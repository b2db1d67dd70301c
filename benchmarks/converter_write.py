"""Write the files of some converters, each with its samples, into a folder.

    python benchmarks/converter_write.py FOLDER CONVERTER...

Run in an environment that has the converters; `lsuv` needn't be there. Each converter has a
process of its own; one that fails is named, and the exit code is 1.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
from converter_table import CONVERTERS

SAMPLES = 16


def main() -> int:
    """Write what the command line asks for."""
    folder, *names = sys.argv[1:]
    if len(names) == 1:
        write(Path(folder), names[0])
        return 0
    done = [subprocess.run([sys.executable, __file__, folder, name], check=False) for name in names]
    failed = [name for name, one in zip(names, done, strict=True) if one.returncode]
    for name in failed:
        print(f"failed: {name}", file=sys.stderr)
    return int(bool(failed))


def write(folder: Path, name: str) -> None:
    """Write the files of a converter: NAME.NUMBER.onnx, .npz, and .json about them."""
    converter = CONVERTERS[name]
    versions = {package: version(package) for package in converter.packages}
    for number, written in enumerate(converter.write()):
        stem = f"{name}.{number}"
        onnx.save(written.model, folder / f"{stem}.onnx")
        np.savez(folder / f"{stem}.npz", **written.samples(SAMPLES))  # type: ignore[arg-type]
        about = {"title": converter.title, "model": written.name, "versions": versions}
        (folder / f"{stem}.json").write_text(json.dumps(about), encoding="utf-8")
        print(re.sub(r"\s+", " ", f"{stem}: {written.name}"), flush=True)


if __name__ == "__main__":
    sys.exit(main())
