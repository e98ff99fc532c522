"""Numbers, lengths, angles and speeds as people say them, each with its value in SI units."""

import random

ONES = ("zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
        "sixteen seventeen eighteen nineteen").split()
TENS = "zero ten twenty thirty forty fifty sixty seventy eighty ninety".split()
NUMBER_WORDS = frozenset(ONES + TENS + "hundred half quarter quarters point couple and a an".split())
_METRE = ["metre", "meter"]
_PER_SECOND = ["per second", "a second", "per sec"]


def words(n: int, joint: str = " and ") -> str:
    """English words for 0 to 999; `joint` stands after the hundreds (" and " in Britain, " " in America)."""
    if n < 20:
        return ONES[n]
    if n < 100:
        return TENS[n // 10] + ("" if n % 10 == 0 else "-" + ONES[n % 10])
    rest = n % 100
    return ONES[n // 100] + " hundred" + ("" if rest == 0 else joint + words(rest))


def spoken(rng: random.Random, n: int) -> str:
    """Words with the variation of speakers: "a hundred and twenty", "one hundred twenty", "twenty five"."""
    text = words(n, rng.choice([" and ", " and ", " "]))
    if text.startswith("one hundred") and rng.random() < 0.4:
        text = "a" + text[3:]
    return text.replace("-", " ") if rng.random() < 0.25 else text


def plain(value: float) -> int | float:
    """The JSON number: an integer where it is one, else at most three decimals."""
    value = round(value, 3)
    return int(value) if value == int(value) else value


def _digits(rng: random.Random, value: float) -> str:
    text = f"{plain(value)}"
    if text.startswith("0.") and rng.random() < 0.06:
        return text[1:]
    return text + ".0" if "." not in text and rng.random() < 0.04 else text


def _decimal(rng: random.Random, most: int) -> tuple[str, float]:
    """A spoken decimal fraction: "two point five", "point five", "nought point two", "one point two five"."""
    whole, tenth = rng.randint(0, most), rng.randint(1, 9)
    lead = rng.choice(["zero ", "nought ", "", "zero "]) if whole == 0 else words(whole) + " "
    if rng.random() < 0.2:
        return f"{lead}point {words(tenth)} five", whole + tenth / 10 + 0.05
    return f"{lead}point {words(tenth)}", whole + tenth / 10


def _fraction(rng: random.Random, unit: str) -> tuple[str, float]:
    return rng.choice([(f"half a {unit}", 0.5), (f"half a {unit}", 0.5), (f"a half {unit}", 0.5), (f"half {unit}", 0.5), (f"one half {unit}", 0.5),
                       (f"a quarter of a {unit}", 0.25), (f"a quarter {unit}", 0.25), (f"three quarters of a {unit}", 0.75),
                       (f"three-quarters of a {unit}", 0.75), (f"three quarter {unit}s", 0.75), (f"one quarter of a {unit}", 0.25)])


def _mixed(rng: random.Random, unit: str) -> tuple[str, float]:
    n = rng.randint(1, 9)
    if n == 1:
        return rng.choice([(f"a {unit} and a half", 1.5), (f"one and a half {unit}s", 1.5), (f"one {unit} and a half", 1.5), (f"a {unit} fifty", 1.5),
                           (f"one and a quarter {unit}s", 1.25), (f"a {unit} and a quarter", 1.25), (f"one {unit} twenty", 1.2)])
    return rng.choice([(f"{words(n)} and a half {unit}s", n + 0.5), (f"{words(n)} {unit}s and a half", n + 0.5), (f"{n} and a half {unit}s", n + 0.5),
                       (f"{words(n)} and a quarter {unit}s", n + 0.25), (f"{words(n)} {unit}s fifty", n + 0.5)])


def length(rng: random.Random) -> tuple[str, int | float]:
    """A distance and its value in metres."""
    kind, unit = rng.random(), rng.choice(_METRE)
    if kind < 0.28:
        value = rng.choice([rng.randint(1, 20), rng.randint(1, 5), round(rng.uniform(0.1, 9.9), 1), round(rng.uniform(0.1, 3), 2)])
        short = rng.random() < 0.45
        gap = rng.choice([" ", " ", ""]) if short else " "
        return f"{_digits(rng, value)}{gap}{'m' if short else unit if value == 1 else unit + 's'}", plain(value)
    if kind < 0.46:
        value = rng.choice([rng.randint(1, 30) * 5, rng.randint(1, 19) * 10, rng.randint(1, 250)])
        short = rng.random() < 0.6
        gap = rng.choice([" ", " ", ""]) if short else " "
        return f"{value}{gap}{'cm' if short else 'centi' + unit + 's'}", plain(value / 100)
    if kind < 0.54:
        value = rng.choice([rng.randint(1, 9) * 10, rng.randint(10, 99), rng.choice([5, 15, 25]), rng.randint(10, 19) * 10])
        return f"{spoken(rng, value)} centi{unit}s", plain(value / 100)
    if kind < 0.66:
        value = rng.choice([1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 15, 18, 20, 25])
        if value == 1:
            return rng.choice([f"a {unit}", f"one {unit}", f"exactly one {unit}", f"just a {unit}"]), 1
        return f"{spoken(rng, value)} {unit}s", value
    if kind < 0.74:
        text, value = _decimal(rng, 4)
        return f"{text} {unit}s", plain(value)
    if kind < 0.83:
        text, value = _fraction(rng, unit)
        return text, value
    if kind < 0.91:
        text, value = _mixed(rng, unit)
        return text, plain(value)
    if kind < 0.94:
        return rng.choice([f"a couple of {unit}s", f"a couple {unit}s", f"two full {unit}s"]), 2
    value = rng.choice([rng.randint(5, 99) * 10, rng.randint(1, 9) * 100])
    return f"{value}{rng.choice([' mm', 'mm', ' milli' + unit + 's'])}", plain(value / 1000)


def angle(rng: random.Random) -> tuple[str, int | float]:
    """A positive angle in degrees."""
    kind = rng.random()
    if kind < 0.58:
        value = rng.choice([rng.randint(1, 24) * 15, rng.randint(1, 36) * 10, rng.randint(1, 360), 90, 45, 180])
        return f"{value}{rng.choice([' degrees', ' degrees', '°', ' deg', ' degs'])}", value
    if kind < 0.61:
        value = rng.choice([22.5, 67.5, 7.5, 2.5, 0.5, 12.5, 112.5])
        return f"{value} degrees", value
    value = rng.choice([rng.randint(1, 35) * 10, rng.choice([15, 45, 75, 90, 120, 135, 180, 270]), rng.randint(1, 99), rng.randint(100, 359)])
    return f"{spoken(rng, value)} degree{'' if value == 1 else 's'}", value


def speed(rng: random.Random) -> tuple[str, int | float]:
    """A speed in metres per second."""
    kind, unit, per = rng.random(), rng.choice(_METRE), rng.choice(_PER_SECOND)
    if kind < 0.5:
        value = rng.choice([rng.randint(1, 19) / 10, rng.randint(1, 3), round(rng.uniform(0.05, 1.9), 2)])
        return f"{_digits(rng, value)}{rng.choice([' m/s', 'm/s', f' {unit}s {per}', f' {unit}s {per}', ' mps'])}", plain(value)
    if kind < 0.70:
        value = rng.choice([rng.randint(1, 19) * 10, rng.randint(5, 99), rng.randint(1, 30) * 5])
        return f"{value} {rng.choice(['cm/s', f'centi{unit}s {per}', f'cm {per}'])}", plain(value / 100)
    if kind < 0.76:
        value = rng.randint(1, 19) * 5
        return f"{spoken(rng, value)} centi{unit}s {per}", plain(value / 100)
    if kind < 0.87:
        text, value = _decimal(rng, 1)
        return f"{text} {unit}s {per}", plain(value)
    if kind < 0.93:
        text, value = _fraction(rng, unit)
        return f"{text} {per}", value
    return rng.choice([(f"one {unit} {per}", 1), (f"a {unit} {per}", 1), (f"one and a half {unit}s {per}", 1.5), (f"two {unit}s {per}", 2),
                       (f"one and a quarter {unit}s {per}", 1.25), (f"three {unit}s {per}", 3)])
