"""Damage files and options at random, and hold what the command does against its promises.

    PYTHONPATH=tests python -m fuzz.run [--kinds models,samples] [--cases 20000] [--seed 0]
        [--out .fuzz]

What the folder --out says was run already is not run again. A finding is a line of JSON in
findings.jsonl: `--kinds KIND --only NUMBER` runs it again and prints everything.
"""

from __future__ import annotations

import argparse
import importlib
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

os.environ["TORCH_CPP_LOG_LEVEL"] = "FATAL"
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

from fuzz.cases import KINDS
from fuzz.runner import as_json, run_cases

# Loaded before the processes fork.
WARM = ("onnxruntime", "torch", "lsuv_cli.jobs.init", "lsuv_cli.jobs.verify", "PIL.Image")
SAVED_EVERY = 100


def main() -> int:
    """Run what the command line asks for; return 1 if a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kinds", default=",".join(KINDS), help="by commas")
    parser.add_argument("--cases", type=int, default=20_000, help="of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="run this case alone, and print its result")
    parser.add_argument("--out", type=Path, default=Path(".fuzz"))
    options = parser.parse_args()
    for name in WARM:
        importlib.import_module(name)
    options.out.mkdir(exist_ok=True)
    return max(run(kind, options) for kind in options.kinds.split(","))


def run(kind: str, options: argparse.Namespace) -> int:
    """Run the cases of a kind that have not been run; return 1 if any broke a promise."""
    progress = options.out / f"{kind}.{options.seed}.json"
    known = json.loads(progress.read_text(encoding="utf-8")) if progress.exists() else {}
    codes, done = Counter(known.get("codes", {})), known.get("done", 0)
    findings: int = known.get("findings", 0)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="lsuv-seeds-") as seeds:
        # Threads that torch starts here would be missed in the processes that fork from this one.
        writer = multiprocessing.get_context("fork").Process(
            target=KINDS[kind].write, args=(Path(seeds),)
        )
        writer.start()
        writer.join()
        if writer.exitcode:
            raise ChildProcessError(f"the sound files could not be written: {writer.exitcode}")
        only = options.only
        numbers = range(done, options.cases) if only is None else range(only, only + 1)
        for result in run_cases(kind, options.seed, numbers, Path(seeds)):
            if only is not None:
                print(as_json(result))
                continue
            codes[str(result.code)] += 1
            done += 1
            if result.problem:
                findings += 1
                print(f"{kind} {result.number}: {result.problem}", flush=True)
                with (options.out / "findings.jsonl").open("a", encoding="utf-8") as file:
                    file.write(f"{as_json(result)}\n")
            if done % SAVED_EVERY == 0 or done == options.cases:
                figures = {"done": done, "findings": findings, "codes": dict(codes)}
                progress.write_text(json.dumps(figures), encoding="utf-8")
    seconds = time.perf_counter() - start
    print(f"{kind}: {done} cases, {findings} findings, {seconds:.0f} s; exit codes {dict(codes)}")
    return int(findings > 0)


if __name__ == "__main__":
    sys.exit(main())
