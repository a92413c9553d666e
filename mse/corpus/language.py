"""Guess the language of a few lines of text, from its script and its commonest words."""

import re
from collections import Counter

# The commonest characters of Chinese text, simplified, and traditional where they differ.
CHINESE = (
    "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作里用道行所然"
    "家种事成方多经么去法学如都同现当没动面起看定天分还进好小部其些主样理心她本前开但因只从想实日者意无力它与长把机"
    "十民第公此已工使情明性知全三又关点正业外将两高间由问很最重并物手应向头文体美相见被利什二等或新己制身果加西斯月"
    "话合回特代内信表化老给世位次度门任常先海通教儿原东声提立及比员解水名真论处走义各入几口认条平系气题活尔更别打女"
    "变四神总何电数安少报才结反受目太量再感建务做接必场件计管期市直德资命山金指克许统区保至队形社便空决治展马科司五"
    "基眼书非则听白却界达光放强即像难且权思王象完设式色路记南品住告类求据程北边死张该交规万取拉格望觉术领共确传师观"
    "清今切院让识候带导争运笑飞风步改收根干造言联持组每济车亲极林服快办议往元英士证近失转夫令准布始怎呢存未远叫台单"
    "影具罗字爱击流备兵连调深商算质团集百需价花党华城石级整府离况亚请技际约示复病息究线似官火断精满支视消越器容照须"
    "九增研写称企八功吗包片史委乎查轻易早曾除农找装广显吧阿李标谈吃图念六引历首医局突专费号尽另周较注语仅考落青随选列"
    "哈喜欢谢谁错棒哭怕累烦爸妈孩您啊哦嗯呀"
    "讨厌恐惧惊讶愤怒悲伤恶焦虑沮丧尴尬紧兴奋静甜蜜郁闷"
)
TRADITIONAL = (
    "這個們來為國說時會對過發後裡種經麼學現當沒動還進樣開從實無與長機關點業將兩間問並應頭體見話內門兒東聲員論處義幾"
    "認條係題爾別變總電數報結務場計資許統區隊決馬書則聽達強難權設記類據張該規萬覺術領確傳師觀讓識導爭運風幹聯組濟車"
    "親極辦議證轉準遠單羅愛擊備連調質團價華離況亞請際約復線斷滿視須寫稱嗎輕農裝廣顯標談圖歷醫專費號盡較語僅隨選歡謝"
    "誰錯煩媽氣壞興很她他我你妳好真"
    "討厭懼驚訝憤傷惡慮喪尷緊奮靜鬱悶"
)
JAPANESE = (
    "日一国会人年大十二本中長出三同時政事自行社見月分議後前民生連五発間対上部東者党地合市業内相方四定今回新場金員九入"
    "選立開手米力学問高代明実関決子動京全目表戦経通外最言現理調体化田当八六約主題下首意法不来作性的要用制度務強気小七"
    "成期公持野協取都和機平総加山思家話世受区多県続進正安設保改数記院女初北午指権心界支第産結点教書原先共得解名交資予"
    "川向際査勝面告反判認参利組信在件側任引使求所次水半品昨計死官増係感特情投示変打男基私始直両式確村終果西台広演歳住"
    "無位置流格疑口過局少町常校料語球空店届勤急送供割身付切転食夜朝昼晩春夏秋冬雨雪風花海空赤青白黒駅車電映画音楽歌声"
    "顔笑泣怒喜悲苦痛怖驚嫌好愛嬉寂楽怪疲寝起待歩走飲買売着読聞知何誰君僕俺彼達友父母兄姉弟妹夫妻犬猫鳥魚阪横浜道府古"
    "早遅近遠長短低悪良美味元丈幸恋夢涙頭足目耳屋物円万千百週曜番号様"
)
KOREAN = (
    "이다는고가에지을하의은도를한나아사어그기로리서자들있게보시라대인해정일만안부여수요니거것없내전오면우주스제으장원했말관"
    "습상소세무유조까실비미문경구생과때야위알선동진중바물성신모좋싫너저왜네응잘못할될된같행복슬프화났날씨랑감합최싶줄많힘친집"
    "데더던래려르며음았었겠계분치파트드크타터통피학회후재적절점준직질차처체추출텐특표필항현형호확환개건걸결공국군글금급김끝남"
    "노녀년눈뉴단달답당둘등디따또람력료류름림망매머먹먼명목몰민반발밤방배백번별병본불빠삼새색설속손순술승식심십쓰악약양얼업역"
    "연열영예옥온완왕외용울운월웃육임입잔잡와뻐쁘쁨짜증놀람두려움분노혐평온즐겁거워녕세미렇래뭐어떻"
)
FREQUENT = {  # characters of most texts, by encoding
    "gb18030": frozenset(CHINESE),
    "big5": frozenset(CHINESE + TRADITIONAL),
    "cp932": frozenset(JAPANESE),
    "euc_jp": frozenset(JAPANESE),
    "cp949": frozenset(KOREAN),
}
# Letters beyond a to z, and words that every text has; an ISO 639-1 code each.
ALPHABETS = {
    "en": "",
    "de": "äöüß",
    "fr": "àâçéèêëîïôûùœ",
    "es": "áéíñóúü",
    "it": "àèéìòù",
    "pt": "áâãàçéêíóôõú",
    "nl": "ëéï",
    "sv": "åäö",
    "da": "æøå",
    "no": "æøå",
    "fi": "äö",
    "pl": "ąćęłńóśźż",
    "cs": "áčďéěíňóřšťúůýž",
    "sk": "áäčďéíĺľňóôŕšťúýž",
    "hu": "áéíóöőúüű",
    "ro": "ăâîșțşţ",
    "tr": "çğıöşüİ",
    "hr": "čćđšž",
    "lt": "ąčęėįšųūž",
    "lv": "āčēģīķļņšūž",
}
WORDS = {
    "en": "the a and is it that you of to was i this not in what we so but for are have it's don't my on he she be no "
    "do does did how there here me at with all very good bad great go went an as or your they his her can will would "
    "just like really i'm had has were from by about when who why know think get yes oh if up out one day love never",
    "de": "der die das und ist nicht ich ein eine es sie wir zu mit so war ja auch sehr aber was den auf für du er",
    "fr": "le la les et est pas je un une il elle que c'est vous nous de des très ne qui pour dans mais on ça du suis",
    "es": "el la los que es no y un una en de lo por muy pero me se con qué está está su para como más yo las",
    "it": "il la che è non e un una di per sono mi ma molto si lo con questo come ho le del in i anche così perché più",
    "pt": "o que é não e um uma de eu muito para com mas se os as do da isso foi em você está na no por",
    "nl": "de het een en is niet ik dat van je was zo maar we met ook wel heel wat op zijn er voor in te",
    "sv": "och det är jag inte en ett att som på var mycket men du har den vi för så med mig till av",
    "da": "og det er jeg ikke en et at som på var meget men du har den vi for så med mig til af",
    "no": "og det er jeg ikke en et at som på var veldig men du har den vi for så med meg til av",
    "fi": "ja on ei se että minä oli niin mutta hän tämä en ole olen kun mitä sinä me todella hyvin",
    "pl": "i w nie to się na że jest z bardzo jestem ale co jak tak mnie był było dla po jej tego już",
    "cs": "a je to se že ne na v jsem velmi ale co jak tak mě byl bylo pro po už ten tady jsi",
    "sk": "a je to sa že nie na v som veľmi ale čo ako tak ma bol bolo pre po už ten si",
    "hu": "a az és nem hogy is egy van volt nagyon de ez mit én csak ha vagyok már meg jó",
    "ro": "și nu e este un o că de la foarte dar am ce în mă cu pe sunt a fost mai",
    "tr": "bir ve bu çok değil da de ne ben için mi ama var yok o gibi daha sen güzel bugün",
    "hr": "i je da se ne u na to sam nije što ali vrlo kako za ovo bio bilo su smo",
    "lt": "ir yra tai kad ne bet labai aš tu jis ji mes su kaip ką į iš buvo mano nežinau taip",
    "lv": "un ir tas ka nav bet ļoti es tu viņš mēs ar kā no uz bija man tev jūs šodien",
    "ru": "и в не на я что он это как но мне меня ты мы так все очень по она то за вы был нет да уже хорошо",
    "he": "לא אני זה את מה הוא של על יש כן טוב אתה היא עם כי אבל גם כל לי אין רק מאוד תודה שלום בכלל איך למה",
    "ar": "لا أنا هذا ما هو في من على أن هي مع كل لم كان جدا لكن يا إلى نعم كيف شكرا",
}
SCRIPTS = {  # of other letters; the first that makes up a quarter of them counts
    "ja": "\u3041-\u30ff",
    "ko": "\uac00-\ud7a3\u1100-\u11ff\u3131-\u318e",
    "zh": "\u4e00-\u9fff\u3400-\u4dbf",
    "uk": "іїєґІЇЄҐ",
    "ru": "\u0400-\u04ff",
    "el": "\u0370-\u03ff\u1f00-\u1fff",
    "he": "\u0590-\u05ff",
    "ar": "\u0600-\u06ff",
    "th": "\u0e00-\u0e7f",
    "hi": "\u0900-\u097f",
    "ta": "\u0b80-\u0bff",
    "ka": "\u10a0-\u10ff",
}
MARGIN = 2  # by which words without accents must speak for another language than English
ENOUGH = {"ja": 0.1, "uk": 0.02}  # of the letters; 0.25 for the others
KNOWN_WORDS = {code: frozenset(words.split()) for code, words in WORDS.items()}
WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*")


