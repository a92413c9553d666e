"""The frozen LLM: padding on the left changes nothing, logits only where they are needed, weights untouched."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mse.backbones.answers import AnswerTree
from mse.backbones.llm import Context, FrozenLLM
from mse.backbones.load import load_backbone, load_tokenizer
from mse.backbones.wording import Surroundings, Wording
from mse.config import AdapterSettings, Backbone, TrainSettings
from mse.data import ClipDataset, task_of
from mse.errors import UserError
from mse.labels import label_text
from mse.ready import load_llm
from tests.made import make_dataset

MARKS = Backbone(folder=Path("tiny"), license="none", dtype="float32", open_mark="[", close_mark="]")
AROUND = Surroundings("such as 1.", "?", ["1", "-0.3", "+1.2"], max_text_tokens=12)


def frozen(folder: Path, around: Surroundings, backbone: Backbone = MARKS, recompute: bool = False) -> FrozenLLM:
    return FrozenLLM(folder, backbone, Wording(load_tokenizer(folder), backbone, around), recompute=recompute)


@pytest.fixture()
def llm(tiny_llm: Path) -> FrozenLLM:
    return frozen(tiny_llm, AROUND)


TEXTS = ["hello", "", "a much longer text"]


def only(llm: FrozenLLM, *answers: str) -> torch.Tensor:
    """Weights of the legal answers, where one alone is right in each row."""
    return torch.tensor([[float(text == answer) for text in llm.words.around.answers] for answer in answers])


def contexts(llm: FrozenLLM, texts: list[str]) -> Context:
    generator = torch.Generator().manual_seed(0)
    pseudo = torch.randn(len(TEXTS), 2, llm.width, generator=generator)
    return llm.context(pseudo[[TEXTS.index(text) for text in texts]], texts)


def full_sequence(llm: FrozenLLM, text: str, answer: list[int]) -> torch.Tensor:
    """[BOS] preamble, mark, pseudo tokens, text, mark, prompt, answer: put together plainly, shape (1, L, d)."""
    table = llm.model.get_input_embeddings()
    embed = lambda ids: table(torch.tensor([ids], dtype=torch.long))  # noqa: E731
    ids = lambda words: llm.words.tokenizer(words, add_special_tokens=False)["input_ids"]  # noqa: E731
    pseudo = contexts(llm, [text]).embeddings[:, :2]
    start = embed([llm.words.tokenizer.bos_token_id, *ids("such as 1.[")])
    return torch.cat([start, pseudo, embed(ids(text)[:12]), embed(ids("]?")), embed(answer)], dim=1)


def test_context_is_pseudo_text_mark_prompt(llm: FrozenLLM) -> None:
    context = contexts(llm, TEXTS)
    embeddings, mask = context.embeddings, context.mask[:, len(llm.words.opening) :]
    lengths = [2 + min(12, len(text)) + 2 for text in TEXTS]  # one token a byte
    assert mask.sum(dim=1).tolist() == lengths
    assert mask[:, -1].all()
    assert torch.equal(embeddings[0, -lengths[0] + 2 :], full_sequence(llm, "hello", [])[0, -lengths[0] + 2 :])


def test_loss_is_the_plain_cross_entropy_of_each_clip_alone(llm: FrozenLLM) -> None:
    answers = [llm.words.answer_ids(text) for text in ("+1.2", "1", "-0.3")]
    together = llm.answer_loss(contexts(llm, TEXTS), only(llm, "+1.2", "1", "-0.3"))
    total, tokens = 0.0, 0
    for text, answer in zip(TEXTS, answers, strict=True):
        logits = llm.model(inputs_embeds=full_sequence(llm, text, answer)).logits[0]
        expected = torch.nn.functional.cross_entropy(
            logits[-len(answer) - 1 : -1], torch.tensor(answer), reduction="sum"
        )
        total, tokens = total + expected.item(), tokens + len(answer)
    assert together.item() == pytest.approx(total / tokens, rel=1e-5)


def test_loss_with_neighbours_weighs_them_at_each_step(tiny_llm: Path) -> None:
    llm = frozen(tiny_llm, Surroundings("", "?", ["-0.3", "+1.2", "+1.3"], 12))
    context, own, near = contexts(llm, TEXTS), *(only(llm, *[text] * 3) for text in ("+1.2", "+1.3"))
    # They differ in their last token alone, where the neighbour gets a quarter.
    assert len({len(llm.words.answer_ids(text)) for text in ("+1.2", "+1.3")}) == 1
    assert llm.answer_loss(context, own + near / 3).item() == pytest.approx(
        0.75 * llm.answer_loss(context, own).item() + 0.25 * llm.answer_loss(context, near).item(), rel=1e-5
    )


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


def test_tree_tells_the_likelihood_of_each_legal_answer(llm: FrozenLLM) -> None:
    """One pass over the tree says what reading each answer for itself would say, padding or not."""
    logits = llm.answer_logits(contexts(llm, TEXTS))
    told = llm.answers.log_likelihoods(logits)
    for row, text in enumerate(TEXTS):
        for place, label in enumerate(AROUND.answers):
            answer = llm.words.answer_ids(label)
            alone = llm.model(inputs_embeds=full_sequence(llm, text, answer)).logits[0]
            steps = alone[-len(answer) - 1 : -1].log_softmax(dim=-1)
            assert told[row, place].item() == pytest.approx(steps[range(len(answer)), answer].sum().item(), abs=1e-4)
    assert torch.allclose(llm.answers.log_likelihoods(llm.answer_logits(contexts(llm, TEXTS[:1]))), told[:1], atol=1e-4)


def test_tree_holds_each_shared_beginning_once() -> None:
    tree = AnswerTree([(1, 2, 9), (1, 3, 9), (4, 9), (5, 9)])
    assert tree.tokens.tolist() == [1, 4, 5, 2, 3] and tree.depth.tolist() == [1, 1, 1, 2, 2]
    assert tree.sees.nonzero().tolist() == [[0, 0], [1, 1], [2, 2], [3, 0], [3, 3], [4, 0], [4, 4]]
    logits = torch.zeros(3, 6, 10)  # at the root, then at these nodes
    logits[0, 0, 1], logits[0, 1, 3] = 5.0, 1.0  # 1, then 3
    logits[1, 0, 7], logits[1, 0, 5] = 9.0, 1.0  # 7 is no answer's beginning
    logits[2, 0, 1], logits[2, 1, 8] = 5.0, 9.0  # 8 does not go on from 1: 2 and 3 are equal, the first stands
    assert tree.greedy(logits) == [1, 3, 0]
    shares = tree.along([0, 2], torch.tensor([[3.0, 1.0, 0.0, 1.0], [0.0, 0.0, 1.0, 0.0]]))
    assert shares == [[{1: 0.8, 5: 0.2}, {2: 0.75, 3: 0.25}, {9: 1.0}], [{4: 1.0}, {9: 1.0}]]
    assert AnswerTree([(1,), (2,)]).log_likelihoods(torch.zeros(1, 1, 4)).exp().tolist() == [[0.25, 0.25]]


def test_constrained_answers_are_the_generated_ones_where_these_are_legal(tiny_llm: Path) -> None:
    every = [chr(letter) for letter in range(33, 127)]
    llm = frozen(tiny_llm, Surroundings("", "?", every, 12))
    pseudo = torch.randn(60, 2, llm.width, generator=torch.Generator().manual_seed(1))
    context = llm.context(pseudo, [chr(97 + row % 26) * (1 + row // 26) for row in range(60)])
    generated = llm.generate(context)
    chosen = [every[place] for place in llm.answers.greedy(llm.answer_logits(context))]
    legal = [(c, g) for c, g in zip(chosen, generated, strict=True) if g in every]
    assert 5 < len(legal) < 60 and len(set(generated)) > 5
    assert all(c == g for c, g in legal)


def test_nan_is_no_answer(llm: FrozenLLM) -> None:
    """The greatest of undefined numbers would be the first token, and so the first class."""
    pseudo = torch.full((1, 2, llm.width), float("nan"))
    for ask in (llm.generate, llm.answer_logits):
        with pytest.raises(FloatingPointError):
            ask(llm.context(pseudo, ["hello"]))


AFTER = replace(AROUND, placement="after_text")


@pytest.mark.parametrize("texts", [["it is so"], ["it is so", "no"]])
def test_all_texts_are_kept_that_fit(
    texts: list[str], tmp_path: Path, tiny_llm: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = TrainSettings(threads=1)
    with ClipDataset(make_dataset(tmp_path)) as dataset:
        dataset.texts = [texts[number % len(texts)] for number in range(len(dataset))]
        labels = label_text(task_of(dataset), explicit_plus=True)
        llm = load_llm(tiny_llm, MARKS, dataset, labels, settings, AdapterSettings(), training=True)
        llm.read_beforehand(dataset.texts, batch_size=8)
        assert "read anew" not in capsys.readouterr().err
        tight = settings.model_copy(update={"text_cache_gb": 1e-7})
        llm = load_llm(tiny_llm, MARKS, dataset, labels, tight, AdapterSettings(), training=True)
        llm.read_beforehand(dataset.texts, batch_size=8)
        assert f"0 of {len(texts) + 1} texts are kept in memory (train.text_cache_gb: 1e-07)" in capsys.readouterr().err


@pytest.mark.parametrize("kept", [0.0, 3e3, 1e9])
@pytest.mark.parametrize("preamble", ["such as 1.", ""])
def test_pseudo_tokens_after_the_text(tiny_llm: Path, kept: float, preamble: str) -> None:
    """However many texts are kept: opening, text, prompt, pseudo tokens before the prompt's last token, answer."""
    around = replace(AFTER, preamble=preamble)
    words = Wording(load_tokenizer(tiny_llm), MARKS, around)
    llm = FrozenLLM(tiny_llm, MARKS, words, text_cache_bytes=kept)
    llm.read_beforehand(TEXTS, batch_size=2)
    pseudo = torch.randn(len(TEXTS), 2, llm.width, generator=torch.Generator().manual_seed(0), requires_grad=True)
    answers = [llm.words.answer_ids(text) for text in ("+1.2", "1", "-0.3")]
    context = llm.context(pseudo, TEXTS)
    assert context.embeddings.shape[1] == 3
    loss = llm.answer_loss(context, only(llm, "+1.2", "1", "-0.3"))
    loss.backward()
    table, total, tokens = llm.model.get_input_embeddings(), torch.zeros(()), 0
    plain = pseudo.detach().clone().requires_grad_()
    generated = []
    for row, (text, answer) in enumerate(zip(TEXTS, answers, strict=True)):
        before = words.opening + words.text_ids(text) + words.closing[:-1]
        embed = lambda ids: table(torch.tensor([ids], dtype=torch.long))  # noqa: E731
        start = torch.cat([embed(before), plain[row : row + 1], embed(words.closing[-1:])], dim=1)
        logits = llm.model(inputs_embeds=torch.cat([start, embed(answer)], dim=1)).logits[0, -len(answer) - 1 : -1]
        total = total + torch.nn.functional.cross_entropy(logits, torch.tensor(answer), reduction="sum")
        tokens += len(answer)
        ids = llm.model.generate(
            inputs_embeds=start, max_new_tokens=words.longest_answer, do_sample=False, pad_token_id=1
        )
        generated.append(words.written(ids[0].tolist()))
    (total / tokens).backward()
    assert loss.item() == pytest.approx((total / tokens).item(), rel=1e-5)
    assert plain.grad is not None and pseudo.grad is not None
    assert torch.allclose(pseudo.grad, plain.grad, atol=1e-6)
    assert llm.generate(context) == generated
    alone = [llm.answer_logits(llm.context(pseudo[row : row + 1], [text])) for row, text in enumerate(TEXTS)]
    assert torch.allclose(llm.answer_logits(context), torch.cat(alone), atol=1e-4)


