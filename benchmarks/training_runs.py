"""One cell of training.py: a network's weights by every init and seed, trained side by side.

All members have the same network, so that `torch.func.vmap` runs them as one; each has its own
weights, its own order of samples and its own loss, and none sees another. LSUV's weights come from
the installed `lsuv` command.
"""

from __future__ import annotations

import copy
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from training_data import Dataset, Part

COMMAND = Path(sys.executable).parent / "lsuv"
MOMENTUM = 0.9
# The rate falls to a tenth for the last quarter of the steps.
DECAY_AT, DECAY = 0.75, 0.1

DRAWS: dict[str, Callable[[Tensor], Tensor]] = {
    "orthonormal": nn.init.orthogonal_,
    "msra": lambda weight: nn.init.kaiming_normal_(weight, nonlinearity="relu"),
    "xavier": nn.init.xavier_uniform_,
}
INITS = ("lsuv", *DRAWS, "pytorch")

State = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Budget:
    """What every run gets: steps of SGD, samples a step, and how often it is validated."""

    steps: int
    batch: int
    every: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one run: accuracies in [0, 1], in training order; mean loss of the last steps."""

    validation: list[float]
    test: float
    loss: float


def lsuv_states(net: nn.Module, train: Tensor, seeds: Sequence[int]) -> list[State]:
    """Export `net`, run `lsuv init` on it for each seed, and load what it wrote.

    Args:
        net: the network; its weights don't matter.
        train: training pictures, float32 (n, c, h, w), of which the command picks 128.
        seeds: for the draws and the choice of samples.
    """
    with tempfile.TemporaryDirectory() as folder:
        model, data = Path(folder) / "net.onnx", Path(folder) / "train.npy"
        torch.onnx.export(
            net,
            (train[:1],),
            str(model),
            dynamo=False,
            input_names=["x"],
            dynamic_axes={"x": {0: "batch"}},
        )
        np.save(data, train.numpy())
        states = []
        for seed in seeds:
            out = Path(folder) / f"init.{seed}.safetensors"
            command = [str(COMMAND), "init", str(model), "--data", str(data), "--out", str(out)]
            options = ["--seed", str(seed), "--quiet", "--threads", "1"]
            subprocess.run([*command, *options], check=True)
            states.append(load_file(out))
        return states


def drawn_state(build: Callable[[], nn.Module], init: str, seed: int) -> State:
    """A new network's state by another init; all but PyTorch's own have zero biases."""
    torch.manual_seed(seed)
    net = build()
    if init != "pytorch":
        for name, parameter in net.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            else:
                DRAWS[init](parameter)
    return net.state_dict()


def networks(
    build: Callable[[], nn.Module], train: Tensor, inits: Sequence[str], seeds: Sequence[int]
) -> list[nn.Module]:
    """A network for each init and seed, in that order."""
    nets = []
    for init in inits:
        states = (
            lsuv_states(build(), train, seeds)
            if init == "lsuv"
            else [drawn_state(build, init, seed) for seed in seeds]
        )
        for state in states:
            net = build()
            net.load_state_dict(state)
            nets.append(net)
    return nets


def orders(count: int, seed: int, budget: Budget) -> Tensor:
    """Which of `count` samples each step takes, (steps, batch): shuffled epochs, end to end."""
    generator = torch.Generator().manual_seed(seed)
    wanted = budget.steps * budget.batch
    epochs = [torch.randperm(count, generator=generator) for _ in range(-(-wanted // count))]
    return torch.cat(epochs)[:wanted].view(budget.steps, budget.batch)


def train(
    nets: Sequence[nn.Module],
    seeds: Sequence[int],
    rates: Sequence[float],
    dataset: Dataset,
    budget: Budget,
) -> list[Outcome]:
    """Train each network with SGD; `nets` are left as they are.

    Args:
        nets: of one architecture.
        seeds: for each network, that of its order of samples.
        rates: for each network, its learning rate until the decay.
        dataset: what they learn.
        budget: the same for all.
    """
    # SGD's step is linear in the gradient: a loss times a rate is a rate of its own.
    scales = torch.tensor(rates)
    parameters, _ = stack_module_state(list(nets))
    parameters = {name: p.detach().clone().requires_grad_() for name, p in parameters.items()}
    bare = copy.deepcopy(nets[0]).to("meta")
    optimiser = torch.optim.SGD(list(parameters.values()), lr=1.0, momentum=MOMENTUM)

    def outputs(own: State, pictures: Tensor) -> Tensor:
        found: Tensor = functional_call(bare, own, (pictures,))
        return found

    @torch.no_grad()
    def accuracy(part: Part) -> list[float]:
        logits = vmap(outputs, in_dims=(0, None))(parameters, part[0])
        # A network that gives NaN has no answer, though argmax would name one.
        right = (logits.argmax(-1) == part[1]) & logits.isfinite().all(-1)
        return [float(share) for share in right.float().mean(-1)]

    pictures, labels = dataset.train
    order = torch.stack([orders(len(labels), seed, budget) for seed in seeds], 1)
    recent, validation = [], []
    for step in range(budget.steps):
        if step == int(DECAY_AT * budget.steps):
            optimiser.param_groups[0]["lr"] *= DECAY
        logits = vmap(outputs)(parameters, pictures[order[step]])  # (member, batch, class)
        losses = (
            nn.functional.cross_entropy(
                logits.flatten(0, 1), labels[order[step]].flatten(), reduction="none"
            )
            .view(len(nets), -1)
            .mean(1)
        )
        optimiser.zero_grad()
        torch.autograd.backward((losses * scales).sum())
        optimiser.step()
        recent.append(losses.detach())
        if (step + 1) % budget.every == 0:
            validation.append(accuracy(dataset.validation))
            last = torch.stack(recent).mean(0)
            recent.clear()
    test = accuracy(dataset.test)
    return [
        Outcome([checked[i] for checked in validation], test[i], float(last[i]))
        for i in range(len(nets))
    ]
