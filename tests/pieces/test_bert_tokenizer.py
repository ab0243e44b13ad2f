"""Tokenizers: loaded from either kind of file, refused with a reason, taken apart and saved."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from lilliput.errors import ModelError
from lilliput.pieces.bert_tokenizer import (
    digest_tokenizer,
    given_tokenizer,
    load_tokenizer,
    save_tokenizer,
    special_pieces,
    spell,
    student_tokenizer,
    vocabulary_size,
)
from lilliput.pieces.tokenizer_file import SPECIAL, SpecialPieces

PIECES = [
    "the",
    "cat",
    "##s",
    "sat",
    ",",
    "a",
    "b",
    "c",
    "##a",
    "##b",
    "##c",
    "ab",
    "##bc",
    "\u2028x",
    "é",
    "中",
]
ORDER = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *PIECES]
VOCABULARY = {piece: index for index, piece in enumerate(ORDER)}


def bert_tokenizer(vocabulary: dict[str, int] = VOCABULARY, **normaliser: Any) -> Tokenizer:
    plain = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    plain.normalizer = normalizers.BertNormalizer(**normaliser)
    plain.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return student_tokenizer(plain, vocabulary)


def old_checkpoint(folder: Path, text: bytes | None = None, config: str | None = None) -> str:
    """Writes the files of a checkpoint from before tokenizer.json."""
    folder.mkdir(exist_ok=True)
    (folder / "vocab.txt").write_bytes(
        "".join(f"{piece}\n" for piece in ORDER).encode() if text is None else text
    )
    if config is not None:
        (folder / "tokenizer_config.json").write_text(config)
    return str(folder)


def new_checkpoint(folder: Path, tokenizer: Tokenizer) -> str:
    save_tokenizer(tokenizer, folder)
    return str(folder)


# Loading


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tokenizer, Tokenizer]:
    """The same tokenizer from tokenizer.json and from vocab.txt."""
    folder = tmp_path_factory.mktemp("both")
    return (
        load_tokenizer(new_checkpoint(folder / "new", bert_tokenizer())),
        load_tokenizer(old_checkpoint(folder / "old")),
    )


@given(st.text(st.sampled_from("abcs, Thecats[]MASK中é\u2028\n"), max_size=30))
@example("The cats sat, [MASK] naïve 中é abc xyz [unused0]")
@example("")
def test_vocab_txt_reads_text_as_tokenizer_json_does(both: tuple[Tokenizer, Tokenizer], text: str) -> None:
    new, old = (tokenizer.encode(text, "a pair") for tokenizer in both)
    assert (old.ids, old.type_ids, old.tokens) == (new.ids, new.type_ids, new.tokens)
    assert old.tokens[0] == "[CLS]"
    assert old.tokens.count("[SEP]") >= 2


def test_vocab_txt_gives_the_tokenizer_of_tokenizer_json(both: tuple[Tokenizer, Tokenizer]) -> None:
    new, old = both
    assert old.get_vocab() == new.get_vocab() == VOCABULARY
    assert special_pieces(old) == special_pieces(new) == SpecialPieces(pad=0, unk=2, cls=3, sep=4, mask=5)
    assert old.encode("[MASK]").ids == [3, 5, 4]
    assert old.decode(old.encode("the cats").ids) == "the cats"


def test_line_ends_of_windows_are_no_part_of_a_piece(tmp_path: Path) -> None:
    text = "\r\n".join(ORDER).encode()
    assert load_tokenizer(old_checkpoint(tmp_path, text)).get_vocab() == VOCABULARY


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("{}", ["ete", "中", "x"]),
        ('{"do_lower_case": true, "strip_accents": false}', ["été", "中", "x"]),
        ('{"do_lower_case": false}', ["Été", "中", "x"]),
        ('{"do_lower_case": false, "strip_accents": true}', ["Ete", "中", "x"]),
        ('{"tokenize_chinese_chars": false}', ["ete", "中x"]),
    ],
)
def test_settings_beside_vocab_txt_are_followed(tmp_path: Path, config: str, words: list[str]) -> None:
    tokenizer = load_tokenizer(old_checkpoint(tmp_path, config=config))
    normal = tokenizer.normalizer.normalize_str("Été 中x")
    assert [word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normal)] == words


def test_truncation_and_padding_of_the_file_are_left_out(tmp_path: Path) -> None:
    tokenizer = bert_tokenizer()
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=12)
    loaded = load_tokenizer(new_checkpoint(tmp_path, tokenizer))
    assert len(loaded.encode("a b c a b c").ids) == 8


# Refusals


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"\xff\xfe", r"vocab\.txt cannot be used .*utf-8"),
        (
            b"",
            r"vocab\.txt cannot be used .it lacks the special pieces \[PAD\], \[UNK\], \[CLS\], \[SEP\], "
            r"\[MASK\]",
        ),
        (
            b"[PAD]\n[UNK]\n[CLS]\n[SE",
            r"vocab\.txt cannot be used .it lacks the special pieces \[SEP\], \[MASK\], .*cut short",
        ),
    ],
)
def test_a_damaged_vocab_txt_is_refused(tmp_path: Path, text: bytes, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        load_tokenizer(old_checkpoint(tmp_path, text))


@pytest.mark.parametrize("config", ["{", "[]", "3", '{"do_lower_case": "yes"}', '{"strip_accents": 3}'])
def test_damaged_settings_beside_vocab_txt_are_refused(tmp_path: Path, config: str) -> None:
    with pytest.raises(ModelError, match=r"tokenizer_config\.json is damaged .*fetch it again"):
        load_tokenizer(old_checkpoint(tmp_path, config=config))


def test_a_damaged_tokenizer_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(ModelError, match=r"tokenizer\.json cannot be used .*supported are BERT tokenizers"):
        load_tokenizer(str(tmp_path))


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no fast tokenizer \(neither tokenizer\.json nor vocab\.txt\)"):
        load_tokenizer(str(tmp_path))


def test_what_the_hub_does_not_have_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str, **_: Any) -> str:
        raise OSError(f"no {name}")

    monkeypatch.setattr("huggingface_hub.snapshot_download", missing)
    with pytest.raises(ModelError, match=r"'bert/nowhere' is not a folder here, .*\(no bert/nowhere\)"):
        load_tokenizer("bert/nowhere")


def test_a_vocabulary_on_the_hub_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = old_checkpoint(tmp_path)
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda name, **_: folder)
    assert load_tokenizer("bert/somewhere").get_vocab() == VOCABULARY


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("normalizer", normalizers.NFKC(), "its normalizer is 'NFKC', expected BertNormalizer"),
        ("normalizer", None, "its normalizer is None, expected"),
        ("pre_tokenizer", pre_tokenizers.ByteLevel(), "its pre_tokenizer is 'ByteLevel', expected"),
        ("model", models.BPE(), "its model is 'BPE', expected WordPiece"),
    ],
)
def test_other_kinds_are_refused(tmp_path: Path, part: str, value: Any, message: str) -> None:
    tokenizer = bert_tokenizer()
    setattr(tokenizer, part, value)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ModelError, match=message):
        load_tokenizer(str(tmp_path))


@pytest.mark.parametrize("missing", SPECIAL)
def test_a_tokenizer_without_a_special_piece_is_refused(tmp_path: Path, missing: str) -> None:
    vocabulary = {piece: index for index, piece in enumerate(piece for piece in ORDER if piece != missing)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = (
        normalizers.BertNormalizer(),
        pre_tokenizers.BertPreTokenizer(),
    )
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ModelError, match=rf"lacks the special pieces \[{missing[1:-1]}\]"):
        load_tokenizer(str(tmp_path))


# A student's tokenizer


def test_a_students_tokenizer_has_the_teachers_words_and_its_own_pieces() -> None:
    vocabulary = {piece: index for index, piece in enumerate([*SPECIAL, "ca", "##t"])}
    student = student_tokenizer(bert_tokenizer(strip_accents=False), vocabulary)
    assert student.encode("CAT é [MASK]").tokens == ["[CLS]", "ca", "##t", "[UNK]", "[MASK]", "[SEP]"]
    assert student.get_vocab() == vocabulary
    assert vocabulary_size(student) == 7


def test_a_size_counts_ids_that_no_piece_has() -> None:
    assert vocabulary_size(bert_tokenizer({piece: 2 * index for index, piece in enumerate(SPECIAL)})) == 9


def test_a_given_tokenizer_must_make_the_teachers_words(tmp_path: Path) -> None:
    taken = given_tokenizer(new_checkpoint(tmp_path, bert_tokenizer(strip_accents=True)), bert_tokenizer())
    assert taken.get_vocab() == VOCABULARY
    with pytest.raises(ModelError, match="strip_accents True, the teacher's False"):
        given_tokenizer(str(tmp_path), bert_tokenizer(strip_accents=False))


def test_a_digest_is_that_of_what_a_tokenizer_does(tmp_path: Path) -> None:
    loaded = load_tokenizer(new_checkpoint(tmp_path, bert_tokenizer()))
    assert digest_tokenizer(loaded) == digest_tokenizer(bert_tokenizer())
    others = [bert_tokenizer(lowercase=False), student_tokenizer(loaded, VOCABULARY | {"z": len(VOCABULARY)})]
    assert len({digest_tokenizer(tokenizer) for tokenizer in [loaded, *others]}) == 3


@pytest.mark.parametrize("longest", [None, 64])
def test_a_saved_tokenizer_says_what_transformers_needs(tmp_path: Path, longest: int | None) -> None:
    save_tokenizer(bert_tokenizer(), tmp_path, longest)
    settings_ = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert settings_.get("model_max_length") == longest
    assert {settings_[f"{name}_token"] for name in ("pad", "unk", "cls", "sep", "mask")} == set(SPECIAL)
    assert load_tokenizer(str(tmp_path)).to_str() == bert_tokenizer().to_str()


@pytest.mark.parametrize("model_type", [None, "bert"])
def test_transformers_loads_the_students_tokenizer(tmp_path: Path, model_type: str | None) -> None:
    from transformers import AutoTokenizer

    save_tokenizer(bert_tokenizer(), tmp_path, longest=128)
    if model_type:  # as beside a finished student
        (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    text, pair = "Some naïve text, [MASK] 中文", "pair"
    wanted = bert_tokenizer().encode(text, pair)
    assert dict(loaded(text, pair)) == {
        "input_ids": wanted.ids,
        "token_type_ids": wanted.type_ids,
        "attention_mask": wanted.attention_mask,
    }
    names = (loaded.pad_token, loaded.unk_token, loaded.cls_token, loaded.sep_token, loaded.mask_token)
    assert names == SPECIAL
    assert loaded.is_fast
    assert loaded.model_max_length == 128
    assert len(loaded(text * 100, truncation=True)["input_ids"]) == 128


# Spelling


@pytest.mark.parametrize(
    ("piece", "spelt"),
    [
        ("the", ["the"]),  # known: itself
        ("##bc", ["##bc"]),
        ("[MASK]", ["[MASK]"]),
        ("abc", ["ab", "##c"]),  # the longest piece first
        ("##ab", ["##a", "##b"]),
        ("cats", ["cat", "##s"]),
        ("cabc", ["c", "##a", "##bc"]),
        ("xyz", ["[UNK]"]),
        ("catx", ["[UNK]"]),  # one part that is not known makes all of it unknown
        ("##the", ["[UNK]"]),  # within a word only pieces of its inside count
        ("##", ["[UNK]"]),
    ],
)
def test_a_piece_is_spelt_by_the_longest_pieces(piece: str, spelt: list[str]) -> None:
    (found,) = spell({piece: 0}, bert_tokenizer())
    assert found == [VOCABULARY[name] for name in spelt]


@given(st.text("abc", min_size=1, max_size=8))
def test_a_word_is_spelt_as_wordpiece_cuts_it(word: str) -> None:
    other = bert_tokenizer()
    (found,) = spell({word: 0}, other)
    assert found == other.encode(word, add_special_tokens=False).ids


@given(st.lists(st.text("abcx#", min_size=1, max_size=5), min_size=1, max_size=8, unique=True), st.randoms())
def test_spellings_stand_in_the_order_of_ids(pieces: list[str], random: Any) -> None:
    ids = list(range(len(pieces) + 3))
    random.shuffle(ids)
    vocabulary = dict(zip(pieces, ids, strict=False))
    spelt = spell(vocabulary, bert_tokenizer())
    assert len(spelt) == max(vocabulary.values()) + 1
    unused = set(range(len(spelt))) - set(vocabulary.values())
    assert all(spelt[index] == [VOCABULARY["[UNK]"]] for index in unused)
    assert all(spelt[index] == spell({piece: 0}, bert_tokenizer())[0] for piece, index in vocabulary.items())


def test_a_vocabulary_spells_itself() -> None:
    assert spell(VOCABULARY, bert_tokenizer()) == [[index] for index in range(len(VOCABULARY))]


def test_tokenizers_are_loaded_without_models() -> None:
    imported = "import sys, lilliput.pieces.bert_tokenizer"
    script = f"{imported}; sys.exit(bool({{'torch', 'transformers'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
