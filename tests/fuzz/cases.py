"""Random command lines on damaged files."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer.main

from fuzz.mutations import FLOATS, SIZES, TEXTS, damage_file
from fuzz.seeds import (
    PICTURES,
    SAMPLES,
    write_configuration,
    write_models,
    write_samples,
    write_weights,
)
from lsuv_cli.cli.app import app

COMMON = ("--device", "cpu", "--threads", "1")
OUT = ("--out", "out.safetensors")
# Conversions take seconds, and most damage to their archives is found before.
RARE = ("script", "program")
RARE_SHARE = 0.1
MODELS = (".onnx", ".pt", ".pt2")
GROUP: Any = typer.main.get_command(app)

Prepare = Callable[[Path, Path, random.Random], list[str]]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of damage.

    Attributes:
        write: makes the sound files.
        prepare: copies those of a case from one folder to another, damages them, and returns the
            command line.
    """

    write: Callable[[Path], None]
    prepare: Prepare


def damaged_model(source: Path, folder: Path, rng: random.Random) -> list[str]:
    """Damage a model for `inspect` or `init`."""
    names = sorted(path.stem for path in source.glob("*.npy"))
    rare = rng.random() < RARE_SHARE
    name = rng.choice([one for one in names if (one in RARE) == rare])
    (model,) = (path for path in source.glob(f"{name}.*") if path.suffix in MODELS)
    files = [model, source / f"{name}.npy", *source.glob(f"{name}.data")]
    copied = [Path(shutil.copy(path, folder)) for path in files]
    damage_file(copied[-1] if len(copied) > 2 and rng.random() < 0.3 else copied[0], rng)
    if rng.random() < 0.6:
        return ["inspect", copied[0].name, *rng.choice(([], ["--plan"], ["--json"])), *COMMON[:2]]
    data = ["--data", copied[1].name, "--samples", "all"]
    return ["init", copied[0].name, *data, *OUT, *COMMON]


def damaged_samples(source: Path, folder: Path, rng: random.Random) -> list[str]:
    """Damage samples that `init` reads."""
    name = rng.choice([*"abcdefghi", *PICTURES])
    if name in PICTURES:
        files = [source / f"{name}{index}.{name}" for index in range(SAMPLES)]
    else:
        files = list(source.glob(f"{name}.*"))
        if name == "i":
            files += [source / f"png{index}.png" for index in range(SAMPLES)]
    (folder / "data").mkdir()
    copied = [Path(shutil.copy(path, folder / "data")) for path in files]
    damage_file(copied[0], rng)
    if name == "i":
        data = f"@data/{copied[0].name}"
    else:
        data = f"data/{copied[0].name}" if len(copied) == 1 else "data"
    model = "token.onnx" if name in "gh" else "picture.onnx"
    shutil.copy(source / model, folder)
    return ["init", model, "--data", data, "--samples", "all", *OUT, *COMMON]


def damaged_weights(source: Path, folder: Path, rng: random.Random) -> list[str]:
    """Damage weights for `verify`, `apply` or `init --like`."""
    (path,) = source.glob(f"{rng.choice('abcd')}.*")
    copied = [Path(shutil.copy(one, folder)) for one in (path, source / "model.onnx")]
    damage_file(copied[0], rng)
    weights, model = (one.name for one in copied)
    if rng.random() < 0.6:
        return ["apply", model, weights, "--out", "out.onnx"]
    shutil.copy(source / "x.npy", folder)
    data = ["--data", "x.npy", "--samples", "all"]
    if rng.random() < 0.5:
        return ["verify", model, weights, *data, *COMMON]
    return ["init", model, *data, "--like", weights, *OUT, *COMMON]


def damaged_configuration(source: Path, folder: Path, rng: random.Random) -> list[str]:
    """Damage a configuration file, or give options random values."""
    for name in ("model.onnx", "x.npy"):
        shutil.copy(source / name, folder)
    line = ["init", "model.onnx", "--data", "x.npy", *OUT, *COMMON]
    if rng.random() < 0.5:
        path = Path(shutil.copy(source / "lsuv.toml", folder))
        damage_file(path, rng)
        return ["--config", path.name, *line]
    command = rng.choice(("init", "verify", "inspect", "apply"))
    return [*_line(command, source, folder), *random_options(command, rng)]


def _line(command: str, source: Path, folder: Path) -> list[str]:
    data = ["--data", "x.npy"]
    if command == "init":
        return ["init", "model.onnx", *data, *OUT, *COMMON]
    if command == "inspect":
        return ["inspect", "model.onnx"]
    shutil.copy(source / "a.safetensors", folder)
    if command == "apply":
        return ["apply", "model.onnx", "a.safetensors", "--out", "out.onnx"]
    return ["verify", "model.onnx", "a.safetensors", *data, *COMMON]


def random_options(command: str, rng: random.Random) -> list[str]:
    """Return some of a command's options, with values that are mostly of their kind."""
    parameters = GROUP.commands[command].params
    options = [one for one in parameters if one.param_type_name == "option" and not one.is_eager]
    words: list[str] = []
    for option in rng.choices(options, k=rng.choice((1, 1, 2, 3))):
        if option.name in ("out", "resume", "report", "plot", "out_model", "help"):
            continue  # these write where the check of what is left behind would not look
        words.append(rng.choice([*option.opts, *option.secondary_opts]))
        if not option.is_flag:
            words.append(_value(option, rng))
    return words


def _value(option: Any, rng: random.Random) -> str:
    described = option.type_descriptor
    choices = [one.value for one in described.annotation] if described.is_choice else []
    pools: list[Sequence[object]] = [
        SIZES,
        FLOATS,
        TEXTS,
        ("1,2,3", "0.5", "8x8", "x:3,4", "w=2", "Mat*=0.5", "1GB", "4KB", "none", "x.npy", "@x"),
        *([choices] * 3 if choices else []),
    ]
    return str(rng.choice(rng.choice(pools))).replace("\0", "\\0")


KINDS = {
    "models": Kind(write_models, damaged_model),
    "samples": Kind(write_samples, damaged_samples),
    "weights": Kind(write_weights, damaged_weights),
    "configuration": Kind(write_configuration, damaged_configuration),
}
