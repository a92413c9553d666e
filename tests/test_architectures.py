"""Any LLM: padding, the kept opening and recomputed layers change nothing, whatever the architecture."""

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from mse.adapter import AdapterConfig, MSEAdapter
from mse.answer import clip_context
from mse.backbones import load
from mse.backbones.llm import FrozenLLM
from mse.backbones.load import load_tokenizer
from mse.backbones.memory import Estimate, available, estimate, require
from mse.backbones.wording import Surroundings, Wording
from mse.config import AdapterSettings, TrainSettings
from mse.data import ClipDataset, collate, task_of
from mse.errors import UserError
from mse.labels import label_text
from mse.train import Trainer
from tests.made import make_dataset
from tests.test_llm import AROUND, MARKS, frozen, only
from tests.tiny_llms import ARCHITECTURES, SIZES, TEXTS, pseudo_tokens, read_plainly, whole_sequence


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_batch_equals_each_clip_alone_read_plainly(tiny: Callable[[str], Path], kind: str) -> None:
    llm = frozen(tiny(kind), AROUND)
    pseudo = pseudo_tokens(llm)
    context = llm.context(pseudo, TEXTS)
    answers = [llm.words.answer_ids(text) for text in ("+1.2", "1", "-0.3")]
    total, written = 0.0, []
    for tokens, text, answer in zip(pseudo, TEXTS, answers, strict=True):
        logits = read_plainly(llm, whole_sequence(llm, tokens, text, answer))
        total += cross_entropy(logits[-len(answer) - 1 : -1], torch.tensor(answer), reduction="sum").item()
        ids: list[int] = []
        for _ in range(llm.words.longest_answer):
            ids.append(int(read_plainly(llm, whole_sequence(llm, tokens, text, ids))[-1].argmax()))
        written.append(llm.words.written(ids))
    assert llm.answer_loss(context, only(llm, "+1.2", "1", "-0.3")).item() == pytest.approx(
        total / sum(map(len, answers)), rel=1e-4
    )
    assert llm.generate(context) == written
    legal = [AROUND.answers.index(text) for text in ("+1.2", "1", "-0.3")]
    told = llm.answers.log_likelihoods(llm.answer_logits(context))[range(3), legal]
    assert -told.sum().item() == pytest.approx(total, rel=1e-4)  # the tree's own attention mask, in each architecture


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_pseudo_tokens_after_the_text(tiny: Callable[[str], Path], kind: str) -> None:
    llm = frozen(tiny(kind), replace(AROUND, placement="after_text"))
    pseudo = pseudo_tokens(llm)
    context = llm.context(pseudo, TEXTS)
    totals = []
    for tokens, text in zip(pseudo, TEXTS, strict=True):
        answer = llm.words.answer_ids("-0.3")
        before, after = (
            llm.reader.inputs(torch.tensor([ids], dtype=torch.long))
            for ids in (
                [*llm.words.opening, *llm.words.text_ids(text), *llm.words.closing[:-1]],
                [llm.words.closing[-1], *answer],
            )
        )
        logits = read_plainly(llm, torch.cat([before, llm.reader.pseudo_inputs(tokens[None]), after], dim=1))
        totals.append(-cross_entropy(logits[-len(answer) - 1 : -1], torch.tensor(answer), reduction="sum").item())
    told = llm.answers.log_likelihoods(llm.answer_logits(context))[:, AROUND.answers.index("-0.3")]
    assert told.tolist() == pytest.approx(totals, rel=1e-4)
    assert llm.answer_loss(context, only(llm, *["-0.3"] * 3)).item() == pytest.approx(
        -sum(totals) / 3 / len(answer), rel=1e-4
    )


