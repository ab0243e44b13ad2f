"""Turns tags of words into slots, in every tag notation; for bundles, scores and data sets.

A tag is O, a letter with a name (B-city), or a name alone (NOUN). Names may look like a letter with a name
(E-mail, S-Bahn), so the tags of the whole model or data set decide which letters count:

1. B and I always count.
2. E, S, M and W (BIOES, BMES) count if a name with one of them also occurs with B or I.
3. L and U (BILOU) count if a name with one of them also occurs with B or I.
4. Every other tag except O is *plain*: it has no letter, and its name is the whole tag.

Slots are then made word by word, in the order of the text:

1. O ends the open slot, and so does every tag that does not continue it.
2. B, S, U and W begin a slot.
3. I, M, E and L continue the open slot if its last word has a letter and the same name, else they begin one.
4. E, L, S, U and W close their slot: the next word never continues it.
5. A plain tag continues the open slot if the slot's last word has the same plain tag and no character lies
   between the two words (don't is three words that touch), else it begins one.

So IOB1, IOB2 (BIO), BIOES, BILOU, BMES and plain tags work, and a text with tags that break their notation
(I- after O, E- without B-) still has slots. A slot's text runs from the first character of its first word to
the last character of its last word, and its probability is that of its least probable tag.

Nothing here needs numpy, so that `lilliput run` starts fast.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from lilliput.inference.answers import Slot, Word

Span = tuple[str, int, int]
"""The name of a slot, its first word, and the word after its last."""

_GO_ON, _CLOSE = "IMEL", "ELSUW"
"""Letters that continue a slot, and letters that close it."""
FAMILIES = {"BIOES": "ESMW", "BILOU": "LU"}
"""Letters other than B and I, by notation."""


class Notation(NamedTuple):
    """The notation of the tags of a model or a data set."""

    letters: str
    """The letters that count; empty if all tags are plain."""

    @classmethod
    def of(cls, tags: Iterable[str]) -> "Notation":
        """Returns the notation of all tags of a model or a data set.

        >>> Notation.of(["O", "B-city", "E-city", "S-artist"]).letters
        'BIESMW'
        >>> Notation.of(["O", "B-city", "I-city", "E-mail"]).letters
        'BI'
        """
        names: dict[str, set[str]] = {}
        for tag in tags:
            if tag[1:2] == "-" and len(tag) > 2:
                names.setdefault(tag[0], set()).add(tag[2:])
        known = names.get("B", set()) | names.get("I", set())
        families = [
            family
            for family in FAMILIES.values()
            if any(names.get(letter, set()) & known for letter in family)
        ]
        return cls("".join(["BI", *families]) if known else "")

    @property
    def is_plain(self) -> bool:
        """Whether no tag has a letter."""
        return not self.letters

    def parts(self, tag: str) -> tuple[str, str]:
        """Returns the letter of a tag, empty for a plain one, and its name."""
        if tag[1:2] == "-" and len(tag) > 2 and tag[0] in self.letters:
            return tag[0], tag[2:]
        return "", tag

    def spans(self, tags: Sequence[str], touching: Sequence[bool] = ()) -> list[Span]:
        """Returns the spans of a text's tagged words, in order.

        Args:
            tags: The tag of each word.
            touching: For each word, whether no character lies between it and the previous one; by default no
                words touch, as in a data set that gives words.
        """
        found: list[Span] = []
        open_for: tuple[bool, str] | None = None  # whether the open slot's tags have letters, and its name
        for place, tag in enumerate(tags):
            letter, name = self.parts(tag)
            goes_on = letter in _GO_ON if letter else bool(touching) and touching[place]
            if tag != "O" and goes_on and open_for == (bool(letter), name):
                found[-1] = (name, found[-1][1], place + 1)
            elif tag != "O":
                found.append((name, place, place + 1))
            closes = tag == "O" or (letter and letter in _CLOSE)
            open_for = None if closes else (bool(letter), name)
        return found

    def bio(self, tags: Sequence[str]) -> list[str]:
        """Returns the tags of a text's words with B-x at the first word of each span and I-x at the others.

        Plain tags do not change.

        >>> Notation.of(["O", "B-x", "E-x", "S-x"]).bio(["S-x", "B-x", "E-x", "O"])
        ['B-x', 'B-x', 'I-x', 'O']
        """
        turned = list(tags)
        for name, first, after in self.spans(tags):
            if self.parts(tags[first])[0]:
                turned[first:after] = [f"B-{name}", *[f"I-{name}"] * (after - first - 1)]
        return turned


def inner(tag: str) -> str:
    """Returns the tag of all words but the first if a word with this tag is split into several.

    >>> [inner(tag) for tag in ("B-city", "I-city", "O", "NOUN")]
    ['I-city', 'I-city', 'O', 'NOUN']
    """
    return f"I-{tag[2:]}" if tag.startswith("B-") and len(tag) > 2 else tag


def with_inner(tags: Sequence[str]) -> tuple[str, ...]:
    """Returns the tags, then a missing I-x for each B-x, and O if it is missing.

    >>> with_inner(["O", "B-city"])
    ('O', 'B-city', 'I-city')
    """
    return tuple(dict.fromkeys([*tags, *map(inner, tags), "O"]))


def join_tags(text: str, words: Sequence[Word], tags: Iterable[str] = ()) -> tuple[Slot, ...]:
    """Returns the slots of a text's tagged words, by the rules at the top of this file.

    Args:
        text: The text.
        words: Its words with their tags.
        tags: All tags of the model, which decide the notation together with those of the words.

    >>> words = [Word("new", 3, 6, "B-city", 0.9), Word("york", 7, 11, "I-city", 0.8)]
    >>> join_tags("in new york", words)
    (Slot(name='city', text='new york', start=3, end=11, probability=0.8),)
    """
    notation = Notation.of([*tags, *(word.tag for word in words)])
    touching = [False, *(one.end == other.start for one, other in pairwise(words))]
    return tuple(
        Slot(
            name,
            text[words[first].start : words[after - 1].end],
            words[first].start,
            words[after - 1].end,
            min(word.probability for word in words[first:after]),
        )
        for name, first, after in notation.spans([word.tag for word in words], touching)
    )
