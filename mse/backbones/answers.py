"""Legal answers as a tree of tokens, so that one pass of the LLM tells how likely each of them is."""

from collections.abc import Sequence

import torch
from torch import Tensor


class AnswerTree:
    """The legal answers of a task, token by token.

    A node stands for what has been written so far; the root is the end of the context. The nodes that something can
    follow are read by the LLM, each seeing its ancestors alone; what the LLM says there is how likely each child is.

    Args:
        answers: token ids of each answer, none of which another one begins with.

    Attributes:
        tokens: of the nodes that are read, shape (N,); ancestors come before descendants.
        depth: of these nodes, from 1, shape (N,).
        sees: which node sees which, itself included, shape (N, N).
    """

    def __init__(self, answers: Sequence[Sequence[int]]) -> None:
        inner = sorted({tuple(ids[:cut]) for ids in answers for cut in range(1, len(ids))}, key=lambda p: (len(p), p))
        place = {prefix: number for number, prefix in enumerate(inner, start=1)} | {(): 0}
        self.tokens = torch.tensor([prefix[-1] for prefix in inner], dtype=torch.long)
        self.depth = torch.tensor([len(prefix) for prefix in inner], dtype=torch.long)
        self.sees = torch.tensor(
            [[low == high[: len(low)] for low in inner] for high in inner], dtype=torch.bool
        ).reshape(len(inner), len(inner))
        # Node 0 is the root, node 1 + i is tokens[i].
        self._steps = [[(place[tuple(ids[:cut])], ids[cut]) for cut in range(len(ids))] for ids in answers]

    def log_likelihoods(self, logits: Tensor) -> Tensor:
        """Natural logarithm of each answer's probability among everything that the LLM could write.

        Args:
            logits: at the root and at the nodes that are read, shape (B, 1 + N, V).

        Returns:
            shape (B, K), for K answers.
        """
        logits = logits.float()
        whole = logits.logsumexp(dim=-1)  # (B, 1 + N)
        each = []
        for steps in self._steps:
            nodes, tokens = (torch.tensor(part, device=logits.device) for part in zip(*steps, strict=True))
            each.append((logits[:, nodes, tokens] - whole[:, nodes]).sum(dim=1))
        return torch.stack(each, dim=1)

    def greedy(self, logits: Tensor) -> list[int]:
        """The answer that the likeliest child of each node leads to.

        Args:
            logits: as for `log_likelihoods`.

        Returns:
            the answer's place, for each of the B rows.
        """
        rows = logits.float().cpu()
        return [self._greedy(row) for row in rows]

    def _greedy(self, row: Tensor) -> int:
        left = list(range(len(self._steps)))
        depth = 0
        while len(left) > 1:
            node = self._steps[left[0]][depth][0]
            tokens = sorted({self._steps[answer][depth][1] for answer in left})
            best = tokens[int(row[node, tokens].argmax())]
            left = [answer for answer in left if self._steps[answer][depth][1] == best]
            depth += 1
        return left[0]
