"""Text -> words, exactly those of a BERT normaliser and pre-tokeniser, in a fraction of their time."""

import functools
import json
import re

from tokenizers import normalizers, pre_tokenizers


class WordSplitter:
    """Splits text into exactly the words of a BERT normaliser and BertPreTokenizer, many at a time.

    Both treat every character by itself, with one exception: marks that follow each other are put in order.
    ASCII holds no marks, so a text may be cut before and after ASCII spaces and punctuation, where the
    tokenizer cuts anyway. What it does to ASCII is learnt from it at the start and done to whole texts with a
    few operations on bytes; each different word that holds anything else is given to the tokenizer itself.
    """

    def __init__(self, settings: str) -> None:
        """Takes the settings of a BertNormalizer as JSON."""
        keys = ("clean_text", "handle_chinese_chars", "strip_accents", "lowercase")
        values = json.loads(settings)
        self._normalizer = normalizers.BertNormalizer(**{key: values[key] for key in keys})
        self._pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        self._remembered = functools.lru_cache(maxsize=1 << 16)(self._words_of)
        table, self._removed, self._alone = bytearray(range(256)), bytearray(), []
        for code in range(128):
            words = self._ask(f"a{chr(code)}a")
            if len(words) == 3:
                table[code : code + 1] = words[1].encode()
                self._alone.append(words[1].encode())
            elif len(words) == 2:
                table[code] = ord(" ")
            elif words == ["aa"]:
                self._removed.append(code)
            else:
                table[code : code + 1] = words[0][1:-1].encode()
        self._table = bytes(table)
        # Chinese characters are words by themselves, and their long runs are slow to ask about.
        chinese = [chr(code) for code in range(0x4E00, 0xA000)]
        kept = self._ask("".join(chinese)) == chinese and self._ask(f"a{chinese[0]}a") == [
            "a",
            chinese[0],
            "a",
        ]
        self._chinese = re.compile("([\u4e00-\u9fff])" if kept else r"(?!)")

    def _ask(self, text: str) -> list[str]:
        normal = self._normalizer.normalize_str(text)
        return [word for word, _ in self._pre_tokenizer.pre_tokenize_str(normal)]

    def split(self, text: bytes) -> list[bytes]:
        """Returns the stretches of UTF-8 between ASCII spaces and punctuation, these too but for the spaces.

        ASCII ones are words. The others stand for the words that `words_of` returns, none to many.
        """
        text = text.translate(self._table, self._removed)
        for mark in self._alone:
            text = text.replace(mark, b" " + mark + b" ")
        return text.split()

    def words_of(self, stretch: bytes) -> tuple[bytes, ...]:
        """Returns the words of one stretch, none to many."""
        # Without spaces stretches are long and do not come again: remembering them would take gigabytes.
        return self._remembered(stretch) if len(stretch) <= 64 else self._words_of(stretch)

    def _words_of(self, stretch: bytes) -> tuple[bytes, ...]:
        words: list[bytes] = []
        for part in self._chinese.split(stretch.decode()):
            if self._chinese.fullmatch(part):
                words.append(part.encode())
            elif part:
                words += (word.encode() for word in self._ask(part))
        return tuple(words)
