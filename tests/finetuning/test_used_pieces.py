"""Fine-tuning with the rows that examples use gives what an optimiser over the whole table gives."""

import numpy as np
import pytest
import torch
from torch.optim import AdamW

from conftest import World
from lilliput.finetuning.encoded import encode, make_batch, task_tokenizer
from lilliput.finetuning.model import load_encoder, task_scores
from lilliput.finetuning.used_pieces import used_pieces
from lilliput.models.blocks import embeddings_of
from lilliput.models.kernels import PLAIN
from lilliput.tasks.task import Examples, Task
from lilliput.training.optimizers import parameter_groups

TASK = Task("toy", "classification", classes=("no", "yes"))
EXAMPLES = Examples(("the in of the", "with a", "under my"))
RATES = (0.01, 0.03)
DECAY = 0.1


def test_rows_learn_as_with_the_whole_table(world: World) -> None:
    encoded = encode(EXAMPLES, TASK, task_tokenizer(world.teacher), 32)
    cut, whole = (load_encoder(world.teacher, TASK, 0.0, 0) for _ in range(2))
    before = embeddings_of(whole).pieces.weight.detach().clone()
    rows = np.unique(np.append(encoded.pieces.values, encoded.pad))
    with used_pieces(cut, (encoded,)) as used:
        assert len(embeddings_of(cut).pieces.weight) == len(rows) < len(before) / 2
        for model, read in ((cut, used.encoded[0]), (whole, encoded)):
            optimizer = AdamW(parameter_groups(model.parameters(), DECAY))
            for rate in RATES:
                optimizer.param_groups[0]["lr"] = optimizer.param_groups[1]["lr"] = rate
                optimizer.zero_grad()
                batch = make_batch(read, np.arange(3))
                task_scores(model, batch, PLAIN)[0].square().sum().backward()
                optimizer.step()
        used.decay = float(np.prod([1 - rate * DECAY for rate in RATES]))
    for (name, ours), theirs in zip(cut.named_parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6, msg=name)
    table = embeddings_of(cut).pieces.weight
    unused = np.setdiff1d(np.arange(len(before)), rows)
    assert torch.equal(table[unused], before[unused] * used.decay)
    assert not torch.equal(table[rows], before[rows])


def test_where_it_fails_the_table_is_as_before(world: World) -> None:
    encoded = encode(EXAMPLES, TASK, task_tokenizer(world.teacher), 32)
    model = load_encoder(world.teacher, TASK, 0.0, 0)
    table = embeddings_of(model).pieces.weight
    before = table.detach().clone()

    def fail() -> None:
        with used_pieces(model, (encoded,)) as used:
            used.decay = 0.5
            raise RuntimeError("halfway")

    with pytest.raises(RuntimeError, match="halfway"):
        fail()
    assert embeddings_of(model).pieces.weight is table
    assert torch.equal(table, before)