def test_pseudo_tokens_after_the_text_need_a_prompt(tiny_llm: Path) -> None:
    bare = MARKS.model_copy(update={"close_mark": ""})
    with pytest.raises(UserError, match=r"placement: after_text puts .* before the last token of the prompt: give one"):
        frozen(tiny_llm, replace(AFTER, prompt=""), bare)


def test_answers_end_only_where_their_lengths_differ(tiny_llm: Path) -> None:
    for answers, ends in ((["1", "2"], False), (["1", "10"], True)):
        llm = frozen(tiny_llm, Surroundings("", "?", answers, 10))
        assert (llm.words.answer_ids("1")[-1] == llm.words.tokenizer.eos_token_id) == ends
        assert llm.words.longest_answer == (2 if ends else 1)  # they begin alike: only the rest is asked for


def test_what_all_answers_begin_with_is_given(tiny_llm: Path) -> None:
    asked = frozen(tiny_llm, Surroundings("", "?", [" joy", " jam"], 10))
    plain = frozen(tiny_llm, Surroundings("", "? j", ["oy", "am"], 10))
    assert asked.words.tokenizer.decode(asked.words.answer_ids(" joy")) == "oy"
    assert torch.equal(contexts(asked, ["hello"]).embeddings, contexts(plain, ["hello"]).embeddings)
    assert asked.generate(contexts(asked, ["hello"]))[0].startswith(" j")


def test_gradient_reaches_the_pseudo_tokens_and_no_weight(llm: FrozenLLM) -> None:
    before = {name: value.clone() for name, value in llm.model.state_dict().items()}
    pseudo = torch.randn(1, 2, llm.width, requires_grad=True)
    llm.answer_loss(llm.context(pseudo, ["x"]), only(llm, "1")).backward()
    assert pseudo.grad is not None and pseudo.grad.abs().sum() > 0
    assert all(p.grad is None for p in llm.model.parameters())
    assert all(torch.equal(before[name], value) for name, value in llm.model.state_dict().items())


def test_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no model there \(config\.json is missing\)"):
        load_backbone(tmp_path, MARKS, torch.device("cpu"))
    (tmp_path / "config.json").write_text('{"model_type": "unheard-of"}')
    with pytest.raises(UserError, match=r"config\.json: transformers does not know model_type = 'unheard-of'"):
        load_backbone(tmp_path, MARKS, torch.device("cpu"))
