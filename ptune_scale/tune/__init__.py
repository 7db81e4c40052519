"""The job of tasks of any kind, on which facts and SuperGLUE stand too.

config.py launcher.py check.py   ``tune``: from a command line to a job
job.py prompts.py methods.py     what methods share; training prompts; manual, majority, ptuning
check_list.py run_list.py        ``tune --task_list``: very many tasks, from a check to a table
listed.py pool.py member.py      the directory of their files; those that train; one of them
opened.py                        a prompt that a command was given, in a layout
report.py pool_report.py         results as JSON, tables, plots and predictions
countries.py                     a CSV to try own data with
predict.py                       ``predict``: a tuned prompt over a file, in any layout
"""
