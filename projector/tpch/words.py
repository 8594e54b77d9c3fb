"""What TPC-H's codes are called in the shop: countries, currencies, carriers, names of people and products."""

import unicodedata

from projector.tpch.dice import roll

# By nation key (TPC-H specification 4.2.3, table of nations): ISO 3166 alpha-2 and the currency its customers pay in.
NATIONS = [
    ("DZ", "EUR"),
    ("AR", "USD"),
    ("BR", "BRL"),
    ("CA", "CAD"),
    ("EG", "USD"),
    ("ET", "USD"),
    ("FR", "EUR"),
    ("DE", "EUR"),
    ("IN", "INR"),
    ("ID", "USD"),
    ("IR", "EUR"),
    ("IQ", "USD"),
    ("JP", "JPY"),
    ("JO", "USD"),
    ("KE", "GBP"),
    ("MA", "EUR"),
    ("MZ", "EUR"),
    ("PE", "USD"),
    ("CN", "CNY"),
    ("RO", "EUR"),
    ("SA", "USD"),
    ("VN", "USD"),
    ("RU", "EUR"),
    ("GB", "GBP"),
    ("US", "USD"),
]

# By TPC-H's ship mode. What goes with one carrier goes as one shipment.
CARRIERS = {
    "AIR": "Skyline",
    "REG AIR": "Skyline",
    "SHIP": "Bluewater",
    "FOB": "Bluewater",
    "RAIL": "Overland",
    "TRUCK": "Overland",
    "MAIL": "Postal",
}

WAREHOUSES = ["AMS-1", "ATL-2", "FRA-1", "NBO-1", "OSA-1", "SAO-1"]

# fmt: off
_GIVEN = [
    "Aaliyah", "Adèle", "Ahmed", "Aiko", "Alejandro", "Amélie", "Ana", "André", "Anneliese", "Arjun", "Åsa",
    "Ayşe", "Beatriz", "Björn", "Brigitte", "Camila", "Carlos", "Chiara", "Chloé", "Dmitri", "Edith", "Élodie",
    "Emeka", "Esra", "Fatima", "Felix", "Frédéric", "Grace", "Hana", "Hélène", "Hiroshi", "Ines", "Ivan",
    "Jamal", "João", "José", "Jürgen", "Karin", "Khadija", "Lea", "Liam", "Lin", "Luca", "Lucía", "Mai",
    "María", "Mateo", "Mehmet", "Min", "Naïma", "Nils", "Noor", "Olivia", "Oskar", "Pedro", "Priya", "Rafał",
    "Renée", "Rosa", "Samir", "Søren", "Tomás", "Ulrike", "Yuki", "Zoë",
]
# fmt: on
# fmt: off
_FAMILY = [
    "Abebe", "Adeyemi", "Alvarez", "Andersson", "Bäcker", "Banerjee", "Berger", "Björnsson", "Brown", "Castro",
    "Çelik", "Chen", "Contreras", "Costa", "Demir", "Diallo", "Dubois", "Dupré", "Farah", "Fernández",
    "Fischer", "Fontaine", "García", "González", "Green", "Haddad", "Hansen", "Hernández", "Ibrahim", "Ivanova",
    "Jensen", "Jones", "Kamau", "Khan", "Kimura", "Kowalski", "Lefèvre", "Lindström", "López", "Łukasik",
    "Martínez", "Mbeki", "Meyer", "Müller", "Muñoz", "Nakamura", "Nguyễn", "Novák", "Okafor", "Oliveira",
    "Öztürk", "Patel", "Peña", "Popescu", "Reyes", "Rossi", "Saito", "Schäfer", "Silva", "Smith", "Sørensen",
    "Tanaka", "Wagner", "Wójcik", "Zhang",
]
# fmt: on

_COLOURS = [
    "almond",
    "azure",
    "beige",
    "coral",
    "cream",
    "cyan",
    "ginger",
    "indigo",
    "ivory",
    "khaki",
    "lemon",
    "olive",
]

_BARE = str.maketrans({"Ł": "L", "ł": "l", "Ø": "O", "ø": "o", "ı": "i"})

_HUNDREDTHS = [f".{cents:02d}" for cents in range(100)]


def person(key: int, version: int = 1) -> str:
    """Name customer `key`; another `version` has another family name."""
    family = _FAMILY[roll(key, 100 + version) % len(_FAMILY)]
    return f"{_GIVEN[roll(key, 100) % len(_GIVEN)]} {family}"


def email(name: str, key: int, domain: str = "example.com") -> str:
    """Make `name` an address of ASCII letters, unlike all others by the key; the domain is a reserved one."""
    bare = unicodedata.normalize("NFKD", name.translate(_BARE)).encode("ascii", "ignore").decode()
    return f"{bare.lower().replace(' ', '.')}.{key}@{domain}"


def product_name(words: str) -> str:
    """Make TPC-H's five words a name: the first letter is a capital."""
    return words[:1].upper() + words[1:]


def new_product_name(key: int, version: int = 1) -> str:
    """Name product `key` for when it is renamed."""
    first, second = (_COLOURS[roll(key + version, salt) % len(_COLOURS)] for salt in (201, 202))
    return product_name(f"{first} {second} edition {key}")


def money(cents: int) -> str:
    """Write cents as the contract writes money: `12.50`."""
    return f"{cents // 100}{_HUNDREDTHS[cents % 100]}"


def retail_price(part: int) -> int:
    """Tell a part's price in cents (TPC-H specification 4.2.3, P_RETAILPRICE)."""
    return 90_000 + (part // 10) % 20_001 + 100 * (part % 1_000)
