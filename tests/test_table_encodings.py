"""How a table is encoded, and what language it is in: guessed, and said so."""

from pathlib import Path

import pytest
import yaml

from mse.config import Dataset, parse
from mse.corpus import read_corpus
from mse.corpus.encoding import rank_encodings
from mse.corpus.guess import new
from mse.corpus.language import guess_language
from mse.errors import UserError
from tests.written import COLUMNS, HEADER, ROWS, make_folder


@pytest.fixture()
def folder(tmp_path: Path) -> Path:
    return make_folder(tmp_path)


ENCODINGS = {
    "gbk": ("gb18030", "zh", "我不知道该怎么办"),
    "gb18030": ("gb18030", "zh", "太棒了😀"),
    "big5": ("big5", "zh", "今天天氣真好"),
    "cp932": ("cp932", "ja", "とても嬉しい"),
    "euc_jp": ("euc_jp", "ja", "今日はいい天気ですね"),
    "euc_kr": ("cp949", "ko", "정말 좋아요"),
    "cp1251": ("cp1251", "ru", "Мне очень грустно"),
    "koi8_r": ("koi8_r", "ru", "Сегодня хорошая погода"),
    "cp1252": ("cp1252", "de", "Das ist schön für mich"),
    "latin-1": ("cp1252", "fr", "il est très déçu et je suis ici"),
    "cp1250": ("cp1250", "pl", "To jest świetne i bardzo dobre"),
    "cp1253": ("cp1253", "el", "Σήμερα είναι ωραίος καιρός"),
    "cp1254": ("cp1254", "tr", "Çok güzel bir gün değil mi"),
    "cp1256": ("cp1256", "ar", "الطقس جميل اليوم"),
    "mac_roman": ("mac_roman", "de", "Das ist schön für mich"),
    "utf-16-le": ("utf-16-le", "zh", "我不知道"),
    "utf-16-be": ("utf-16-be", "de", "Das ist schön für mich"),
    "utf-16": ("", "ja", "とても嬉しい"),
    "utf-8-sig": ("", "ko", "정말 좋아요"),
    "utf-8": ("", "es", "no es muy bueno, pero me gusta el vino"),
}


@pytest.mark.parametrize("written", ENCODINGS)
def test_encodings_are_guessed_and_marked(folder: Path, written: str) -> None:
    """With a single short text that is not ASCII; the language is that of the text."""
    encoding, language, said = ENCODINGS[written]
    (folder / "t.csv").write_bytes((HEADER + ROWS.replace("so it is", f'"{said}"')).encode(written))
    text = new("mine", folder)
    described = yaml.safe_load(text)
    assert described["tables"][0].get("encoding", "") == encoding
    assert read_corpus(parse(Dataset, described, "guess.yaml")).clips["text"].tolist()[1] == said
    (line,) = [line for line in text.splitlines() if "file: t.csv" in line]
    assert not encoding or f"# guess: its text reads '{said.split(',')[0]}'"[:40] in line
    (folder / "t.csv").write_bytes((HEADER + ROWS.replace("so it is", f'"{said}"').replace("hello", said.split(",")[0])
                                    .replace("no,", f"{said.split(',')[0]},")).encode(written))  # fmt: skip
    assert f"language: {language} # guess" in new("mine", folder)


@pytest.mark.parametrize("written", [name for name, (found, _, _) in ENCODINGS.items() if found])
def test_a_table_in_another_encoding_is_never_read_as_utf_8(folder: Path, written: str) -> None:
    encoding, _, said = ENCODINGS[written]
    (folder / "t.csv").write_bytes((HEADER + ROWS.replace("so it is", said)).encode(written))
    described = {"root": str(folder), "tables": [{"file": "t.csv"}], "columns": COLUMNS}
    with pytest.raises(UserError, match=f"t.csv: (not readable as utf-8: line 3 |looks like).*`encoding: {encoding}`"):
        read_corpus(parse(Dataset, described, "hand.yaml"))


@pytest.mark.parametrize(
    ("written", "told", "text"),
    [("gbk", "cp1252", "我不知道"), ("gbk", "latin-1", "我不知道"), ("gbk", "big5", "我不知道该怎么办"),
     ("cp1251", "cp1252", "Мне очень грустно"), ("big5", "gb18030", "我不高興"), ("utf-8", "cp1250", "schön")],
)  # fmt: skip
def test_a_wrong_encoding_is_told(folder: Path, written: str, told: str, text: str) -> None:
    (folder / "t.csv").write_bytes((HEADER + ROWS.replace("hello", text)).encode(written))
    table = {"file": "t.csv", "encoding": told}
    described = {"root": str(folder), "tables": [table], "columns": COLUMNS, "split": {"by": "split"}}
    (note,) = read_corpus(parse(Dataset, described, "hand.yaml")).notes
    right = {"gbk": "gb18030"}.get(written, written)
    assert f"t.csv: reads oddly as {told} (" in note and f"as {right} it would be '{text}'" in note
    table["encoding"] = written
    assert read_corpus(parse(Dataset, described, "hand.yaml")).notes == []


ENGLISH = [
    *("I really don't know what to do about it", "that was the best day of my life", "he said no and she went home"),
    *("what are you doing here", "it is not so bad after all", "we have to go now", "oh my god are you serious"),
    *("thank you very much", "I love this movie", "this is the worst film"),
]


