"""A bundle's card: what the model is, where it comes from, how good it is, what it cannot do, how to use it.

Every figure in it comes from its arguments: the facts that an export knows, and the sizes of files on disk.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lilliput.common.files import write_json, writing
from lilliput.inference.format import CARD, CONFIG, MANIFEST, MODEL, BundleConfig, parse_config, sizes
from lilliput.inference.kinds import KINDS


@dataclass(frozen=True)
class CardScore:
    """One figure of quality."""

    metric: str
    """What was measured, such as accuracy or F1."""
    value: float
    """The bundle's score, as it is to be shown."""
    data: str
    """On what, with its split: SST-2 dev."""
    teacher: float | None = None
    """The teacher's score by the same measure; None where it was not measured."""
    data_set: str | None = None
    """The data set's name on the hub; None where it is not from there."""
    file: str = MODEL
    """The file of the bundle that was scored."""


@dataclass(frozen=True)
class Card:
    """What a card says beyond what config.json and the files do."""

    name: str
    """The bundle's name."""
    teacher: str | None
    """The model it was made from. As all that may be None, it is left out where it is not known."""
    corpus: str | None
    """The text that it learnt from, and how much of it."""
    recipe: str | None
    """How it was made: the recipe's name and what was changed in it."""
    parameters: Mapping[str, int]
    """Parameters counted in the models, by what they belong to: student, embeddings, teacher."""
    scores: tuple[CardScore, ...]
    """What was measured, with the bundle's own file."""
    limits: tuple[str, ...]
    """What it is not good for, a sentence each."""
    licence: str | None = None
    """The licence of the weights, as the hub abbreviates it, such as apache-2.0."""
    teacher_licence: str | None = None
    """The licence of the teacher, as its own card says."""
    languages: tuple[str, ...] = ()
    """The texts' languages, as ISO 639 abbreviates them."""
    data_sets: tuple[str, ...] = ()
    """Data sets of the hub that it learnt from."""
    base_models: tuple[str, ...] = ()
    """Models of the hub that it was made from."""
    executorch: str | None = None
    """The version of ExecuTorch that wrote model.pte; None where there is none."""

    def render(
        self, config: BundleConfig, sizes: Mapping[str, int], *, for_javascript: str | None = None
    ) -> str:
        """Returns README.md of a folder: YAML as the hub reads it, then Markdown.

        Args:
            config: What the model answers.
            sizes: Bytes of the files beside the card, by name.
            for_javascript: The name of a folder for transformers.js; None of a bundle.
        """
        library = "lilliput" if for_javascript is None else "transformers.js"
        use = _use(config) if for_javascript is None else _use_in_javascript(for_javascript, config)
        sections = [
            f"---\n{metadata(self, KINDS[config.kind].hub, config.task, library, self.scores)}---",
            f"# {self.name}",
            _what(config),
            f"## Where it comes from\n\n{origin(self, _export(config))}",
            f"## Size\n\n{_size(self, sizes)}",
            f"## Quality\n\n{quality(self.scores)}",
            "## Limits\n\n" + "\n".join(f"- {limit}" for limit in self.limits),
            f"## How to load it\n\n{use}{_on_phones(self.executorch)}",
            f"## Licence\n\n{_licence(self)}",
        ]
        return "\n\n".join(sections) + "\n"


_PRODUCTS = {
    "float32": "of float32",
    "int8": "of integers where it costs little: what most linear layers read is rounded to 8 bits too",
}
_ELSEWHERE = {
    "float32": "Any other runtime of ONNX runs model.onnx too.",
    "int8": "Any program with onnxruntime runs model.onnx too; on x86 without VNNI it has to set "
    "session.x64quantprecision to 1 and graph optimisation to extended, or sums overflow.",
}


_METRICS = {"matthews": "matthews_correlation", "pearson": "pearsonr", "spearman": "spearmanr"}
"""What the hub calls metrics that have another name here."""


def metadata(
    card: Card, kind: str, task: str | None, library: str, scores: Sequence[CardScore], *, onnx: bool = True
) -> str:
    """Returns the metadata of a card as YAML, as the hub reads it, with a line's end behind it.

    Args:
        card: What is known of the model.
        kind: What the hub calls its kind.
        task: The task that it was fine-tuned for, if it was for one.
        library: What opens it.
        scores: Its scores.
        onnx: Whether it is a graph of ONNX.
    """
    from huggingface_hub import EvalResult, ModelCardData  # here, as it takes a quarter of a second

    results = [
        EvalResult(
            task_type=kind,
            dataset_type=score.data_set or task or score.data,
            dataset_name=score.data,
            metric_type=_METRICS.get(score.metric, score.metric),
            metric_name=score.metric,
            metric_value=score.value,
        )
        for score in scores
        if score.file == MODEL
    ]
    data = ModelCardData(
        language=_one_or_all(card.languages),
        license=card.licence,
        library_name=library,
        pipeline_tag=kind,
        base_model=_one_or_all(card.base_models),
        datasets=list(card.data_sets) or None,
        tags=["lilliput", *(["onnx"] if onnx else []), "bert", "distillation"],
        model_name=card.name if results else None,
        eval_results=results or None,
    )
    return f"{data.to_yaml()}\n"


def _one_or_all(names: tuple[str, ...]) -> str | list[str] | None:
    return names[0] if len(names) == 1 else list(names) or None


def _what(config: BundleConfig) -> str:
    lines = [f"Gives {KINDS[config.kind].gives(config)}, at most {config.positions:,} pieces long."]
    lines += [f"Classes: {', '.join(config.classes)}."] if config.classes else []
    lines += [f"Tags: {', '.join(config.tags)}."] if config.tags else []
    return "\n\n".join(lines)


