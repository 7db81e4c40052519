"""The tables of Liu et al. 2021 as data, and runs of their rows.

models.toml protocols.toml tables.toml  what the paper reports, and how its rows are run here
records.py    reads and checks them
request.py    what a user asks for: which rows, on which model, with which data
available.py  what is missing to run a row
jobs.py       from rows to jobs: rows that share model, data and settings run as one
reworded.py   facts under another manual prompt
process.py    a job as a process of its own
run.py        one job after another; what is finished is not run again
results.py    a row's numbers, from what its jobs left behind
report.py plot.py  both numbers side by side
cli.py        the command line
"""
