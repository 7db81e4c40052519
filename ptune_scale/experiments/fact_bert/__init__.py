"""A small BERT that is taught facts on the spot: a masked model to P-tune where none can be had.

It has read one sentence about each fact that it was taught and nothing else. So it shows what a
prompt elicits of what a frozen model has memorised, and, on facts that it never read, that a prompt
cannot answer by itself. It says nothing about what a model pretrained on text knows.
"""
