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
        children: dict[int, set[int]] = {}
        for node, token in (step for steps in self._steps for step in steps):
            children.setdefault(node, set()).add(token)
        self._children = {node: sorted(tokens) for node, tokens in children.items()}

    def along(self, answers: Sequence[int], weights: Tensor) -> list[list[dict[int, float]]]:
        """Targets at each step of each row's answer: how the next token is distributed among all answers.

        Args:
            answers: places of B answers.
            weights: how right each of the K answers is, none negative, the row's own more than 0, shape (B, K).

        Returns:
            for each of the B rows and each token of its answer the shares of the tokens that may stand there: each is
            the weight of the answers that go on with it, of all that begin as the row's does; they sum to 1.
        """
        rows = []
        for answer, row in zip(answers, weights.tolist(), strict=True):
            left = [(weight, steps) for weight, steps in zip(row, self._steps, strict=True) if weight]
            shares: list[dict[int, float]] = []
            for depth, (_, token) in enumerate(self._steps[answer]):
                whole = sum(weight for weight, _ in left)
                shares.append({})
                for weight, steps in left:
                    goes_on = steps[depth][1]
                    shares[-1][goes_on] = shares[-1].get(goes_on, 0.0) + weight / whole
                left = [(weight, steps) for weight, steps in left if steps[depth][1] == token]
            rows.append(shares)
        return rows

    def log_likelihoods(self, logits: Tensor) -> Tensor:
        """Natural logarithm of each answer's probability among everything that the LLM could write.

        Args:
            logits: at the root and at the nodes that are read, shape (B, 1 + N, V).

        Returns:
            shape (B, K), for K answers.
        """
        # Node by node: a GPU's logits are narrower, and a whole copy would be large.
        whole = torch.stack([at.float().logsumexp(dim=-1) for at in logits.unbind(dim=1)], dim=1)  # (B, 1 + N)
        each = []
        for steps in self._steps:
            nodes, tokens = (torch.tensor(part, device=logits.device) for part in zip(*steps, strict=True))
            each.append((logits[:, nodes, tokens].float() - whole[:, nodes]).sum(dim=1))
        return torch.stack(each, dim=1)

    def greedy(self, logits: Tensor) -> list[int]:
        """The answer that the likeliest child of each node leads to.

        Args:
            logits: as for `log_likelihoods`.

        Returns:
            the answer's place, for each of the B rows.
        """
        likeliest = {
            node: [tokens[best] for best in logits[:, node, tokens].argmax(dim=1).tolist()]
            for node, tokens in self._children.items()
        }
        return [self._along({node: tokens[row] for node, tokens in likeliest.items()}) for row in range(len(logits))]

    def _along(self, likeliest: dict[int, int]) -> int:
        """The answer that is reached by going from each node to its likeliest child."""
        left = list(range(len(self._steps)))
        depth = 0
        while len(left) > 1:
            node = self._steps[left[0]][depth][0]
            left = [answer for answer in left if self._steps[answer][depth][1] == likeliest[node]]
            depth += 1
        return left[0]
