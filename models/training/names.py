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
COMPOUNDS = ("water bottle|coffee mug|tennis ball|first aid kit|tool box|remote control|power drill|paint brush|cardboard box|lunch box|soup bowl|"
             "wine glass|door handle|garden hose|spray can|salt shaker|tea towel|hand drill|circuit board|test tube|petri dish|cutting board|"
             "teddy bear|rubber duck|rubber band|paper clip|fire extinguisher|hard drive|light bulb|plastic bag|measuring tape|post-it notes|"
             "safety goggles|allen key|phone charger|pencil case|coffee filter|rolling pin|dust pan|bar of soap").split("|")
CONTAINERS = "cup mug bottle box bag can jar tin tray basket bucket crate pack roll bowl plate".split()
STUFF = ("water tea coffee milk juice rice sugar salt screws nails bolts paint sand flour tape wire paper soup cereal apples "
         "oranges tools parts batteries").split()
PEOPLE = "Anna Ben Clara David Emma Farid Grace Hugo Ines Jonas Keiko Liam Maria Noah Olga Priya Quentin Rosa Sven Tara Umar Vera Wei Yusuf Zoe".split()
ROOMS = ("kitchen bathroom bedroom office workshop garage hallway lobby library laboratory warehouse garden "
         "balcony terrace cellar attic pantry nursery studio canteen corridor lounge gym infirmary archive "
         "greenhouse storeroom showroom classroom reception").split()
SPOTS = ("table shelf desk bench counter rack cabinet drawer cart pallet conveyor stand platform bin chair "
         "sofa bed windowsill door gate window printer sink fridge oven dock charger lift elevator stairs "
         "ramp locker trolley workbench tray basket box crate hook stool").split()
SITES = ("charging station|loading dock|meeting room|front door|back door|coffee machine|dining room|living room|conference room|server room|"
         "break room|waiting room|parking lot|car park|main entrance|fire exit|assembly line|test bench|tool rack|home base|packing area|"
         "welding cell|clean room|laundry room|utility room|guest room|reading corner|information desk|front desk|cold store|paint shop|control room|"
         "goods lift").split("|")
SURFACES = ("coffee table|kitchen table|kitchen counter|top shelf|bottom shelf|side table|tool rack|conveyor belt|work surface|bedside table|"
            "bookshelf|window ledge|dish rack|recycling bin|rubbish bin|trash can|washing basket|dining table|top drawer|bottom drawer|floor|ground|"
            "left tray|right tray").split("|")
DIRECTIONS = "north south east west left right front back upper lower inner outer first second third".split()
NUMBERED = "room station bay shelf zone gate dock aisle rack lab point area".split()
_CONSONANTS = "b d f g h k l m n p r s t v z".split()
_VOWELS = "a e i o u".split()
# Sounds of English spelling: what names that nobody has thought of are made of.
_ONSETS = ("b bl br c ch cl cr d dr f fl fr g gl gr h j k l m n p ph pl pr qu r s sc scr sh sk sl sm sn sp spr st str sw t th tr tw v w wh y z "
           "b c d f g h l m n p r s t w").split() + [""] * 6
_NUCLEI = "a e i o u ai au ay ea ee ei ew ie oa oi oo ou ow oy y a e i o u a e i o u".split()
_CODAS = ("b ch ck ct d dge ft g k l ld ll lt m mp n nce nd ng nk nt p pt r rd rk rm rn rt s sh sk ss st t tch th v ve x ze ge ce ne te se le re "
          "n r s t l m d").split() + [""] * 12
_ENDINGS = "er ing ed ly y ment tion age al ure ness ic ist or ette ine ade ard".split() + [""] * 18
_WORDS_VARIED, _NAMES_VARIED = 0.6, 0.35


def held_out(key: str) -> bool:
    """One key in eight belongs to the held-out split, for good."""
    return hashlib.sha256(key.encode()).digest()[0] % 8 == 0


def _invented(rng: random.Random) -> str:
    return "".join(rng.choice(_CONSONANTS) + rng.choice(_VOWELS) for _ in range(rng.choice([2, 2, 3])))


def spelt(rng: random.Random) -> str:
    """A word that could be English: one or two syllables and perhaps an ending."""
    syllable = lambda: rng.choice(_ONSETS) + rng.choice(_NUCLEI) + rng.choice(_CODAS)
    word = "".join(syllable() for _ in range(rng.choice([1, 1, 1, 2, 2]))) + rng.choice(_ENDINGS)
    return word if len(word) > 2 else word + syllable()


