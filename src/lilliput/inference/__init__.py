"""A bundle answers texts, with numpy, tokenizers and onnxruntime alone.

1. `format`: the content of a bundle, checked as it is read.
2. `texts`: texts -> pieces.
3. `kinds`: the output of the graph -> an answer -> a line of text or JSON (`outputs`, `tags`, `answers`).
4. `bundle`: all of it; `lines`: standard input -> standard output.
"""