def made_of(texts: list[str]) -> str:
    return HEADER + "".join(f"c{n},{n}.ogg,{text},{n % 3 - 1},train\r\n" for n, text in enumerate(texts))


@pytest.mark.parametrize(
    "odd",
    ["£5", "it was £5", "it cost £20 for two", "€20", "only €20 left", "wait…", "wait…what", "he said \u2013 no",
     "it was\u2014well\u2014fine", "don\u2019t do that", "“hello” he said", "\u2018yes\u2019", "so naïve", "naïve",
     "déjà vu", "señor", "piñata", "the café", "fiancée", "Zürich is nice", "crème brûlée", "El Niño", "½ of it",
     "20 °C", "© Disney", "® Coke", "5 \u00d7 3", "• one", "™ mark", "«no»", "rock \u2019n\u2019 roll", "¿Que?",
     "¡Hola!"],
)  # fmt: skip
@pytest.mark.parametrize("more", [[], ["£20", "it\u2019s…"], ["£20", "£3"]])
def test_english_with_a_few_signs(odd: str, more: list[str]) -> None:
    texts = ENGLISH * 4
    texts[3:24:10] = [odd, *more, *texts[:2]][:3]
    text = made_of(texts)
    data = text.encode("cp1252")
    best = rank_encodings(data)[0]
    assert (best.encoding, data.decode(best.encoding)) == ("cp1252", text)


SHORT = {
    "gbk": "苏打绿 无聊 你好 开心 难过 惊讶 讨厌 愤怒 吴亦凡 张艺谋 周杰伦 郁闷 恐惧 悲伤 太棒了",
    "big5": "謝謝 無聊 台北 難過 開心 生氣 周杰倫",
    "cp932": "東京 最高 大阪 怒り 喜び 悲しい すごい アニメ",
    "euc_jp": "最高 すごい 悲しい アニメ",
    "cp949": "최고 슬퍼요 행복 기쁨 짜증",
    "cp1251": "Привет хорошо нет спасибо злость",
    "koi8_r": "Привет хорошо спасибо",
}


@pytest.mark.parametrize("written", SHORT)
@pytest.mark.parametrize("others", [["hello", "no"], ENGLISH * 4])
def test_a_single_short_cell(written: str, others: list[str]) -> None:
    for cell in SHORT[written].split():
        data = made_of([*others, cell]).encode(written)
        assert rank_encodings(data)[0].example == cell


@pytest.mark.parametrize("written", ["iso8859_2", "cp1250"])
@pytest.mark.parametrize(
    "text",
    ["Příliš žluťoučký kůň", "že jsi tady a musíš to říct", "jestem taka szczęśliwa że już", "nie wiem co się dzieje"],
)
def test_czech_and_polish(written: str, text: str) -> None:
    data = made_of(["dobre", text]).encode(written)
    assert rank_encodings(data)[0].example == text


def test_baltic() -> None:
    for text in ("aš nežinau ką daryti", "man ļoti patīk šī filma"):
        assert rank_encodings(made_of([text]).encode("cp1257"))[0].example == text


def test_short_tables_show_what_else_they_could_be() -> None:
    best, second = rank_encodings((HEADER + "c0,0.ogg,太棒了,1,train").encode("gbk"))[:2]
    assert (best.encoding, best.example) == ("gb18030", "太棒了")
    assert second.encoding != "gb18030" and second.score < best.score


@pytest.mark.parametrize(
    ("written", "name", "table", "comment"),
    [
        ("utf-16-le", "t.csv", HEADER + ROWS, "# guess"),
        ("gbk", "t.json", '[{"id": "a", "file": "0.ogg", "text": "我很开心, 真的", "label": 1}]', "reads '我很开心'"),
        ("gbk", "t.jsonl", '{"id":"a","file":"0.ogg","text":"我很开心"}', "# guess: its text reads '我很开心'"),
        ("gbk", "t.jsonl", '{"id":"a","file":"0.ogg","文本":"我很开心"}', "# guess: its text reads '文本'"),
    ],
)
def test_the_example_is_a_cell(folder: Path, written: str, name: str, table: str, comment: str) -> None:
    (folder / name).write_bytes(table.encode(written))
    (line,) = [line for line in new("mine", folder).splitlines() if f"file: {name}" in line]
    assert comment in line and "''" not in line and '":' not in line


@pytest.mark.parametrize(
    ("text", "language"),
    [("", None), ("hello", None), ("the dog and the cat", "en"), ("Это хорошо", "ru"), ("Це дуже добре, їжак", "uk"),
     ("もの凄い話", "ja"), ("很好", "zh"), ("좋아", "ko"), ("ça ne va pas très bien", "fr"), ("det är jag", "sv")],
)  # fmt: skip
def test_languages(text: str, language: str | None) -> None:
    assert guess_language(text) == language


@pytest.mark.parametrize(
    ("text", "language"),
    [("a bad day\na good day", "en"), ("hello there\nhow do you do", "en"), ("come with me", "en"),
     ("how do I do it\na do do", "en"), ("all my love", "en"), ("no no\nno me do it", "en"),
     ("no es para mi\nel vino", "es"), ("il film e la musica sono con me", "it"), ("to je moje a tak je to", "cs"),
     ("ik ben het niet", "nl"), ("das ist mein Haus", "de"), ("naïve day\na good day", "en")],
)  # fmt: skip
def test_english_is_not_taken_for_another_language(text: str, language: str) -> None:
    assert guess_language(text) == language
