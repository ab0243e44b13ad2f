"""How fast this machine trains and reads text: developers' tools, which are not in the package.

`training` times the steps of a recipe's stages, part by part, beside the same steps by transformers' own
modules and beside the limits of the machine (`limits`); `corpus` times text into word ids. Each thing is
measured in a process of its own (`in_process`), so that its memory is its own; all take turns, so that other
work on the machine slows all alike. Figures are medians.
"""
