"""Whatever is wrong: one sentence, the documented exit code, and nothing left or overwritten."""

from __future__ import annotations

import io
import os
import pickle
import resource
import signal
import subprocess
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image
from safetensors.numpy import load_file

from support.command import COMMAND, UNMEASURED, Run
from support.graphs import random_weight, save_graph
from support.refusals import check_refused
from support.sample_files import save_pictures
from support.small_models import small_model
from support.written_files import contents

Case = Callable[[Path], object]

COLOUR = (255, 128, 0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A good model and good pictures, for one thing to be made bad."""
    small_model(tmp_path / "model.onnx")
    save_pictures(tmp_path / "pictures")
    return tmp_path


def check_init_refuses(
    lsuv: Run, folder: Path, code: int, words: str, *arguments: object, **more: Any
) -> str:
    """Run `lsuv init` with these arguments beside the good ones; it must refuse."""
    before = contents(folder)
    given = [str(argument) for argument in arguments]
    model = [] if given and not given[0].startswith("-") else ["model.onnx"]
    data = [] if "--data" in given else ["--data", "pictures"]
    out = [] if "--out" in given else ["--out", "out.safetensors"]
    process = lsuv("init", *model, *given, *data, *out, cwd=folder, **more)
    error = check_refused(process, code, words)
    assert contents(folder) == before
    return error


# Models


def truncated(folder: Path) -> None:
    (folder / "bad.onnx").write_bytes((folder / "model.onnx").read_bytes()[:-200])


def zipped(folder: Path) -> None:
    with zipfile.ZipFile(folder / "bad.onnx", "w") as archive:
        archive.writestr("data.pkl", b"\x80\x02}.")


def external(folder: Path) -> onnx.ModelProto:
    model = onnx.load(folder / "model.onnx")
    onnx.save(
        model,
        folder / "bad.onnx",
        save_as_external_data=True,
        location="bad.data",
        size_threshold=0,
    )
    return onnx.load(folder / "bad.onnx", load_external_data=False)


def external_missing(folder: Path) -> None:
    external(folder)
    (folder / "bad.data").unlink()


def external_short(folder: Path) -> None:
    external(folder)
    os.truncate(folder / "bad.data", 100)


def external_outside(folder: Path) -> None:
    model = external(folder)
    for tensor in model.graph.initializer:
        tensor.external_data[0].value = "../bad.data"
    (folder / "bad.onnx").write_bytes(model.SerializeToString())


def external_link_outside(folder: Path) -> None:
    """A link beside the model that leads out of its folder reads what it should not, too."""
    external(folder)
    (folder / "bad.data").rename(folder.parent / "elsewhere.data")
    (folder / "bad.data").symlink_to(folder.parent / "elsewhere.data")


def initializer_of_another_size(folder: Path) -> None:
    model = onnx.load(folder / "model.onnx")
    model.graph.initializer[0].dims[0] = 5
    (folder / "bad.onnx").write_bytes(model.SerializeToString())


def unknown_operator(folder: Path) -> None:
    save_graph(
        folder / "bad.onnx",
        [
            helper.make_node("Conv", ["x", "w"], ["c"]),
            helper.make_node("Hologram", ["c"], ["y"], name="deep"),
        ],
        {"w": random_weight(4, 3, 3, 3)},
        ("n", 3, 8, 8),
    )


def unknown_domain(folder: Path) -> None:
    save_graph(
        folder / "bad.onnx",
        [
            helper.make_node("Conv", ["x", "w"], ["c"]),
            helper.make_node("Mine", ["c"], ["y"], domain="com.example"),
        ],
        {"w": random_weight(4, 3, 3, 3)},
        ("n", 3, 8, 8),
    )


def dynamic_size(folder: Path) -> None:
    save_graph(
        folder / "bad.onnx",
        [helper.make_node("Conv", ["x", "w"], ["y"])],
        {"w": random_weight(4, 3, 3, 3)},
        ("n", 3, "h", "w"),
    )


def no_weights(folder: Path) -> None:
    save_graph(folder / "bad.onnx", [helper.make_node("Relu", ["x"], ["y"])], {}, ("n", 3, 8, 8))


def no_layers(folder: Path) -> None:
    save_graph(
        folder / "bad.onnx",
        [helper.make_node("Mul", ["x", "w"], ["y"])],
        {"w": random_weight(1)},
        ("n", 3, 8, 8),
    )


def wrong_channels(folder: Path) -> None:
    """Pictures feed 1, 3 or 4 channels."""
    small_model(folder / "bad.onnx", shape=("n", 5, 8, 8))


def contradicting_channels(folder: Path) -> None:
    """The model's input fits pictures, but its first layer takes fewer channels."""
    small_model(folder / "bad.onnx", shape=("n", 4, 8, 8))


def two_inputs(folder: Path) -> None:
    model = onnx.load(folder / "model.onnx")
    model.graph.input.append(helper.make_tensor_value_info("mask", TensorProto.FLOAT, ["n", 5]))
    onnx.save(model, folder / "bad.onnx")


def batch_baked_in(folder: Path) -> None:
    nodes = [
        helper.make_node("Reshape", ["x", "shape"], ["f"]),
        helper.make_node("Gemm", ["f", "w"], ["y"]),
    ]
    weights = {"shape": np.array([1, 192]), "w": random_weight(192, 5)}
    save_graph(folder / "bad.onnx", nodes, weights, ("n", 3, 8, 8))


def dangling_value(folder: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Add", ["c", "nowhere"], ["y"]),
    ]
    save_graph(folder / "bad.onnx", nodes, {"w": random_weight(4, 3, 3, 3)}, ("n", 3, 8, 8))


def cycle(folder: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Add", ["c", "b"], ["a"], name="first"),
        helper.make_node("Relu", ["a"], ["b"], name="second"),
    ]
    save_graph(folder / "bad.onnx", nodes, {"w": random_weight(4, 3, 3, 3)}, ("n", 3, 8, 8))


def value_made_twice(folder: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Relu", ["x"], ["c"], name="again"),
    ]
    save_graph(folder / "bad.onnx", nodes, {"w": random_weight(4, 3, 3, 3)}, ("n", 3, 8, 8))


@pytest.mark.parametrize(
    ("arrange", "words"),
    [
        (lambda _: None, "no such model file: bad.onnx"),
        (lambda f: (f / "bad.onnx").mkdir(), "is not a file"),
        (lambda f: (f / "bad.onnx").write_text("weights\n"), "not an ONNX model"),
        (lambda f: (f / "bad.onnx").touch(), "is empty"),
        (truncated, "not an ONNX model, or is cut short"),
        (zipped, "torch.onnx.export"),
        (external_missing, "bad.data of bad.onnx is missing"),
        (external_short, "too short for the weight"),
        (external_outside, "outside the model's folder"),
        (external_link_outside, "outside the model's folder"),
        (initializer_of_another_size, "does not fit its shape [5, 3, 3, 3]"),
        (unknown_operator, "Hologram"),
        (unknown_domain, "com.example"),
        (no_weights, "no floating-point weights"),
        (no_layers, "no convolution or fully connected layer"),
        (wrong_channels, "wants 5 channels"),
        (contradicting_channels, "Conv"),
        (two_inputs, ".npz files keyed by their names"),
        (batch_baked_in, "dynamic batch axis"),
        (dangling_value, "reads the value nowhere, which no node produces"),
        (cycle, "it has a cycle"),
        (value_made_twice, "again makes the value c, which exists already"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_models(lsuv: Run, folder: Path, arrange: Case, words: str) -> None:
    arrange(folder)
    check_init_refuses(lsuv, folder, 3, words, "bad.onnx")


def test_a_size_left_open(lsuv: Run, folder: Path) -> None:
    dynamic_size(folder)
    check_init_refuses(lsuv, folder, 2, "--input-shape x:3,", "bad.onnx")


def test_a_model_that_may_not_be_read(lsuv: Run, folder: Path) -> None:
    (folder / "model.onnx").chmod(0)
    if os.access(folder / "model.onnx", os.R_OK):
        pytest.skip("root reads everything")
    check_init_refuses(lsuv, folder.parent, 3, "Permission denied", folder / "model.onnx")


# Options


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--exclude", "*"], "no layer is left to initialise"),
        (["--include", "nosuch*"], "--include nosuch*"),
        (["--exclude", "nosuch*"], "--exclude nosuch*"),
        (["--target", "nosuch*=2"], "--target nosuch*"),
        (["--target", "fc"], "write GLOB=STD"),
        (["--target", "fc=-1"], "write GLOB=STD"),
        (["--target-std", "0"], "--target-std 0"),
        (["--target-std", "nan"], "--target-std nan"),
        (["--tol", "-1"], "--tol -1"),
        (["--samples", "0"], "--samples"),
        (["--samples", "many"], "--samples"),
        (["--max-iter", "0"], "--max-iter"),
        (["--bias", "maybe"], "'zero', 'keep', 'center'"),
        (["--pre-init", "magic"], "'orthonormal'"),
        (["--mean", "a,b"], "--mean a,b"),
        (["--mean", "1,2"], "--mean has 2 values, but the samples have 3 channels"),
        (["--std", "1,2"], "--std has 2 values, but the samples have 3 channels"),
        (["--std", "0"], "must be positive"),
        (["--preset", "nosuch"], "imagenet"),
        (["--preset", "imagenet", "--mean", "0"], "--preset sets --mean"),
        (["--resize", "0"], "--resize 0"),
        (["--crop", "big"], "--crop big"),
        (["--input-shape", "x:a,b"], "--input-shape x:a,b"),
        (["--input-shape", "y:3,8,8"], "--input-shape must name"),
        (["--input-shape", "x:3,9,9"], "contradicts the model's input x:?,3,8,8"),
        (["--device", "abacus"], "no such device: abacus"),
        (["--provider", "abacus"], "no execution provider abacus"),
        (["--quiet", "--verbose"], "contradict each other"),
        (["--no-such-option"], "no such option: --no-such-option"),
        (["model.onnx", "second.onnx"], "unexpected extra argument"),
    ],
    ids=lambda value: "_".join(value) if isinstance(value, list) else "",
)
def test_options(lsuv: Run, folder: Path, arguments: list[str], words: str) -> None:
    check_init_refuses(lsuv, folder, 2, words, *arguments)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "no such command 'nosuch'; see lsuv --help"),
        (["inti"], "no such command 'inti'. Did you mean 'init'? See lsuv --help"),
        (["model.onnx", "--data", "p q"], "write: lsuv init model.onnx --data 'p q'; see lsuv"),
        (["init"], "missing argument 'MODEL'"),
        (["init", "model.onnx", "--out", "o"], "'--data'"),
        (["init", "model.onnx", "--data", "pictures"], "'--out'"),
    ],
)
def test_what_is_missing_is_named(
    lsuv: Run, folder: Path, arguments: list[str], words: str
) -> None:
    before = contents(folder)
    check_refused(lsuv(*(arguments or ["nosuch"]), cwd=folder), 2, words)
    assert contents(folder) == before


