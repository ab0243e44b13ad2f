"""Two seams: only `models/` names an architecture, only `pieces/` names special pieces as strings."""

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

SOURCES = Path(__file__).parent.parent / "src" / "lilliput"
FILES = sorted(SOURCES.rglob("*.py")) + sorted((SOURCES.parents[1] / "benchmarks").rglob("*.py"))

ARCHITECTURES = "Albert|Bert|Camembert|Deberta|DistilBert|Electra|ModernBert|MPNet|Roberta|XLMRoberta"
CLASS = re.compile(
    rf"({ARCHITECTURES})(Config|For\w+|Model|PreTrainedModel|Layer|\w*Attention|\w*Output|Pooler)"
)
ATTRIBUTES = {
    *("bert", "roberta", "distilbert", "mpnet", "electra", "deberta", "lm_head"),
    *("word_embeddings", "position_embeddings", "token_type_embeddings", "tok_embeddings"),
    *("intermediate_act_fn", "transform_act_fn", "vocab_transform", "pooler", "classifier"),
}
"""What only a module of an architecture has."""
PIECES = re.compile(r"\[(PAD|UNK|CLS|SEP|MASK)\]|##(?! )")  # with a space behind it is a heading of Markdown


def names_of_architectures(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and (node.attr in ATTRIBUTES or CLASS.fullmatch(node.attr)):
            yield f"line {node.lineno}: {ast.unparse(node)}"
        elif (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Attribute)
            and node.value.attr == "cls"
        ):
            yield f"line {node.lineno}: {ast.unparse(node)}"  # a piece's role has no attributes
        elif isinstance(node, ast.Name) and CLASS.fullmatch(node.id):
            yield f"line {node.lineno}: {node.id}"
        elif isinstance(node, ast.alias) and CLASS.fullmatch(node.name.rpartition(".")[2]):
            yield f"line {node.lineno}: import of {node.name}"
        elif isinstance(node, ast.ImportFrom) and re.match(r"transformers\.models\b", node.module or ""):
            yield f"line {node.lineno}: import from {node.module}"
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and CLASS.fullmatch(node.value):
            yield f"line {node.lineno}: {node.value!r}"


def names_of_pieces(tree: ast.AST) -> Iterator[str]:
    documentation = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str | bytes)
            and node not in documentation
        ):
            text = node.value if isinstance(node.value, str) else node.value.decode("latin-1")
            if PIECES.search(text):
                yield f"line {node.lineno}: {text!r}"


def room(path: Path) -> str:
    return path.relative_to(SOURCES).parts[0] if path.is_relative_to(SOURCES) else path.parent.name


def broken(rule: Callable[[ast.AST], Iterator[str]], but: str) -> list[str]:
    """Returns what breaks a rule in the files outside one room."""
    return [
        f"{path.name}, {found}"
        for path in FILES
        if room(path) != but
        for found in rule(ast.parse(path.read_text(encoding="utf-8")))
    ]


def test_no_architecture_is_named_outside_models() -> None:
    assert broken(names_of_architectures, but="models") == []


def test_no_special_piece_is_a_string_outside_pieces() -> None:
    assert broken(names_of_pieces, but="pieces") == []


@pytest.mark.parametrize(
    "line",
    [
        "from transformers import BertForMaskedLM",
        "from transformers.models.bert.modeling_bert import BertLayer",
        "transformers.RobertaConfig()",
        "model.bert.encoder",
        "model.cls.predictions.bias",
        "kind == 'DistilBertForSequenceClassification'",
    ],
)
def test_an_architecture_is_found(line: str) -> None:
    assert list(names_of_architectures(ast.parse(line)))


@pytest.mark.parametrize("line", ["f('[SEP]')", "b'[CLS]'", "f'has no [MASK] {x}'", "f'##{part}'"])
def test_a_special_piece_is_found(line: str) -> None:
    assert list(names_of_pieces(ast.parse(f"x = {line}")))


def test_documentation_and_roles_pass() -> None:
    tree = ast.parse('"""Reads [CLS]."""\nx = 1\n"""The id of [SEP]."""\ny = special.cls, "## Size"\n')
    assert not [*names_of_pieces(tree), *names_of_architectures(tree)]
