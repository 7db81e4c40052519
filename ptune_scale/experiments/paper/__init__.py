"""The tables of Liu et al. 2021 as data, and runs of their rows.

tables.toml  what the paper reports, and how its rows are run here; rows.py reads it
jobs.py      what a user asks for: jobs of lama.py, superglue.py, prompt_study.py; what is missing
run.py       one job after another, each a process; results.py reads what they left behind
report.py    both numbers side by side
"""
