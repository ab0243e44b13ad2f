"""config.json of a checkpoint -> the config of a BERT encoder, each value checked, and nothing followed.

Only what shapes a BERT encoder is taken over. What else transformers would do on a config's word (code or
kernels of others, quantised weights, other outputs) is refused where it changes what the model computes, or
left out.
"""

import reprlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from transformers import BertConfig

from lilliput.errors import ModelError

_ACTIVATIONS = (
    *("gelu", "gelu_10", "gelu_accurate", "gelu_fast", "gelu_new", "gelu_python", "gelu_pytorch_tanh"),
    *("gelu_python_tanh", "hardswish", "leaky_relu", "mish", "quick_gelu", "relu", "relu2", "relu6", "silu"),
    *("swish", "tanh"),
)
"""Those of transformers that have no parameters of their own."""
_MOST_LABELS, _LONGEST_LABEL = 100_000, 1_000


class _Rule(NamedTuple):
    """What a value must be."""

    fits: Callable[[Any], bool]
    wanted: str
    needed: bool = False


def whole(least: int, most: int, *, needed: bool = False) -> _Rule:
    """Returns the rule of a whole number within bounds."""
    return _Rule(
        lambda value: type(value) is int and least <= value <= most,
        f"a whole number from {least:,} to {most:,}",
        needed,
    )


def _real(fits: Callable[[float], bool], wanted: str) -> _Rule:
    return _Rule(lambda value: type(value) in (int, float) and -1e300 < value < 1e300 and fits(value), wanted)


def _or_null(rule: _Rule) -> _Rule:
    return _Rule(lambda value: value is None or rule.fits(value), f"null or {rule.wanted}")


def _is_label(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= _LONGEST_LABEL


def _are_labels(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and len(value) <= _MOST_LABELS
        and set(value) == {str(number) for number in range(len(value))}
        and all(map(_is_label, value.values()))
    )


def _are_numbers(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and len(value) <= _MOST_LABELS
        and all(map(_is_label, value))
        and all(type(number) is int for number in value.values())
    )


_SHARE = _real(lambda value: 0 <= value < 1, "a number of 0 or more and less than 1")
_FLAG = _Rule(lambda value: isinstance(value, bool), "true or false")
_PROBLEMS = ("regression", "single_label_classification", "multi_label_classification")

RULES = {
    "vocab_size": whole(5, 10_000_000, needed=True),
    "hidden_size": whole(1, 65_536, needed=True),
    "num_hidden_layers": whole(1, 1_000, needed=True),
    "num_attention_heads": whole(1, 1_024, needed=True),
    "intermediate_size": whole(1, 1_000_000, needed=True),
    "max_position_embeddings": whole(3, 1_000_000, needed=True),
    "type_vocab_size": whole(1, 1_000),
    "hidden_act": _Rule(lambda value: value in _ACTIVATIONS, f"one of {', '.join(_ACTIVATIONS)}"),
    "hidden_dropout_prob": _SHARE,
    "attention_probs_dropout_prob": _SHARE,
    "classifier_dropout": _or_null(_SHARE),
    "initializer_range": _real(lambda value: 0 <= value <= 10, "a number from 0 to 10"),
    "layer_norm_eps": _real(lambda value: 0 < value <= 1, "a number above 0, of 1 at most"),
    "pad_token_id": _or_null(whole(0, 10_000_000)),
    "tie_word_embeddings": _FLAG,
    "architectures": _or_null(
        _Rule(lambda value: isinstance(value, list) and all(map(_is_label, value[:100])), "a list of names")
    ),
    "id2label": _or_null(_Rule(_are_labels, "an object of the numbers from 0 on and their labels")),
    "label2id": _or_null(_Rule(_are_numbers, "an object of labels and their numbers")),
    "problem_type": _or_null(_Rule(lambda value: value in _PROBLEMS, f"one of {', '.join(_PROBLEMS)}")),
}
"""What is taken over from a config.json."""

OTHERWISE = {
    "auto_map": "it names code of its own, and lilliput runs no code from a checkpoint",
    "quantization_config": "its weights are quantised; take the checkpoint that they were made from",
    "pruned_heads": "heads were taken out of it",
    "per_layer_config": "its layers differ from each other",
    "adapter_config": "it is an adapter of another model; merge the two first",
}
"""Keys with which a checkpoint is no plain BERT, and why."""
NO_ENCODER = ("is_decoder", "add_cross_attention", "is_encoder_decoder")
"""Keys that are true where a model writes text."""


def bert_config(found: Mapping[str, Any], path: Path, supported: str) -> BertConfig:
    """Returns the config of the BERT encoder that a config.json describes.

    Args:
        found: What it holds.
        path: Where it is, for messages.
        supported: The end of a message that says what could be loaded.

    Raises:
        ModelError: If it is of another model or kind, or has a value that no BERT can have.
    """
    kind = found.get("model_type")
    if kind is None:
        raise ModelError(
            f'{path} does not say of which kind the model is; if it is a BERT, add "model_type": "bert"; '
            f"{supported}"
        )
    absolute = found.get("position_embedding_type") in (None, "absolute")
    if kind != "bert" or not absolute or any(found.get(key) not in (None, False) for key in NO_ENCODER):
        raise ModelError(
            f"{path} is of a '{reprlib.repr(kind).strip(chr(39))}' model, and only a plain "
            f"BERT is read here, as every student is one (other encoders teach one); {supported}"
        )
    for key, why in OTHERWISE.items():
        if found.get(key):
            raise ModelError(
                f"{path} has '{key}': {why}; if it is a plain BERT, remove that key; {supported}"
            )
    for name, rule in RULES.items():
        if rule.needed and name not in found:
            raise ModelError(f"{path} lacks '{name}', which is {rule.wanted}; fetch it again")
        if name in found and not rule.fits(found[name]):
            raise ModelError(
                f"{path} has '{name}': {reprlib.repr(found[name])}, expected is {rule.wanted}; fetch it "
                "again, or mend it"
            )
    if found["hidden_size"] % found["num_attention_heads"]:
        raise ModelError(
            f"{path} has 'num_attention_heads': {found['num_attention_heads']}, which does not divide "
            f"'hidden_size': {found['hidden_size']}; fetch it again, or mend it"
        )
    if (pad := found.get("pad_token_id")) is not None and pad >= found["vocab_size"]:
        raise ModelError(
            f"{path} has 'pad_token_id': {pad} and 'vocab_size': {found['vocab_size']}, whose ids end before "
            "that; fetch it again, or mend it"
        )
    return BertConfig(**_labelled({name: found[name] for name in RULES if name in found}))


def _labelled(values: dict[str, Any]) -> dict[str, Any]:
    """Returns values without labels where there are none, and else with whole numbers for their places."""
    labels = values.pop("id2label", None)
    if not labels:
        values.pop("label2id", None)
        return values
    return values | {"id2label": {int(number): label for number, label in labels.items()}}
