"""A trial of a written model: ONNX Runtime loads it and runs it once."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime as ort

from lsuv_cli.core.errors import ModelError
from lsuv_cli.runtime.device_array import ORT_DTYPES
from lsuv_cli.runtime.devices import CPU, FATAL
from lsuv_cli.runtime.ort_errors import ORT_ERRORS, reason_of

# A loop fed zeros may never end while its output grows; large models need their time.
MAX_SECONDS = 5.0
BYTES_PER_SECOND = 100e6


def try_model(files: Sequence[Path], original: str | bytes, threads: int = 0) -> str:
    """Load a model on the CPU and, where its inputs tell enough, run it once on zeros.

    Args:
        files: the model and, if it has such, its external data.
        original: the one that it was made from, a path or its bytes.
        threads: within an operator; 0 for one per core.

    Returns:
        What was done, in words: `run on zeros, x:1,3,8,8`, or why it was not run. A size that is
        left open is taken for a batch of one if it is the first, and otherwise keeps the model from
        being run; a run that takes too long is stopped.

    Raises:
        ModelError: ONNX Runtime does not load or run it, although it does the original.
    """
    seconds = MAX_SECONDS + sum(file.stat().st_size for file in files) / BYTES_PER_SECOND
    path = str(files[0])
    done, reason = _outcome(path, seconds, threads)
    if not reason:
        return done
    reason = reason.replace(path, files[0].name)
    if refusal_of(original, seconds, threads):
        return f"not run, as ONNX Runtime does not run the model it was made from either: {reason}"
    raise ModelError(f"ONNX Runtime does not run the model with the new weights: {reason}")


def refusal_of(model: str | bytes, seconds: float = MAX_SECONDS, threads: int = 0) -> str:
    """Return why ONNX Runtime does not load or run a model; "" where it does.

    Args:
        model: its path or its bytes.
        seconds: after which a run is stopped.
        threads: within an operator; 0 for one per core.
    """
    return _outcome(model, seconds, threads)[1]


def _outcome(model: str | bytes, seconds: float, threads: int) -> tuple[str, str]:
    """Return what was done, and why ONNX Runtime did not do it."""
    try:
        return _tried(model, seconds, threads), ""
    except ORT_ERRORS as error:
        return "", reason_of(error)


def _tried(model: str | bytes, seconds: float, threads: int) -> str:
    options = ort.SessionOptions()
    options.log_severity_level = FATAL
    options.intra_op_num_threads = threads
    # Prepacking would copy all weights; without it they are mapped.
    options.add_session_config_entry("session.disable_prepacking", "1")
    session = ort.InferenceSession(model, options, providers=[CPU])
    feeds = {}
    for value in session.get_inputs():
        sizes = list(value.shape)
        if sizes and not isinstance(sizes[0], int):
            sizes[0] = 1
        if value.type not in ORT_DTYPES or not all(isinstance(size, int) for size in sizes):
            return f"loaded but not run, as its input {value.name} leaves sizes or its type open"
        feeds[value.name] = np.zeros(sizes, ORT_DTYPES[value.type])
    shapes = " ".join(f"{name}:{','.join(map(str, one.shape))}" for name, one in feeds.items())
    run_options = ort.RunOptions()
    run_options.log_severity_level = FATAL
    # On a second thread, so that it can be stopped.
    with ThreadPoolExecutor(max_workers=1) as pool:
        running = pool.submit(session.run, None, feeds, run_options)
        try:
            running.result(timeout=seconds)
        except TimeoutError:
            return f"loaded, but on zeros, {shapes}, it runs longer than {seconds:.0f} s"
        finally:
            run_options.terminate = True
    return f"run on zeros, {shapes}"
