"""Words: exactly those of the tokenizer, whatever the text."""

import json
from typing import Any

import pytest
from hypothesis import example, given, strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from lilliput.text import stretches
from lilliput.text.words import WordSplitter


def make_tokenizer(**options: Any) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(**options)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def library_words(tokenizer: Tokenizer, text: str) -> list[str]:
    normal = tokenizer.normalizer.normalize_str(text)
    return [word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normal)]


def split_words(splitter: WordSplitter, text: str) -> list[str]:
    numbers, different = splitter.split(b"\xff" + text.encode(), [b"between", b"more"])
    found = different.take(numbers).to_pylist()
    assert numbers[0] == 0
    assert not {b"between", b"more"} & {*found[1:]}
    return [word.decode() for word in found[1:]]


SETTINGS = [
    {"clean_text": clean, "handle_chinese_chars": chinese, "strip_accents": accents, "lowercase": lower}
    for clean in (True, False)
    for chinese in (True, False)
    for accents in (None, True, False)
    for lower in (True, False)
]
ODD = [
    "\u0301\u0323\u0327\u0345\U0001d165\U0001d16d\u302e\u3099\u0f73\u1d15e\U0001d15e",  # marks, some kept
    "\0\x01\x1c\x1d\x1f\x7f\x85\xad\u200b\u200d\u2060\ufeff\ufffd\ue000\U000e0001\ufdd0",  # control, format
    "\t\n\r\x0b\x0c \xa0\u1680\u2003\u2028\u2029\u202f\u205f\u3000\u180e",  # spaces
    "ΣςσİıIißẞŉǰΐǅﬁÅÅKﷺ\u1e9b\u0387\u037e\u1fef",  # letters that grow, shrink or become ASCII
    "中文\u4e00\u9fff\u9ffd\u3400\uf900豈\U0002f800\U00020000ひらカ가한\u1100\u1161",  # CJK and Hangul
    "–—’“„…·¡§€™🙂👩‍👩‍👧🏳️‍🌈",  # punctuation, symbols, emoji
    "abcxyzABCXYZ019.,;:!?'\"-_()[]{}<>@#$%^&*+=/\\|~`",
]
CHARACTERS = st.one_of(*(st.sampled_from(group) for group in ODD), st.characters(exclude_categories=["Cs"]))


@pytest.mark.parametrize("options", SETTINGS, ids=lambda options: "-".join(map(str, options.values())))
def test_words_are_those_of_the_tokenizer(options: dict[str, Any]) -> None:
    tokenizer = make_tokenizer(**options)
    splitter = WordSplitter(json.dumps(json.loads(tokenizer.normalizer.__getstate__())))

    @given(st.text(CHARACTERS, max_size=40))
    @example("a\U0001d16d\x01\U0001d165 a\u0323\u0301 a\u0301\u0323")
    @example("[MASK] [CLS] ΑΣ İstanbul 中文ab \x1c a\x1cb")
    def check(text: str) -> None:
        assert split_words(splitter, text) == library_words(tokenizer, text)

    check()


@pytest.mark.parametrize("options", SETTINGS[::5], ids=lambda options: "-".join(map(str, options.values())))
def test_every_character_between_letters_is_split_as_the_tokenizer_does(options: dict[str, Any]) -> None:
    tokenizer = make_tokenizer(**options)
    splitter = WordSplitter(tokenizer.normalizer.__getstate__().decode())
    codes = [*range(0xD800), *range(0xE000, 0x11000, 1), *range(0x1D000, 0x1D200), *range(0x1F000, 0x1F700)]
    text = " ".join(f"X{chr(code)}y" for code in codes)
    assert split_words(splitter, text) == library_words(tokenizer, text)


@given(st.text(st.sampled_from("aB ,é中\u0301\x01"), max_size=200), st.integers(1, 30))
def test_slices_change_nothing(text: str, size: int) -> None:
    splitter = WordSplitter(make_tokenizer().normalizer.__getstate__().decode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stretches, "_SLICE_BYTES", size)
        assert split_words(splitter, text) == library_words(make_tokenizer(), text)


@given(st.lists(st.text(st.sampled_from("aB ,é中\u0301\x01"), max_size=9), max_size=6))
def test_each_of_several_texts_has_its_own_words(texts: list[str]) -> None:
    splitter = WordSplitter(make_tokenizer().normalizer.__getstate__().decode())
    rows, different = splitter.split_texts(texts)
    found = [[different[number] for number in row] for row in rows.rows()]
    assert found == [library_words(make_tokenizer(), text) for text in texts]


@given(st.text(st.sampled_from("中文–。éかx\u0301"), min_size=30, max_size=90))
def test_long_stretches_without_spaces_are_split_as_the_tokenizer_does(text: str) -> None:
    splitter = WordSplitter(make_tokenizer().normalizer.__getstate__().decode())
    assert split_words(splitter, text) == library_words(make_tokenizer(), text)
