"""What stands beside a vocabulary: read as transformers reads it, kept all the way, or refused by name."""

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings, strategies as st
from tokenizers import Tokenizer
from transformers import AddedToken, AutoTokenizer, BertTokenizer, PreTrainedTokenizerFast

from conftest import World
from lilliput.config import LexiconConfig
from lilliput.errors import InputError, LilliputError, ModelError
from lilliput.finetuning.encoded import task_tokenizer
from lilliput.pieces.bert_tokenizer import (
    SPECIAL,
    complete,
    given_tokenizer,
    load_tokenizer,
    save_tokenizer,
    speller,
    student_tokenizer,
    vocabulary_size,
)
from lilliput.pieces.corpus import build_corpus
from lilliput.pieces.lexicon import build_lexicon
from lilliput.pieces.segmentation import segment
from lilliput.pieces.tokenizer_file import build_tokenizer
from lilliput.pieces.word_rules import whole_pieces

ORDER = [
    *(
        "[PAD]",
        "[unused0]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "[E1]",
        "the",
        "cat",
        "##s",
        "co",
        "##vid",
        "e",
    ),
    *(
        "##1",
        "user",
        "<",
        ">",
        "[",
        "]",
        "/",
        "é",
        "É",
        "Cat",
        "##cat",
        "中",
        "c",
        "##o",
        "##e",
        "##r",
        "us",
        "a",
    ),
]
NEXT = len(ORDER)
FLAGGED = {
    "<user>": {"lstrip": True, "rstrip": False, "normalized": False, "single_word": False, "special": False},
    "covid": {"lstrip": False, "rstrip": False, "normalized": True, "single_word": True, "special": False},
    "[E2]": {"lstrip": False, "rstrip": True, "normalized": False, "single_word": False, "special": True},
    "Cé": {"lstrip": False, "rstrip": False, "normalized": True, "single_word": False, "special": False},
}
DECODER = {
    str(NEXT + place): {"content": piece, **flags} for place, (piece, flags) in enumerate(FLAGGED.items())
}
texts = st.lists(
    st.sampled_from(
        [
            *ORDER,
            *FLAGGED,
            "covids",
            "CE",
            "cé",
            "[e1]",
            " ",
            "  ",
            "\t",
            "-",
            "x",
            "\u0301",
            "É",
            "<user",
            "\u00a0",
        ]
    )
    | st.text(max_size=3)
).map("".join)


def vocab_txt(folder: Path, **files: Any) -> Path:
    """Writes a checkpoint from before tokenizer.json, with more files by their names without .json."""
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in ORDER), encoding="utf-8")
    for name, content in {"config": {"model_type": "bert"}, **files}.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def by_transformers(folder: Path, kind: Any, **options: Any) -> Path:
    """Saves a tokenizer with pieces of each kind as transformers does."""
    vocab_txt(folder)
    vocabulary = {piece: index for index, piece in enumerate(ORDER)}
    made = BertTokenizer(vocab=vocabulary, **options)
    if kind is PreTrainedTokenizerFast:
        names = {f"{piece.strip('[]').lower()}_token": piece for piece in SPECIAL}
        made = PreTrainedTokenizerFast(tokenizer_object=made.backend_tokenizer, **names)
    made.add_tokens([AddedToken(piece, **flags) for piece, flags in FLAGGED.items()])
    made.add_special_tokens({"additional_special_tokens": ["[E1]", "</s>"]})
    made.save_pretrained(folder)
    return folder


SUPPORTED: dict[str, dict[str, Any]] = {
    "plain": {},
    "cased": {"tokenizer_config": {"do_lower_case": False}},
    "accents kept": {"tokenizer_config": {"strip_accents": False}},
    "chinese together": {"tokenizer_config": {"tokenize_chinese_chars": False, "strip_accents": None}},
    "usual values": {
        "tokenizer_config": {
            "do_basic_tokenize": True,
            "never_split": ["[MASK]"],
            "wordpieces_prefix": "##",
            "model_max_length": 512,
            "tokenizer_class": "BertTokenizerFast",
            "clean_up_tokenization_spaces": False,
            "truncation_side": "right",
            "chat_template": "{{ 1 }}",
            "name_or_path": "/etc",
        }
    },
    "added_tokens.json": {"added_tokens": {"[E2]": NEXT + 1, "<user>": NEXT, "Cé": NEXT + 2}},
    "some of them special": {
        "added_tokens": {"<user>": NEXT, "[E2]": NEXT + 1},
        "special_tokens_map": {"additional_special_tokens": ["[E2]", "[E1]"], "mask_token": "[MASK]"},
    },
    "a flagged mask": {
        "special_tokens_map": {
            "mask_token": {
                "content": "[MASK]",
                "lstrip": True,
                "rstrip": False,
                "normalized": False,
                "single_word": False,
            }
        }
    },
    "added_tokens_decoder": {"tokenizer_config": {"added_tokens_decoder": DECODER}},
    "extra pieces": {"tokenizer_config": {"extra_special_tokens": ["[E1]", "</s>"], "bos_token": "<s>"}},
    "named pieces": {"tokenizer_config": {"extra_special_tokens": {"user_token": "<user>"}}},
}


