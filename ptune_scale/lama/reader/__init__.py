"""Where facts come from, and what becomes of them.

files.py embedded.py   facts of a directory, and of installed packages
facts.py               what they are: plain text, before any tokenizer has seen it
prepare.py             relations as tasks for a model
published.py           prompts that LPAQA published
"""
