"""Facts: LAMA's relations as tasks, and the ways to ask a model for them.

config.py launcher.py check.py   ``lama``: from a command line to a job
job.py report.py                 the job of relations, and its results
reader/                          files of facts and of published prompts, to tasks
objects.py reference.py          kinds of answers of its own: objects of any length; the published
                                 code's layouts of tokens
methods/                         the ways to ask
"""
