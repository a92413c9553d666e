"""Find the column of a table that holds the labels, by its name or by what is in it."""

import re
from collections.abc import Iterable, Mapping, Sequence

from mse.corpus.numbers import plain_numbers
from mse.media_types import is_medium

NAMES = {  # what columns are called, in lower case and without spaces and underscores
    "text": "text utterance transcript transcription sentence words txt",
    "label": "label sentiment emotion videolabel score rating intensity class annotation polarity valence arousal "
    "dominance mood affect feeling gold target truth groundtruth category emo stance y gt stimmung gefühl bewertung "
    "wertung humeur émotion étiquette polarité emoción etiqueta sentimiento emozione sentimento emoção 情感 情绪 情緒 "
    "标签 標籤 极性 类别 感情 ラベル 極性 감정 라벨 레이블 эмоция метка тональность оценка",
    "split": "split mode set subset partition fold",
    "speaker": "speaker speakerid actor who subject person participant",
    "start": "start starts starttime begin from onset",
    "end": "end ends endtime stop to offset",
    "clip_id": "clipid id uttid utteranceid name clip segment key",
}
MOST_CLASSES = 20
LABEL_WORDS = (
    "positive negative neutral pos neg neu happy happiness joy joyful sad sadness angry anger fear fearful afraid "
    "surprise surprised disgust disgusted contempt calm bored boredom excited frustrated frustration other mixed "
    "hap ang exc fru sur fea dis oth yes no true false traurig fröhlich glücklich wütend angst freude trauer wut ekel "
    "neutre triste joie colère peur feliz alegría enfado miedo радость грусть злость 기쁨 슬픔 분노 중립 "
    "喜び 怒り 悲しみ 积极 消极 中性 正面 负面 中立 高兴 开心 快乐 悲伤 伤心 愤怒 生气 惊讶 恐惧 厌恶 喜 怒 哀 乐"
)
GROUPS = re.compile(r"video|session|dialog|scene|episode|season|movie|film|show|file|folder|path|group|recording|id$")


def named(columns: Iterable[str], fact: str) -> str | None:
    """The column whose name says that it holds this fact."""
    bare = {column: re.sub(r"[\s_.]+", "", column.lower()).removesuffix("s").removesuffix("sec") for column in columns}
    for name in NAMES[fact].split():
        for column, word in bare.items():
            if word in (name, name.removesuffix("s")):
                return column
    return None


def find_label(values: Mapping[str, Sequence[str]]) -> str | None:
    """Find the column of labels.

    By its name; else by its content: the last one of classes or scores; else the last one of few values that tells no
    two rows apart, as one for videos, sessions or speakers would.

    Args:
        values: the cells of each column.
    """
    others = [name for name, cells in values.items() if not _are_media(cells)]
    label = named(others, "label")
    if label:
        return label
    unnamed = [name for name in others if not any(named([name], fact) for fact in NAMES)]
    scores = [name for name in unnamed if is_like_label(name, values[name])]
    if scores:
        return scores[-1]
    for name in reversed([name for name in unnamed if not GROUPS.search(name.lower())]):
        if 2 <= len(set(values[name])) <= min(MOST_CLASSES, len(values[name]) // 2):
            rest = [values[other] for other in values if other not in (name, named(others, "text"))]
            if len(set(zip(*rest, strict=True))) == len(values[name]):
                return name
    return None


def is_like_label(name: str, cells: Sequence[str]) -> bool:
    """Whether a column's name or cells say that it holds a label: no path is made of it."""
    if _are_media(cells):
        return False
    words = [word for word in re.split(r"[\W_]+", name.lower()) if word]
    if named([name], "label") or any(named([word], "label") for word in words):
        return True
    different = {cell.strip().lower() for cell in cells} - {""}
    if not 2 <= len(different) <= MOST_CLASSES or any(named([name], fact) for fact in NAMES):
        return False
    if different <= set(LABEL_WORDS.split()):
        return True
    numbers = [plain_numbers(cell) for cell in different]
    return all(numbers) and any(re.search(r"^-|\.", found[0]) for found in numbers)


def _are_media(cells: Sequence[str]) -> bool:
    """Whether most cells are paths of media files."""
    return 2 * sum(map(is_medium, cells)) > len(cells)