def test_addresses(lsuv: Run, folder: Path) -> None:
    check_init_refuses(lsuv, folder, 3, "download it, and give its path", "hf://org/m.onnx")
    check_init_refuses(lsuv, folder, 3, "download it", "--data", "https://h/p")


def test_cuda_where_there_is_none(lsuv: Run, folder: Path) -> None:
    """Hidden, if this machine has a GPU; `auto` says so at most once and goes on."""
    hidden = {"CUDA_VISIBLE_DEVICES": ""}
    error = check_init_refuses(lsuv, folder, 2, "--device cuda:", "--device", "cuda", env=hidden)
    assert any(word in error for word in ("driver", "GPU", "onnxruntime-gpu"))
    process = lsuv(
        *("init", "model.onnx", "--data", "pictures", "--out", "o"), cwd=folder, env=hidden
    )
    assert process.returncode == 0
    said = [line for line in process.stderr.splitlines() if "CPU" in line or "CUDA" in line]
    assert len(said) <= 1
    assert "onnxruntime" not in process.stderr.lower().replace("onnxruntime-gpu", "")


# Data


def lists_of(count: int, name: str) -> Case:
    def arrange(folder: Path) -> None:
        (folder / "data").mkdir()
        for index in range(count):
            (folder / "data" / f"{index}{name}").write_bytes(b"not what it claims to be")

    return arrange


