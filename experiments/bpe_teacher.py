"""A byte-level BPE teacher end to end: MiniLM gets another vocabulary, learns it, and teaches a student.

    python experiments/bpe_teacher.py MODEL CORPUS.parquet OUT --teacher-minutes 10 --minutes 10

MODEL is a BERT with its WordPiece tokenizer, CORPUS a table of articles (column text), of which the first
ones are read. A byte-level BPE with GPT-2's pattern is learnt from them. Its table begins as the means of the
WordPiece pieces that spell each piece, everything else as MODEL's, under the names of a RoBERTa, without a
masked-LM head. Masked LM on that vocabulary alone (stage `teacher`, nothing mixed) makes it OUT/teacher, a
plain checkpoint of transformers. Recipe lilliput takes a student from that, and an int8 bundle is made.
Figures are in OUT/bpe_teacher.json.
"""

import argparse
import dataclasses
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch.nn.functional import embedding_bag, pad
from transformers import BertConfig, BertModel, RobertaConfig, RobertaModel

import lilliput
from lilliput.common.files import write_json
from lilliput.config import Recipe
from lilliput.pieces.bert_tokenizer import load_tokenizer
from lilliput.run import RunDir

_ROLES = {"<s>": "[CLS]", "<pad>": "[PAD]", "</s>": "[SEP]", "<unk>": "[UNK]", "<mask>": "[MASK]"}
"""A RoBERTa's special pieces, in the order of their ids, and a BERT's."""
_FIRST = 2
"""The row of a RoBERTa's first position."""
_STAGE = "teacher"
Figures = dict[str, Any]


