"""The image, built without a registry and run as Docker would run it: `make docker-test`.

Not among `make test`: it needs root, packages of Debian's and, for the build, the network, and
takes minutes. pip's settings on this machine hold in the build too.

    DOCKER_TARGETS   what is built: `cpu` unless given; `cpu cuda` needs 10 GB of disk
    DEBIAN_MIRROR    where debootstrap and apt find packages
    TORCH_INDEX      where pip finds PyTorch
    STORAGE_DRIVER   buildah's: vfs unless given, which works everywhere; overlay is quicker
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.numpy import load_file

from lsuv_cli import __version__
from support.docker_build import Image, Workshop
from support.docker_container import Container, not_installed, send
from support.paths import ROOT

TARGETS = os.environ.get("DOCKER_TARGETS", "cpu").split()
SOMEBODY = "1234:1234"
INIT = ("init", "model.onnx", "--data", "imgs", "--preset", "imagenet")


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    if os.getuid() != 0:
        pytest.exit("the image's test mounts file systems: run it as root", 1)
    if missing := not_installed():
        pytest.exit(f"the image's test needs more tools: apt-get install {missing}", 1)
    folder = tmp_path_factory.mktemp("workshop")
    workshop = Workshop(folder)
    try:
        yield workshop
    finally:
        workshop.close()
        shutil.rmtree(folder)


@pytest.fixture(scope="session", params=TARGETS)
def image(workshop: Workshop, request: pytest.FixtureRequest) -> Image:
    return workshop.image(request.param)


@pytest.fixture
def work(tmp_path: Path, sample_models: Callable[[str], Path], images: Path) -> Path:
    """What a user mounts on /data: a model and pictures, all the user's own."""
    folder = tmp_path / "work"
    shutil.copytree(images / "photos", folder / "imgs")
    shutil.copy(sample_models("fitnet4"), folder / "model.onnx")
    give_away(folder)
    return folder


def give_away(folder: Path, owner: str = SOMEBODY) -> None:
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, *map(int, owner.split(":")))


def test_the_container_confines_its_processes(image: Image, work: Path) -> None:
    # Otherwise the other tests would prove nothing.
    container = Container(image, {"/data": work}, user="0:0")
    for code, error in (
        ("open('/opt/lsuv/new', 'w')", "Read-only file system"),
        ("open('/tmp/new', 'w')", "Read-only file system"),
        ("import socket; socket.create_connection(('192.0.2.1', 80), 5)", "unreachable"),
    ):
        done = container.run("-c", code, entrypoint=["python3"])
        assert done.returncode == 1
        assert error in done.stderr