def save_array(array: Any, name: str = "data.npy", **more: Any) -> Case:
    def arrange(folder: Path) -> None:
        (np.savez if name.endswith("npz") else np.save)(
            folder / name, *([array] if array is not None else []), **more
        )

    return arrange


def not_a_number(folder: Path) -> None:
    samples = random_weight(6, 3, 8, 8)
    samples[4, 1, 2, 3] = np.nan
    np.save(folder / "data.npy", samples)


def mixed(folder: Path) -> None:
    save_pictures(folder / "data")
    np.save(folder / "data" / "more.npy", random_weight(2, 3, 8, 8))


def cut_safetensors(folder: Path) -> None:
    (folder / "data.safetensors").write_bytes(b"\x40\0\0\0\0\0\0\0{}")


def cut_npz(folder: Path) -> None:
    np.savez(folder / "data.npz", x=random_weight(2, 3, 8, 8))
    os.truncate(folder / "data.npz", 300)


@pytest.mark.parametrize(
    ("arrange", "data", "words"),
    [
        (lambda _: None, "nosuch", "no such data: nosuch"),
        (lambda _: None, "nosuch/*.png", "no sample files in nosuch/*.png"),
        (lambda f: (f / "data").mkdir(), "data", "no sample files in data"),
        (lambda f: (f / "data.csv").write_text("1 2"), "data.csv", "not a type that can be read"),
        (lambda f: (f / "data.txt").write_text("1 2\n3"), "data.txt", "have 1 to 2 ids"),
        (lambda f: (f / "data.txt").write_text("1 a"), "data.txt", "line 1 holds no token ids"),
        (lambda f: (f / "d.jsonl").write_text("[1, 2]\n{"), "d.jsonl", "line 2 holds no token ids"),
        (lists_of(3, ".txt"), "data", "no sample files"),
        (lists_of(3, ".png"), "data", "none of the 3 pictures can be read; the first, data/"),
        (lists_of(1, ".npy"), "data", "data/0.npy"),
        (cut_npz, "data.npz", "data.npz"),
        (cut_safetensors, "data.safetensors", "data.safetensors"),
        (save_array(np.zeros((6, 4, 8, 8))), "data.npy", "[6, 4, 8, 8]"),
        (save_array(np.zeros((0, 3, 8, 8))), "data.npy", "no samples"),
        (save_array(np.array(["a"] * 2)), "data.npy", "data.npy"),
        (save_array(None, "data.npz", a=np.zeros(1), b=np.zeros(1)), "data.npz", "it has a, b"),
        (not_a_number, "data.npy", "data.npy[4] holds values that are not finite"),
        (mixed, "data", "give one kind"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_data(lsuv: Run, folder: Path, arrange: Case, data: str, words: str) -> None:
    arrange(folder)
    check_init_refuses(lsuv, folder, 3, words, "--data", data)


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_pickles_are_not_executed(lsuv: Run, folder: Path) -> None:
    sprung = folder / "sprung"
    np.save(folder / "data.npy", np.array([Trap(sprung)], object), allow_pickle=True)
    check_init_refuses(lsuv, folder, 3, "data.npy", "--data", "data.npy")
    (folder / "bad.onnx").write_bytes(pickle.dumps(Trap(sprung)))
    check_init_refuses(lsuv, folder, 3, "not an ONNX model", "bad.onnx")
    assert not sprung.exists()


def test_a_corrupt_picture_among_good_ones(lsuv: Run, folder: Path) -> None:
    bad = folder / "pictures" / "3.png"
    bad.write_bytes(bad.read_bytes()[:60])
    check_init_refuses(lsuv, folder, 3, "can't read the picture pictures/3.png", "--strict")
    process = lsuv("init", "model.onnx", "--data", "pictures", "--out", "o", cwd=folder)
    assert process.returncode == 0, process.stderr
    warnings = [line for line in process.stderr.splitlines() if line.startswith("warning: skip")]
    assert len(warnings) == 1
    assert "pictures/3.png" in warnings[0]
    assert "using all 5 samples (128 were asked for)" in process.stderr


def test_constant_images(lsuv: Run, folder: Path) -> None:
    """Black pictures reach the first layer as zeros: nothing can be scaled, and it is said."""
    for path in (folder / "pictures").iterdir():
        Image.new("RGB", (8, 8)).save(path)
    process = lsuv("init", "model.onnx", "--data", "pictures", "--out", "o", cwd=folder)
    assert process.returncode == 4, process.stderr
    assert "Traceback" not in process.stderr
    assert process.stderr.count("zero_variance") >= 2
    weights = load_file(folder / "o")
    assert all(np.isfinite(weight).all() for weight in weights.values())


def test_constant_images_of_one_colour(lsuv: Run, folder: Path) -> None:
    """One colour in all: channels differ, so the blob's variance is not zero and is scaled."""
    for path in (folder / "pictures").iterdir():
        Image.new("RGB", (8, 8), COLOUR).save(path)
    arguments = ("init", "model.onnx", "--data", "pictures", "--out", "o")
    assert lsuv(*arguments, cwd=folder).returncode == 0
    per_channel = lsuv(*arguments, "--force", "--per", "channel", cwd=folder)
    assert per_channel.returncode == 4
    assert "zero_variance" in per_channel.stderr


def test_a_batch_of_one_in_the_input_only(lsuv: Run, folder: Path) -> None:
    """The input's fixed batch axis alone is no obstacle."""
    small_model(folder / "model.onnx", shape=(1, 3, 8, 8))
    process = lsuv("init", "model.onnx", "--data", "pictures", "--out", "o", cwd=folder)
    assert process.returncode == 0, process.stderr
    assert "6x3x8x8" in process.stderr


# Outputs


@pytest.mark.parametrize(
    ("out", "words"),
    [
        ("model.onnx", "is the model itself"),
        ("./pictures/../model.onnx", "is the model itself"),
        ("old.safetensors", "exists already; give --force"),
        ("pictures", "is a folder"),
        ("nosuch/out", "does not exist"),
    ],
)
def test_outputs(lsuv: Run, folder: Path, out: str, words: str) -> None:
    (folder / "old.safetensors").write_bytes(b"precious")
    check_init_refuses(lsuv, folder, 5, words, "--out", out)
    if words != "exists already; give --force":
        check_init_refuses(lsuv, folder, 5, words, "--out", out, "--force")


def test_what_is_read_is_not_overwritten(lsuv: Run, folder: Path) -> None:
    external(folder)
    check_init_refuses(
        *(lsuv, folder, 5, "is the model's external data", "bad.onnx"),
        *("--out", "bad.data", "--force"),
    )
    check_init_refuses(
        *(lsuv, folder, 5, "is one of the samples", "--data", "pictures/0.png"),
        *("--out", "pictures/0.png", "--force"),
    )


def test_a_folder_that_may_not_be_written(lsuv: Run, folder: Path) -> None:
    (folder / "locked").mkdir(mode=0o500)
    if os.access(folder / "locked", os.W_OK):
        check_init_refuses(lsuv, folder, 5, "can't write in /proc", "--out", "/proc/out")
    else:
        check_init_refuses(lsuv, folder, 5, "can't write in locked", "--out", "locked/out")


def test_a_full_disk(lsuv: Run, folder: Path) -> None:
    """The file would be larger than this process may write."""
    (folder / "old").write_bytes(b"precious")
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"])]
    weights = {"w": random_weight(30_000, 3, 3, 3)}
    save_graph(folder / "model.onnx", nodes, weights, ("n", 3, 8, 8))

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))

    check_init_refuses(
        *(lsuv, folder, 5, "can't write old: File too large", "--out", "old", "--force"),
        preexec_fn=limit,
    )


# Interruptions


@pytest.mark.parametrize(
    ("stage", "number", "code", "words"),
    [
        ("reading the samples", signal.SIGINT, 130, "interrupted"),
        ("sweeping", signal.SIGINT, 130, "interrupted"),
        ("verifying the written file", signal.SIGINT, 130, "interrupted"),
        ("sweeping", signal.SIGTERM, 143, "terminated"),
    ],
)
def test_interruption_leaves_nothing(
    sample_models: Callable[[str], Path],
    tmp_path: Path,
    stage: str,
    number: signal.Signals,
    code: int,
    words: str,
) -> None:
    """A signal during a stage: the stage before has just reported its time on stderr."""
    stages = [
        "reading the model",
        "reading the samples",
        "measuring the weights as they are",
        "pre-initialising",
        "sweeping",
        "writing",
        "verifying the written file",
    ]
    np.save(tmp_path / "x.npy", random_weight(512, 3, 32, 32))
    (tmp_path / "old").write_bytes(b"precious")
    before = contents(tmp_path)
    process = subprocess.Popen(
        [
            *(COMMAND, "init", sample_models("fitnet4"), "--data", "x.npy", "--samples", "512"),
            *("--out", "old", "--force", "--verbose"),
        ],
        cwd=tmp_path,
        env=UNMEASURED,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    previous = stages[stages.index(stage) - 1]
    lines = []
    for line in process.stderr:
        lines.append(line)
        if line.startswith(f"{previous}: "):
            break
    time.sleep(0.05)
    process.send_signal(number)
    stdout, rest = process.communicate(timeout=60)
    assert process.returncode == code, "".join(lines) + rest
    assert stdout == ""
    assert "Traceback" not in rest
    assert rest.splitlines()[-1].startswith(f"error: {words}")
    assert contents(tmp_path) == before


def test_a_reader_that_goes_away(folder: Path) -> None:
    """`lsuv ... --json | head -c 0`: no traceback, no complaint from the interpreter."""
    command = f"{COMMAND} init model.onnx --data pictures --out o --json --quiet | true"
    process = subprocess.run(
        command, shell=True, cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    assert process.stderr == ""
    assert (folder / "o").exists()


# What a fresh reader found


def test_a_picture_too_large_to_decode(lsuv: Run, folder: Path) -> None:
    """A header that claims gigabytes is left out like any other broken picture."""
    header = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (60_000).to_bytes(4, "big") * 2 + b"\x08\2\0\0\0"
    (folder / "pictures" / "bomb.png").write_bytes(header + b"\0" * 4)
    process = lsuv("init", "model.onnx", "--data", "pictures", "--out", "o", cwd=folder)
    assert process.returncode == 0, process.stderr
    assert "warning: skipped pictures/bomb.png" in process.stderr


def test_an_avif_that_is_damaged(lsuv: Run, folder: Path) -> None:
    """Its decoder raises RuntimeError; such pictures come named as JPEG from the web."""
    file = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), 9, np.uint8)).save(file, "avif")
    whole = file.getvalue()
    (folder / "pictures" / "whole.jpg").write_bytes(whole)
    (folder / "pictures" / "broken.jpg").write_bytes(whole.replace(b"av01", b"none"))
    arguments = ("init", "model.onnx", "--data", "pictures", "--out", "o")
    process = lsuv(*arguments, cwd=folder)
    assert process.returncode == 0, process.stderr
    assert process.stderr.count("skipped") == 1
    assert "warning: skipped pictures/broken.jpg" in process.stderr
    refused = lsuv(*arguments, "--force", "--strict", cwd=folder)
    assert refused.returncode == 3
    assert "error: can't read the picture pictures/broken.jpg" in refused.stderr


