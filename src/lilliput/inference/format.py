"""A bundle: one folder with all that a model needs to answer, and the digests by which its files are known.

    model.onnx      the graph with its weights
    tokenizer.json  how a text becomes words, and words pieces
    config.json     what the model answers: `BundleConfig`
    model.pte       only where it was asked for: the same model as a program of ExecuTorch, for phones
    README.md       its card, which its owner may edit: it is in manifest.json and never checked
    manifest.json   bytes and SHA-256 of every other file, written last

The graph takes `input_ids`, `attention_mask` and `token_type_ids`, int64 [batch, length], and gives one
output, float32: `scores` or, for the kind `encode`, `states`. Its shape is [batch, columns] where the kind
answers for the whole text (`kinds`), else [batch, length, columns].

A bundle is read whole and checked before anything in it is used. Nothing in it is executed or unpickled. The
digests show damage and mix-ups; they are no proof of who made it.
"""

import hashlib
import json
import reprlib
from pathlib import Path
from typing import Any, NamedTuple

from lilliput.errors import BundleError
from lilliput.inference.kinds import KINDS

FORMATS = (1, 2, 3, 4)
"""Formats that are read: raised whenever the files of a bundle change their meaning. In 2 integers are
multiplied in the graph, in 3 something is put before each text, in 4 some texts have no label; one that does
none of these is written as 1, which earlier versions read too."""

MODEL, PROGRAM, TOKENIZER, CONFIG, CARD, MANIFEST = (
    "model.onnx",
    "model.pte",
    "tokenizer.json",
    "config.json",
    "README.md",
    "manifest.json",
)
VECTORS = "vectors"
"""The name in the graph of the map from states to vectors; its scale and bias are called after it."""
_REMEDY = "fetch or export the bundle again"
MOST_BYTES = {MODEL: 1 << 31, PROGRAM: 1 << 31, TOKENIZER: 1 << 26, CONFIG: 1 << 22, MANIFEST: 1 << 20}
"""Bytes of each file that are read at most; a larger one is refused before that."""
_MOST_BYTES_OF_OTHERS, _MOST_FILES = 1 << 26, 100
MOST_NAMES, LONGEST_NAME = 100_000, 1_000
"""Classes, or tags, and characters of a name."""
MOST_POSITIONS = 1 << 16
"""Pieces of the longest input of any bundle."""


class BundleConfig(NamedTuple):
    """What a bundle's model answers."""

    kind: str
    """What is answered to a text, one of `KINDS`."""
    positions: int
    """Pieces of the longest input, [CLS] and [SEP] included."""
    opset: int
    """The version of ONNX's operators in the graph."""
    quantization: str
    """How the weights are stored: float32, float16, int8, int4, or the name of a plan."""
    lilliput: str
    """The version that made it."""
    task: str | None = None
    """Name of the task it was fine-tuned for; None where it was for none."""
    pairs: bool = False
    """Whether it reads two texts together."""
    classes: tuple[str, ...] = ()
    """Names of the classes, in the order of the scores."""
    tags: tuple[str, ...] = ()
    """Names of the tags (O, B-x, I-x), in the order of the scores; in a joint model's, they come first."""
    products: str = "float32"
    """In which numbers matrices are multiplied: float32, or int8 where what most linear layers read is
    rounded to eight bits too."""
    normalize: bool = False
    """Whether vectors have length 1."""
    prompt: str = ""
    """What is put before each text that becomes a vector."""
    min_probability: float | None = None
    """The least probability of a class: a text whose most probable class has less has no label. None where
    every text has one."""

    @property
    def format(self) -> int:
        """The format of the bundle."""
        if self.min_probability is not None:
            return 4
        return 3 if self.prompt else FORMATS[self.products != "float32"]

    def write(self, folder: Path) -> None:
        """Writes config.json."""
        from lilliput.common.files import write_json

        write_json(folder / CONFIG, {"format": self.format, **self._asdict()})


