"""The experiment on other languages, small."""

import json

import pytest
from transformers import BertForMaskedLM

from conftest import small_text, stir, teacher_config
from experiments import languages
from lilliput.recipes import tiny
from other_tokenizers import trained, write_tokenizer

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> languages.Figures:
    folder = tmp_path_factory.mktemp("languages")
    tokenizer = trained("unigram")
    model = BertForMaskedLM(teacher_config(tokenizer.get_vocab_size()))
    stir(model)
    model.save_pretrained(folder / "teacher")
    write_tokenizer(folder / "teacher", tokenizer)
    texts = folder / "texts"
    texts.mkdir()
    for seed, language in enumerate(("en", "xx")):
        (texts / f"{language}.txt").write_text(small_text(seed, 150, odd=False), encoding="utf-8")
    english, other = (small_text(seed, 12, odd=False).strip().split("\n\n") for seed in (5, 6))
    pairs = [*zip(english, other, strict=True), (english[0], "the other one"), ("a", other[1])]
    lines = [{"language": "xx", "english": one, "text": two} for one, two in pairs]
    (texts / "translations.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return languages.compare(
        str(folder / "teacher"), texts, folder / "out", ["en", "xx"], tiny(), [200, 300], 10, 16
    )


def test_figures_of_every_language(figures: languages.Figures) -> None:
    assert figures["bundle_bytes"]["fill"] > figures["bundle_bytes"]["encode"] > 0
    fertility = {(one["language"], one["size"]): one["student_fertility"] for one in figures["fertility"]}
    assert fertility.keys() == {(language, size) for language in ("en", "xx") for size in (200, 300)}
    assert all(fertility[language, 200] > fertility[language, 300] > 1 for language in ("en", "xx"))
    for found in figures["quality"].values():
        assert found["student"]["bits_per_character"] > 0
        assert found["teacher"]["pieces"] > 0


def test_translations_are_looked_for_both_ways(figures: languages.Figures) -> None:
    assert figures["translations"].keys() == {"teacher", "student", "warm start"}
    for found in figures["translations"].values():
        assert found["xx"]["pairs"] == 10, "none twice, and no more than asked for"
        assert 0 <= found["xx"]["to english"] <= 1


def test_a_translation_is_found_by_its_vector() -> None:
    places = {"eins": [2, 1], "zwei": [1, 2], "one": [4, 1], "two": [5, 2]}
    found = languages.found_translations(
        {"de": [("eins", "one"), ("zwei", "two")]},
        lambda texts: languages.np.array([places[text] for text in texts], "float32"),
    )
    assert found == {"de": {"pairs": 2, "to english": 0.5, "from english": 0.5}}


def test_every_figure_has_its_place_in_a_table(figures: languages.Figures) -> None:
    fertility, quality, pairs = (sheet.markdown().splitlines() for sheet in languages.tables(figures))
    assert [len(table) for table in (fertility, quality, pairs)] == [4, 4, 3]
    share = figures["translations"]["warm start"]["xx"]["from english"]
    assert pairs[-1].startswith("| xx | 10 |")
    assert pairs[-1].endswith(f"{share:.1%} |")
