"""Whether an LLM reads as an adapter needs it, tried on a few tokens before anything is trained."""

import tempfile
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.checkpoint import set_checkpoint_early_stop

from mse.backbones.answers import AnswerTree
from mse.backbones.llm import recompute_layers
from mse.backbones.load import load_layer_by_layer, load_tokenizer
from mse.backbones.reader import Context, Layers, Reader, padded
from mse.errors import UserError
from mse.progress import say

START, TEXTS, ANSWERS = [5], [[7, 6], [8, 9, 7, 6]], [[10, 6], [10, 9], [11]]  # tokens
ALIKE = 0.05  # root mean square of a difference, as a share of the logits' spread: bfloat16's rounding is below


def check(folder: Path) -> None:
    """Read a native folder a layer at a time: nothing is missing, and tokens and pseudo tokens are read as they shall.

    A few tokens are read plainly, and as an adapter has them read: as embeddings, after an opening that was read
    before, padded, and with several answers at once. The numbers must be the same, or the architecture can't be read
    in batches, sees what comes later, or takes embeddings for something else than tokens. Then made-up pseudo tokens
    are read, and must get a gradient.

    Args:
        folder: what is to be loaded.

    Raises:
        UserError: it can't be loaded, lacks tensors, computes NaN, or does not read as said.
    """
    tokenizer = load_tokenizer(folder)
    with tempfile.TemporaryDirectory() as unused:
        model = load_layer_by_layer(folder, unused)
        rows = model.get_input_embeddings().weight.shape[0]
        if tokenizer.vocab_size > rows:  # what was added to it above may stand for other than text
            raise UserError(f"{folder}: the tokenizer has {tokenizer.vocab_size:,} tokens, the weights know {rows:,}")
        try:
            reader = Reader(model)
            with suppress(UserError):  # old architectures can't, and hold all weights until the gradient is known
                recompute_layers(model)
            opening = reader.read(
                Context([], reader.inputs(_ids([START])), torch.ones(1, len(START), dtype=torch.bool))
            )
            _require_same_numbers(reader, opening)
            _require_gradient(reader, opening)
        except UserError as e:
            raise UserError(f"{folder}: {e}") from e
        except Exception as e:  # whatever an architecture makes of it
            said = (str(e) or type(e).__name__).splitlines()[0]
            raise UserError(
                f"{folder}: {type(model).__name__} can't be read as an adapter needs it, as embeddings at given "
                f"positions after others: {said}; choose another LLM"
            ) from e
    count = sum(parameter.numel() for parameter in model.parameters())
    say(f"{type(model).__name__}, {count / 1e9:.2f} billion parameters, {len(tokenizer):,} tokens: reads and writes")


@torch.no_grad()
def _require_same_numbers(reader: Reader, opening: Layers) -> None:
    """Hold what is read in an adapter's way against the same tokens read plainly."""
    name, tree = type(reader.model).__name__, AnswerTree(ANSWERS)
    context = _context(opening, [reader.inputs(_ids([text]))[0] for text in TEXTS])
    found = tree.log_likelihoods(reader.tree_logits(context, tree)).flatten()
    sequences = [[*START, *text, *answer] for text in TEXTS for answer in ANSWERS]
    longest = max(map(len, sequences))
    # Whatever comes later does not count.
    logits = reader.model(_ids([ids + [12] * (longest - len(ids)) for ids in sequences]), use_cache=False).logits
    at = [(row, len(ids) - len(answer)) for row, (ids, answer) in enumerate(zip(sequences, ANSWERS * 2, strict=True))]
    steps = [logits[row, start - 1 : len(sequences[row]) - 1].float() for row, start in at]
    expected = torch.stack(
        [
            step.log_softmax(dim=-1)[range(len(answer)), answer].sum()
            for step, answer in zip(steps, ANSWERS * 2, strict=True)
        ]
    )
    if not (torch.isfinite(expected).all() and torch.isfinite(found).all()):
        raise UserError("the model computes NaN or infinity; its weights are damaged")
    if (found - expected).square().mean().sqrt() > ALIKE * torch.cat(steps).std(dim=-1).mean():
        raise UserError(
            f"{name} reads a padded text otherwise than the same text alone, embeddings otherwise than their tokens, "
            "or sees what comes later; choose another LLM"
        )


def _require_gradient(reader: Reader, opening: Layers) -> None:
    """Read made-up pseudo tokens, and ask how the likelihood of an answer depends on them."""
    name = type(reader.model).__name__
    size = reader.embedding(_ids(TEXTS[1:])).float().square().mean().sqrt()
    drawn = torch.randn(len(TEXTS), 2, reader.width, generator=torch.Generator().manual_seed(0))
    pseudo = (size * drawn).requires_grad_()
    texts = [reader.inputs(_ids([text]))[0] for text in TEXTS]
    rows = [
        torch.cat([reader.pseudo_inputs(tokens.to(text.dtype)), text])
        for tokens, text in zip(pseudo, texts, strict=True)
    ]
    answer = _ids(ANSWERS[:1] * len(TEXTS))
    read = reader.inputs(answer[:, :-1])
    with set_checkpoint_early_stop(False):  # else a layer that is computed again would not be put away
        logits = reader.follow(_context(opening, rows), read, torch.ones_like(read[..., 0], dtype=torch.bool))
    torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), answer.flatten()).backward()
    gradient = pseudo.grad
    if gradient is None or not torch.isfinite(gradient).all() or not gradient.abs().sum(dim=-1).all():
        raise UserError(f"{name} gives pseudo tokens no gradient, so that no adapter could learn; choose another LLM")


def _context(opening: Layers, rows: list[Tensor]) -> Context:
    """Sequences (L, d + p) after an opening, padded."""
    embeddings, mask = padded(rows)
    return Context(opening, embeddings, torch.cat([torch.ones(len(rows), len(START), dtype=torch.bool), mask], dim=1))


def _ids(rows: list[list[int]]) -> Tensor:
    return torch.tensor(rows)
