"""A bundle answers texts, with numpy, tokenizers and onnxruntime alone.

1. `format`: what a bundle holds, checked as it is read and signed as it is written; `card`: its README.
2. `texts`: texts -> pieces; `outputs`: scores -> `answers`.
3. `bundle`: all of it; `lines`: standard input -> standard output.
"""
