"""Many manual prompts for one relation or task: how much does the wording change, and does a small
development set tell which one is good? Liu et al. 2021 show four each, in Tables 1 and 6.

config.py    what a study can be told
prompts.py   the prompts: published ones, the paper's, those of a file
study.py     every prompt on the small set and on the large
report.py    scores, their correlation, table and plot
launcher.py  the command line
"""
