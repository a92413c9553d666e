"""The frozen LLM: padding on the left changes nothing, logits only where they are needed, weights untouched."""

from pathlib import Path

import pytest
import torch

from mse.backbones.llm import FrozenLLM
from mse.backbones.load import load_backbone, load_tokenizer
from mse.backbones.wording import Surroundings, Wording
from mse.config import Backbone
from mse.errors import UserError

MARKS = Backbone(folder=Path("tiny"), license="none", dtype="float32", open_mark="[", close_mark="]")
AROUND = Surroundings("such as 1.", "?", ["1", "-0.3", "+1.2"], max_text_tokens=12)


def frozen(folder: Path, around: Surroundings, backbone: Backbone = MARKS, recompute: bool = False) -> FrozenLLM:
    return FrozenLLM(folder, backbone, Wording(load_tokenizer(folder), backbone, around), recompute=recompute)


@pytest.fixture()
def llm(tiny_llm: Path) -> FrozenLLM:
    return frozen(tiny_llm, AROUND)


TEXTS = ["hello", "", "a much longer text"]


def contexts(llm: FrozenLLM, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    pseudo = torch.randn(len(TEXTS), 2, llm.width, generator=generator)
    return llm.contexts(pseudo[[TEXTS.index(text) for text in texts]], llm.embed_texts(texts))


def full_sequence(llm: FrozenLLM, text: str, answer: list[int]) -> torch.Tensor:
    """[BOS] preamble, mark, pseudo tokens, text, mark, prompt, answer: put together plainly, shape (1, L, d)."""
    table = llm.model.get_input_embeddings()
    embed = lambda ids: table(torch.tensor([ids], dtype=torch.long))  # noqa: E731
    ids = lambda words: llm.words.tokenizer(words, add_special_tokens=False)["input_ids"]  # noqa: E731
    context, _ = contexts(llm, [text])
    pseudo = context[:, :2]
    start = embed([llm.words.tokenizer.bos_token_id, *ids("such as 1.[")])
    return torch.cat([start, pseudo, embed(ids(text)[:12]), embed(ids("]?")), embed(answer)], dim=1)


def test_context_is_pseudo_text_mark_prompt(llm: FrozenLLM) -> None:
    embeddings, mask = contexts(llm, TEXTS)
    lengths = [2 + min(12, len(text)) + 2 for text in TEXTS]  # one token a byte
    assert mask.sum(dim=1).tolist() == lengths
    assert mask[:, -1].all()
    assert torch.equal(embeddings[0, -lengths[0] + 2 :], full_sequence(llm, "hello", [])[0, -lengths[0] + 2 :])


def test_loss_is_the_plain_cross_entropy_of_each_clip_alone(llm: FrozenLLM) -> None:
    answers = [llm.words.answer_ids(text) for text in ("+1.2", "1", "-0.3")]
    together = llm.answer_loss(contexts(llm, TEXTS), answers)
    total, tokens = 0.0, 0
    for text, answer in zip(TEXTS, answers, strict=True):
        logits = llm.model(inputs_embeds=full_sequence(llm, text, answer)).logits[0]
        expected = torch.nn.functional.cross_entropy(
            logits[-len(answer) - 1 : -1], torch.tensor(answer), reduction="sum"
        )
        total, tokens = total + expected.item(), tokens + len(answer)
    assert together.item() == pytest.approx(total / tokens, rel=1e-5)


def test_generation_in_a_batch_equals_generation_alone_and_the_library(llm: FrozenLLM) -> None:
    together = llm.generate(contexts(llm, TEXTS))
    alone = [llm.generate(contexts(llm, [text]))[0] for text in TEXTS]
    assert together == alone
    ids = llm.model.generate(
        inputs_embeds=full_sequence(llm, "hello", []),
        max_new_tokens=llm.words.longest_answer,
        do_sample=False,
        pad_token_id=1,
    )
    assert alone[0] == llm.words.tokenizer.decode(ids[0], skip_special_tokens=True)


def test_answers_end_only_where_their_lengths_differ(tiny_llm: Path) -> None:
    for answers, ends in ((["1", "2"], False), (["1", "10"], True)):
        llm = frozen(tiny_llm, Surroundings("", "?", answers, 10))
        assert (llm.words.answer_ids("1")[-1] == llm.words.tokenizer.eos_token_id) == ends
        assert llm.words.longest_answer == (2 if ends else 1)  # they begin alike: only the rest is asked for


def test_what_all_answers_begin_with_is_given(tiny_llm: Path) -> None:
    asked = frozen(tiny_llm, Surroundings("", "?", [" joy", " jam"], 10))
    plain = frozen(tiny_llm, Surroundings("", "? j", ["oy", "am"], 10))
    assert asked.words.tokenizer.decode(asked.words.answer_ids(" joy")) == "oy"
    assert torch.equal(contexts(asked, ["hello"])[0], contexts(plain, ["hello"])[0])
    assert asked.generate(contexts(asked, ["hello"]))[0].startswith(" j")


def test_gradient_reaches_the_pseudo_tokens_and_no_weight(llm: FrozenLLM) -> None:
    before = {name: value.clone() for name, value in llm.model.state_dict().items()}
    pseudo = torch.randn(1, 2, llm.width, requires_grad=True)
    llm.answer_loss(llm.contexts(pseudo, llm.embed_texts(["x"])), [llm.words.answer_ids("1")]).backward()
    assert pseudo.grad is not None and pseudo.grad.abs().sum() > 0
    assert all(p.grad is None for p in llm.model.parameters())
    assert all(torch.equal(before[name], value) for name, value in llm.model.state_dict().items())


def test_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no model there \(config\.json is missing\)"):
        load_backbone(tmp_path, MARKS, torch.device("cpu"))
    (tmp_path / "config.json").write_text('{"model_type": "unheard-of"}')
    with pytest.raises(UserError, match=r"config\.json: transformers does not know model_type = 'unheard-of'"):
        load_backbone(tmp_path, MARKS, torch.device("cpu"))