def learn_bpe(texts: Sequence[str], size: int) -> Tokenizer:
    """Returns a byte-level BPE of some pieces, learnt from texts."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=list(_ROLES), initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator(texts, trainer)
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[(name, made.token_to_id(name)) for name in ("<s>", "</s>")],
    )
    return made


def spelt(bpe: Tokenizer, wordpiece: Tokenizer) -> list[list[int]]:
    """Returns the WordPiece pieces that spell each byte-level piece, in the order of ids."""
    vocabulary, decoder = bpe.get_vocab(), decoders.ByteLevel()
    unknown, found = wordpiece.token_to_id("[UNK]"), []
    for piece in sorted(vocabulary, key=vocabulary.__getitem__):
        text = decoder.decode([piece])
        within = wordpiece.token_to_id(f"##{text.lower()}")
        if piece in _ROLES:
            found.append([wordpiece.token_to_id(_ROLES[piece])])
        elif within is not None:  # no space before it, so it goes on
            found.append([within])
        else:
            found.append(wordpiece.encode(text, add_special_tokens=False).ids or [unknown])
    return found


def with_vocabulary(model: str, bpe: Tokenizer, folder: Path) -> None:
    """Writes a BERT's encoder as a RoBERTa's with another vocabulary, and that vocabulary."""
    bert, config = BertModel.from_pretrained(model), BertConfig.from_pretrained(model)
    pieces_of, weights = spelt(bpe, load_tokenizer(model)), dict(bert.state_dict())
    table, positions, types = (
        f"embeddings.{name}_embeddings.weight" for name in ("word", "position", "token_type")
    )
    flat = torch.tensor([piece for pieces in pieces_of for piece in pieces])
    lengths = torch.tensor([len(pieces) for pieces in pieces_of])
    weights[table] = embedding_bag(flat, weights[table], lengths.cumsum(0) - lengths, mode="mean")
    weights[positions] = pad(weights[positions], (0, 0, _FIRST, 0))
    weights[types] = weights[types][:1]
    shape = {
        name: getattr(config, name)
        for name in ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    }
    roberta = RobertaModel(
        RobertaConfig(
            **shape,
            vocab_size=len(pieces_of),
            max_position_embeddings=len(weights[positions]),
            type_vocab_size=1,
            layer_norm_eps=config.layer_norm_eps,
        ),
        add_pooling_layer=False,
    )
    own = roberta.state_dict()
    roberta.load_state_dict({name: weights[name] for name in own})
    roberta.save_pretrained(folder)
    write_tokenizer(bpe, folder)


def write_tokenizer(bpe: Tokenizer, folder: Path) -> None:
    """Writes the files of a tokenizer as transformers reads them."""
    bpe.save(str(folder / "tokenizer.json"))
    names = zip(("cls", "pad", "sep", "unk", "mask"), _ROLES, strict=True)
    settings = {f"{role}_token": piece for role, piece in names}
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def learn_vocabulary(folder: Path, text: Path, out: Path, recipe: Recipe) -> Figures:
    """Trains a checkpoint on its own vocabulary, writes it to OUT/teacher, and returns what that came to."""
    run = RunDir(out / "learning")
    lilliput.build_corpus(text, folder, run, workers=1)
    lilliput.build_lexicon(run.path, folder, recipe.lexicon)
    found = lilliput.train(run, recipe, _STAGE, folder)
    learnt = run.training(_STAGE) / "teacher"
    (out / "teacher").mkdir(exist_ok=True)
    for file in (
        *(learnt / name for name in ("config.json", "model.safetensors")),
        *(folder / name for name in ("tokenizer.json", "tokenizer_config.json")),
    ):
        shutil.copy(file, out / "teacher")
    return found


def make(
    model: str, table: Path, out: Path, articles: int, pieces: int, learning: Recipe, recipe: Recipe
) -> Figures:
    """Makes the teacher, its student and the bundle; writes and returns the figures."""
    texts = pq.ParquetFile(table).read(columns=["text"])["text"].slice(0, articles).to_pylist()
    out.mkdir(parents=True, exist_ok=True)
    text, begun = out / "text.txt", out / "begun"
    text.write_text("\n\n".join("\n".join(filter(None, one.split("\n"))) for one in texts), encoding="utf-8")
    with_vocabulary(model, learn_bpe(texts, pieces), begun)
    learnt = learn_vocabulary(begun, text, out, learning)
    summary = lilliput.compress(out / "teacher", text, out / "run", recipe, workers=1)
    bundle = lilliput.bundle(out / "run", out / "bundle", quantization="int8")
    guesses = lilliput.load(out / "bundle").fill(["the capital of france is [MASK] ."])[0].guesses
    figures = {
        "articles": len(texts),
        "learnt": learnt,
        "summary": dataclasses.asdict(summary),
        "bundle_bytes": bundle.total,
        "guesses": [guess.piece for guess in guesses[0]],
    }
    write_json(out / "bpe_teacher.json", figures)
    return figures


def main() -> None:
    """Makes everything and prints the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("corpus", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--articles", type=int, default=6000)
    parser.add_argument("--pieces", type=int, default=16_000)
    parser.add_argument("--teacher-minutes", type=float, default=10.0)
    parser.add_argument("--minutes", type=float, default=10.0)
    given = parser.parse_args()
    recipe = lilliput.find_recipe("lilliput")
    learning = recipe.replace(
        {
            # The stage has a tenth of a budget. Nothing is mixed: it reads its own vocabulary alone.
            "budget.minutes": str(given.teacher_minutes / recipe.stage(_STAGE).share),
            f"stages.{_STAGE}.batch.mixing": "0.0",
        }
    )
    figures = make(
        given.model,
        given.corpus,
        given.out,
        given.articles,
        given.pieces,
        learning,
        recipe.replace({"budget.minutes": str(given.minutes)}),
    )
    for when in ("before", "after"):
        print(f"teacher's own vocabulary, {when}", json.dumps(figures["learnt"][when]))
    for name, stage in figures["summary"]["stages"].items():
        print(
            f"stage {name}", json.dumps({key: stage[key] for key in ("words", "seconds", "before", "after")})
        )
    print(f"bundle {figures['bundle_bytes']:,} bytes; guesses {', '.join(figures['guesses'])}")


if __name__ == "__main__":
    main()
