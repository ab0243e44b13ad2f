"""Tokenizers with every setting that a bundle's may have, odd texts, and the words that they make of them."""

import json
import random
from typing import Any

from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors

_PIECES = (  # noqa: SIM905
    "[PAD] [UNK] [CLS] [SEP] [MASK] a b c e i o s ##a ##b ##s ##ing play the user user1 < > [ ] / e1 "
    "' - . , ! é ё σ ς ß 中 文 ##中 ا k ##k i̇ İ A B User 0 1 ##0 12 ##️ 𠀀 [E1] <user>"
).split()
_ODD = [
    *"  \t\n\r\u00a0\u0085\u2028\u3000\ufeff\u200b\u00ad\u0000\ufffd\u001b\u202e",
    *"éÉёЁßẞσΣςİıIKÅÀ̀́ऀि각가ﬁǅ中文𠀀𪜀𫠠豈丽，。「¿¡…—'’-_/<>[]()#@$+=^`|~",
    *"\u0301\u0338\U0001f600\ufe0f\u200d\U000e0001\ue000\u0378",
]
_ADDED = [
    "[E1]",
    "<user>",
    "user",
    "New York",
    "É",
    "ing",
    " lead",
    "trail ",
    "中文",
    "İx",
    "Σ",
    "a-b",
    "<user>1",
]
_WORDS = [
    *_ADDED,
    *(piece.removeprefix("##") for piece in _PIECES),
    "users",
    "x[E1]y",
    "<USER>",
    "new york",
    "NEW YORK",
]


def settings(number: int) -> Tokenizer:
    """Returns the tokenizer of a number, whose bits say what its normaliser does; added pieces are drawn."""
    draw = random.Random(number)
    made = Tokenizer(
        models.WordPiece({piece: index for index, piece in enumerate(_PIECES)}, unk_token="[UNK]")
    )
    made.normalizer = normalizers.BertNormalizer(
        clean_text=bool(number & 1),
        handle_chinese_chars=bool(number & 2),
        lowercase=bool(number & 4),
        strip_accents=(None, True, False)[number % 3],
    )
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    made.add_special_tokens(_PIECES[:5])
    for content in draw.sample(_ADDED, draw.randint(0, 6)):
        flags = {flag: draw.random() < 0.4 for flag in ("single_word", "lstrip", "rstrip", "normalized")}
        made.add_tokens([AddedToken(content, special=draw.random() < 0.3, **flags)])
    return made


def odd_text(draw: random.Random) -> str:
    """Returns words, marks and characters of all planes, with and without space between."""
    kinds = (
        lambda: draw.choice(_WORDS),
        lambda: draw.choice(_ODD),
        lambda: chr(
            draw.choice((draw.randint(0, 0x2FF), draw.randint(0x300, 0xD7FF), draw.randint(0xE000, 0x10FFFF)))
        ),
        lambda: " ",
    )
    return "".join(draw.choices(kinds, (8, 4, 1, 5))[0]() for _ in range(draw.randint(1, 12)))


def words(tokenizer: Tokenizer, text: str) -> list[list[Any]]:
    """Returns the words of a text: what stands there and the ids of its pieces."""
    found: dict[int, tuple[int, int, list[int]]] = {}
    pieces = tokenizer.encode(text, add_special_tokens=False)
    for word, (start, end), piece in zip(pieces.word_ids, pieces.offsets, pieces.ids, strict=True):
        begun = found.get(word, (start, end, []))
        found[word] = (begun[0], end, [*begun[2], piece])
    return [[text[start:end], ids] for start, end, ids in found.values()]


def characters() -> dict[str, Any]:
    """Returns what the library makes of every character between two letters, by the setting that does it."""
    names = ("clean_text", "handle_chinese_chars", "strip_accents", "lowercase")
    codes = [*range(0xD800), *range(0xE000, 0x110000)]
    texts = [f"a{chr(code)}b" for code in codes]
    cut = pre_tokenizers.BertPreTokenizer()
    changed: dict[str, Any] = {}
    for name in names:
        normal = normalizers.BertNormalizer(**(dict.fromkeys(names, False) | {name: True}))
        found = {code: normal.normalize_str(text) for code, text in zip(codes, texts, strict=True)}
        changed[name] = {code: made for code, made in found.items() if made != f"a{chr(code)}b"}
    parts = {code: len(cut.pre_tokenize_str(text)) for code, text in zip(codes, texts, strict=True)}
    return changed | {"words": {code: number for code, number in parts.items() if number != 1}}


def cases(tokenizers: int, texts: int) -> list[dict[str, Any]]:
    """Returns tokenizers as JSON, each with texts and their words."""
    draw = random.Random(5)
    made = [settings(number) for number in range(tokenizers)]
    return [
        {
            "tokenizer": json.loads(one.to_str()),
            "texts": [[text, words(one, text)] for text in (odd_text(draw) for _ in range(texts))],
        }
        for one in made
    ]