@pytest.mark.parametrize("kind", ["llama", "gemma3_text"])
def test_attention_that_adds_its_mask_tells_the_same(
    tiny: Callable[[str], Path], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some architectures know torch's fused attention not at all."""
    told = []
    known = load.load_config
    for implementation in ("sdpa", "eager"):

        def configured(folder: Path, implementation: str = implementation) -> Any:
            config = known(folder)
            config._attn_implementation = implementation
            return config

        monkeypatch.setattr(load, "load_config", configured)
        llm = frozen(tiny(kind), AROUND)
        assert llm.model.config._attn_implementation == implementation
        told.append(llm.answers.log_likelihoods(llm.answer_logits(llm.context(pseudo_tokens(llm), TEXTS))))
    assert torch.allclose(*told, atol=1e-4)


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_recomputed_layers_give_the_same_gradient(tiny: Callable[[str], Path], kind: str) -> None:
    results = []
    for recompute in (False, True):
        llm = frozen(tiny(kind), AROUND, recompute=recompute)
        kept: list[int] = []
        pseudo = pseudo_tokens(llm).requires_grad_()
        with torch.autograd.graph.saved_tensors_hooks(lambda x, kept=kept: (kept.append(x.nbytes), x)[1], lambda x: x):
            loss = llm.answer_loss(llm.context(pseudo, TEXTS), only(llm, "1", "1", "1"))
        loss.backward()
        results.append((loss.detach(), pseudo.grad, sum(kept), llm.generate(llm.context(pseudo, TEXTS))))
    (loss, gradient, kept_all, answers), (again, gradient_again, kept_few, answers_again) = results
    assert torch.equal(loss, again) and torch.equal(gradient, gradient_again) and answers == answers_again
    assert gradient.abs().sum() > 0 and kept_few < 0.5 * kept_all


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_tokens_are_as_loud_as_what_the_llm_reads(tiny: Callable[[str], Path], kind: str) -> None:
    llm = frozen(tiny(kind), AROUND)
    read = llm.model.get_input_embeddings()(torch.arange(258))
    assert llm.embedding_rms == pytest.approx(float(read.square().mean().sqrt()), rel=1e-3)


def test_opening_may_be_empty(tiny: Callable[[str], Path]) -> None:
    """No BOS, no preamble, no mark: nothing stands before the pseudo tokens."""
    folder = tiny("qwen3")
    tokenizer = load_tokenizer(folder)
    tokenizer.bos_token = None
    bare = MARKS.model_copy(update={"open_mark": ""})
    words = Wording(tokenizer, bare, Surroundings("", "?", ["1", "22"], 10))
    assert words.opening == []
    for recompute in (False, True):
        llm = FrozenLLM(folder, bare, words, recompute=recompute)
        pseudo = pseudo_tokens(llm).requires_grad_()
        llm.answer_loss(llm.context(pseudo, TEXTS), only(llm, "1", "1", "1")).backward()
        logits = read_plainly(llm, whole_sequence(llm, pseudo[0], "hello", []))[-1]
        assert llm.generate(llm.context(pseudo, TEXTS))[0].startswith(words.written([int(logits.argmax())]))


# --- dtype, quantisation, memory ---


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_narrow_weights_are_computed_with_in_float32(tiny: Callable[[str], Path], kind: str) -> None:
    """On a CPU: the same as with the same weights held in float32."""
    results = []
    for dtype in ("bfloat16", "float32"):
        llm = frozen(tiny(kind), AROUND, MARKS.model_copy(update={"dtype": dtype}))
        assert {p.dtype for p in llm.model.parameters() if p.ndim > 1} == {getattr(torch, dtype)}
        pseudo = pseudo_tokens(llm).requires_grad_()
        loss = llm.answer_loss(llm.context(pseudo, TEXTS), only(llm, "1", "1", "1"))
        loss.backward()
        results.append((loss.item(), pseudo.grad, llm.generate(llm.context(pseudo, TEXTS))))
    (loss, gradient, answers), (expected, expected_gradient, expected_answers) = results
    assert loss == pytest.approx(expected, rel=1e-6) and answers == expected_answers
    assert torch.allclose(gradient, expected_gradient, rtol=1e-3, atol=1e-6 * expected_gradient.abs().max())


@pytest.mark.parametrize(("quantise", "near"), [("8bit", 0.1), ("4bit", 0.5)])
def test_quantised_llm_answers_and_gives_gradients(tiny: Callable[[str], Path], quantise: str, near: float) -> None:
    pytest.importorskip("bitsandbytes")
    whole = frozen(tiny("llama"), AROUND, MARKS.model_copy(update={"dtype": "bfloat16"}))
    llm = frozen(tiny("llama"), AROUND, MARKS.model_copy(update={"dtype": "bfloat16", "quantise": quantise}))
    losses = []
    for each in (whole, llm):
        pseudo = pseudo_tokens(each).requires_grad_()
        loss = each.answer_loss(each.context(pseudo, TEXTS), only(each, "1", "1", "1"))
        loss.backward()
        losses.append(loss.item())
        assert pseudo.grad.isfinite().all() and pseudo.grad.abs().sum() > 0
    assert losses[1] == pytest.approx(losses[0], rel=near) and losses[1] != losses[0]
    assert len(llm.generate(llm.context(pseudo, TEXTS))) == 3
    assert llm.model.get_memory_footprint() < whole.model.get_memory_footprint()


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_memory_is_estimated_before_loading(tiny: Callable[[str], Path], kind: str) -> None:
    """Against what a real training step keeps, and what the weights really take."""
    llm = frozen(tiny(kind), AROUND)
    weights = {parameter.untyped_storage().data_ptr() for parameter in llm.model.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        read = llm.reader.inputs(torch.randint(258, (8, 60))).requires_grad_()
        llm.model(**llm.reader.arguments(read), logits_to_keep=1)
    real = sum(storage.nbytes() for storage in kept.values())
    told = estimate(tiny(kind), MARKS, 8, 60, training=True, recompute=False)
    assert told.weights == sum(parameter.nbytes for parameter in llm.model.parameters())
    assert 0.7 * real < told.work < 1.5 * real
    assert estimate(tiny(kind), MARKS, 8, 60, training=True, recompute=True).work < 0.6 * told.work
    assert estimate(tiny(kind), MARKS, 8, 60, training=False, recompute=False).work < 0.6 * told.work
    quantised = MARKS.model_copy(update={"quantise": "8bit"})
    assert estimate(tiny(kind), quantised, 8, 60, True, False).weights < 0.75 * told.weights


def test_experts_are_read_though_their_need_may_be_unknown(
    tmp_path: Path, tiny_llm: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from transformers import MixtralConfig, MixtralForCausalLM

    config = MixtralConfig(**SIZES, num_local_experts=4, sliding_window=None)
    MixtralForCausalLM(config).save_pretrained(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny_llm / name, tmp_path)
    for dtype in ("float32", "bfloat16"):
        backbone = MARKS.model_copy(update={"dtype": dtype})
        require(estimate(tmp_path, backbone, 8, 60, training=True), torch.device("cpu"))
        llm = frozen(tmp_path, AROUND, backbone)
        assert len(llm.generate(llm.context(pseudo_tokens(llm), TEXTS))) == 3
    require(Estimate(1e9, None), torch.device("cpu"))
    assert "the LLM needs about 1.9 GB (1.0 for its weights, an unknown amount to work)" in capsys.readouterr().err


def test_llm_that_does_not_fit_is_refused_before_it_is_loaded(capsys: pytest.CaptureFixture[str]) -> None:
    cpu = torch.device("cpu")
    assert 1e8 < available(cpu) < 1e14
    require(Estimate(1e6, 1e6), cpu)
    assert "the LLM needs about 0.8 GB (0.0 for its weights" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"needs about [\d.]+ GB .*; [\d.]+ GB of memory are free\. A smaller train\.b"):
        require(Estimate(1e15, 1e9), cpu)


# --- the LLM stays what it was ---

ASK = """
import hashlib, sys, torch
from pathlib import Path
from mse.backbones.load import load_backbone
from mse.config import Backbone
backbone = Backbone(folder=Path("x"), license="none", open_mark="", close_mark="", dtype=sys.argv[2])
model = load_backbone(Path(sys.argv[1]), backbone, torch.device("cpu"))
print(hashlib.sha256(model(torch.arange(50)[None]).logits.numpy().tobytes()).hexdigest())
"""


def outputs(llm: FrozenLLM) -> str:
    with torch.no_grad():
        logits = llm.model(torch.arange(50)[None]).logits
    return hashlib.sha256(logits.numpy().tobytes()).hexdigest()


@pytest.mark.parametrize(
    ("kind", "dtype"), [("qwen2", "float32"), pytest.param("glm", "bfloat16", marks=pytest.mark.slow)]
)
def test_llm_is_bit_identical_before_and_after_training_and_elsewhere(
    tiny: Callable[[str], Path], tmp_path: Path, kind: str, dtype: str
) -> None:
    with ClipDataset(make_dataset(tmp_path)) as dataset:
        labels = label_text(task_of(dataset), explicit_plus=True)
        around = Surroundings("", dataset.prompt, labels.legal(), 10)
        llm = frozen(tiny(kind), around, MARKS.model_copy(update={"dtype": dtype}), recompute=True)
        before = outputs(llm)
        torch.manual_seed(0)
        shape = AdapterSettings(acoustic_hidden=8, facial_hidden=8, fusion_width=16)
        widths = {f"{modality}_width": dataset.widths[modality] for modality in ("acoustic", "facial")}
        adapters = [MSEAdapter(AdapterConfig(**widths, text_width=llm.width, settings=shape)) for _ in range(2)]
        trainer = Trainer(dataset, llm, adapters[0], labels, TrainSettings(batch_size=4, pretrain_epochs=1), seed=1)
        for number in (1, 2):  # without the LLM, and with it
            untrained = {name: value.clone() for name, value in adapters[0].state_dict().items()}
            trainer.epoch(number)
            assert any(not torch.equal(untrained[name], value) for name, value in adapters[0].state_dict().items())
        assert outputs(llm) == before
        assert subprocess.check_output([sys.executable, "-c", ASK, tiny(kind), dtype], text=True).strip() == before

        # Two adapters beside the one LLM, switched from batch to batch, answer as each does alone.
        batches = [collate([dataset[index] for index in range(first, first + 4)]) for first in (0, 4, 8)]
        with torch.inference_mode():
            alone = [[llm.generate(clip_context(llm, adapter.eval(), b)) for b in batches] for adapter in adapters]
            switched = [[llm.generate(clip_context(llm, adapter, b)) for adapter in adapters] for b in batches]
        assert [list(answers) for answers in zip(*switched, strict=True)] == alone
        assert alone[0] != alone[1]