def varied(rng: random.Random, text: str) -> str:
    """The text with words in it that nobody knows: what is to be copied must not be learnt by heart."""
    words = text.split(" ")
    able = [i for i, word in enumerate(words) if len(word) > 2 and word.isalpha() and word.islower()]
    for i in able:
        if len(able) == 1 or rng.random() < _WORDS_VARIED:
            words[i] = spelt(rng)
    return " ".join(words)


def thing(rng: random.Random) -> str:
    """A name such as "red cup", "small wooden box" or "the vika" without its article."""
    kind = rng.random()
    if kind < 0.15:
        return rng.choice(THINGS)
    if kind < 0.42:
        return f"{rng.choice(COLOURS)} {rng.choice(THINGS)}"
    if kind < 0.60:
        return f"{rng.choice(QUALITIES)} {rng.choice(THINGS)}"
    if kind < 0.68:
        return f"{rng.choice(QUALITIES)} {rng.choice(COLOURS)} {rng.choice(THINGS)}"
    if kind < 0.76:
        return rng.choice(["", "", rng.choice(COLOURS) + " ", rng.choice(QUALITIES) + " "]) + rng.choice(COMPOUNDS)
    if kind < 0.81:
        return f"{rng.choice(CONTAINERS)} of {rng.choice(STUFF)}"
    if kind < 0.84:
        return f"{rng.choice(['box', 'part', 'bin', 'sample', 'tube', 'crate'])} {rng.choice('ABCDEFGH')}{rng.choice(['', str(rng.randint(1, 9))])}"
    if kind < 0.93:
        return f"{_invented(rng)} {rng.choice(THINGS)}"
    return _invented(rng)


def place(rng: random.Random) -> str:
    """A name such as "kitchen", "north dock" or "room 12" without its article."""
    kind = rng.random()
    if kind < 0.20:
        return rng.choice(ROOMS)
    if kind < 0.32:
        return rng.choice(SPOTS)
    if kind < 0.47:
        return rng.choice(SITES)
    if kind < 0.51:
        return f"{rng.choice(PEOPLE)}'s {rng.choice(['desk', 'office', 'room', 'table', 'bench', 'place', 'workbench'])}"
    if kind < 0.62:
        return f"{rng.choice(ROOMS)} {rng.choice(SPOTS)}"
    if kind < 0.74:
        return f"{rng.choice(DIRECTIONS)} {rng.choice(ROOMS + SPOTS)}"
    if kind < 0.80:
        return f"{rng.choice(COLOURS)} {rng.choice(SPOTS)}"
    if kind < 0.88:
        return f"{rng.choice(NUMBERED)} {rng.choice([str(rng.randint(1, 40)), rng.choice('ABCDEF'), rng.choice('ABCDEF') + str(rng.randint(1, 9))])}"
    if kind < 0.94:
        return f"{_invented(rng)} {rng.choice(ROOMS + SPOTS)}"
    return _invented(rng)


def spot(rng: random.Random) -> str:
    """Where a thing can be put."""
    kind = rng.random()
    if kind < 0.34:
        return rng.choice(SPOTS)
    if kind < 0.50:
        return rng.choice(SURFACES)
    if kind < 0.62:
        return f"{rng.choice(COLOURS)} {rng.choice(SPOTS)}"
    if kind < 0.74:
        return f"{rng.choice(ROOMS)} {rng.choice(SPOTS)}"
    if kind < 0.83:
        return f"{rng.choice(DIRECTIONS)} {rng.choice(SPOTS)}"
    if kind < 0.90:
        return f"{rng.choice(['shelf', 'rack', 'bay', 'bin', 'tray', 'slot', 'drawer'])} {rng.choice([str(rng.randint(1, 20)), rng.choice('ABCDEF')])}"
    return f"{_invented(rng)} {rng.choice(SPOTS)}"


def bare(name: str) -> bool:
    """Whether people say the name without an article: "room 12", "bay C", "Anna's desk"."""
    last = name.split()[-1]
    return "'s " in name or last[-1].isdigit() or (len(last) == 1 and last.isupper())


def draw(rng: random.Random, make, split: str) -> str:
    """A name of the wanted split: training never sees a held-out name."""
    for _ in range(200):
        name = make(rng)
        if split == "train" and rng.random() < _NAMES_VARIED:
            name = varied(rng, name)
        if held_out(name) == (split == "held-out"):
            return name
    raise RuntimeError(f"no {split} name found")
