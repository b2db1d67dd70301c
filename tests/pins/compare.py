"""Compare what another revision gives with what this tree does, case by case.

    python tests/pins/compare.py REVISION                   # all cases, byte for byte
    python tests/pins/compare.py REVISION -k lstm -k shards # those with these words in their name
    python tests/pins/compare.py REVISION --tolerance 1e-6  # numbers up to rounding
    python tests/pins/compare.py --list                     # the cases

Both run the same commands on the same files, on this machine. Of the other revision only the
command line is used; its outcomes are kept in the temporary folder, and run once. The exit code is
1 where anything differs.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pins.cases import CASES, Case
from pins.differences import SHOWN_CHARACTERS, differences
from pins.running import TREE, Outcome, TreeRunner, build_inputs, run_case

LIBRARIES = ("numpy", "onnx", "torch")
AT_ONCE = 2
SHOWN = 3
CACHE = Path(tempfile.gettempdir()) / f"lsuv-pins-{os.getuid()}"


def git(*arguments: str) -> str:
    """What git prints in this repository."""
    done = subprocess.run(
        ["git", "-C", TREE, *arguments], check=True, stdout=subprocess.PIPE, text=True
    )
    return done.stdout.strip()


class Revision:
    """Another revision, checked out beside this tree once it has something to run.

    Attributes:
        commit: its hash.
    """

    def __init__(self, name: str, folder: Path) -> None:
        """Find one; `folder` is where it may be checked out.

        Raises:
            CalledProcessError: there is none of this name; git has said so on stderr.
        """
        self.commit = git("rev-parse", "--verify", f"{name}^{{commit}}")
        self._folder = folder

    def check_out(self) -> None:
        """Make the files."""
        git("worktree", "add", "--quiet", "--detach", str(self._folder), self.commit)

    def remove(self) -> None:
        """Remove the files, where there are any."""
        if self._folder.exists():
            git("worktree", "remove", "--force", str(self._folder))

    def cached(self, case: Case, inputs: Path) -> Path:
        """Where the outcome of a case is kept."""
        digest = hashlib.sha256(f"{self.commit} {case} {sys.version}".encode())
        for library in LIBRARIES:
            digest.update(importlib.metadata.version(library).encode())
        for path in sorted(inputs.rglob("*")):
            if path.is_file():
                digest.update(str(path.relative_to(inputs)).encode())
                digest.update(path.read_bytes())
        return CACHE / digest.hexdigest()[:24]

    def run(self, case: Case, inputs: Path) -> Outcome:
        """The outcome of a case, run unless it is kept.

        Raises:
            RuntimeError: a command failed; there is nothing to compare with.
        """
        kept = self.cached(case, inputs)
        if not kept.exists():
            CACHE.mkdir(mode=0o700, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=CACHE) as name:
                unfinished = Path(name) / "outcome"
                unfinished.mkdir()
                ran = run_case(case, inputs, unfinished / "files", TreeRunner(self._folder))
                if ran.failed:
                    raise RuntimeError(ran.steps[-1].stderr[-SHOWN_CHARACTERS:].strip())
                (unfinished / "steps").write_bytes(pickle.dumps(ran.steps))
                with suppress(OSError):  # another comparison has been quicker
                    unfinished.rename(kept)
        return Outcome(kept / "files", pickle.loads((kept / "steps").read_bytes()))


@contextmanager
def checked_out(name: str, folder: Path) -> Iterator[Revision]:
    """A revision whose files are removed in the end."""
    revision = Revision(name, folder)
    try:
        yield revision
    finally:
        revision.remove()


def compare(name: str, cases: Sequence[Case], tolerance: float | None) -> int:
    """Print a row for each case; returns how many differ."""
    failed = 0
    with (
        tempfile.TemporaryDirectory(prefix="lsuv-pins-") as folder,
        checked_out(name, Path(folder) / "revision") as revision,
        ThreadPoolExecutor(AT_ONCE) as pool,
    ):
        base = Path(folder)
        inputs = {case.name: base / "inputs" / case.name for case in cases}
        for case in cases:
            build_inputs(case, inputs[case.name])
        if not all(revision.cached(case, inputs[case.name]).exists() for case in cases):
            revision.check_out()

        def run(case: Case) -> list[str]:
            here = inputs[case.name]
            try:
                old = revision.run(case, here)
            except RuntimeError as error:
                return [f"fails with the other revision: {error}"]
            new = run_case(case, here, base / "here" / case.name, TreeRunner(TREE))
            found = list(differences(old, new, tolerance))
            shutil.rmtree(new.folder)
            return found

        print(f"{git('log', '-1', '--format=%h %s', revision.commit)} -> this tree")
        width = max(len(case.name) for case in cases)
        for case, found in zip(cases, pool.map(run, cases), strict=True):
            failed += bool(found)
            state = "differs" if found else "same"
            print(f"{case.name:{width}}  {state}", flush=True)
            for text in found[:SHOWN]:
                print(f"    {text}")
            if len(found) > SHOWN:
                print(f"    and {len(found) - SHOWN} more")
    print(f"{len(cases)} cases: {failed} differ")
    return failed


def main() -> int:
    """Compare with the revision on the command line."""
    parser = argparse.ArgumentParser(description="Compare with another revision's results.")
    parser.add_argument("revision", nargs="?", help="a commit, branch or tag")
    parser.add_argument(
        "-k", action="append", default=[], metavar="WORD", help="only cases named so; repeatable"
    )
    parser.add_argument(
        "--tolerance", type=float, metavar="X", help="allow this relative difference of numbers"
    )
    parser.add_argument("--list", action="store_true", help="print the cases and stop")
    options = parser.parse_args()
    words = options.k or [""]
    cases = [case for case in CASES if any(word in case.name for word in words)]
    if options.list:
        for case in cases:
            print(f"{case.name}: {case.model}")
            print(*(f"    lsuv {command}" for command in case.commands), sep="\n")
        return 0
    if options.revision is None:
        parser.error("a revision is missing")
    if not cases:
        parser.error("no case is named so; see --list")
    try:
        return 1 if compare(options.revision, cases, options.tolerance) else 0
    except subprocess.CalledProcessError as error:
        parser.error(f"git failed with exit code {error.returncode}")


if __name__ == "__main__":
    sys.exit(main())
