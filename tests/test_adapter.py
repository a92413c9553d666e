"""The adapter: the paper's sizes, its formulas, masks, and its folder on disk."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from mse.adapter import AdapterConfig, MSEAdapter
from mse.config import AdapterSettings
from mse.errors import UserError

PAPER = {"mixer": "text_guided", "pooling": "last", "match_embedding_rms": False, "learned_absence": False}


def build(widths: tuple[int, int, int] = (25, 65, 64), **settings: object) -> MSEAdapter:
    torch.manual_seed(0)
    acoustic, facial, text = widths
    config = AdapterConfig(
        acoustic_width=acoustic,
        facial_width=facial,
        text_width=text,
        embedding_rms=0.14,
        settings=AdapterSettings(**settings),  # type: ignore[arg-type]
    )
    return MSEAdapter(config).eval()


def inputs(batch: int = 3, text_width: int = 64) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    text_mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]], dtype=torch.bool)[:batch]
    return {
        "acoustic": (torch.randn(batch, 7, 25, generator=generator), torch.tensor([7, 4, 1])[:batch]),
        "facial": (torch.randn(batch, 5, 65, generator=generator), torch.tensor([2, 5, 3])[:batch]),
        "text": (torch.randn(batch, 4, text_width, generator=generator), text_mask),
    }


@pytest.mark.parametrize(
    ("text_width", "widths", "hidden", "tokens", "expected"),
    [
        (4096, (74, 35), (64, 32), 4, 2_631_692),  # MOSEI
        (4096, (25, 177), (64, 64), 4, 2_680_716),  # SIMS-V2
        (4096, (64, 64), (64, 32), 4, 2_632_844),  # MELD
        (4096, (1024, 2048), (32, 16), 4, 2_842_380),  # CHERMA
        (2048, (74, 35), (64, 32), 4, 1_351_244),
        (2048, (25, 177), (64, 64), 4, 1_400_268),
        (2048, (64, 64), (32, 16), 2, 1_312_072),  # MELD with Qwen
        (2048, (1024, 2048), (32, 16), 4, 1_561_932),
    ],
)
def test_trainable_parameters_are_the_papers(
    text_width: int, widths: tuple[int, int], hidden: tuple[int, int], tokens: int, expected: int
) -> None:
    adapter = build(
        (*widths, text_width), acoustic_hidden=hidden[0], facial_hidden=hidden[1], pseudo_tokens=tokens, **PAPER
    )
    assert sum(p.numel() for p in adapter.parameters() if p.requires_grad) == expected


def test_numbers_are_the_formulas() -> None:
    """One clip, worked out step by step from the paper's equations."""
    adapter = build(**PAPER)
    data = inputs(batch=1)
    with torch.no_grad():
        sound = adapter.acoustic.linear(adapter.acoustic.lstm(data["acoustic"][0])[1][0][0])
        picture = adapter.facial.linear(adapter.facial.lstm(data["facial"][0][:, :2])[1][0][0])
        text = adapter.mixer.text(data["text"][0].mean(dim=1))
        mixed = sound * text + picture * text
        weights, bias = adapter.fusion.integrate.weight[0], adapter.fusion.integrate.bias
        fused = sum(w * scale(mixed) for w, scale in zip(weights, adapter.fusion.scales, strict=True)) + bias
        vector = adapter.fusion.project(fused)[0]
        expected = adapter.fusion.expand.weight * vector + adapter.fusion.expand.bias[:, None]
        assert torch.allclose(adapter(**data)[0], expected, atol=1e-6)


def test_residual_mixer_adds_what_it_multiplies() -> None:
    products, both = build(mixer="text_guided").mixer, build(mixer="residual").mixer
    sound, picture = torch.randn(2, 3, 256, generator=torch.Generator().manual_seed(2))
    embeddings, mask = inputs()["text"]
    with torch.no_grad():
        text = products.text((embeddings * mask[:, :, None]).sum(dim=1) / mask.sum(dim=1, keepdim=True))
        expected = sound * text + picture * text + sound + picture + text
        assert torch.allclose(products(sound, picture, embeddings, mask), sound * text + picture * text, atol=1e-6)
        assert torch.allclose(both(sound, picture, embeddings, mask), expected, atol=1e-6)


