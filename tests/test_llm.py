"""The frozen LLM: padding on the left changes nothing, logits only where they are needed, weights untouched."""

from pathlib import Path

import pytest
import torch

from mse.backbones.llm import FrozenLLM
from mse.config import Backbone
from mse.errors import UserError

MARKS = Backbone(model="tiny", license="none", open_mark="[", close_mark="]")


@pytest.fixture()
def llm(tiny_llm: Path) -> FrozenLLM:
    return FrozenLLM(tiny_llm, MARKS, "?", max_text_tokens=12)


TEXTS = ["hello", "", "a much longer text"]


def contexts(llm: FrozenLLM, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    pseudo = torch.randn(len(TEXTS), 2, llm.width, generator=generator)
    return llm.contexts(pseudo[[TEXTS.index(text) for text in texts]], llm.embed_texts(texts))


def test_context_is_bos_mark_pseudo_text_mark_prompt(llm: FrozenLLM) -> None:
    embeddings, mask = contexts(llm, TEXTS)
    lengths = [1 + 1 + 2 + min(12, len(text)) + 2 for text in TEXTS]  # one token a byte
    assert mask.sum(dim=1).tolist() == lengths
    assert mask[:, -1].all()
    row = embeddings[0, -lengths[0] :]
    table = llm.model.get_input_embeddings().weight
    assert torch.equal(row[0], table[llm.tokenizer.bos_token_id])
    assert torch.equal(row[-1], table[llm.tokenizer("?")["input_ids"][-1]])
    assert torch.equal(row[4:9], table[torch.tensor(llm.tokenizer("hello")["input_ids"])])


def test_loss_is_the_plain_cross_entropy_of_each_clip_alone(llm: FrozenLLM) -> None:
    answers = [llm.answer_ids(text) for text in ("+1.2", "7", "-0.3")]
    together = llm.answer_loss(contexts(llm, TEXTS), answers)
    total, tokens = 0.0, 0
    for text, answer in zip(TEXTS, answers, strict=True):
        embeddings, _ = contexts(llm, [text])
        answer_embeddings = llm.model.get_input_embeddings()(torch.tensor([answer]))
        logits = llm.model(inputs_embeds=torch.cat([embeddings, answer_embeddings], dim=1)).logits[0]
        start = embeddings.shape[1] - 1
        expected = torch.nn.functional.cross_entropy(
            logits[start : start + len(answer)], torch.tensor(answer), reduction="sum"
        )
        total, tokens = total + expected.item(), tokens + len(answer)
    assert together.item() == pytest.approx(total / tokens, rel=1e-5)


def test_generation_in_a_batch_equals_generation_alone_and_the_library(llm: FrozenLLM) -> None:
    together = llm.generate(contexts(llm, TEXTS), 6)
    alone = [llm.generate(contexts(llm, [text]), 6)[0] for text in TEXTS]
    assert together == alone
    embeddings, mask = contexts(llm, ["hello"])
    ids = llm.model.generate(
        inputs_embeds=embeddings, attention_mask=mask.long(), max_new_tokens=6, do_sample=False, pad_token_id=1
    )
    assert alone[0] == llm.tokenizer.decode(ids[0], skip_special_tokens=True)


def test_gradient_reaches_the_pseudo_tokens_and_no_weight(llm: FrozenLLM) -> None:
    before = {name: value.clone() for name, value in llm.model.state_dict().items()}
    pseudo = torch.randn(1, 2, llm.width, requires_grad=True)
    llm.answer_loss(llm.contexts(pseudo, llm.embed_texts(["x"])), [llm.answer_ids("1")]).backward()
    assert pseudo.grad is not None and pseudo.grad.abs().sum() > 0
    assert all(p.grad is None for p in llm.model.parameters())
    assert all(torch.equal(before[name], value) for name, value in llm.model.state_dict().items())


def test_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no model there \(config\.json is missing\)"):
        FrozenLLM(tmp_path, MARKS, "?", 10)
    (tmp_path / "config.json").write_text('{"model_type": "unheard-of"}')
    with pytest.raises(UserError, match="transformers can't load this model"):
        FrozenLLM(tmp_path, MARKS, "?", 10)
