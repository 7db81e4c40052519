"""Kinds of answers, one file each: how they become rows, what is minimized, how they are predicted.

words.py    a verbalizer: label words of one token or several     Words
choices.py  texts of the record itself                            Choices
ranked.py   an open word, or (phrases.py) a phrase, ranked        Ranked
text.py     anything, generated                                   Text
answer.py   what all of them have; options.py: a row per option
"""
