"""Files with a word a line: which columns hold words and tags, what is a comment, and what a word is."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from lilliput.errors import InputError
from lilliput.tasks.conll import read_words
from lilliput.tasks.loading import load_task
from lilliput.tasks.task import TaskData


def load(path: Path, content: str, **options: Any) -> TaskData:
    path.write_bytes(content.encode())
    return load_task(train=str(path), dev=str(path), **options)


def tagged(data: TaskData) -> list[tuple[tuple[str, ...], ...]]:
    """Returns words and tags of the examples."""
    assert data.train.labels is not None
    tags = [tuple(data.task.tags[tag] for tag in row) for row in data.train.labels.tags]
    return list(zip(map(tuple, data.train.texts), tags, strict=True))


GERMEVAL = (
    "#\thttp://de.wikipedia.org/wiki/Manfred_Korfmann\t[2009-10-17]\n"
    "1\tKorfmann\tB-PER\tO\n2\tlehrte\tO\tO\n3\tin\tO\tO\n4\tBonn\tB-LOC\tB-ORG\n\n"
    "#\thttp://de.wikipedia.org/wiki/Bonn\t[2009-10-18]\n1\t#\tO\tO\n2\tBonn\tB-LOC\tO\n"
)
CONLLU = (
    "# newdoc id = x\n# sent_id = 1\n# text = vámonos al mar\n"
    "1-2\tvámonos\t_\t_\t_\t_\t_\t_\t_\t_\n"
    "1\tvamos\tir\tB-V\tv\t_\t0\troot\t_\t_\n2\tnos\tnosotros\tB-P\tp\t_\t1\tobj\t_\t_\n"
    "2.1\tél\tél\tB-E\te\t_\t1\tx\t_\t_\n"
    "3\tmar\tmar\tB-N\tn\t_\t1\tobl\t_\tSpaceAfter=No\n\n"
    "# sent_id = 2\n1\tsí\tsí\tO\ti\t_\t0\troot\t_\t_\n\n"
)


def test_the_index_and_comments_of_germeval_are_no_words(tmp_path: Path) -> None:
    data = load(tmp_path / "x.conll", GERMEVAL)
    assert tagged(data) == [
        (("Korfmann", "lehrte", "in", "Bonn"), ("B-PER", "O", "O", "B-LOC")),
        (("#", "Bonn"), ("O", "B-LOC")),
    ]
    assert "words in column 2 of 4, tags in column 3; column 1 counts the words" in data.origin
    assert any("tags in columns 3 and 4" in warning and "--tags 4" in warning for warning in data.warnings)


def test_the_second_layer_of_tags_can_be_named(tmp_path: Path) -> None:
    data = load(tmp_path / "x.conll", GERMEVAL, tags="4")
    assert tagged(data)[0][1] == ("O", "O", "O", "B-ORG")
    assert "tags from '4'" in data.origin
    assert not any("columns 3 and 4" in warning for warning in data.warnings)


@pytest.mark.parametrize("name", ["x.conllu", "x.conll"])
def test_words_of_conllu_are_its_forms(name: str, tmp_path: Path) -> None:
    data = load(tmp_path / name, CONLLU)
    assert tagged(data) == [(("vamos", "nos", "mar"), ("B-V", "B-P", "B-N")), (("sí",), ("O",))]
    assert "words in column 2 of 10, tags in column 4" in data.origin


@pytest.mark.parametrize(("text", "words"), [("lemma", "ir"), ("3", "ir"), ("form", "vamos"), ("2", "vamos")])
def test_columns_have_numbers_and_those_of_conllu_names(text: str, words: str, tmp_path: Path) -> None:
    assert load(tmp_path / "x.conllu", CONLLU, text=text, tags="upos").train.texts[0][0] == words


def test_names_of_columns_may_stand_in_the_file(tmp_path: Path) -> None:
    content = "# global.columns = UPOS FORM X\nB-N\tsea\t_\nO\tis\t_\n"
    data = load(tmp_path / "x.conllu", content)
    assert tagged(data) == [(("sea", "is"), ("B-N", "O"))]


@pytest.mark.parametrize("begin", [0, 1, 7])
@pytest.mark.parametrize("separator", ["\t", " ", "  \t"])
def test_a_column_that_counts_is_recognised_wherever_it_begins(
    begin: int, separator: str, tmp_path: Path
) -> None:
    lines = [f"{begin + index}{separator}w{index}{separator}NN{separator}B-x" for index in range(3)]
    assert (
        load(tmp_path / "x.conll", "\n".join([*lines, "", *lines])).train.texts == (("w0", "w1", "w2"),) * 2
    )


def test_sentences_of_one_word_are_counted_too(tmp_path: Path) -> None:
    data = load(tmp_path / "x.conll", "1\tstop\tO\n\n1\tBonn\tB-x\n\n1\tgo\tO\n")
    assert data.train.texts == (("stop",), ("Bonn",), ("go",))


def test_words_that_are_numbers_stay_words_where_they_do_not_count(tmp_path: Path) -> None:
    data = load(tmp_path / "x.conll", "3 CD B-n\n4 CD I-n\n\n5 CD B-n\n7 CD B-n\n")
    assert data.train.texts == (("3", "4"), ("5", "7"))


def test_a_count_and_one_column_more_are_no_words_and_tags(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"column 1 of .* counts the words of each sentence, so its 2 columns"
    ):
        load(tmp_path / "x.conll", "1\ta\n2\tb\n\n1\tc\n")


def test_a_column_that_names_the_document_is_refused_until_others_are_named(tmp_path: Path) -> None:
    content = "".join(f"bc/{s} 0 {w} word{w} B-x\n" + "\n" * (w == 2) for s in range(2) for w in range(3))
    with pytest.raises(
        InputError, match=r"column 1 of .* the same value in all lines of a sentence .*--text 2 --tags"
    ):
        load(tmp_path / "x.conll", content)
    data = load(tmp_path / "x.conll", content, text="4", tags="5")
    assert data.train.texts[0] == ("word0", "word1", "word2")


def test_words_that_begin_with_a_hash_are_words(tmp_path: Path) -> None:
    content = "# O\nthrowback B-x\n\n#monday O\nis O\n#fun B-x\n\n# a comment of words\n# id = 7\nend O\n"
    data = load(tmp_path / "x.conll", content)
    assert data.train.texts == (("#", "throwback"), ("#monday", "is", "#fun"), ("end",))


def test_a_comment_within_a_sentence_is_no_line_to_leave_out(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"line 2 of .* has 1 columns, expected 2"):
        load(tmp_path / "x.conll", "a O\n#lost\nb B-x\n")


@pytest.mark.parametrize("space", ["\u00a0", "\u0085", "\u3000", "\x1c", "\u2028"])
def test_only_spaces_and_tabs_part_columns(space: str, tmp_path: Path) -> None:
    data = load(tmp_path / "x.conll", f"10{space}000 B-n\npeople O\n")
    assert data.train.texts == ((f"10{space}000", "people"),)


def test_a_sentence_names_the_line_of_a_word_beside_comments(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"line 5 of .*x.conll"):
        load(tmp_path / "x.conll", "# one\n1\ta\tO\n1-2\tab\t_\n2\tb\tB-x\n3\tc\t3\n")


def test_a_table_with_a_word_a_line_says_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"one word and its tag per line.* ends in \.conll"):
        load(tmp_path / "x.tsv", GERMEVAL)
    with pytest.raises(InputError, match=r"one word and its tag per line.* ends in \.conll"):
        load(tmp_path / "x.tsv", "EU\tB-ORG\nrejects\tO\n")


def test_what_words_take_in_memory_is_bounded(tmp_path: Path) -> None:
    (tmp_path / "x.conll").write_text("a O\n" * 1000)
    with pytest.raises(InputError, match=r"up to line [\d,]+ .*x.conll takes more than 0 GB of memory"):
        read_words(tmp_path / "x.conll", 10_000)


FIELD = st.text("ab1#-.O", min_size=1, max_size=3)


@given(st.lists(st.lists(st.tuples(FIELD, FIELD, FIELD), min_size=1), min_size=1))
def test_no_word_is_lost_but_comments_and_counts(
    tmp_path_factory: pytest.TempPathFactory, sentences: list[list[tuple[str, str, str]]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "x.conll"
    path.write_text("\n\n".join("\n".join("\t".join(line) for line in sentence) for sentence in sentences))
    try:
        found = read_words(path, 1 << 20)
    except InputError:
        return
    lines = sum(len(sentence) for sentence in sentences)
    kept = sum(map(len, found.sentences))
    assert kept == lines or any(line[0][0] in "#1" for sentence in sentences for line in sentence)
