"""The same training steps in one layout after another: equal results, different costs.

worker.py   a rank of one layout: trains and keeps what happened
memory.py   memory that a process allocated
compare.py  differences between what two layouts kept
cli.py      from a command line to a table
"""
