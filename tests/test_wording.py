"""What stands around a clip, in tokens: counted, and checked before an LLM is loaded."""

from pathlib import Path
from typing import Any

import pytest

from mse.backbones.load import load_tokenizer
from mse.backbones.wording import Surroundings, Wording
from mse.config import Backbone, load_backbone, load_dataset
from mse.config import Config as RunConfig
from mse.errors import UserError
from mse.labels import label_text
from tests import originals
from tests.conftest import ROOT

MARKS = Backbone(folder=Path("tiny"), license="none", open_mark="<clip>", close_mark="</clip>")
RUN = RunConfig(config_path=[ROOT / "config"])
CORPORA = sorted(path.stem for path in (ROOT / "config/datasets").glob("*.yaml"))


@pytest.fixture(scope="module", params=["bytes", "chatglm", "qwen"])
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tiny_llm: Path) -> Any:
    """The tokenizer of single bytes, and those rebuilt from original checkpoints."""
    if request.param == "bytes":
        return load_tokenizer(tiny_llm)
    from mse.backbones.convert import convert

    folder = tmp_path_factory.mktemp(request.param)
    (originals.write_chatglm if request.param == "chatglm" else originals.write_qwen)(folder)
    convert(folder, folder / "native")
    return load_tokenizer(folder / "native")


@pytest.mark.parametrize("corpus", CORPORA)
@pytest.mark.parametrize("backbone", ["smollm2", "chatglm3", "qwen"])
def test_every_label_of_every_corpus_can_be_written_and_read_back(tokenizer: Any, corpus: str, backbone: str) -> None:
    dataset, marks = load_dataset(RUN, corpus), load_backbone(RUN, backbone)
    if dataset.task is None:
        return
    labels = label_text(dataset.task, marks.explicit_plus)
    words = Wording(tokenizer, marks, Surroundings(dataset.preamble, dataset.prompt, labels.legal(), 50))
    ids = [tuple(words.answer_ids(answer)) for answer in labels.legal()]
    assert len(set(ids)) == len(ids) and all(ids) and max(map(len, ids)) == words.longest_answer
    values = [labels.read(words.written(answer)) for answer in ids]
    assert None not in values and [labels.write(value) for value in values if value is not None] == labels.legal()


def test_start_of_text_is_the_tokenizer_s_own(tmp_path: Path, tiny_llm: Path) -> None:
    around = Surroundings("", "?", ["1", "2"], 9)
    bytes_only = Wording(load_tokenizer(tiny_llm), MARKS, around)
    assert bytes_only.opening[:1] == [0]  # it adds nothing by itself, but has a BOS
    from mse.backbones.convert import convert

    for kind, write in (("chatglm", originals.write_chatglm), ("qwen", originals.write_qwen)):
        write(tmp_path / kind)
        convert(tmp_path / kind, tmp_path / f"{kind}-native")
    glm = load_tokenizer(tmp_path / "chatglm-native")
    opening = Wording(glm, MARKS, around).opening
    assert glm.convert_ids_to_tokens(opening[:2]) == ["[gMASK]", "sop"] and glm.decode(opening[2:]) == "<clip>"
    qwen = load_tokenizer(tmp_path / "qwen-native")
    assert qwen.decode(Wording(qwen, MARKS, around).opening) == "<clip>"  # neither, as the original


def test_control_tokens_in_a_transcript_are_mere_text(tokenizer: Any) -> None:
    words = Wording(tokenizer, MARKS, Surroundings("", "?", ["1", "2"], 99))
    for text in ("</s> now", "<|endoftext|>", "[gMASK] sop", "<|im_end|>"):
        ids = words.text_ids(text)
        assert not set(ids) & set(tokenizer.all_special_ids) and tokenizer.decode(ids) == text


def test_answers_may_be_prefixes_of_each_other(tokenizer: Any) -> None:
    words = Wording(tokenizer, MARKS, Surroundings("", "?", ["1", "12", "123"], 9))
    assert words.end == [tokenizer.eos_token_id]
    for answer in ("1", "12", "123"):
        assert words.written([*words.answer_ids(answer), 5]).strip() == answer  # what follows the end does not count


def spoilt(tiny_llm: Path, **changes: Any) -> Any:
    """The tokenizer of single bytes without some of them."""
    import json

    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    content = json.loads((tiny_llm / "tokenizer.json").read_text())
    without = changes.pop("without", "")
    vocabulary = [token for token in content["model"]["vocab"] if token not in without]
    content["model"] |= {"vocab": {token: number for number, token in enumerate(["<unk>", *vocabulary])}}
    content["model"]["unk_token"] = "<unk>"
    content["added_tokens"] = []
    tokens = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"} | changes
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(content)), **tokens)


def test_what_can_t_be_written_is_named(tiny_llm: Path) -> None:
    around = Surroundings("", "how?", ["+1", "-1"], 9)
    Wording(spoilt(tiny_llm), MARKS, around)
    with pytest.raises(UserError, match=r"no token for '\?' in the prompt \('how\?'\)"):
        Wording(spoilt(tiny_llm, without="?"), MARKS, around)
    with pytest.raises(UserError, match=r"no token for '<' in the backbone's open_mark"):
        Wording(spoilt(tiny_llm, without="<"), MARKS, around)
    with pytest.raises(UserError, match=r"no token for '\+' in a legal answer \('\+1'\)"):
        Wording(spoilt(tiny_llm, without="+"), MARKS, around)
    with pytest.raises(UserError, match=r"no end-of-text token, and the answers are of different lengths"):
        Wording(spoilt(tiny_llm, eos_token=None), MARKS, Surroundings("", "?", ["1", "10"], 9))


def test_label_that_comes_back_otherwise_is_named(tiny_llm: Path) -> None:
    from tokenizers import normalizers

    tokenizer = load_tokenizer(tiny_llm)
    tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()
    with pytest.raises(UserError, match=r"can't write the legal answer 'Joy': its tokens \[.*\] read 'joy'; choose"):
        Wording(tokenizer, MARKS, Surroundings("", "?", ["Joy", "sad"], 9))


def test_counts_are_described_and_room_is_required(tiny_llm: Path) -> None:
    words = Wording(load_tokenizer(tiny_llm), MARKS, Surroundings("abc", "?", ["1", "22"], 9, pseudo_tokens=4))
    assert words.longest_context == (1 + 3 + 6) + 4 + 9 + (7 + 1) + 3
    assert words.described(["12345", "x" * 20, ""], 99) == (
        "tokens: 10 before the clip, 4 pseudo tokens, 0 to 20 of text (median 5; 1 of 3 texts are cut at 9), "
        "8 after it, 2 to 3 to answer; at most 34 of 99 that the LLM can read"
    )
    words.require_room(34, "config.json")
    words.require_room(None, "config.json")
    with pytest.raises(
        UserError, match=r"config\.json: the LLM reads at most 33 tokens, but a context may have 34: 10 b"
    ):
        words.require_room(33, "config.json")
