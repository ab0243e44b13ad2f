"""Tags of words -> slots: the one reader of tag notations, for bundles, scores and data sets.

A tag is O, a letter with a name (B-city), or a name alone (NOUN). Names may look like letters with names
(E-mail, S-Bahn), so which letters count is decided on all tags that a model has, or a data set:

1. B and I count wherever they occur.
2. E, S, M and W (BIOES, BMES) count where a name that one of them has also stands with B or I.
3. L and U (BILOU) count where a name that one of them has also stands with B or I.
4. Every other tag but O is a *plain* one: its name is the whole tag, and it has no letter.

Slots are then made word by word, in the order of the text:

1. O ends the open slot, and so does every tag that does not go on with it.
2. B, S, U and W begin a slot.
3. I, M, E and L go on with the open slot if its last word has a letter and the same name, and else begin one.
4. E, L, S, U and W close their slot: the next word never goes on with it.
5. A plain tag goes on with the open slot if the last word of that has the same plain tag and no character
   lies between the two words (don't is three words that touch), and else begins one.

So IOB1, IOB2 (BIO), BIOES, BILOU, BMES and plain tags are read, and a text whose tags do not follow their
notation (I- after O, E- without B-) still has slots. A slot's text runs from its first word's first character
to its last word's last, and it is as probable as the least probable of its tags.

Nothing here needs numpy, as `lilliput run` is to start fast.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from lilliput.inference.answers import Slot, Word

Span = tuple[str, int, int]
"""The name of a slot, its first word, and the word after its last."""

_GO_ON, _CLOSE = "IMEL", "ELSUW"
"""Letters that go on with a slot, and those after which it is closed."""
FAMILIES = {"BIOES": "ESMW", "BILOU": "LU"}
"""Letters that count beside B and I, by the notation that has them."""


class Notation(NamedTuple):
    """How the tags of a model or a data set are written."""

    letters: str
    """The letters that count; none where all tags are plain."""

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
        """Returns the letter of a tag, which is empty for a plain one, and the name."""
        if tag[1:2] == "-" and len(tag) > 2 and tag[0] in self.letters:
            return tag[0], tag[2:]
        return "", tag

    def spans(self, tags: Sequence[str], touching: Sequence[bool] = ()) -> list[Span]:
        """Returns the spans that the tags of a text's words make, in order.

        Args:
            tags: The tag of each word.
            touching: Whether no character lies between a word and the one before it; by default words lie
                apart, as words that a data set gives do.
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
        """Returns the tags of a text's words with B-x at the first word of each span and I-x at its others.

        Plain tags stay as they are.

        >>> Notation.of(["O", "B-x", "E-x", "S-x"]).bio(["S-x", "B-x", "E-x", "O"])
        ['B-x', 'B-x', 'I-x', 'O']
        """
        turned = list(tags)
        for name, first, after in self.spans(tags):
            if self.parts(tags[first])[0]:
                turned[first:after] = [f"B-{name}", *[f"I-{name}"] * (after - first - 1)]
        return turned


def inner(tag: str) -> str:
    """Returns the tag of the words behind the first where a word with that tag is read as several.

    >>> [inner(tag) for tag in ("B-city", "I-city", "O", "NOUN")]
    ['I-city', 'I-city', 'O', 'NOUN']
    """
    return f"I-{tag[2:]}" if tag.startswith("B-") and len(tag) > 2 else tag


def with_inner(tags: Sequence[str]) -> tuple[str, ...]:
    """Returns tags with O, and with I-x behind them for each B-x that has none.

    >>> with_inner(["O", "B-city"])
    ('O', 'B-city', 'I-city')
    """
    return tuple(dict.fromkeys([*tags, *map(inner, tags), "O"]))


def join_tags(text: str, words: Sequence[Word], tags: Iterable[str] = ()) -> tuple[Slot, ...]:
    """Returns the slots that the tags of a text's words make, as the head of this file says.

    Args:
        text: What the words stand in.
        words: Its words with their tags.
        tags: All tags of the model that said them, which decide on the notation; those of the words count
            anyway.

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