def test_pillows_warnings_are_not_shown(lsuv: Run, folder: Path) -> None:
    palette = Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)).quantize(4)
    palette.save(folder / "pictures" / "see-through.png", transparency=bytes(4))
    process = lsuv("init", "model.onnx", "--data", "pictures", "--out", "o", cwd=folder)
    assert process.returncode == 0, process.stderr
    assert "Palette images" not in process.stderr


def test_no_fifo_is_opened(lsuv: Run, folder: Path) -> None:
    os.mkfifo(folder / "pictures" / "pipe.png")
    process = lsuv("init", "model.onnx", "--data", "pictures", "--out", "o", cwd=folder)
    assert process.returncode == 0, process.stderr


def test_pictures_for_integer_inputs(lsuv: Run, folder: Path) -> None:
    model = onnx.load(folder / "model.onnx")
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    model.graph.node.insert(0, helper.make_node("Cast", ["x"], ["xf"], to=TensorProto.FLOAT))
    model.graph.node[1].input[0] = "xf"
    onnx.save(model, folder / "bytes.onnx")
    check_init_refuses(lsuv, folder, 2, "takes bytes", "bytes.onnx", "--preset", "imagenet")
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT32
    onnx.save(model, folder / "bytes.onnx")
    check_init_refuses(lsuv, folder, 3, "takes int32", "bytes.onnx")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--target", "conv=1e200"], "write GLOB=STD"),
        (["--target-std", "1e200"], "--target-std"),
        (["--resize", "99999999"], "at most"),
        (["--threads", "100000"], "--threads"),
        (["--input-shape", "x:3,8,8", "--input-shape", "3,8,8"], "--input-shape must name"),
        (["--input-shape", "x:3,8,8", "--input-shape", "x:3,9,9"], "another for the same input"),
        (["--per", "Layer"], "invalid value for '--per': 'Layer' is not one of"),
    ],
)
def test_options_out_of_range(lsuv: Run, folder: Path, arguments: list[str], words: str) -> None:
    check_init_refuses(lsuv, folder, 2, words, *arguments)


