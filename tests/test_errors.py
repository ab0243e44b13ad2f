"""The tree of errors and the sentence about an unknown name."""

import ast
import builtins
import importlib
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

import lilliput
from lilliput import errors
from lilliput.errors import LilliputError, nearest

SOURCES = sorted(Path(lilliput.__file__).parent.rglob("*.py"))
KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, LilliputError)]
PYTHONS_OWN = {
    "__init__": {"AttributeError"},  # what `__getattr__` must raise
    "files": {"ValueError"},  # what `parse_json` raises is what Python's own reader raises
    "folders": {"OSError"},  # becomes a StorageError one call up, as others below
    "graph_size": {"ValueError"},
    "kind": {"NotImplementedError"},  # of a method that only kinds with a label of the text have
    "heads": {"NotImplementedError"},  # of a kind that no teacher teaches: one is refused before
    "locks": {"AssertionError"},  # behind a loop whose last turn raises
    "onnx_file": {"ValueError"},
    "pages": {"IndexError", "ValueError"},
    "probes": {"AssertionError"},  # in a function that is never called
    "bert_tokenizer": {"ValueError"},
    "tokenizer_bounds": {"ValueError"},
    "tokenizer_file": {"ValueError"},
    "tokenizer_settings": {"ValueError"},
    "unpacking": {"EOFError"},
}
NAMES = st.lists(st.text("abcdefghij_", min_size=1, max_size=8), min_size=1, max_size=6, unique=True)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_error_is_in_the_tree_of_the_docstring(kind: type[LilliputError]) -> None:
    assert errors.__doc__ is not None
    (line,) = [line for line in errors.__doc__.splitlines() if kind.__name__ in line.split()]
    parent = kind.__bases__[0]
    assert parent in (Exception, LilliputError, errors.InputError)
    assert line.index(kind.__name__) == {Exception: 4, LilliputError: 8}.get(parent, 12)
    assert kind.__doc__


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_no_error_of_python_itself_is_raised(path: Path) -> None:
    raised = [node.exc for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Raise)]
    names = {ast.unparse(error).partition("(")[0] for error in raised if error is not None}
    assert {name for name in names if hasattr(builtins, name)} <= PYTHONS_OWN.get(path.stem, set())


@given(NAMES, st.data())
def test_a_known_name_is_nearest_to_itself(known: list[str], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(known))
    assert nearest(name, known) == f"did you mean '{name}'?"


@given(NAMES)
def test_a_name_like_none_gets_the_list_of_all(known: list[str]) -> None:
    assert nearest("XYZ", iter(known)) == f"known: {', '.join(sorted(known))}"


@pytest.mark.parametrize(("name", "function"), [("torch", "train"), ("accelerate", "train")])
def test_a_missing_extra_is_named_with_its_remedy(name: str, function: str) -> None:
    script = f"import sys; sys.modules[{name!r}] = None; import lilliput\n"
    script += (
        f"try: lilliput.{function}\n"
        "except lilliput.LilliputError as error: print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"ExtraError this needs the package {name}, which is not installed")
    assert "pip install 'lilliput[train]'" in done.stdout


def test_a_module_of_our_own_that_is_missing_is_our_fault() -> None:
    with pytest.raises(ModuleNotFoundError), errors.extra_named():
        importlib.import_module("lilliput.nowhere")
