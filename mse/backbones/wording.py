"""Everything that stands around a clip, as tokens, and whether every legal answer can be written with them."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from statistics import median
from typing import Any

from mse.config import Backbone
from mse.errors import UserError


@dataclass(frozen=True)
class Surroundings:
    """What the LLM reads around every clip of a corpus.

    Attributes:
        preamble: before each clip, such as examples of answers.
        prompt: the question after the clip.
        answers: every legal answer.
        max_text_tokens: a longer text is cut.
        pseudo_tokens: how many there are.
        placement: before_text, or after_text: behind the prompt but its last token.
    """

    preamble: str
    prompt: str
    answers: list[str]
    max_text_tokens: int
    pseudo_tokens: int = 4
    placement: str = "before_text"


class Wording:
    """The words around a clip, tokenised once.

    Args:
        tokenizer: of the LLM.
        backbone: marks around the clip.
        around: what else the LLM reads.

    Attributes:
        opening: tokens before the pseudo tokens.
        closing: tokens between the text and the answer.
        given: tokens that all answers begin with, such as a space; they are read, not asked for.
        end: the token after an answer; none, where all answers are of one length.
        longest_answer: tokens of the longest answer, its end included.

    Raises:
        UserError: something can't be written with the LLM's tokens.
    """

    def __init__(self, tokenizer: Any, backbone: Backbone, around: Surroundings) -> None:
        self.tokenizer = tokenizer
        self.around = around
        self._prefix = backbone.answer_prefix
        for name, text in (
            ("the preamble", around.preamble),
            ("the backbone's open_mark", backbone.open_mark),
            ("the backbone's close_mark", backbone.close_mark),
            ("the prompt", around.prompt),
        ):
            self._require_known(name, text)
        self._answers = {answer: self._ids(self._prefix + answer) for answer in around.answers}
        for answer, ids in self._answers.items():
            self._require_writable(answer, ids)
        answers = list(self._answers.values())
        lengths = {len(ids) for ids in answers}
        self.end = [] if len(lengths) == 1 else self._end_of_text()
        alike = takewhile(lambda tokens: len(set(tokens)) == 1, zip(*answers, strict=False))
        self.given: list[int] = [tokens[0] for tokens in alike][: min(lengths) - (not self.end)]
        self.longest_answer = max(lengths) - len(self.given) + len(self.end)
        self._shortest_answer = min(lengths) - len(self.given) + len(self.end)
        self.opening = self._start_of_text() + self._ids(around.preamble + backbone.open_mark)
        self.closing = self._ids(backbone.close_mark + around.prompt) + self.given
        if around.placement == "after_text" and not self.closing:
            raise UserError("placement: after_text puts pseudo tokens before the last token of the prompt: give one")

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _start_of_text(self) -> list[int]:
        """What the tokenizer puts before any text; if nothing, its BOS token, where it has one."""
        bare, whole = self._ids("a"), self.tokenizer("a")["input_ids"]
        for start in range(len(whole) - len(bare) + 1):
            if start and whole[start : start + len(bare)] == bare:
                return list(whole[:start])
        return [] if self.tokenizer.bos_token_id is None else [self.tokenizer.bos_token_id]

    def _end_of_text(self) -> list[int]:
        if self.tokenizer.eos_token_id is None:
            raise UserError("the LLM's tokenizer has no end-of-text token, and the answers are of different lengths")
        return [int(self.tokenizer.eos_token_id)]

    def _require_known(self, name: str, text: str) -> None:
        unknown = self.tokenizer.unk_token_id
        if unknown is not None and unknown in self._ids(text):
            letters = [letter for letter in dict.fromkeys(text) if unknown in self._ids(letter)]
            raise UserError(
                f"the LLM's tokenizer has no token for {', '.join(map(repr, letters))} in {name} ({text!r})"
            )

    def _require_writable(self, answer: str, ids: list[int]) -> None:
        self._require_known("a legal answer", answer)
        back = str(self.tokenizer.decode(ids)).strip()
        if not ids or unicodedata.normalize("NFC", back) != unicodedata.normalize("NFC", answer.strip()):
            raise UserError(
                f"the LLM can't write the legal answer {answer!r}: its tokens {ids} read {back!r}; choose other class "
                "names, or answer: index, in the corpus's YAML"
            )

    def text_ids(self, text: str) -> list[int]:
        """Tokens of a clip's text, cut to the longest allowed; what looks like a control token is mere text."""
        return self._tokens([text])[0][: self.around.max_text_tokens]

    def cuts(self, texts: Sequence[str]) -> list[bool]:
        """Whether each text is longer than what is read of it."""
        return [len(ids) > self.around.max_text_tokens for ids in self._tokens(texts)]

    def _tokens(self, texts: Sequence[str]) -> list[list[int]]:
        batches: list[list[int]] = self.tokenizer(list(texts), add_special_tokens=False, split_special_tokens=True)[
            "input_ids"
        ]
        return batches

    def answer_ids(self, answer: str) -> list[int]:
        """Tokens that the LLM is to write for a legal answer."""
        return self._answers[answer][len(self.given) :] + self.end

    @property
    def legal_ids(self) -> list[list[int]]:
        """Tokens of all legal answers, in their order."""
        return [self.answer_ids(answer) for answer in self.around.answers]

    def written(self, ids: Sequence[int]) -> str:
        """The answer that some generated tokens state."""
        kept = list(ids)
        if self.end and self.end[0] in kept:
            kept = kept[: kept.index(self.end[0])]
        return str(self.tokenizer.decode(self.given + kept))

    @property
    def longest_context(self) -> int:
        """Tokens of the longest sequence that the LLM can meet."""
        clip = self.around.pseudo_tokens + self.around.max_text_tokens
        return len(self.opening) + clip + len(self.closing) + self.longest_answer

    @property
    def longest_step(self) -> int:
        """Tokens of the longest sequence that a training step computes, beyond what was read beforehand."""
        if self.around.placement == "after_text":
            return self.around.pseudo_tokens + 1 + self.longest_answer
        return self.longest_context

    def require_room(self, limit: int | None, source: str) -> None:
        """Refuse contexts longer than the LLM was made for.

        Args:
            limit: tokens that the LLM can read; None where its configuration does not say.
            source: what said so, for the message.

        Raises:
            UserError: a context may be longer.
        """
        if limit is not None and self.longest_context > limit:
            raise UserError(
                f"{source}: the LLM reads at most {limit} tokens, but a context may have {self.longest_context}: "
                f"{len(self.opening)} before the clip, {self.around.pseudo_tokens} pseudo tokens, up to "
                f"{self.around.max_text_tokens} of text, {len(self.closing)} after it, {self.longest_answer} to "
                "answer; shorten the preamble or the prompt, or lower train.max_text_tokens"
            )

    def described(self, texts: Sequence[str], limit: int | None) -> str:
        """Token counts in a line, for the log.

        Args:
            texts: of the corpus.
            limit: tokens that the LLM can read.
        """
        lengths = [len(ids) for ids in self._tokens(texts)] or [0]
        cut = sum(length > self.around.max_text_tokens for length in lengths)
        answer = f"{self._shortest_answer} to {self.longest_answer}" if self.end else f"{self.longest_answer}"
        text = f"{min(lengths)} to {max(lengths)} of text (median {median(lengths):g}"
        if cut:
            text += f"; {cut} of {len(texts)} texts are cut at {self.around.max_text_tokens}"
        room = f" of {limit:,} that the LLM can read" if limit else ""
        return (
            f"tokens: {len(self.opening)} before the clip, {self.around.pseudo_tokens} pseudo tokens, {text}), "
            f"{len(self.closing)} after it, {answer} to answer; at most {self.longest_context}{room}"
        )