class BundleFiles(NamedTuple):
    """What was read of a bundle, and is known to be what was written."""

    config: BundleConfig
    model: bytes
    """The graph, as ONNX."""
    tokenizer: bytes
    """The tokenizer, as JSON."""


def is_config(path: Path) -> bool:
    """Returns whether a file is the config.json of a bundle."""
    try:
        _check_bytes(path, path.stat().st_size)
        parse_config(path, path.read_bytes())
    except (BundleError, OSError):
        return False
    return True


def files_of(folder: Path) -> list[str]:
    """Returns the names of the files that a bundle's manifest names, and its own; none without one."""
    try:
        return [*_entries(folder / MANIFEST), MANIFEST]
    except (BundleError, OSError):
        return []


def names_in(manifest: Path) -> list[str]:
    """Returns the names of the files that a manifest names; raises BundleError if it is not a manifest."""
    return list(_entries(manifest))


def sizes(folder: Path) -> dict[str, int]:
    """Returns the bytes of every file of a bundle, by name; hidden files and folders are no part of one."""
    files = sorted(item for item in folder.iterdir() if item.is_file() and not item.name.startswith("."))
    return {item.name: item.stat().st_size for item in files}


def read_bundle(folder: Path) -> BundleFiles:
    """Returns the files of a bundle; raises BundleError if one is missing, altered or of a newer format."""
    try:
        if not folder.is_dir():
            raise BundleError(f"{folder} is not a folder; expected is a bundle, a folder with {MANIFEST}")
        if not (folder / MANIFEST).is_file():
            raise BundleError(
                f"{folder} is not a bundle, or not a finished one: it has no {MANIFEST}; export it again, or "
                f"name the folder with {MODEL} and {MANIFEST}"
            )
        entries = _entries(folder / MANIFEST)
        found = {name: _whole(folder / name, entry) for name, entry in entries.items() if name != CARD}
    except OSError as error:
        raise BundleError(f"{folder} cannot be read: {error.strerror or error}") from error
    return BundleFiles(parse_config(folder / CONFIG, found[CONFIG]), found[MODEL], found[TOKENIZER])


def _entries(path: Path) -> dict[str, dict[str, Any]]:
    """Returns what the manifest says of each file, by name; raises BundleError if it is not a manifest."""
    _check_bytes(path, path.stat().st_size)
    entries = _object(path, path.read_bytes()).get("files")
    if not isinstance(entries, dict) or not all(
        isinstance(entry, dict)
        and isinstance(entry.get("bytes"), int)
        and isinstance(entry.get("sha256"), str)
        for entry in entries.values()
    ):
        raise BundleError(f"{path} does not give bytes and sha256 of each file; {_REMEDY}")
    if len(entries) > _MOST_FILES:
        raise BundleError(
            f"{path} names {len(entries):,} files, a bundle has at most {_MOST_FILES}; {_REMEDY}"
        )
    for name in entries:
        if name[:1] in ("", ".") or any(mark in name for mark in "/\\:\0"):
            raise BundleError(f"{path} names {name!r}, which is not the name of a file in it; {_REMEDY}")
    for name in (MODEL, TOKENIZER, CONFIG):
        if name not in entries:
            raise BundleError(f"{path} does not name {name}, which every bundle has; {_REMEDY}")
    return entries


def _whole(path: Path, entry: dict[str, Any]) -> bytes:
    """Returns the bytes of a file; raises BundleError if they are not those that were written."""
    if not path.is_file():
        raise BundleError(f"{path} is missing, though the bundle's manifest names it; {_REMEDY}")
    if (size := path.stat().st_size) != entry["bytes"]:  # before the file is read, however large it is
        raise BundleError(
            f"{path} was altered or cut short: it has {size:,} bytes, expected are {entry['bytes']:,}; "
            f"{_REMEDY}"
        )
    _check_bytes(path, size)
    if hashlib.sha256(content := path.read_bytes()).hexdigest() != entry["sha256"]:
        raise BundleError(f"{path} was altered: its SHA-256 is not the one in {MANIFEST}; {_REMEDY}")
    return content


