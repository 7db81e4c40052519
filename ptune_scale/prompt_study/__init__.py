"""Many manual prompts for one relation or task: how much does the wording change, and does a small
development set tell which one is good? Liu et al. 2021 show four each, in Tables 1 and 6.

config.py    what a study can be told
wording.py   the prompts: published ones, the paper's, those of a file
facts.py     a LAMA relation: every prompt on a few facts and on all
tasks.py     a SuperGLUE task: every pattern on dev32 and on val
measured.py  scores and their correlation
report.py    table and plot
launcher.py  the command line
"""