def test_backwards_reader_starts_at_the_last_real_frame() -> None:
    encoder = build(bidirectional=True, pooling="last").acoustic
    values, lengths = inputs()["acoustic"]
    with torch.no_grad():
        summary = encoder._summary(encoder._states(encoder.lstm, values, lengths), lengths)
        for row, length in enumerate(lengths.tolist()):
            final = encoder.lstm(values[row : row + 1, :length])[1][0]  # (2, 1, h): forwards, backwards
            assert torch.allclose(summary[row], final.flatten(), atol=1e-6)


def test_bottlenecks_have_the_papers_widths() -> None:
    adapter = build(widths=(25, 65, 128))
    assert [scale[0].out_features for scale in adapter.fusion.scales] == [16, 4, 8]  # d/8, d/32, d/16


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("pooling", ["last", "mean", "attention"])
def test_padding_changes_nothing(pooling: str, bidirectional: bool) -> None:
    adapter = build(pooling=pooling, bidirectional=bidirectional)
    data = inputs()
    with torch.no_grad():
        together = adapter(**data)
        for row in range(3):
            alone = {}
            for name, (values, lengths) in data.items():
                real = int(lengths[row].sum())
                alone[name] = (values[row : row + 1, :real], lengths[row : row + 1, ...])
                if name == "text":
                    alone[name] = (alone[name][0], lengths[row : row + 1, :real])
            assert torch.allclose(adapter(**alone)[0], together[row], atol=1e-6)
        polluted = {k: (v.clone(), m) for k, (v, m) in data.items()}
        polluted["acoustic"][0][1, 4:] = 1e3
        polluted["facial"][0][0, 2:] = 1e3
        polluted["text"][0][2, 1:] = 1e3
        assert torch.equal(adapter(**polluted), together)


def test_absent_modality_has_its_own_vector_that_learns() -> None:
    adapter = build(learned_absence=True)
    assert adapter.facial.absent is not None
    data = inputs()
    data["facial"] = (data["facial"][0], torch.tensor([0, 5, 3]))
    adapter(**data)[0].sum().backward()
    assert adapter.facial.absent.grad is not None and adapter.facial.absent.grad.abs().sum() > 0
    data["facial"] = (torch.full_like(data["facial"][0], 9.0), torch.tensor([0, 0, 0]))
    data["acoustic"] = (data["acoustic"][0], torch.tensor([0, 0, 0]))
    assert torch.isfinite(adapter(**data)).all()


def test_pseudo_tokens_are_as_loud_as_words() -> None:
    tokens = build(match_embedding_rms=True)(**inputs())
    assert tokens.shape == (3, 4, 64)
    assert tokens.square().mean(dim=-1).sqrt().flatten().tolist() == pytest.approx([0.14] * 12, rel=1e-3)


def test_folder_round_trip_holds_the_adapter_alone(tmp_path: Path) -> None:
    adapter = build()
    adapter.save_pretrained(tmp_path)
    again = MSEAdapter.from_pretrained(tmp_path).eval()
    assert torch.equal(again(**inputs()), adapter(**inputs()))
    with safe_open(tmp_path / "adapter.safetensors", "pt") as file:
        assert {key.split(".")[0] for key in file.keys()} == {"acoustic", "facial", "mixer", "fusion", "gain"}  # noqa: SIM118


def test_folder_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    build().save_pretrained(tmp_path)
    config = tmp_path / "config.json"
    config.write_text(config.read_text().replace('"acoustic_width": 25', '"acoustic_width": 26'))
    with pytest.raises(UserError, match=r"adapter\.safetensors: no weights that fit"):
        MSEAdapter.from_pretrained(tmp_path)
    weights = tmp_path / "adapter.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])  # a copy that broke off
    with pytest.raises(UserError, match=r"adapter\.safetensors: no weights that fit"):
        MSEAdapter.from_pretrained(tmp_path)
    weights.unlink()
    with pytest.raises(UserError, match=r"adapter\.safetensors"):
        MSEAdapter.from_pretrained(tmp_path)
    said = json.loads(config.read_text())
    del said["settings"]["mixer"]
    config.write_text(json.dumps(said))
    with pytest.raises(UserError, match=r"config\.json: settings lacks mixer; the adapter is of another version"):
        MSEAdapter.from_pretrained(tmp_path)
