"""Which GPU is chosen, and what is said where it can't be used; no GPU is needed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper
from safetensors.numpy import load_file

from lsuv_cli.core.choices import Per, PreInit
from lsuv_cli.core.records import Plan
from lsuv_cli.core.scale_rule import UnitVariance
from lsuv_cli.engine import draw
from lsuv_cli.runtime import devices, session
from support.command import Run
from support.graphs import random_weight, save_graph
from support.sample_files import save_samples

# NVIDIA's driver, as far as it is asked how many GPUs there are.
DRIVER = """
int cuInit(unsigned flags) { return 0; }
int cuDeviceGetCount(int *count) { *count = 2; return 0; }
"""

pytestmark = pytest.mark.skipif(
    devices.CUDA not in ort.get_available_providers(), reason="ONNX Runtime is built without CUDA"
)


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a machine with two GPUs, but without CUDA's libraries."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    folder = tmp_path_factory.mktemp("driver")
    (folder / "driver.c").write_text(DRIVER)
    library = folder / "libcuda.so.1"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, folder / "driver.c"], check=True)
    paths = [str(folder), *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]
    return {"LD_LIBRARY_PATH": os.pathsep.join(paths)}


@pytest.fixture
def arguments(tmp_path: Path) -> list[object]:
    weight = random_weight(3, 4, seed=0)
    model = tmp_path / "m.onnx"
    save_graph(model, [helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": weight.T}, ["n", 4])
    samples = save_samples(tmp_path, (4,), 8)
    return ["init", model, "--data", samples, "--out", tmp_path / "out.safetensors"]


def test_auto_goes_on_without(
    lsuv: Run, driver: dict[str, str], arguments: list[object], tmp_path: Path
) -> None:
    done = lsuv(*arguments, "--json", env=driver)
    assert done.returncode == 0, done.stderr
    # What ONNX Runtime prints of libraries that it misses would be in the way.
    assert json.loads(done.stdout)["device"] == "cpu"
    assert done.stderr.startswith(
        "running on the CPU: CUDA does not start: its libraries are missing (install the extra "
        "'cuda' of this package)\n"
    )
    assert load_file(tmp_path / "out.safetensors")


@pytest.mark.parametrize(
    ("device", "says"),
    [
        ("cuda", "--device cuda: CUDA does not start: its libraries are missing"),
        ("cuda:1", "--device cuda:1: CUDA does not start: its libraries are missing"),
        ("cuda:2", "--device cuda:2: there is no GPU 2: 2 are visible, counted from 0"),
    ],
)
def test_a_gpu_by_name_is_insisted_on(
    lsuv: Run,
    driver: dict[str, str],
    arguments: list[object],
    tmp_path: Path,
    device: str,
    says: str,
) -> None:
    done = lsuv(*arguments, "--device", device, env=driver)
    assert done.returncode == 2
    assert says in done.stderr
    assert "use --device cpu to run without it" in done.stderr
    assert not (tmp_path / "out.safetensors").exists()


def test_what_a_gpu_is_tried_on() -> None:
    graph = onnx.load_model_from_string(devices.PROBE)
    onnx.checker.check_model(graph, full_check=True)
    assert [node.op_type for node in graph.graph.node] == ["Conv", "Tanh", "ReduceMean"]
    fed = {"x": np.full((1, 1, 1, 1), 0.5, np.float32)}
    (given,) = ort.InferenceSession(devices.PROBE, providers=[devices.CPU]).run(None, fed)
    np.testing.assert_allclose(given, np.tanh(0.25), rtol=1e-6)


@pytest.mark.parametrize("tf32", [False, True])
def test_what_cuda_is_told(monkeypatch: pytest.MonkeyPatch, tf32: bool) -> None:
    monkeypatch.setattr(devices, "_cuda_problem", lambda *_: None)
    said: list[str] = []
    device = devices.select_device("cuda:1", None, 0, said.append, tf32=tf32)
    name, options = device.providers[0]
    assert name == "CUDAExecutionProvider"
    assert options["device_id"] == "1"
    assert options["use_tf32"] == ("1" if tf32 else "0")
    # Timing decides by default which algorithm it is, and so the last bits.
    assert options["cudnn_conv_algo_search"] == "HEURISTIC"
    assert device.label == ("cuda:1 with TF32" if tf32 else "cuda:1")
    assert device.memory == "cuda"
    assert not said


def test_cudas_provider_by_name_is_told_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_cuda_problem", lambda *_: None)
    by_name = devices.select_device("auto", "cuda", 0, print, gpu=1)
    assert by_name == devices.select_device("cuda:1", None, 0, print)


def test_torch_is_told_the_device_and_not_its_label(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(draw, "choose_qr", lambda _flops, device, _threads: told.append(device))
    device = devices.Device((), "cuda:1 with TF32", 0, "cuda", 1)
    draw.choose_factorisation(Plan((), Per.LAYER, UnitVariance()), PreInit.HE, device)
    assert told == ["cuda:1"]


# What ONNX Runtime 1.31 says.
@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "EP_FAIL : cuDNN is unavailable for CUDA Execution Provider: dlopen failed",
            "its libraries are missing (install the extra 'cuda' of this package)",
        ),
        (
            "CUDA failure 209: no kernel image is available for execution on the device ; GPU=0 ;",
            "no kernel image is available for execution on the device",
        ),
        (
            "bfc_arena.cc:360 Failed to allocate memory for requested buffer of size 1024",
            "the GPU's memory is full",
        ),
        ("something\nelse", "something else"),
    ],
)
def test_why_cuda_does_not_start(text: str, says: str) -> None:
    assert devices._start_failure(text) == says


@pytest.mark.parametrize(
    ("memory", "budget"), [("", "--memory, from"), ("cuda", "--device-memory, from")]
)
@pytest.mark.parametrize(
    "text",
    [
        "bfc_arena.cc:376 Failed to allocate memory for requested buffer of size 8388608000",
        "CUDA failure 2: out of memory ; GPU=0 ; expr=cudaMalloc((void**)&p, size);",
        "std::bad_alloc",
    ],
)
def test_which_budget_to_lower(memory: str, budget: str, text: str) -> None:
    device = devices.Device((), "any", 0, memory)
    assert budget in str(session._run_error(RuntimeError(text), device))


def test_a_gpu_without_room_for_the_weights() -> None:
    error = RuntimeError(f"CudaCall({'ERRTYPE, ' * 100}) CUDA failure 2: out of memory ; GPU=0 ;")
    gpu = devices.Device((), "cuda:0", 0, "cuda")
    assert "cuda:0 has no memory left for the weights" in str(session._session_error(error, gpu))
