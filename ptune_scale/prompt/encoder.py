"""The prompt encoder: what turns free vectors into prompt embeddings (section 3.2, equation 4).

Shapes: R tasks, S prompt slots, H the backbone's embedding size.
"""

import torch
from torch import Tensor, nn

from ptune_scale.prompt.kinds import EncoderKind


class LSTMEncoder(nn.Module):
    """h_i = MLP([LSTM forward; LSTM backward]): the paper's encoder.

    The bidirectional LSTM has two layers and H/2 units per direction; the MLP has two layers with
    a ReLU between them. All R rows are independent sequences of length S.

    Raises:
        ValueError: H is odd, so that the two directions cannot share it.
    """

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        if hidden_size % 2:
            raise ValueError(f"the LSTM encoder needs an even hidden size, got {hidden_size}")
        self.lstm = nn.LSTM(
            hidden_size, hidden_size // 2, num_layers=2, bidirectional=True, batch_first=True
        )
        self.mlp = _mlp(hidden_size)

    def forward(self, vectors: Tensor) -> Tensor:
        """(R, S, H) -> (R, S, H)."""
        return self.mlp(self.lstm(vectors)[0])


def _mlp(hidden_size: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(hidden_size, hidden_size), nn.ReLU(), nn.Linear(hidden_size, hidden_size)
    )


def build_encoder(kind: EncoderKind, hidden_size: int) -> nn.Module:
    """An encoder (R, S, H) -> (R, S, H) in fp32.

    Args:
        kind: "lstm" (the paper's), "mlp" (no recurrence) or "none" (the vectors are the prompt).
    """
    if kind == "lstm":
        return LSTMEncoder(hidden_size)
    if kind == "mlp":
        return _mlp(hidden_size)
    return nn.Identity()


def start_at(encoder: nn.Module, center: Tensor) -> None:
    """Let the prompt embeddings of a new LSTM or MLP encoder begin around a point.

    A fresh encoder yields vectors near zero, where no word embedding is; the first tens of
    updates then go into finding the region that the backbone understands.

    Args:
        center: (H,), for example the mean word embedding.
    """
    with torch.no_grad():
        _last_layer(encoder).bias.copy_(center)


def silence(encoder: nn.Module) -> None:
    """Let a new LSTM or MLP encoder begin with zeros: what it yields is to be added to words."""
    last = _last_layer(encoder)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)


def _last_layer(encoder: nn.Module) -> nn.Linear:
    layers = encoder.mlp if isinstance(encoder, LSTMEncoder) else encoder
    assert isinstance(layers, nn.Sequential)
    last = layers[-1]
    assert isinstance(last, nn.Linear)
    return last


def count_parameters(kind: EncoderKind, hidden_size: int, num_slots: int) -> int:
    """Trainable parameters of one task's vectors and encoder, counted without memory."""
    with torch.device("meta"):
        encoder = build_encoder(kind, hidden_size)
    return num_slots * hidden_size + sum(p.numel() for p in encoder.parameters())
