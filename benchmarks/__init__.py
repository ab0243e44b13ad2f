"""How fast this machine makes a student, and how fast it could; and how finished bundles compare.

`training` times the steps of a recipe's stages, part by part and beside transformers' own modules; `corpus`
times text into word ids; `bundle` has bundles and other models (`forms`) answer the texts of a task. Each
thing is measured in a process of its own (`apart`, `answering`), so that its memory is its own; all take
turns, so that other work on the machine hits all alike. Figures are medians, those of training beside the
limits of the machine (`limits`).
"""
