"""Adapters of the published code: the same numbers as a plain implementation of their module."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from mse.adapter import MSEAdapter
from mse.adapter.published import import_published
from mse.errors import UserError
from tests.command_line import mse


class Encoder(nn.Module):
    """The last state of an LSTM over the real frames, projected."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.rnn = nn.LSTM(width, hidden, batch_first=True)
        self.linear = nn.Linear(hidden, 256)

    def forward(self, values: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(values, lengths, batch_first=True, enforce_sorted=False)
        return self.linear(self.rnn(packed)[1][0][0])


class Mixer(nn.Module):
    def __init__(self, text_width: int) -> None:
        super().__init__()
        self.text_mlp = nn.Linear(text_width, 256)


class Integration(nn.Module):
    """A convolution with one channel and a window over the three scales."""

    def __init__(self) -> None:
        super().__init__()
        self.Integrating_layer = nn.Sequential(nn.Conv2d(1, 1, (1, 3)))


class Fusion(nn.Module):
    def __init__(self, text_width: int, tokens: int) -> None:
        super().__init__()
        for number, share in ((1, 8), (2, 32), (3, 16)):
            inner = text_width // share
            self.add_module(f"scale{number}", nn.Sequential(nn.Linear(256, inner), nn.GELU(), nn.Linear(inner, 256)))
        self.integrating = Integration()
        self.multi_scale_projector = nn.Linear(256, text_width)
        self.projector = nn.Linear(1, tokens)

    def forward(self, mixed: Tensor) -> Tensor:
        scales = torch.stack([getattr(self, f"scale{number}")(mixed) for number in (1, 2, 3)], dim=-1)  # (B, 256, 3)
        one = self.integrating.Integrating_layer(scales[:, None])[:, 0, :, 0]  # (B, 256)
        return self.projector(self.multi_scale_projector(one)[..., None]).transpose(1, 2)  # (B, n, d)


class Published(nn.Module):
    """The published adapter, written from the paper's formulas under the published names."""

    def __init__(self, text_width: int = 64, tokens: int = 4, sizes: tuple[int, ...] = (7, 16, 5, 8)) -> None:
        super().__init__()
        self.audio_LSTM, self.video_LSTM = Encoder(*sizes[:2]), Encoder(*sizes[2:])
        self.text_guide_mixer = Mixer(text_width)
        self.mutli_scale_fusion = Fusion(text_width, tokens)

    def forward(self, sound: tuple[Tensor, Tensor], picture: tuple[Tensor, Tensor], text: Tensor) -> Tensor:
        told = self.text_guide_mixer.text_mlp(text.mean(dim=1))
        return self.mutli_scale_fusion(self.audio_LSTM(*sound) * told + self.video_LSTM(*picture) * told)


def save(model: nn.Module, path: Path, change: Callable[[dict[str, Tensor]], object] = lambda weights: None) -> Path:
    weights = {f"Model.{name}": value for name, value in model.state_dict().items()}
    change(weights)
    torch.save(weights, path)
    return path


@pytest.mark.parametrize(
    ("text_width", "tokens", "sizes", "batch"), [(64, 4, (7, 16, 5, 8), 3), (128, 2, (3, 8, 9, 64), 1)]
)
def test_numbers_are_the_published_module_s(
    tmp_path: Path, text_width: int, tokens: int, sizes: tuple[int, ...], batch: int
) -> None:
    torch.manual_seed(0)
    published = Published(text_width, tokens, sizes).eval()
    llm = {"Model.LLM.model.layers.0.mlp.up_proj.weight": torch.zeros(2, 2)}  # saved along by some versions
    import_published(
        save(published, tmp_path / "x.pth", lambda w: w.update(llm)), tmp_path / "adapter", "chatglm3", "sims"
    )
    adapter = MSEAdapter.from_pretrained(tmp_path / "adapter").eval()
    lengths = torch.tensor([9, 1, 4][:batch])
    sound, picture = (torch.randn(batch, 9, width) for width in (sizes[0], sizes[2]))
    text = torch.randn(batch, 6, text_width)
    with torch.inference_mode():
        expected = published((sound, lengths), (picture, lengths), text)
        found = adapter(
            acoustic=(sound, lengths), facial=(picture, lengths), text=(text, torch.ones(batch, 6, dtype=torch.bool))
        )
    assert found.shape == (batch, tokens, text_width) and expected.abs().mean() > 0.01
    assert (found - expected).abs().max() < 1e-5
    assert (adapter.config.backbone, adapter.config.dataset) == ("chatglm3", "sims")
    assert not adapter.config.standardised  # predict gives it features as they were measured
    assert sum(p.numel() for p in adapter.parameters()) == sum(p.numel() for p in published.parameters())


def test_command(tmp_path: Path) -> None:
    path = save(Published(), tmp_path / "x.pth")
    done = mse("adapter", "import", str(path), "--out", str(tmp_path / "adapter"), "--backbone", "qwen")
    assert done.returncode == 0 and " parameters in " in done.stdout
    assert MSEAdapter.from_pretrained(tmp_path / "adapter").config.backbone == "qwen"
    assert "error: " in mse("adapter", "import", str(tmp_path / "gone.pth"), "--out", str(tmp_path / "b")).stderr


def test_names_without_the_prefix_and_half_precision(tmp_path: Path) -> None:
    published = Published()
    torch.save({name: value.half() for name, value in published.state_dict().items()}, tmp_path / "x.pth")
    adapter = import_published(tmp_path / "x.pth", tmp_path / "adapter")
    assert torch.equal(adapter.mixer.text.weight, published.text_guide_mixer.text_mlp.weight.half().float())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda w: w.pop("Model.mutli_scale_fusion.projector.bias"),
            r"x\.pth: lacks 1 tensors of the adapter, the first is fusion\.expand\.bias \(our name\)",
        ),
        (lambda w: w.pop("Model.audio_LSTM.rnn.weight_ih_l0"), r"no adapter of the published code: 'acoustic\.lstm"),
        (
            lambda w: w.update({"Model.head.weight": torch.zeros(1)}),
            r"'Model\.head\.weight' is no part of the published",
        ),
        (
            lambda w: w.update({"Model.audio_LSTM.rnn.weight_ih_l1": torch.zeros(1)}),
            r"has 1 tensors more than the published adapter, the first is acoustic\.lstm\.weight_ih_l1 \(our name\)",
        ),
        (
            lambda w: w.update({"Model.video_LSTM.linear.weight": torch.zeros(256, 3)}),
            r"facial\.linear\.weight \(our name\) has the shape \(256, 3\), but the other tensors call for \(256, 8\)",
        ),
        (lambda w: w.clear(), r"no adapter of the published code"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, change: Callable[[dict[str, Tensor]], object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        import_published(save(Published(), tmp_path / "x.pth", change), tmp_path / "adapter")
    assert not (tmp_path / "adapter").exists()


def test_file_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.pth").write_text("<html>")
    with pytest.raises(UserError, match=r"x\.pth: "):
        import_published(tmp_path / "x.pth", tmp_path / "adapter")
