"""Rebuilt tokenizers of real models against the libraries that made them."""

import unicodedata
from pathlib import Path

import pytest

from mse.backbones.qwen import CONTROL, WORDS
from mse.backbones.vocabulary import from_sentencepiece, from_tiktoken
from mse.errors import UserError
from mse.fetch import fetch
from tests.conftest import MODELS
from tests.originals import TRAPS, chatglm_sentencepiece, qwen_tiktoken, random_strings

STRINGS = [*random_strings(5000, 7), *TRAPS]


def vocabulary(name: str) -> Path:
    return fetch(name, Path(__file__).parent / "models.yaml", MODELS)


def test_qwen() -> None:
    folder = vocabulary("qwen-vocabulary")
    original, rebuilt = qwen_tiktoken(folder), from_tiktoken(folder / "qwen.tiktoken", WORDS)
    assert (
        rebuilt.get_vocab_size() == 151_643 and rebuilt.get_vocab_size() + len(CONTROL) == original.n_vocab == 151_851
    )
    for text in STRINGS:
        composed = unicodedata.normalize("NFC", text)
        ids = original.encode(composed, disallowed_special=())
        assert rebuilt.encode(text).ids == ids and rebuilt.decode(ids) == composed, ascii(text)
    # A vector that the publishers print: the control token as text.
    assert rebuilt.encode('print("<|endoftext|>")').ids == [1350, 9639, 91, 8691, 723, 427, 91, 82598]


def test_sentencepiece_of_chatglm_s_kind() -> None:
    folder = vocabulary("mistral-vocabulary")
    original, rebuilt = chatglm_sentencepiece(folder), from_sentencepiece(folder / "tokenizer.model", ["eop", "[MASK]"])
    assert rebuilt.get_vocab_size() == original.get_piece_size() + 2 == 32_002
    for text in STRINGS:
        ids = original.encode(text)
        assert rebuilt.encode(text).ids == ids and rebuilt.decode(ids) == original.decode(ids), ascii(text)


def test_control_token_that_is_a_piece_too_keeps_both_ids() -> None:
    folder = vocabulary("mistral-vocabulary")
    original = chatglm_sentencepiece(folder)
    assert original.id_to_piece(original.piece_to_id("ople")) == "ople"
    rebuilt = from_sentencepiece(folder / "tokenizer.model", ["ople", "sop"])
    assert rebuilt.encode("Most people").ids == original.encode("Most people")
    assert rebuilt.get_vocab_size() == original.get_piece_size() + 2 and rebuilt.token_to_id("sop") == 32_001


def test_model_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"tokenizer\.model: no SentencePiece model"):
        from_sentencepiece(tmp_path / "tokenizer.model", [])
    (tmp_path / "tokenizer.model").write_bytes(b"")
    with pytest.raises(UserError, match=r"tokenizer\.model: .*expected"):
        from_sentencepiece(tmp_path / "tokenizer.model", [])