@pytest.mark.parametrize("option", ["--like", "--spill-dir", "--out-model"])
def test_a_path_that_is_too_long(lsuv: Run, folder: Path, option: str) -> None:
    """Found by the fuzzer, as is the next."""
    check_init_refuses(lsuv, folder, 2, "a path is too long: aaaa", option, "a" * 5000)


def test_a_folder_as_weights(lsuv: Run, folder: Path) -> None:
    check_init_refuses(lsuv, folder, 3, "--like .: there is no such file", "--like", ".")


def test_empty_data(lsuv: Run, folder: Path) -> None:
    check_init_refuses(lsuv, folder, 3, "--data is empty", "--data", "")


def test_the_same_pictures_by_two_paths_count_once(lsuv: Run, folder: Path) -> None:
    arguments = ("--data", "pictures", "--data", folder / "pictures", "--out", "o")
    process = lsuv("init", "model.onnx", *arguments, cwd=folder)
    assert "using all 6 samples" in process.stderr


def test_the_output_is_no_sample(lsuv: Run, folder: Path) -> None:
    arguments = ("init", "../model.onnx", "--data", ".", "--out", "w.safetensors")
    assert lsuv(*arguments, cwd=folder / "pictures").returncode == 0
    process = lsuv(*arguments, "--force", cwd=folder / "pictures")
    assert process.returncode == 0, process.stderr


