"""A model fine-tuned for classes, or for a joint task, as torch.onnx.export writes it.

    python experiments/torch_onnx.py FINETUNED OUT

writes OUT/model.onnx, whose only output is [batch, classes], and its tokenizer.json: a graph of another make,
which `lilliput benchmark bundle` takes beside bundles of the same weights.
"""

import shutil
import sys
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoConfig

from lilliput.finetuning.model import load_task, load_task_model


class Classes(torch.nn.Module):
    """Gives the classes of a text alone; those of a joint model stand at [CLS], after the tags."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.model = load_task_model(folder)[0].eval()
        self.tags = len(load_task(folder).tags)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        scores: Tensor = self.model(input_ids, attention_mask, token_type_ids).logits
        return scores[:, 0, self.tags :] if self.tags else scores


def main(folder: Path, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    # Three tensors: one given twice would be taken for one input.
    inputs = tuple(torch.full((2, 16), value) for value in (5, 1, 0))
    batch = torch.export.Dim("batch", min=1, max=1024)
    longest = AutoConfig.from_pretrained(folder).max_position_embeddings
    length = torch.export.Dim("length", min=2, max=longest)
    model = Classes(folder)
    model.model.config._attn_implementation = "eager"
    torch.onnx.export(
        model,
        inputs,
        out / "model.onnx",
        input_names=["input_ids", "attention_mask", "token_type_ids"],
        dynamic_shapes=({0: batch, 1: length},) * 3,
        external_data=False,
        dynamo=True,
    )
    shutil.copy(folder / "tokenizer.json", out / "tokenizer.json")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