def guess_language(text: str) -> str | None:
    """Guess what language a text is in.

    Args:
        text: a few sentences.

    Returns:
        An ISO 639-1 code; None where nothing tells.
    """
    letters = [letter for letter in text if letter.isalpha()]
    foreign = sum(letter > "\u024f" for letter in letters)
    if letters and foreign > len(letters) / 4:
        for code, pattern in SCRIPTS.items():
            if len(re.findall(f"[{pattern}]", text)) >= ENOUGH.get(code, 0.25) * foreign:
                return code
        return None
    words = Counter(word.lower().replace("\u2019", "'") for word in WORD.findall(text))
    marks = Counter(letter.lower() for letter in letters if letter > "\x7f")
    scores = {code: _fit(code, words, marks) for code in ALPHABETS}
    best = max(scores, key=scores.__getitem__)
    if scores[best] < scores["en"] + MARGIN and not any(letter in ALPHABETS[best] for letter in marks):
        best = "en"  # many words are those of several languages
    return best if scores[best] >= 2 else None


def _fit(code: str, words: Counter[str], marks: Counter[str]) -> float:
    """How much speaks for a language: its common words, its letters, and none that it lacks."""
    known = sum(count for word, count in words.items() if word in KNOWN_WORDS[code])
    own = sum(count for letter, count in marks.items() if letter in ALPHABETS[code])
    return known + 2 * own - (1 if code == "en" else 3) * (marks.total() - own)  # English has words such as café


def share_of_known_words(text: str) -> float:
    """Which part of a text's words are among the commonest of the language that it seems to be in (0 to 1)."""
    known = KNOWN_WORDS.get(guess_language(text) or "", frozenset())
    words = [word.lower().replace("\u2019", "'") for word in WORD.findall(text)]
    return sum(word in known for word in words) / max(1, len(words))