def test_external_data_through_links(lsuv: Run, folder: Path) -> None:
    """As a cache of downloads has it: both names are links into one folder of blobs."""
    external(folder)
    for name in ("blobs", "snapshot"):
        (folder / name).mkdir()
    for name in ("bad.onnx", "bad.data"):
        (folder / name).rename(folder / "blobs" / name[:5])
        (folder / "snapshot" / name).symlink_to(folder / "blobs" / name[:5])
    arguments = ("init", "snapshot/bad.onnx", "--data", "pictures", "--force", "--out")
    process = lsuv(*arguments, "o", cwd=folder)
    assert process.returncode == 0, process.stderr
    before = contents(folder)
    for out in ("snapshot/bad.data", "blobs/bad.d"):
        check_refused(lsuv(*arguments, out, cwd=folder), 5, "external data itself")
    assert contents(folder) == before


def test_external_integers(lsuv: Run, folder: Path) -> None:
    nodes = [
        helper.make_node("Reshape", ["x", "shape"], ["f"]),
        helper.make_node("Gemm", ["f", "w"], ["y"]),
    ]
    weights = {"shape": np.array([-1, 192]), "w": random_weight(192, 5)}
    model = onnx.load(save_graph(folder / "model.onnx", nodes, weights, ("n", 3, 8, 8)))
    onnx.save(model, folder / "m.onnx", save_as_external_data=True, location="d", size_threshold=0)
    process = lsuv("init", "m.onnx", "--data", "pictures", "--out", "o", cwd=folder)
    assert process.returncode == 0, process.stderr


