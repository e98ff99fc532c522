"""Things and places: large open vocabularies, so that a model must copy names instead of knowing them."""

import hashlib
import random

COLOURS = "red blue green yellow white black grey orange purple brown pink silver golden".split()
QUALITIES = ("small big large tiny long short old new wooden metal plastic glass paper empty full heavy "
             "light round square flat broken clean dirty wet soft hard striped spare").split()
THINGS = ("cup mug bottle box bag book pen pencil ball block cube cylinder plate bowl spoon fork knife can jar "
          "tin tray basket bucket brush towel cloth sponge screwdriver wrench hammer drill bolt nut screw "
          "washer gear bearing motor sensor cable battery camera lamp torch phone tablet remote key card "
          "envelope parcel folder notebook stapler tape ruler scissors toy car doll puzzle apple banana "
          "lemon pear tomato carrot onion potato egg sandwich cookie teapot kettle pan pot lid glove shoe "
          "hat scarf umbrella helmet mask wallet watch clock vase candle plant pillow blanket rope chain "
          "hose pipe valve magnet marker eraser dice domino flag bell whistle funnel beaker flask vial "
          "swab syringe pipette clamp spring lever switch fuse bulb plug adapter charger speaker").split()
ROOMS = ("kitchen bathroom bedroom office workshop garage hallway lobby library laboratory warehouse garden "
         "balcony terrace cellar attic pantry nursery studio canteen corridor lounge gym infirmary archive "
         "greenhouse storeroom showroom classroom reception").split()
SPOTS = ("table shelf desk bench counter rack cabinet drawer cart pallet conveyor stand platform bin chair "
         "sofa bed windowsill door gate window printer sink fridge oven dock charger lift elevator stairs "
         "ramp locker trolley workbench tray basket box crate hook stool").split()
DIRECTIONS = "north south east west left right front back upper lower inner outer first second third".split()
_CONSONANTS = "b d f g h k l m n p r s t v z".split()
_VOWELS = "a e i o u".split()


def held_out(key: str) -> bool:
    """One key in eight belongs to the held-out split, for good."""
    return hashlib.sha256(key.encode()).digest()[0] % 8 == 0


def _invented(rng: random.Random) -> str:
    return "".join(rng.choice(_CONSONANTS) + rng.choice(_VOWELS) for _ in range(rng.choice([2, 2, 3])))


def thing(rng: random.Random) -> str:
    """A name such as "red cup", "small wooden box" or "the vika" without its article."""
    kind = rng.random()
    if kind < 0.15:
        return rng.choice(THINGS)
    if kind < 0.50:
        return f"{rng.choice(COLOURS)} {rng.choice(THINGS)}"
    if kind < 0.75:
        return f"{rng.choice(QUALITIES)} {rng.choice(THINGS)}"
    if kind < 0.85:
        return f"{rng.choice(QUALITIES)} {rng.choice(COLOURS)} {rng.choice(THINGS)}"
    if kind < 0.93:
        return f"{_invented(rng)} {rng.choice(THINGS)}"
    return _invented(rng)


def place(rng: random.Random) -> str:
    """A name such as "kitchen", "north dock" or "room 12" without its article."""
    kind = rng.random()
    if kind < 0.25:
        return rng.choice(ROOMS)
    if kind < 0.45:
        return rng.choice(SPOTS)
    if kind < 0.60:
        return f"{rng.choice(ROOMS)} {rng.choice(SPOTS)}"
    if kind < 0.72:
        return f"{rng.choice(DIRECTIONS)} {rng.choice(ROOMS + SPOTS)}"
    if kind < 0.80:
        return f"{rng.choice(COLOURS)} {rng.choice(SPOTS)}"
    if kind < 0.88:
        return f"{rng.choice(['room', 'station', 'bay', 'shelf', 'zone', 'gate'])} {rng.randint(1, 40)}"
    if kind < 0.94:
        return f"{_invented(rng)} {rng.choice(ROOMS + SPOTS)}"
    return _invented(rng)


def spot(rng: random.Random) -> str:
    """Where a thing can be put."""
    kind = rng.random()
    if kind < 0.45:
        return rng.choice(SPOTS)
    if kind < 0.60:
        return f"{rng.choice(COLOURS)} {rng.choice(SPOTS)}"
    if kind < 0.75:
        return f"{rng.choice(ROOMS)} {rng.choice(SPOTS)}"
    if kind < 0.88:
        return f"{rng.choice(DIRECTIONS)} {rng.choice(SPOTS)}"
    return f"{_invented(rng)} {rng.choice(SPOTS)}"


def draw(rng: random.Random, make, split: str) -> str:
    """A name of the wanted split: training never sees a held-out name."""
    for _ in range(200):
        name = make(rng)
        if held_out(name) == (split == "held-out"):
            return name
    raise RuntimeError(f"no {split} name found")
