"""How fast this machine makes a student, and how fast it could: training steps, and corpora.

`training` times the steps of a recipe's stages, part by part and beside transformers' own modules; `corpus`
times text into word ids. Each thing is measured in a process of its own (`apart`), so that its memory is its
own; all take turns, so that other work on the machine hits all alike. Figures are medians, beside the limits
of the machine (`limits`).
"""