@pytest.fixture(scope="module", params=[*SUPPORTED, "saved", "saved cased", "saved as it stands"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A folder, and how transformers reads it."""
    folder = tmp_path_factory.mktemp("beside")
    if request.param in SUPPORTED:
        vocab_txt(folder, **SUPPORTED[request.param])
    elif request.param == "saved as it stands":
        by_transformers(folder, PreTrainedTokenizerFast)
    else:
        by_transformers(folder, BertTokenizer, do_lower_case=request.param == "saved")
    return folder, AutoTokenizer.from_pretrained(folder)


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(first=texts, second=texts)
@example(first="a <user>[E1] [E2]  covid covids Cé cé CÉ[MASK] </s>", second="[e1] < user >")
def test_a_checkpoints_pieces_are_those_of_transformers(
    pair: tuple[Path, Any], first: str, second: str
) -> None:
    folder, theirs = pair
    found = complete(load_tokenizer(str(folder))).encode(first, f"a{second}")
    expected = theirs(
        first, f"a{second}", return_token_type_ids=True
    )  # of an empty second text it makes none
    assert (found.ids, found.type_ids) == (expected["input_ids"], expected["token_type_ids"])


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture], max_examples=5)
@given(text=texts)
@example(text="a <user>[E1] [E2]  covid covids Cé cé CÉ[MASK] </s>")
def test_they_stay_so_in_a_saved_folder_and_in_a_bundle(
    pair: tuple[Path, Any], tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    folder, theirs = pair
    saved = tmp_path_factory.mktemp("saved")
    save_tokenizer(task_tokenizer(str(folder)), saved, longest=64)
    expected = theirs(text)["input_ids"]
    assert AutoTokenizer.from_pretrained(saved)(text)["input_ids"] == expected
    assert task_tokenizer(str(saved)).encode(text).ids == expected
    assert build_tokenizer((saved / "tokenizer.json").read_bytes())[0].encode(text).ids == expected


# Refused by name


@pytest.mark.parametrize(
    ("beside", "reason"),
    [
        ({"tokenizer_class": "BertJapaneseTokenizer"}, "is a 'BertJapaneseTokenizer'"),
        ({"tokenizer_class": ["x"]}, r"is a \['x'\]"),
        ({"auto_map": {"AutoTokenizer": ["x.Y", None]}}, "has 'auto_map'"),
        ({"word_tokenizer_type": "mecab"}, "has 'word_tokenizer_type': 'mecab'"),
        ({"subword_tokenizer_type": "character"}, "has 'subword_tokenizer_type': 'character'"),
        ({"mecab_kwargs": {"mecab_dic": "ipadic"}}, "has 'mecab_kwargs'"),
        ({"do_basic_tokenize": False}, "has 'do_basic_tokenize': False"),
        ({"split_special_tokens": True}, "has 'split_special_tokens'"),
        ({"truncation_side": "left"}, "has 'truncation_side': 'left'"),
        ({"never_split": ["cat", "[MASK]"]}, "'never_split' has 'cat', which lilliput would split"),
        ({"never_split": "cat"}, "'never_split' is 'cat', expected is a list"),
        ({"mask_token": "<mask>"}, "'mask_token' is '<mask>', supported is .MASK."),
        ({"unk_token": {"content": "<unk>"}}, "'unk_token' is '<unk>', supported is .UNK."),
        ({"cls_token": 3}, "3 stands where a piece should"),
        ({"sep_token": {"text": "x"}}, "stands where a piece should"),
        (
            {"wordpieces_prefix": "_"},
            "it has wordpieces_prefix '##', and tokenizer_config.json beside it '_'",
        ),
        ({"do_lower_case": "yes"}, "'do_lower_case' is 'yes', expected is true or false"),
        ({"added_tokens_decoder": {"x": {}}}, "'added_tokens_decoder' does not give a piece to each id"),
        ({"added_tokens_decoder": {"3": {"content": "<user>"}}}, "it has '<user>' with id"),
        ({"added_tokens_decoder": {"99": {"content": "<user>"}}}, "it has '<user>' with id"),
        ({"additional_special_tokens": "<user>"}, "expected is a list of pieces"),
        ({"additional_special_tokens": [3]}, "3 stands where a piece should"),
        ({"additional_special_tokens": [f"<{n}>" for n in range(10_001)]}, "10,001 added pieces"),
    ],
)
@pytest.mark.parametrize("form", ["vocab.txt", "tokenizer.json"])
def test_what_is_not_supported_is_named(
    tmp_path: Path, beside: dict[str, Any], reason: str, form: str
) -> None:
    vocab_txt(tmp_path)
    if form == "tokenizer.json":
        save_tokenizer(load_tokenizer(str(tmp_path)), tmp_path)
        (tmp_path / "vocab.txt").unlink()
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(beside))
    with pytest.raises(ModelError, match=reason) as error:
        load_tokenizer(str(tmp_path))
    assert len(str(error.value)) < 700


def test_the_class_may_stand_in_the_models_config(tmp_path: Path) -> None:
    vocab_txt(tmp_path, config={"model_type": "bert", "tokenizer_class": "BertJapaneseTokenizer"})
    with pytest.raises(ModelError, match="is a 'BertJapaneseTokenizer'"):
        load_tokenizer(str(tmp_path))


@pytest.mark.parametrize(
    ("beside", "reason"),
    [
        ({"do_lower_case": False}, "it has lowercase True, and tokenizer_config.json beside it False"),
        ({"strip_accents": False}, "it has strip_accents True, and tokenizer_config.json beside it False"),
        ({"tokenize_chinese_chars": False}, "it has handle_chinese_chars True"),
        ({"added_tokens_decoder": {str(NEXT): DECODER[str(NEXT)] | {"lstrip": False}}}, "with lstrip True"),
        ({"added_tokens_decoder": {str(NEXT + 1): DECODER[str(NEXT)]}}, f"with id {NEXT}"),
    ],
)
def test_files_that_contradict_each_other_are_refused(
    tmp_path: Path, beside: dict[str, Any], reason: str
) -> None:
    by_transformers(tmp_path, BertTokenizer)
    path = tmp_path / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | beside))
    with pytest.raises(ModelError, match=reason):
        load_tokenizer(str(tmp_path))


def test_accents_go_with_capitals_where_nothing_is_said(tmp_path: Path) -> None:
    by_transformers(tmp_path, BertTokenizer)
    path = tmp_path / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"strip_accents": True}))
    assert load_tokenizer(str(tmp_path)).encode("É", add_special_tokens=False).tokens == ["e"]


@pytest.mark.parametrize("name", ["added_tokens", "special_tokens_map", "tokenizer_config", "config"])
@pytest.mark.parametrize("content", ["{", "[]", "3", '{"x": ' * 50_000])
def test_damaged_files_beside_a_vocabulary_are_named(tmp_path: Path, name: str, content: str) -> None:
    vocab_txt(tmp_path)
    (tmp_path / f"{name}.json").write_text(content)
    with pytest.raises(ModelError, match=rf"{name}\.json is damaged"):
        load_tokenizer(str(tmp_path))


def test_a_tokenizer_larger_than_the_models_table_is_refused(tmp_path: Path) -> None:
    vocab_txt(tmp_path, config={"vocab_size": NEXT}, added_tokens={"<user>": NEXT})
    with pytest.raises(
        ModelError, match=f"ids up to {NEXT}, and by config.json the model has rows for {NEXT}"
    ):
        load_tokenizer(str(tmp_path))
    vocab_txt(tmp_path, config={"vocab_size": NEXT + 1})
    assert vocabulary_size(load_tokenizer(str(tmp_path))) == NEXT + 1


odd = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-1, 99)
    | st.text(max_size=5)
    | st.sampled_from(["[E1]", "<user>", "##"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.text(max_size=4) | st.just("content"), inner, max_size=2)
    ),
    max_leaves=4,
)
keys = st.sampled_from(
    [
        *("do_lower_case", "strip_accents", "never_split", "mask_token", "bos_token", "added_tokens_decoder"),
        *("extra_special_tokens", "additional_special_tokens", "tokenizer_class", "wordpieces_prefix", "x"),
        *("model_max_length", "truncation_side", "word_tokenizer_type", "auto_map", "<user>", "vocab_size"),
    ]
)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    name=st.sampled_from(["tokenizer_config", "special_tokens_map", "added_tokens", "config"]),
    content=odd | st.dictionaries(keys, odd, max_size=3),
)
def test_any_settings_are_followed_or_refused(
    tmp_path_factory: pytest.TempPathFactory, name: str, content: Any
) -> None:
    folder = tmp_path_factory.getbasetemp() / "any-settings"
    folder.mkdir(exist_ok=True)
    vocab_txt(
        folder, **{"tokenizer_config": {}, "special_tokens_map": {}, "added_tokens": {}, **{name: content}}
    )
    with contextlib.suppress(LilliputError):
        assert load_tokenizer(str(folder)).encode("a [MASK] x").ids


# From a teacher to its student


@pytest.fixture
def teacher(world: World, tmp_path: Path) -> Tokenizer:
    """The world's teacher, which takes <user>, two words that occur, and one that does not, whole."""
    size = vocabulary_size(load_tokenizer(world.teacher))
    made = load_tokenizer(world.teacher)
    made.save(str(tmp_path / "tokenizer.json"))
    added = {"<user>": size, "the": made.token_to_id("the"), "señor": size + 1, "covid": size + 2}
    (tmp_path / "added_tokens.json").write_text(json.dumps(added))
    return load_tokenizer(str(tmp_path))


def test_a_student_takes_whole_what_its_teacher_does(
    world: World, teacher: Tokenizer, tmp_path: Path
) -> None:
    corpus = build_corpus([str(world.text)], teacher, tmp_path / "corpus", workers=1)
    lexicon = build_lexicon(corpus, teacher, LexiconConfig(size=300), tmp_path / "lexicon")
    student = lexicon.student_tokenizer()
    assert (
        sorted(whole_pieces(student)) == sorted(whole_pieces(teacher)) == ["<user>", "covid", "señor", "the"]
    )
    assert vocabulary_size(student) == len(student.get_vocab()) == 300
    text = "@<user>: The señor has covid, covids"
    words = [
        [*dict.fromkeys(word for word in found.word_ids if word is not None)]
        for found in (student.encode(text), teacher.encode(text))
    ]
    assert words[0] == words[1]
    assert "<user>" in student.encode(text).tokens
    names = corpus.word_types()
    assert lexicon.student[names.index("senor") if "senor" in names else names.index("señor")].size == 1


def test_a_corpus_with_a_piece_that_is_no_word_is_refused(
    world: World, teacher: Tokenizer, tmp_path: Path
) -> None:
    text = tmp_path / "tweets.txt"
    text.write_text("hello @<user> you\n" * 3)
    with pytest.raises(
        InputError, match="the text holds '<user>', which the teacher's tokenizer takes whole"
    ):
        build_corpus([str(text)], teacher, tmp_path / "corpus", workers=1)
    text.write_text("hello user, the [SEP] señor has covid\n" * 3)
    assert build_corpus([str(text)], teacher, tmp_path / "other", workers=1).words == 30


def test_words_are_spelled_as_in_a_text(teacher: Tokenizer) -> None:
    words = ["covid", "covids", "the", "them", "rock"]
    table = segment(words, speller(teacher))
    assert [table[place].tolist() for place in range(len(words))] == [
        teacher.encode(word, add_special_tokens=False).ids for word in words
    ]
    assert sorted(speller(teacher).get_vocab().values()) == sorted(teacher.get_vocab().values())


def test_a_given_tokenizer_takes_whole_what_the_teacher_does(
    world: World, teacher: Tokenizer, tmp_path: Path
) -> None:
    assert whole_pieces(given_tokenizer(str(tmp_path), teacher)) == whole_pieces(teacher)
    with pytest.raises(ModelError, match="added pieces"):
        given_tokenizer(world.teacher, teacher)


def test_pieces_keep_how_they_are_taken(tmp_path: Path) -> None:
    loaded = load_tokenizer(str(vocab_txt(tmp_path, **SUPPORTED["added_tokens_decoder"])))
    vocabulary = {piece: index for index, piece in enumerate([*SPECIAL, "a", *FLAGGED])}
    student = student_tokenizer(loaded, vocabulary)
    assert student.get_vocab() == vocabulary
    found = {token.content: token for token in student.get_added_tokens_decoder().values()}
    assert {
        piece: {flag: getattr(found[piece], flag) for flag in flags} for piece, flags in FLAGGED.items()
    } == FLAGGED
