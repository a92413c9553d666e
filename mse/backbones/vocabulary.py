"""Fast tokenizers rebuilt from the files that original checkpoints carry, with the same ids.

Both kinds of vocabulary join, again and again, the two neighbours whose union ranks best: SentencePiece by score,
tiktoken by rank. A fast tokenizer wants a list of such joins instead, so every way to split a piece in two becomes
one, in the order of the pieces.
"""

import base64
import binascii
from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from mse.errors import UserError

SPACE = "\u2581"  # SentencePiece's mark for a space
PROBE = 50  # pieces in a text that is compared


def pairs(pieces: Iterable[str], vocabulary: Mapping[str, int]) -> list[tuple[str, str]]:
    """Every pair of pieces that makes a piece, in the order of the pieces made.

    Args:
        pieces: what can be made, the best first.
        vocabulary: every piece that takes part, with its id.
    """
    return [
        (piece[:cut], piece[cut:])
        for piece in pieces
        for cut in range(1, len(piece))
        if piece[:cut] in vocabulary and piece[cut:] in vocabulary
    ]


def from_sentencepiece(path: Path, control: Sequence[str]) -> Any:
    """A `tokenizers.Tokenizer` with the ids of a SentencePiece model of type BPE that leaves text as it is.

    Args:
        path: tokenizer.model.
        control: tokens whose ids follow the model's, in this order; never found in text ("people" holds an "eop").

    Raises:
        UserError: no SentencePiece model, one that works otherwise, or one whose ids can't be met.
    """
    from google.protobuf.message import DecodeError
    from sentencepiece import SentencePieceProcessor, sentencepiece_model_pb2
    from tokenizers import Tokenizer, decoders, models, normalizers

    spm: Any = sentencepiece_model_pb2  # its classes are made when it is imported
    model = spm.ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except (OSError, DecodeError) as e:
        raise UserError(f"{path}: no SentencePiece model: {e}; a checkpoint of this kind needs it") from e
    kind, rules = model.trainer_spec, model.normalizer_spec
    works = {
        "model_type": (kind.model_type, spm.TrainerSpec.BPE),
        "byte_fallback": (kind.byte_fallback, True),
        "precompiled_charsmap": (bool(rules.precompiled_charsmap), False),
        "remove_extra_whitespaces": (rules.remove_extra_whitespaces, False),
        "add_dummy_prefix": (rules.add_dummy_prefix, True),
        "user-defined pieces": (any(piece.type == piece.USER_DEFINED for piece in model.pieces), False),
    }
    for key, (found, expected) in works.items():
        if found != expected:
            raise UserError(f"{path}: {key} = {found}, expected {expected}; its ids could not be met exactly")
    ids = {piece.piece: number for number, piece in enumerate(model.pieces)}
    for token in control:  # under another name where a piece has it already; what counts is the id
        ids[token if token not in ids else f"<control {token}>"] = len(ids)
    score = {piece.piece: piece.score for piece in model.pieces if piece.type == piece.NORMAL}
    best_first = sorted(score, key=lambda piece: -score[piece])
    joins = pairs(best_first, {piece: ids[piece] for piece in score})
    built = Tokenizer(models.BPE(ids, joins, unk_token=kind.unk_piece, fuse_unk=True, byte_fallback=True))
    built.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)])
    undo = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    built.decoder = decoders.Sequence(undo)
    _compare(built, SentencePieceProcessor(model_proto=model.SerializeToString()), list(score), path)
    return built


def _compare(built: Any, original: Any, pieces: Sequence[str], path: Path) -> None:
    """Every piece of the vocabulary, alone and with others, must get the ids that the original gives."""
    together = ["".join(pieces[start : start + PROBE]) for start in range(0, len(pieces), PROBE)]
    for text in (text.replace(SPACE, " ") for text in [*pieces, *together]):
        if built.encode(text).ids != original.encode(text):
            raise UserError(f"{path}: the rebuilt tokenizer gives other ids than the original for {text!r}")


def from_tiktoken(path: Path, pattern: str) -> Any:
    """A `tokenizers.Tokenizer` with the ids of a tiktoken vocabulary.

    Args:
        path: a line for each token: its bytes in base64, a space, its rank.
        pattern: regular expression that cuts text into words.

    Raises:
        UserError: a line of another form.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    ranks = _ranks(path)
    joins = pairs(sorted(ranks, key=ranks.__getitem__), ranks)
    built = Tokenizer(models.BPE(ranks, joins, ignore_merges=True))
    built.normalizer = normalizers.NFC()
    words = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
    built.pre_tokenizer = pre_tokenizers.Sequence(
        [words, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    built.decoder = decoders.ByteLevel()
    return built


def _ranks(path: Path) -> dict[str, int]:
    """The tokens of a tiktoken file in the letters of their bytes, with their ranks."""
    letters = _letters_of_bytes()
    ranks: dict[str, int] = {}
    line = b""
    try:
        for line in path.read_bytes().splitlines():
            token, rank = line.split()
            ranks["".join(letters[byte] for byte in base64.b64decode(token, validate=True))] = int(rank)
    except FileNotFoundError as e:
        raise UserError(f"{path}: no such file; a checkpoint of this kind needs it") from e
    except (ValueError, binascii.Error) as e:
        raise UserError(
            f"{path}: {line[:80]!r}: expected a token in base64, a space and its rank; fetch it again"
        ) from e
    if not set(letters.values()) <= set(ranks) or sorted(ranks.values()) != list(range(len(ranks))):
        raise UserError(f"{path}: ranks must go up from 0 without gaps and hold all 256 bytes; fetch it again")
    return ranks


def _letters_of_bytes() -> dict[int, str]:
    """The letter that byte-level vocabularies write for a byte: itself where it is printable, else one from 256 on."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    spare = count(256)
    return {byte: chr(byte) if byte in plain else chr(next(spare)) for byte in range(256)}
