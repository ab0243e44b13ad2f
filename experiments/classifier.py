"""A classifier and a pile of texts: its bundle, beside tf-idf with logistic regression on the same answers.

    python experiments/classifier.py CLASSIFIER TEXTS TASK OUT [--minutes 15]

CLASSIFIER is a fine-tuned BERT for texts, TEXTS a file with a text in each line, TASK labelled examples whose
dev set decides and whose labels nothing learns from (DATA/sst2 for DATA/sst2_dev.parquet). Figures are in
OUT/classifier.json. Needs scikit-learn.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import lilliput
from lilliput.common.files import write_json

_ROWS = 64
_STRENGTHS = (0.3, 1.0, 3.0, 10.0, 30.0)
"""Of the regression; the best on the dev set is taken, which favours it."""


def answers(name: str, texts: list[str]) -> np.ndarray:
    """Returns the class that transformers itself gives each text."""
    tokenizer = AutoTokenizer.from_pretrained(name)
    model = AutoModelForSequenceClassification.from_pretrained(name).eval()
    found = np.zeros(len(texts), np.int64)
    order = np.argsort([len(text) for text in texts])
    with torch.inference_mode():
        for start in range(0, len(texts), _ROWS):
            rows = order[start : start + _ROWS]
            batch = tokenizer(
                [texts[row] for row in rows], padding=True, truncation=True, return_tensors="pt"
            )
            found[rows] = model(**batch).logits.argmax(-1).numpy()
    names = [model.config.id2label[number] for number in range(model.config.num_labels)]
    return np.array(names)[found]


def regression(texts: list[str], said: np.ndarray, dev: list[str], true: np.ndarray) -> float:
    """Returns the best dev accuracy of logistic regression on tf-idf of words, or of words and pairs."""
    best = 0.0
    for longest in (1, 2):
        vectors = TfidfVectorizer(ngram_range=(1, longest), sublinear_tf=True, token_pattern=r"\S+")
        seen = vectors.fit_transform(texts)
        for strength in _STRENGTHS:
            model = LogisticRegression(C=strength, max_iter=2000).fit(seen, said)
            best = max(best, float(model.score(vectors.transform(dev), true)))
    return best


def main() -> None:
    """Distils, measures and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("classifier")
    parser.add_argument("texts", type=Path)
    parser.add_argument("task")
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=15.0)
    given = parser.parse_args()
    found = lilliput.distill(given.classifier, str(given.texts), given.out, minutes=given.minutes)
    examples = lilliput.load_task(given.task)
    assert examples.dev.labels is not None
    dev = [str(text) for text in examples.dev.texts]
    true = np.array([examples.task.classes[int(label)] for label in examples.dev.labels.values])
    texts = given.texts.read_text(encoding="utf-8").splitlines()
    ours = np.array([answer.label for answer in lilliput.load(found.folder).stream(dev)])
    theirs = answers(given.classifier, dev)
    figures = {
        "teacher": float((theirs == true).mean()),
        "bundle": float((ours == true).mean()),
        "kept": float((ours == true).mean() / (theirs == true).mean()),
        "agreement on dev": float((ours == theirs).mean()),
        "agreement held out": found.agreement["agreement"],
        "regression": regression(texts, answers(given.classifier, texts), dev, true),
        "bytes": found.bundle.total,
        "minutes": found.seconds / 60,
    }
    write_json(given.out / "classifier.json", figures)
    for name, value in figures.items():
        print(f"{name:20} {value:,.4g}" if name != "bytes" else f"{name:20} {value:,}")


if __name__ == "__main__":
    main()
