"""Training without the LLM: pseudo tokens are drawn to the places of the right answers among the LLM's embeddings.

Where voices or faces are hard to learn, most epochs go into the LSTMs' learning of them. Without the LLM an epoch
costs a small part of one with it, and the LLM then starts from pseudo tokens that tell the answers apart; how to read
them off is still to be learned.
"""

import torch
from torch import Tensor, nn

from mse.backbones.llm import FrozenLLM

SHARPNESS = 64.0  # of likelihoods in cosines, so that a right answer can be all but certain
LATER = 0.5  # weight of a token beside the one before it: a sign tells more than a decimal, and 1.2 is not 2.1


def answer_directions(llm: FrozenLLM) -> Tensor:
    """Where each legal answer lies from the middle of all, as unit vectors in the LLM's embedding space, (K, d).

    An answer's place is the mean of its tokens' embeddings, each half as heavy as the one before it.
    """
    places = []
    for ids in llm.words.legal_ids:
        ids = ids[: len(ids) - len(llm.words.end)]  # all that an end tells is how long the answer was
        weights = LATER ** torch.arange(len(ids), device=llm.device)
        places.append((llm.embed(ids)[0].float() * weights[:, None]).sum(dim=0) / weights.sum())
    answers = torch.stack(places)
    return nn.functional.normalize(answers - answers.mean(dim=0), dim=1)


def alignment_loss(pseudo: Tensor, directions: Tensor, weights: Tensor) -> Tensor:
    """Cross entropy of the answers, each the likelier the more the pseudo tokens point to it.

    Args:
        pseudo: pseudo tokens, shape (B, n, d).
        directions: of the answers, unit vectors, shape (K, d).
        weights: how right each answer is, shape (B, K).

    Returns:
        a scalar.
    """
    cosines = (nn.functional.normalize(pseudo.float(), dim=2) @ directions.T).mean(dim=1)  # (B, K)
    return nn.functional.cross_entropy(SHARPNESS * cosines, weights / weights.sum(dim=1, keepdim=True))
