"""Python with slow imports done, which forks on request; see `processes.Forks`.

What is forked is a process like any other from then on, to the end of its own interpreter: only
the project's modules are not imported yet, nor has any library started a thread. Every line on
stdin is a request, answered by a line on stdout.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
from collections.abc import Mapping

# torch reads this when it is imported; `lsuv` sets it before.
os.environ["TORCH_CPP_LOG_LEVEL"] = "FATAL"

import onnx  # noqa: F401
import torch.distributed.launcher.api  # noqa: F401
import typer  # noqa: F401


def serve() -> list[str]:
    """Answer requests until there are none; in a forked process, return what it is to run."""
    for line in sys.stdin:
        request = json.loads(line)
        answer = poll(request["poll"]) if "poll" in request else os.fork()
        if answer == 0 and "arguments" in request:
            become(**request["process"])
            return list(request["arguments"])
        sys.stdout.write(f"{json.dumps(answer)}\n")
        sys.stdout.flush()
    sys.exit()


def poll(child: int) -> int | None:
    """Return the exit code of a forked process, or None."""
    ended, status = os.waitpid(child, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if ended else None


def become(cwd: str, environ: Mapping[str, str], stdout: str, stderr: str) -> None:
    """Take on the folder, environment and streams of a new process."""
    os.setsid()
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environ)
    for number, path in enumerate((os.devnull, stdout, stderr)):
        file = os.open(path, os.O_RDWR)
        os.dup2(file, number)
        os.close(file)


def main() -> None:
    """Serve; in a forked process: run a module after `-m`, or a script."""
    what, *rest = serve()
    if what == "-m":
        what, *rest = rest
        sys.argv = [what, *rest]
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        sys.argv = [what, *rest]
        runpy.run_path(what, run_name="__main__")


if __name__ == "__main__":
    main()
