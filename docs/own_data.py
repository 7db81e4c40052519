"""Makes a small CSV to try own data with: names of countries in eight languages, from Babel.

python docs/own_data.py countries.csv     # columns name, language; 400 rows
"""

import csv
import random
import sys

from babel import Locale

LANGUAGES = {
    "German": "de",
    "French": "fr",
    "Spanish": "es",
    "Italian": "it",
    "Polish": "pl",
    "Swedish": "sv",
    "Finnish": "fi",
    "Turkish": "tr",
}
_ROWS_OF_A_LANGUAGE = 50


def main(path: str) -> None:
    """Write the file; a name that two languages share is left out."""
    names = {
        language: {n for code, n in Locale(tag).territories.items() if code.isalpha()}
        for language, tag in LANGUAGES.items()
    }
    chance = random.Random(0)
    rows = []
    for language, own in names.items():
        others = set().union(*(names[other] for other in names if other != language))
        rows += [(n, language) for n in chance.sample(sorted(own - others), _ROWS_OF_A_LANGUAGE)]
    chance.shuffle(rows)
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("name", "language"), *rows])


if __name__ == "__main__":
    main(sys.argv[1])
