"""How results are shown, whatever was run.

table.py    tables, in Markdown and in HTML
figures.py  plots by which a method is chosen
page.py     report.html: all of it in one file that needs no network
"""