def _check_bytes(path: Path, size: int) -> None:
    """Raises BundleError where a file is larger than any bundle's."""
    most = MOST_BYTES.get(path.name, _MOST_BYTES_OF_OTHERS)
    if size > most:
        raise BundleError(
            f"{path} has {size:,} bytes, in a bundle it has at most {most:,}; make the bundle again without "
            "it, or of a smaller model"
        )


def _object(path: Path, content: bytes) -> dict[str, Any]:
    """Returns a JSON object of a format that this version reads; raises BundleError for anything else."""
    try:
        values = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path} is damaged ({error}); {_REMEDY}") from error
    number = values.get("format") if isinstance(values, dict) else None
    if not isinstance(number, int):
        raise BundleError(f"{path} does not say in which format it is, as every bundle's does; {_REMEDY}")
    if number not in FORMATS:
        raise BundleError(
            f"{path} has format {number}, this version of lilliput reads formats up to {FORMATS[-1]}; "
            "update it with pip install --upgrade lilliput"
        )
    return dict(values)


def parse_config(path: Path, content: bytes) -> BundleConfig:
    """Returns what the content of a config.json says; raises BundleError where it cannot be right."""
    values = _object(path, content)
    name = values.get("kind")
    if not isinstance(name, str) or name not in KINDS:
        raise BundleError(f"{path}: 'kind' is {reprlib.repr(name)}, expected is one of {', '.join(KINDS)}")
    kind = KINDS[name]
    expected = {
        "positions": (_within(3, MOST_POSITIONS), f"a whole number from 3 to {MOST_POSITIONS:,}"),
        "opset": (_within(3, 1_000), "a whole number from 3 to 1,000"),
        "quantization": (_is_name, f"text of at most {LONGEST_NAME:,} characters"),
        "task": (
            lambda value: value is None or _is_name(value),
            f"null, or text of at most {LONGEST_NAME:,}",
        ),
        "pairs": (_is_flag(kind.has_tags), f"what {name} needs: true or false, false for tags"),
        "classes": (_names_for(kind.has_classes), f"what {name} needs: {_LIST}"),
        "tags": (_names_for(kind.has_tags), f"what {name} needs: {_LIST}"),
        "lilliput": (_is_name, f"text of at most {LONGEST_NAME:,} characters"),
        "products": (lambda value: value in ("float32", "int8"), "float32 or int8"),
        "normalize": (_is_flag(name != "encode"), "true or false, false where there are no vectors"),
        "prompt": (
            lambda value: _is_name(value) and (name == "encode" or not value),
            f"text of at most {LONGEST_NAME:,} characters, empty where there are no vectors",
        ),
        "min_probability": (
            lambda value: value is None or (kind.may_be_unsure and _is_share(value)),
            "null, or a number from 0 to 1 where a text has one class",
        ),
    }
    for key in ("products", "normalize", "prompt", "min_probability"):  # which earlier versions did not write
        values.setdefault(key, BundleConfig._field_defaults[key])
    for key, (fits, wanted) in expected.items():
        if not fits(values.get(key)):
            found = reprlib.repr(values.get(key))
            raise BundleError(f"{path}: '{key}' is {found}, expected is {wanted}")
    names = {key: tuple(values[key]) for key in ("classes", "tags")}
    return BundleConfig(name, **{key: values[key] for key in expected} | names)


_LIST = f"a list of at most {MOST_NAMES:,} different names, or an empty one"


def _within(least: int, most: int) -> Any:
    """Returns what checks a whole number."""
    return lambda value: type(value) is int and least <= value <= most


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= LONGEST_NAME


def _is_share(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= 1


def _is_flag(only_false: bool) -> Any:
    """Returns what checks true or false, or false alone."""
    return lambda value: isinstance(value, bool) and not (only_false and value)


def _names_for(needed: bool) -> Any:
    """Returns what checks a list of names, empty unless it is needed."""

    def fits(value: Any) -> bool:
        whole = isinstance(value, list) and len(value) <= MOST_NAMES and all(map(_is_name, value))
        return whole and len(set(value)) == len(value) and bool(value) == needed

    return fits
