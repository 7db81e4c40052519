"""What is asked, without a model or a rank.

record.py files.py columns.py   rows of somebody's file
pattern.py spelling.py fill.py  how a record is asked, and as which tokens
answers/ metrics.py             what may be answered, and how well it was
task.py asking.py define.py     a task, as data; bound to a model; from a file or a few flags
example.py ask.py asked.py candidates.py objective.py
                                tokenized rows, what is asked of a model and minimized
"""
