"""Teachers whose tokenizer is no BERT's: words, their pieces, and refusals."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, strategies as st
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, trainers

from conftest import teacher_tokenizer
from lilliput.errors import InputError, ModelError
from lilliput.pieces.bert_tokenizer import plain_tokenizer, save_tokenizer, student_tokenizer
from lilliput.pieces.family import TeacherTokenizer
from lilliput.pieces.roles import NO_PIECE
from lilliput.pieces.teacher_tokenizer import load_teacher_tokenizer, teachers
from lilliput.pieces.tokenizer_file import SPECIAL
from lilliput.text.shared_words import SharedRules, SharedSplitter
from other_tokenizers import FAMILIES, ROLES, text, trained, write_tokenizer

GROUPS = [
    "abcxyzABCXYZ0189.,;:!?'\"-_()[]{}<>@#$%^&*+=/\\|~`",
    "stredlmv'’.,019",
    "\u0301\u0323\u0338\u3099\u0345\u200d\ufe0f\u093f",  # marks and joiners
    "\0\x01\x1f\x7f\x85\xad\u200b\ufeff\ufffd\ue000",  # control, format
    " \t\n\r\xa0\u2003\u2028\u3000\u2581",  # spaces, and what stands for one
    "éÀßŉİıΣςﬁÅ½²①…´¨\u1fef\u037e",
    "中文豈ひらカが가한\u1100\u1161ｶﾞ",
    "–—’“„·§€™🙂👩👧🏳🌈٣४",
]
CHARACTERS = st.one_of(
    *(st.sampled_from(group) for group in GROUPS), st.characters(exclude_categories=["Cs"])
)
TEXTS = st.one_of(
    st.text(CHARACTERS, max_size=40),
    st.lists(
        st.sampled_from(
            ["It's", "it's", "'sb", "(well-known)", "3.14", "1,000,000", "B2B", "…", "...", "e.g.", "a",
             "<s>", "</s>", "<mask>", "<pad>", "<unk>", "[MASK]", "x<mask>y", "<0x41>", ",", "don't", "café",
             "= ̸", "👍", "中文"]
        ),
        max_size=12,
    ).map(" ".join),
)  # fmt: skip


def split(teacher: TeacherTokenizer, text: str) -> list[str]:
    rows, different = teacher.rules().splitter().split_texts([text])
    return [different[number] for number in rows[0]]


@pytest.fixture(scope="module", params=FAMILIES)
def teacher(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TeacherTokenizer:
    folder = write_tokenizer(tmp_path_factory.mktemp(request.param), trained(request.param))
    return load_teacher_tokenizer(str(folder))


def own_pieces(tokenizer: Tokenizer, row: str) -> list[list[int]]:
    """What a tokenizer makes of a whole text, special pieces taken for text."""
    made = Tokenizer.from_str(tokenizer.to_str())
    made.encode_special_tokens = True
    return [made.encode(each, add_special_tokens=False).ids for each in (row, row.removeprefix(" "))]


def test_the_pieces_of_a_text_are_those_of_its_words(teacher: TeacherTokenizer) -> None:
    splitter = teacher.rules().splitter()
    special = {index for role, index in teacher.special._asdict().items() if role != "unk"}
    names = set(ROLES.values())

    @given(TEXTS)
    @example("It's a\u200b b 'sb a'sb ,\u0301, \u0301 ́a =\u0338 can't.")
    @example("(a) a)b 1.5 1.a x.y, ...a -- a--b ''s")
    def check(text: str) -> None:
        rows, different = splitter.split_texts([text])
        words = [different[number] for number in rows[0]]
        row = "".join(words)
        found = teacher.pieces(words)
        assert (found.lengths > 0).all()
        assert not special & set(found.values.tolist())
        assert row.split() == [part for part in row.split(" ") if part]  # single spaces alone
        if not any(name in row for name in names):
            assert found.values.tolist() in own_pieces(teacher.tokenizer, row)

    check()


def test_cuts_without_looking_are_those_that_are_found(teacher: TeacherTokenizer) -> None:
    rules = teacher.rules()
    assert isinstance(rules, SharedRules)
    assert 0.3 < np.frombuffer(rules.apart, np.bool_).sum() / (94**2 - 62**2) < 1
    quick, careful = rules.splitter(), SharedSplitter(rules.cutter, bytes(128 * 128))

    @given(st.one_of(st.text(st.sampled_from(GROUPS[0] + " "), max_size=60), TEXTS))
    def check(text: str) -> None:
        first, second = (splitter.split_texts([text]) for splitter in (quick, careful))
        assert [first[1][number] for number in first[0][0]] == [second[1][number] for number in second[0][0]]

    check()


def test_words_are_cut_where_a_bert_cuts(teacher: TeacherTokenizer) -> None:
    student = plain_tokenizer({"[UNK]": 0})
    splitter = teacher.rules().splitter()

    @given(TEXTS)
    def check(text: str) -> None:
        text = text.replace("\u2581", " ").replace("\u1fef", "")
        rows, different = splitter.split_texts([text])
        words = [different[number] for number in rows[0]]

        def berts(part: str) -> list[str]:
            normal = student.normalizer.normalize_str(part)
            return [word for word, _ in student.pre_tokenizer.pre_tokenize_str(normal)]

        each = [berts(word) for word in words]
        assert all(each)
        assert [word for part in each for word in part] == berts("".join(words))
        if text.isascii():
            assert [word for part in each for word in part] == berts(text)

    check()


@pytest.mark.parametrize("kind", ["unigram", "bytes", "llama"])
def test_most_words_are_a_berts(kind: str, tmp_path: Path) -> None:
    teacher = load_teacher_tokenizer(str(write_tokenizer(tmp_path, trained(kind))))
    berts = split(teachers(teacher_tokenizer(text())), text())
    assert 0.9 < len(split(teacher, text())) / len(berts) <= 1


def test_words_have_capitals_and_the_space_before(tmp_path: Path) -> None:
    teacher = load_teacher_tokenizer(str(write_tokenizer(tmp_path, trained("bytes"))))
    assert split(teacher, "The  cat,\nthe\u00a0Hat") == [" The", " cat", ",", " the", " Hat"]


def test_a_text_is_cut_alike_in_one_go_and_after_others(teacher: TeacherTokenizer) -> None:
    lines = text().splitlines()[:60]
    splitter = teacher.rules().splitter()
    rows, different = splitter.split_texts(lines)
    again = [split(teacher, line) for line in lines[-5:]]
    assert [[different[number] for number in rows[row]] for row in range(len(lines) - 5, len(lines))] == again


@pytest.mark.parametrize("kind", FAMILIES)
def test_roles_are_those_of_the_files(kind: str, tmp_path: Path) -> None:
    tokenizer = trained(kind)
    found = load_teacher_tokenizer(str(write_tokenizer(tmp_path, tokenizer))).special
    assert found._asdict() == {role: tokenizer.token_to_id(name) for role, name in ROLES.items()}


def test_an_unknown_piece_may_be_missing(tmp_path: Path) -> None:
    write_tokenizer(tmp_path, trained("bytes"), unk_token=None)
    layout = json.loads((tmp_path / "tokenizer.json").read_text())
    layout["added_tokens"] = [token for token in layout["added_tokens"] if token["content"] != "<unk>"]
    (tmp_path / "tokenizer.json").write_text(json.dumps(layout))
    teacher = load_teacher_tokenizer(str(tmp_path))
    assert teacher.special.unk == NO_PIECE
    vocabulary = {piece: index for index, piece in enumerate(SPECIAL)}
    spelt = teacher.spell(student_tokenizer(plain_tokenizer({"[UNK]": 0}), vocabulary))
    assert spelt[vocabulary["[UNK]"]] == [teacher.special.mask]


@pytest.mark.parametrize(
    ("kind", "piece", "surface"),
    [
        ("unigram", "▁word", " word"), ("unigram", "word", "word"), ("bytes", "Ġword", " word"),
        ("bytes", "Ã©", "é"), ("fallback", "▁a", " a"), ("wordpiece", "##x", "x"),
        ("wordpiece", "word", " word"),
    ],
)  # fmt: skip
def test_surfaces(kind: str, piece: str, surface: str, tmp_path: Path) -> None:
    assert load_teacher_tokenizer(str(write_tokenizer(tmp_path, trained(kind)))).surface(piece) == surface


def test_pieces_are_spelt_as_words_and_as_parts(teacher: TeacherTokenizer) -> None:
    vocabulary = {piece: index for index, piece in enumerate([*SPECIAL, "the", "##ing", ","])}
    student = student_tokenizer(plain_tokenizer({"[UNK]": 0}), vocabulary)
    spelt = teacher.spell(student)
    roles = [getattr(teacher.special, role) for role in ("pad", "unk", "cls", "sep", "mask")]
    assert spelt[:5] == [[role] for role in roles]
    expected = [teacher.pieces(words).values.tolist() for words in ([" the"], ["ing"], [" ,", ","])]
    assert spelt[5:] == expected


# Refusals


def refused(folder: Path, match: str) -> None:
    with pytest.raises(ModelError, match=match):
        load_teacher_tokenizer(str(folder))


def test_a_folder_without_a_fast_tokenizer_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sentencepiece.bpe.model").write_bytes(b"\n")
    refused(tmp_path, r"has no fast tokenizer .*save_pretrained")


def test_a_tokenizer_without_mask_is_refused(tmp_path: Path) -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.train_from_iterator(["a b"], trainers.BpeTrainer(special_tokens=["<s>", "</s>", "<pad>"]))
    refused(write_tokenizer(tmp_path, tokenizer), "has no mask piece, without which masked words")


def test_code_of_its_own_is_refused(tmp_path: Path) -> None:
    refused(write_tokenizer(tmp_path, trained("bytes"), auto_map={"AutoTokenizer": "a.B"}), "'auto_map'")


def test_a_table_smaller_than_the_tokenizer_is_refused(tmp_path: Path) -> None:
    write_tokenizer(tmp_path, trained("bytes"))
    (tmp_path / "config.json").write_text('{"vocab_size": 800}')
    refused(tmp_path, r"has ids up to 899, and by config.json the model has rows for 800 pieces")


def test_pieces_across_spaces_are_refused(tmp_path: Path) -> None:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    trainer = trainers.BpeTrainer(vocab_size=60, special_tokens=list(ROLES.values()))
    tokenizer.train_from_iterator(["of the cat of the cat of the cat"] * 9, trainer)
    refused(
        write_tokenizer(tmp_path, tokenizer), "other pieces of a word within a text than of the word alone"
    )


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"dropout": 0.1}, "cuts a text at random"),
        ({"end_of_word_suffix": "</w>"}, "differ at the ends of words"),
    ],
)
def test_what_cannot_be_cut_into_words_is_refused(change: dict[str, Any], match: str, tmp_path: Path) -> None:
    layout = json.loads(trained("bytes").to_str())
    layout["model"] |= change
    write_tokenizer(tmp_path, trained("bytes"))
    (tmp_path / "tokenizer.json").write_text(json.dumps(layout))
    refused(tmp_path, match)


def test_a_text_with_an_added_piece_is_refused(tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_str(trained("bytes").to_str())
    tokenizer.add_tokens([AddedToken("<user>", special=False)])
    teacher = load_teacher_tokenizer(str(write_tokenizer(tmp_path, tokenizer)))
    with pytest.raises(InputError, match="holds '<user>', which the teacher's tokenizer takes whole"):
        split(teacher, "a <user> b")


def test_a_given_tokenizer_of_other_words_is_refused(tmp_path: Path) -> None:
    teacher = load_teacher_tokenizer(str(write_tokenizer(tmp_path / "teacher", trained("bytes"))))
    vocabulary = {piece: index for index, piece in enumerate([*SPECIAL, "a"])}
    for name, options in (("same", {"lowercase": False}), ("other", {"handle_chinese_chars": False})):
        given_one = student_tokenizer(plain_tokenizer({"[UNK]": 0}, **options), vocabulary)
        save_tokenizer(given_one, tmp_path / name)
    assert teacher.given(str(tmp_path / "same")).get_vocab() == vocabulary
    with pytest.raises(ModelError, match=r"other words than a BERT does \(handle_chinese_chars false\)"):
        teacher.given(str(tmp_path / "other"))


def test_a_bert_without_capitals_has_no_cased_student() -> None:
    lower, cased = (plain_tokenizer({"[UNK]": 0}, lowercase=each) for each in (True, False))
    assert teachers(cased).base(cased=True) is cased
    with pytest.raises(ModelError, match=r"lexicon\.cased is true, .* have no capitals"):
        teachers(lower).base(cased=True)
