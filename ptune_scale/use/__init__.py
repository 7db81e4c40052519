"""What a tuned prompt is good for.

export.py   the file of an exported prompt: vectors, and all that is needed to ask them
prompt.py   ``load_prompt``: an export with its backbone, asked from Python
phrases.py  whole words and phrases from a model that answers token by token
ptune_model.py  ``PtuneModel``: a module for training loops of other people
formats/    what other software takes
"""