def test_a_full_or_closed_stdout(folder: Path) -> None:
    command = f"{COMMAND} init model.onnx --data pictures --out o --json --quiet --force"
    for redirection in (">/dev/full", ">&-"):
        process = subprocess.run(
            f"{command} {redirection}",
            shell=True,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert process.returncode == 5, process.stderr
        assert process.stderr.startswith("error: the report can't be written to stdout")
        assert "Traceback" not in process.stderr
    assert (folder / "o").exists()


@pytest.mark.parametrize("buffering", ["", "1"])
@pytest.mark.parametrize(
    ("command", "code", "says"),
    [
        ("--help >/dev/full", 5, "error: can't write to stdout: No space left on device\n"),
        ("--version >/dev/full", 5, "error: can't write to stdout: No space left on device\n"),
        (
            "inspect model.onnx >/dev/full",
            5,
            "error: the report can't be written to stdout: No space left on device\n",
        ),
        ("init model.onnx --data pictures --out o 2>/dev/full", 5, ""),
        ("init nothing --data pictures --out o --quiet 2>/dev/full", 3, ""),
        ("init --nothing 2>/dev/full", 2, ""),
    ],
)
def test_full_streams(folder: Path, command: str, code: int, says: str, buffering: str) -> None:
    before = contents(folder)
    process = subprocess.run(
        f"{COMMAND} {command}",
        shell=True,
        cwd=folder,
        env={**os.environ, "PYTHONUNBUFFERED": buffering},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (process.returncode, process.stdout, process.stderr) == (code, "", says)
    assert contents(folder) == before


def test_a_link_as_output_leads_to_its_target(lsuv: Run, folder: Path) -> None:
    (folder / "elsewhere").mkdir()
    (folder / "link").symlink_to(folder / "elsewhere" / "real")
    long_name = "a" * 250
    for out in ("link", long_name):
        process = lsuv("init", "model.onnx", "--data", "pictures", "--out", out, cwd=folder)
        assert process.returncode == 0, process.stderr
    assert (folder / "link").is_symlink()
    assert load_file(folder / "elsewhere" / "real").keys() == load_file(folder / long_name).keys()
