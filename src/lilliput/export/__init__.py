"""From a checkpoint to the files that ship: an ONNX graph, written by hand, with a compact tokenizer.

1. `graph`: nodes and stored matrices -> an ONNX model.
2. `bert`: a BERT's parameters by name -> its graph for one kind of prediction.
3. `source`: a folder -> the torch model, the tokenizer and what it predicts.
4. `parity`: the graph and the torch model on the same sentences -> how far they differ, or a refusal.
5. `export`: all of it; files are written only after the comparison.

For phones the same again: `forward` (the torch model as ExecuTorch wants it), `program` (what is made of
that, and run) and `phones` (all of it, to model.pte).
"""
