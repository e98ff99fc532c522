"""Numbers, lengths, angles and speeds as people say them, each with its value in SI units."""

import random

ONES = ("zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
        "sixteen seventeen eighteen nineteen").split()
TENS = "zero ten twenty thirty forty fifty sixty seventy eighty ninety".split()


def words(n: int) -> str:
    """English words for 0 to 999."""
    if n < 20:
        return ONES[n]
    if n < 100:
        return TENS[n // 10] + ("" if n % 10 == 0 else "-" + ONES[n % 10])
    rest = n % 100
    return ONES[n // 100] + " hundred" + ("" if rest == 0 else " and " + words(rest))


def plain(value: float) -> int | float:
    """The JSON number: an integer where it is one, else at most three decimals."""
    value = round(value, 3)
    return int(value) if value == int(value) else value


def _digits(rng: random.Random, value: float) -> str:
    text = f"{plain(value)}"
    return text.replace("0.", ".", 1) if text.startswith("0.") and rng.random() < 0.05 else text


def length(rng: random.Random) -> tuple[str, int | float]:
    """A distance and its value in metres."""
    kind = rng.random()
    if kind < 0.28:
        value = rng.choice([rng.randint(1, 20), rng.randint(1, 5), round(rng.uniform(0.1, 9.9), 1), round(rng.uniform(0.1, 3), 2)])
        unit = rng.choice(["m", "m", "metres", "meters", "metre" if value == 1 else "metres"])
        return f"{_digits(rng, value)}{rng.choice([' ', ' ', '']) if unit == 'm' else ' '}{unit}", plain(value)
    if kind < 0.48:
        value = rng.choice([rng.randint(1, 30) * 5, rng.randint(1, 19) * 10, rng.randint(1, 250)])
        unit = rng.choice(["cm", "cm", "centimetres", "centimeters"])
        return f"{value}{rng.choice([' ', ' ', '']) if unit == 'cm' else ' '}{unit}", plain(value / 100)
    if kind < 0.56:
        value = rng.choice([rng.randint(1, 9) * 10, rng.randint(10, 99), 5, 15, 25])
        return f"{words(value)} {rng.choice(['centimetres', 'centimeters'])}", plain(value / 100)
    if kind < 0.68:
        value = rng.choice([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 20])
        if value == 1:
            return rng.choice(["a metre", "one metre", "a meter", "one meter"]), 1
        return f"{words(value)} {rng.choice(['metres', 'meters'])}", value
    if kind < 0.74:
        whole, tenth = rng.randint(0, 4), rng.randint(1, 9)
        return f"{words(whole)} point {words(tenth)} {rng.choice(['metres', 'meters'])}", plain(whole + tenth / 10)
    if kind < 0.84:
        return rng.choice([("half a metre", 0.5), ("half a meter", 0.5), ("a half metre", 0.5), ("a quarter of a metre", 0.25),
                           ("a quarter metre", 0.25), ("three quarters of a metre", 0.75), ("a quarter of a meter", 0.25)])
    if kind < 0.94:
        n = rng.randint(1, 9)
        unit = rng.choice(["metre", "meter"])
        if n == 1:
            return rng.choice([f"a {unit} and a half", f"one and a half {unit}s"]), 1.5
        return rng.choice([f"{words(n)} and a half {unit}s", f"{words(n)} {unit}s and a half"]), n + 0.5
    value = rng.choice([rng.randint(5, 99) * 10, rng.randint(1, 9) * 100])
    return f"{value} {rng.choice(['mm', 'millimetres', 'millimeters'])}", plain(value / 1000)


def angle(rng: random.Random) -> tuple[str, int]:
    """A positive angle in degrees."""
    kind = rng.random()
    if kind < 0.60:
        value = rng.choice([rng.randint(1, 24) * 15, rng.randint(1, 36) * 10, rng.randint(1, 360), 90, 45, 180])
        return f"{value}{rng.choice([' degrees', ' degrees', '°', ' deg'])}", value
    value = rng.choice([rng.randint(1, 35) * 10, rng.choice([15, 45, 75, 90, 135, 180, 270]), rng.randint(1, 99)])
    return f"{words(value)} degree{'' if value == 1 else 's'}", value


def speed(rng: random.Random) -> tuple[str, int | float]:
    """A speed in metres per second."""
    kind = rng.random()
    if kind < 0.5:
        value = rng.choice([rng.randint(1, 19) / 10, rng.randint(1, 3), round(rng.uniform(0.05, 1.9), 2)])
        return f"{_digits(rng, value)} {rng.choice(['m/s', 'metres per second', 'meters per second', 'metres a second'])}", plain(value)
    if kind < 0.72:
        value = rng.choice([rng.randint(1, 19) * 10, rng.randint(5, 99), rng.randint(1, 30) * 5])
        return f"{value} {rng.choice(['cm/s', 'centimetres per second', 'cm per second'])}", plain(value / 100)
    if kind < 0.86:
        whole, tenth = rng.randint(0, 1), rng.randint(1, 9)
        return f"{words(whole)} point {words(tenth)} {rng.choice(['metres per second', 'meters per second'])}", plain(whole + tenth / 10)
    return rng.choice([("half a metre per second", 0.5), ("one metre per second", 1), ("a metre per second", 1), ("a quarter metre per second", 0.25),
                       ("one and a half metres per second", 1.5), ("two metres per second", 2), ("half a meter per second", 0.5)])
