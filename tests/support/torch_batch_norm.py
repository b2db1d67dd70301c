"""A PyTorch network with BatchNorm before and behind its layers."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Residual(nn.Module):
    """Convolutions with BatchNorm behind and before, a residual sum, and one at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv1 = nn.Conv2d(8, 8, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1)
        self.bn3 = nn.BatchNorm2d(8, eps=0.1)
        self.fc = nn.Linear(8, 6)
        self.bn4 = nn.BatchNorm1d(6)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        x = torch.relu(self.bn1(self.stem(x)))
        x = x + self.conv2(torch.relu(self.bn2(self.conv1(x))))
        x = torch.relu(self.bn3(x)).mean((2, 3))
        result: Tensor = self.bn4(self.fc(x))
        return result


def randomized_residual() -> Residual:
    """Return a network whose BatchNorms have random parameters and running statistics."""
    torch.manual_seed(0)
    model = Residual()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias)
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.1, 3)
    return model.eval()
