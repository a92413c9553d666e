"""Alignment pretraining: what the LLM must be shown is learned once, and what clips show is learned without the LLM.

Each label has a code, a vector as wide as what enters the adapter's fusion. First the fusion alone learns, through the
LLM and on no clip at all, which pseudo tokens make the LLM write the label of a code: once for an LLM, a prompt and a
shape of the fusion, whatever the seed, the modalities or the encoders. Then encoders and mixer learn, on clips and
without the LLM, to give each clip the code of its label; an epoch of that costs a small part of one with the LLM.
"""

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from mse.adapter import MSEAdapter
from mse.atomic import replacing
from mse.backbones.llm import FrozenLLM
from mse.config import Intensity, Task
from mse.errors import UserError
from mse.labels import LabelText
from mse.progress import say, track

SEED = 0  # of codes and of the fusion's weights: all seeds of adapters share them
ARC = 1.5  # radians from the middle of the intensities to either end
BATCH_SIZE, LEARNING_RATE = 8, 3e-3  # of the fusion's training
WARMUP = 0.1  # share of its steps
CODE_NOISE = 0.3  # standard deviation added to codes, whose root mean square is 1: encoders will miss them
CONTRAST = 3.0  # of the mixtures of classes that the fusion learns to show, in logits
TEXTLESS = 0.25  # share of the fusion's training that goes without a text, as clips may
MADE_FOR = "made_for"  # in the file's metadata: what else the weights would differ with


class LabelCodes:
    """A vector for each label, with a root mean square of 1.

    Intensities lie on an arc, in their order and evenly, so that a code between two means what lies between them.
    Classes are orthogonal, so that a mixture of codes means a mixture of classes.

    Args:
        task: what is labelled.
        labels: how labels are written.
        width: elements of a code (w).
    """

    def __init__(self, task: Task, labels: LabelText, width: int) -> None:
        self.task, self.labels = task, labels
        axes = torch.empty(2 if isinstance(task, Intensity) else len(task.names), width)
        nn.init.orthogonal_(axes, generator=torch.Generator().manual_seed(SEED))
        self.axes = nn.functional.normalize(axes, dim=1) * math.sqrt(width)

    def of(self, values: Tensor) -> Tensor:
        """Codes (B, w) of labels (B,)."""
        if not isinstance(self.task, Intensity):
            return self.axes[values.long()]
        middle, half = (self.task.high + self.task.low) / 2, (self.task.high - self.task.low) / 2
        angle = ARC * (values - middle)[:, None] / half
        return angle.cos() * self.axes[0] + angle.sin() * self.axes[1]

    def draw(self, count: int, spread: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw codes, and what an LLM should answer to them.

        Args:
            count: how many (B).
            spread: as of `LabelText.weights`; classes are mixed instead.
            generator: source of randomness.

        Returns:
            codes (B, w), with noise; how right each of the K legal answers is, (B, K).
        """
        if isinstance(self.task, Intensity):
            legal = self.labels.legal()
            texts = [legal[place] for place in torch.randint(len(legal), (count,), generator=generator).tolist()]
            values = [float(text) for text in texts]
            codes = self.of(torch.tensor(values))
            weights = torch.tensor([self.labels.weights(value, spread) for value in values])
        else:
            weights = (CONTRAST * torch.randn(count, len(self.axes), generator=generator)).softmax(dim=1)
            codes = nn.functional.rms_norm(weights @ self.axes, self.axes.shape[1:])
        noisy = codes + CODE_NOISE * torch.randn(codes.shape, generator=generator)
        return nn.functional.rms_norm(noisy, noisy.shape[1:]), weights


def fit_fusion(
    llm: FrozenLLM, adapter: MSEAdapter, codes: LabelCodes, texts: Sequence[str], spread: float, steps: int
) -> dict[str, Tensor]:
    """Let an adapter's fusion learn which pseudo tokens make the LLM write the label of a code.

    Args:
        llm: the frozen LLM.
        adapter: whose fusion learns; nothing else of it changes.
        codes: of the labels.
        texts: what may stand around the pseudo tokens.
        spread: which other labels are nearly right, as of `LabelText.weights`.
        steps: batches that it learns from.

    Returns:
        the fusion's weights.

    Raises:
        UserError: the loss is not finite.
    """
    generator = torch.Generator().manual_seed(SEED)
    optimiser = torch.optim.AdamW(adapter.fusion.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: cosine_with_warmup(step, steps, WARMUP))
    losses = []
    for _ in track(range(steps), "teaching the fusion", steps, "steps"):
        drawn, weights = codes.draw(BATCH_SIZE, spread, generator)
        chosen = torch.randint(len(texts), (BATCH_SIZE,), generator=generator).tolist()
        without = (torch.rand(BATCH_SIZE, generator=generator) < TEXTLESS).tolist()
        around = ["" if none else texts[place] for place, none in zip(chosen, without, strict=True)]
        loss = llm.answer_loss(llm.context(adapter.fuse(drawn.to(llm.device)), around), weights)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(adapter.fusion.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        losses.append(loss.detach())
    last = torch.stack(losses[-max(1, steps // 5) :]).mean().item()
    if not math.isfinite(last):
        raise UserError("the fusion's loss is not finite; set train.pretrain_epochs to 0 for this LLM")
    say(f"the LLM reads labels off their pseudo tokens with a loss of {last:.3f} ({losses[0].item():.3f} at first)")
    return {name: weight.detach().cpu().contiguous() for name, weight in adapter.fusion.state_dict().items()}


def cosine_with_warmup(step: int, steps: int, warmup_fraction: float) -> float:
    """Factor on the learning rate: a linear rise over the warm-up, then a half cosine down to 0."""
    warmup = warmup_fraction * steps
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1.0, steps - warmup))))


def save_fusion(weights: dict[str, Tensor], made_for: str, path: Path) -> None:
    """Write a fusion's weights, and a digest of what they were made for."""
    with replacing(path) as partial:
        save_file(weights, partial, metadata={MADE_FOR: made_for})


def load_fusion(path: Path, made_for: str) -> dict[str, Tensor]:
    """Read what `save_fusion` wrote.

    Raises:
        UserError: the file is missing or damaged, or was made for another LLM, prompt, corpus or shape.
    """
    try:
        with safe_open(path, "pt") as file:
            found = (file.metadata() or {}).get(MADE_FOR)
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it can't be iterated)
    except (OSError, SafetensorError) as e:
        raise UserError(f"{path}: no fusion's weights ({e}); make them with `mse pretrain`") from e
    if found != made_for:
        raise UserError(
            f"{path}: made for another LLM, prompt, corpus, shape of the adapter or label_spread; make it again with "
            "`mse pretrain`"
        )
    return weights


def digest_of(*parts: str) -> str:
    """A digest, in hexadecimal digits, of what a fusion is made for."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