def origin(card: Card, more: Mapping[str, str | None]) -> str:
    """Returns where a model comes from, as a list of what is known, with more facts behind."""
    facts = {"teacher": card.teacher, "corpus": card.corpus, "recipe": card.recipe, **more}
    return "\n".join(f"- {name}: {fact}" for name, fact in facts.items() if fact is not None)


def _export(config: BundleConfig) -> dict[str, str | None]:
    return {
        "task": config.task,
        "weights": f"{config.quantization}, ONNX operators of version {config.opset}",
        "products": _PRODUCTS[config.products],
        "made by": f"lilliput {config.lilliput}",
    }


def _size(card: Card, sizes: Mapping[str, int]) -> str:
    rows = [f"| {name} | {size:,} |" for name, size in sizes.items()]
    table = ["| file | bytes |", "| --- | ---: |", *rows, f"| together | {sum(sizes.values()):,} |"]
    counts = [f"| {name} | {number:,} |" for name, number in card.parameters.items()]
    return "\n".join([*table, "", "| parameters | |", "| --- | ---: |", *counts])


def quality(scores: Sequence[CardScore]) -> str:
    """Returns scores as a table, with the teacher's where they are known."""
    if not scores:
        return "Not measured."
    has_teacher = any(score.teacher is not None for score in scores)
    heads = ["data", "metric", "this model", *(["teacher"] if has_teacher else [])]
    rows = [heads, ["---", "---", *["---:"] * (len(heads) - 2)]]
    for score in scores:
        data = score.data if score.file == MODEL else f"{score.data}, {score.file}"
        theirs = "not measured" if score.teacher is None else f"{score.teacher:g}"
        rows.append([data, score.metric, f"{score.value:g}", *([theirs] if has_teacher else [])])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _licence(card: Card) -> str:
    if card.licence is not None:
        return card.licence
    theirs = f" The card of {card.teacher} says {card.teacher_licence}." if card.teacher_licence else ""
    return f"Not stated: it follows from the licences of the teacher and of the texts.{theirs}"


def _use(config: BundleConfig) -> str:
    kind = KINDS[config.kind]
    text = kind.example
    texts = f'["{text}"], ["a film to forget"]' if config.pairs else f'["{text}"]'
    line = f"{text}\\ta film to forget" if config.pairs else text
    return f"""In this folder, with `pip install lilliput` (numpy, tokenizers and onnxruntime, no torch):

```python
import lilliput

bundle = lilliput.load(".")
print(bundle.{kind.methods[-1]}({texts}))
```

On the command line, a text a line{", the two of a pair with a tab between them" if config.pairs else ""}:

```sh
printf '{line}\\n' | lilliput run .
```

In a browser: open lilliput's page (its folder `web`) and drop this folder on it.
{_ELSEWHERE[config.products]} manifest.json holds the SHA-256 of every file, which
`lilliput.load` checks."""


def _use_in_javascript(name: str, config: BundleConfig) -> str:
    place, kind = json.dumps(name), KINDS[config.kind]
    imported, after = "pipeline", ""
    if config.kind == "encode":
        options = f'{{ pooling: "mean", normalize: {json.dumps(config.normalize)} }}'
        code = f"""const encode = await pipeline("feature-extraction", {place}, {{ dtype: "q8" }});
const vectors = await encode(["a text"], {options});"""
        after = f" Put `{config.prompt}` before each text; the pipeline does not." if config.prompt else ""
    elif config.pairs or config.kind == "regression":
        imported = "AutoModelForSequenceClassification, AutoTokenizer"
        pair = ' text_pair: ["a film to forget"],' if config.pairs else ""
        code = f"""const tokenizer = await AutoTokenizer.from_pretrained({place});
const model = await AutoModelForSequenceClassification.from_pretrained({place}, {{ dtype: "q8" }});
const read = tokenizer(["{kind.example}"], {{{pair} padding: true, truncation: true }});
const {{ logits }} = await model(read);"""
        after = " The pipeline would read one text alone and make probabilities of scores, so it is not used."
    else:
        code = f"""const answer = await pipeline("{kind.hub}", {place}, {{ dtype: "q8" }});
console.log(await answer("{kind.example}"));"""
    return f"""With `npm install @huggingface/transformers`, version 4 or newer:

```js
import {{ {imported} }} from "@huggingface/transformers";

{code}
```

The name is that of this folder on the hub, or below `env.localModelPath`. `dtype: "fp32"` takes
onnx/model.onnx; scores are those of onnx/model_quantized.onnx. config.json, lilliput.json and the tokenizer
are beside them.{after}"""


def _on_phones(executorch: str | None) -> str:
    if executorch is None:
        return ""
    return f"""

On phones: model.pte is the same model for ExecuTorch {executorch} or newer with XNNPACK. It takes `input_ids`
and `token_type_ids` of one text, int64 [1, length], without padding, and gives its scores."""


def finish(folder: Path, card: Card) -> dict[str, int]:
    """Writes README.md and manifest.json, which make a folder with the other three files a bundle.

    Returns the bytes of every file. Call it last, when the model's answers are known to be right.
    """
    (folder / MANIFEST).unlink(missing_ok=True)  # what is not finished must not look so
    (folder / CARD).unlink(missing_ok=True)
    config = parse_config(folder / CONFIG, (folder / CONFIG).read_bytes())
    with writing(folder / CARD) as file:
        file.write(card.render(config, sizes(folder)).encode(errors="backslashreplace"))
    write_json(
        folder / MANIFEST,
        {
            "format": config.format,
            "files": {
                name: {"bytes": size, "sha256": hashlib.sha256((folder / name).read_bytes()).hexdigest()}
                for name, size in sizes(folder).items()
            },
        },
    )
    return sizes(folder)
