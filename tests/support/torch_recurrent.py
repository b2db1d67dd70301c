"""A PyTorch network of LSTM, GRU or plain recurrent layers."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

INPUTS, HIDDEN = 6, 5


class Recurrent(nn.Module):
    """Two layers of two directions, a third of one, and a head."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        layer: Callable[..., nn.RNNBase] = getattr(nn, kind)
        self.rnn = layer(INPUTS, HIDDEN, num_layers=2, bidirectional=True, batch_first=True)
        self.last = layer(2 * HIDDEN, HIDDEN, batch_first=True)
        self.head = nn.Linear(HIDDEN, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        x, _ = self.rnn(x)
        x, _ = self.last(x)
        result: Tensor = self.head(x[:, -1])
        return result