def test_what_the_image_says_of_itself(image: Image) -> None:
    done = Container(image).run("--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert __version__ in done.stdout.split()
    assert image.config["Labels"]["org.opencontainers.image.version"] == __version__
    assert image.config["User"] == "1000:1000"
    assert not list(image.root.glob("opt/lsuv/lib/python3*/site-packages/pip"))
    assert not list(image.root.glob("usr/lib/python3/dist-packages/pip"))


def test_its_size_is_the_documented_one(image: Image, request: pytest.FixtureRequest) -> None:
    target = request.node.callspec.params["image"]
    sys.stdout.write(f"\nthe image of the target {target}: {image.gigabytes} GB\n")
    text = (ROOT / "docs" / "docker.md").read_text()
    (documented,) = re.findall(rf"^\| `{target}` \|.*\| ([\d.]+) GB \|$", text, re.MULTILINE)
    assert image.gigabytes == pytest.approx(float(documented), rel=0.1)


@pytest.mark.parametrize("user", [SOMEBODY, None])
@pytest.mark.parametrize("has_tmp", [True, False])
def test_init(image: Image, work: Path, tmp_path: Path, user: str | None, *, has_tmp: bool) -> None:
    give_away(work, user or image.config["User"])
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    temporary.chmod(0o1777)
    before = {path.name for path in work.iterdir()}
    volumes = {"/data": work} | ({"/tmp": temporary} if has_tmp else {})
    done = Container(image, volumes, user).run(*INIT, "--out", "init.safetensors", "--json")
    sys.stdout.write(f"\n{done.stderr}")
    assert done.returncode == 0
    report = json.loads(done.stdout)
    assert report["converged"]
    assert len(report["layers"]) == 19
    out = work / "init.safetensors"
    assert {path.name for path in work.iterdir()} - before == {out.name}
    assert f"{out.stat().st_uid}:{out.stat().st_gid}" == (user or image.config["User"])
    assert load_file(out)["conv1.weight"].shape == (32, 3, 3, 3)
    assert not list(temporary.iterdir())


def test_the_bytes_are_those_of_an_installed_lsuv(
    image: Image, work: Path, lsuv: Callable[..., object]
) -> None:
    Container(image, {"/data": work}, SOMEBODY).run(*INIT, "--out", "inside.safetensors")
    lsuv(*INIT, "--out", "outside.safetensors", cwd=work)
    inside, outside = (
        (work / f"{name}.safetensors").read_bytes() for name in ("inside", "outside")
    )
    assert inside == outside


@pytest.mark.parametrize("model", ["model.onnx", "model.pt"])
def test_only_the_outputs_folder_can_be_written_to(
    image: Image, work: Path, tmp_path: Path, model: str
) -> None:
    layers = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.Flatten())
    trace: Callable[..., torch.jit.ScriptModule] = torch.jit.trace
    trace(layers, torch.zeros(1, 3, 32, 32)).save(str(work / "model.pt"))
    give_away(work)
    out = tmp_path / "out"
    out.mkdir()
    give_away(out)
    container = Container(image, {"/data:ro": work, "/out": out}, SOMEBODY)
    arguments = ["--data", "imgs", "--preset", "imagenet", "--input-shape", "3,32,32"]
    # In several batches, which pass through segment by segment.
    arguments += ["--batch-size", "40", "--memory", "20MB"]
    done = container.run("init", model, *arguments, "--out", "/out/init.safetensors")
    assert done.returncode == 0, done.stderr
    assert [path.name for path in out.iterdir()] == ["init.safetensors"]


def test_parquet_and_braces(image: Image, work: Path) -> None:
    pictures = sorted((work / "imgs").rglob("*.jpg"))
    for index in range(2):
        rows = [{"bytes": path.read_bytes(), "path": path.name} for path in pictures[index::2]]
        pq.write_table(pa.table({"image": rows}), work / f"shard-{index}.parquet")
    give_away(work)
    done = Container(image, {"/data": work}, SOMEBODY).run(
        *("init", "model.onnx", "--data", "shard-{0..1}.parquet", "--preset", "imagenet"),
        *("--out", "init.safetensors", "--json"),
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["samples"]["available"] == len(pictures)


def test_docker_stop_ends_it(
    image: Image, work: Path, sample_models: Callable[[str], Path]
) -> None:
    # Process 1 is deaf to signals that it has no handler for.
    shutil.copy(sample_models("googlenet"), work / "model.onnx")
    before = {path.name for path in work.iterdir()}
    container = Container(image, {"/data": work}, SOMEBODY)
    with container.start(*INIT, "--out", "init.safetensors", "--samples", "all") as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("input "):
                break
        send(process, signal.SIGTERM)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert "terminated; nothing was written" in stderr
    assert {path.name for path in work.iterdir()} == before


@pytest.mark.skipif("cuda" not in TARGETS, reason="DOCKER_TARGETS has no cuda")
def test_only_the_driver_is_missing_for_cuda(workshop: Workshop) -> None:
    container = Container(workshop.image("cuda"))
    script = """
import ctypes, glob, onnxruntime, subprocess
onnxruntime.preload_dlls(directory="")
(library,) = glob.glob("/opt/lsuv/lib/*/site-packages/onnxruntime/capi/*_providers_cuda.so")
linked = subprocess.run(["ldd", library], capture_output=True, text=True, check=True).stdout
needed = [line.split()[0] for line in linked.splitlines() if "not found" in line]
assert any(name.startswith("libcublas.") for name in needed), linked
for name in [*needed, "libcudnn.so.9", "libcufft.so.12", "libnvrtc.so.13"]:
    try:
        ctypes.CDLL(name)
    except OSError:
        print(name)
"""
    done = container.run("-c", script, entrypoint=["python3"])
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["libcuda.so.1"]
