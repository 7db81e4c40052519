"""Makes a small CSV to try own data with: names of countries in eight languages, from Babel.

python -m ptune_scale.tune.countries countries.csv     # columns name, language; 400 rows
"""

import csv
import io
import random
import sys
from pathlib import Path

from ptune_scale.errors import UserError
from ptune_scale.files import write_text
from ptune_scale.run.alone import run_alone

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


def write(path: Path) -> None:
    """Write the file; a name that two languages share is left out.

    Raises:
        UserError: Babel is not installed, or the file cannot be written.
    """
    try:
        from babel import Locale
    except ImportError as error:
        raise UserError("names of countries need Babel: pip install babel") from error
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
    table = io.StringIO(newline="")
    csv.writer(table, lineterminator="\n").writerows([("name", "language"), *rows])
    write_text(path, table.getvalue())


def main() -> int:
    """Run the command line; returns the exit status."""
    if len(sys.argv) != 2:
        print("usage: python -m ptune_scale.tune.countries FILE.csv", file=sys.stderr)
        return 2

    def action() -> int:
        write(Path(sys.argv[1]))
        return 0

    return run_alone("countries", action)


if __name__ == "__main__":
    sys.exit(main())
