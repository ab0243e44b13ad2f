"""A checkpoint becomes files that ship: an ONNX graph, built node by node, and the bundle around it.

1. `graph`: nodes and stored matrices -> an ONNX model.
2. `encoder`: the parts of an encoder -> its graph with one kind of head.
3. `source`: a folder -> the torch model, the tokenizer and what the model predicts.
4. `parity`: graph and torch model on the same sentences -> how far they differ, or a refusal.
5. `export`: all of it; files are written only after the comparison.
6. `bundling`: a model of a run -> a bundle, scored by its own file, with its `card`.

The same for phones: `forward` (the torch model as ExecuTorch needs it), `program` (lowers and runs it) and
`phones` (all of it, to model.pte).
"""
