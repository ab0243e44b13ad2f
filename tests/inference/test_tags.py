"""Tags are read by one rule, the same here and in the page, whose tests read the same cases."""

import json
from pathlib import Path
from typing import Any

import pytest

from lilliput.inference.answers import Word
from lilliput.inference.tags import join_tags

CASES = json.loads((Path(__file__).parent.parent / "tags.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["case"])
def test_tags_are_joined(case: dict[str, Any]) -> None:
    text = case["text"]
    words = [Word(text[start:end], start, end, tag, share) for start, end, tag, share in case["words"]]
    slots = join_tags(text, words, case["tags"])
    assert [[slot.name, slot.start, slot.end, slot.probability] for slot in slots] == case["slots"]
    assert [slot.text for slot in slots] == [text[start:end] for _, start, end, _ in case["slots"]]
