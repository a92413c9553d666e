"""Sequence encoder: one vector for a clip's sound or picture (paper, "Sequence encoders")."""

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


class SequenceEncoder(nn.Module):
    """A single-layer LSTM over the real frames, summed up over time and projected.

    Args:
        width: features of a frame (D); 0 for a modality that no clip has.
        hidden: LSTM units.
        out: width of the summary.
        pooling: `last` takes the state after the last real frame (paper), `mean` the mean of all real ones,
            `attention` their mean weighted by a learned score, at first the plain mean.
        bidirectional: a second LSTM of the same size reads backwards (paper: no).
        learned_absence: stand in a learned vector for clips without any frame, else zeros.
    """

    def __init__(
        self, width: int, hidden: int, out: int, pooling: str, bidirectional: bool, learned_absence: bool
    ) -> None:
        super().__init__()
        self.pooling = pooling
        self.out = out
        states = hidden * (1 + bidirectional)
        self.lstm = nn.LSTM(width, hidden, batch_first=True, bidirectional=bidirectional) if width else None
        self.linear = nn.Linear(states, out) if width else None
        self.score = nn.Parameter(torch.zeros(states)) if width and pooling == "attention" else None
        # Not zeros: both modalities absent would leave nothing to normalise, and a huge gradient.
        self.absent = nn.Parameter(0.1 * torch.randn(out)) if learned_absence else None

    def forward(self, values: Tensor, lengths: Tensor) -> Tensor:
        """Encode.

        Args:
            values: shape (B, T, D), padded after the real frames.
            lengths: shape (B,), real frames of each clip, 0 for a clip without this modality.

        Returns:
            shape (B, out).
        """
        if self.lstm is None or self.linear is None:
            nothing = torch.zeros(len(lengths), self.out, device=values.device)
            return nothing if self.absent is None else self.absent.expand_as(nothing)
        encoded = self.linear(self._summary(self._states(self.lstm, values, lengths), lengths))  # (B, out)
        absent = torch.zeros_like(encoded) if self.absent is None else self.absent.expand_as(encoded)
        return torch.where((lengths > 0)[:, None], encoded, absent)

    def _states(self, lstm: nn.LSTM, values: Tensor, lengths: Tensor) -> Tensor:
        """The LSTM's states at the frames, (B, T, h) or (B, T, 2 h); no padding reaches a real frame's."""
        if not lstm.bidirectional:
            forwards: Tensor = lstm(values)[0]  # padding comes after
            return forwards
        packed = pack_padded_sequence(values, lengths.clamp(min=1).cpu(), batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(lstm(packed)[0], batch_first=True, total_length=values.shape[1])[0]

    def _summary(self, states: Tensor, lengths: Tensor) -> Tensor:
        """One vector (B, h) out of the states (B, T, h); of no meaning where a clip has no frame."""
        if self.pooling == "last":
            last = (lengths.clamp(min=1) - 1)[:, None, None].expand(-1, 1, states.shape[2])
            final = states.gather(1, last)[:, 0]
            if self.lstm is None or not self.lstm.bidirectional:
                return final
            hidden = self.lstm.hidden_size  # who reads backwards is through at the first frame
            return torch.cat([final[:, :hidden], states[:, 0, hidden:]], dim=1)
        real = torch.arange(states.shape[1], device=states.device)[None] < lengths[:, None]  # (B, T)
        if self.score is None:
            return (states * real[:, :, None]).sum(dim=1) / lengths.clamp(min=1)[:, None]
        scores = (states @ self.score).masked_fill(~real, torch.finfo(states.dtype).min)
        return (states * scores.softmax(dim=1)[:, :, None]).sum(dim=1)
