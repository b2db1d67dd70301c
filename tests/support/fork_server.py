"""Python that has imported the modules named as arguments and forks on request.

See `processes.Forks`. A forked process is a process like any other from then on, to the end of its
own interpreter. Every line on stdin is a request, answered by a line on stdout.
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import sys
from collections.abc import Mapping

# torch and ONNX Runtime read these when they are imported; `lsuv` sets them before.
os.environ["TORCH_CPP_LOG_LEVEL"] = "FATAL"
os.environ["ORT_DISABLE_TELEMETRY"] = "1"


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
    """Import and serve; in a forked process: run a module after `-m`, or a script."""
    for name in sys.argv[1:]:
        importlib.import_module(name)
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
