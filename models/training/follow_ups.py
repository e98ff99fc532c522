"""Conversations of two and three turns, whose later turns are understood only through the earlier ones."""

import random

import commands
import numbers_spoken as numbers
from commands import Clause, World, move_plan, turn_plan, where
from questions import QUESTIONS, State, question
from talk import Turn, dress, part


def _first(rng: random.Random, clause: Clause) -> Turn:
    return Turn(dress(rng, clause.words, clause.form), clause.calls, "", clause.plan, clause.kind)


def _next(rng: random.Random, words: list[str], calls: list[tuple[str, dict]], plan: str, form: str = "bare") -> Turn:
    return Turn(dress(rng, rng.choice(words), form), calls, "", plan, "follow-up")


def _sided(rng: random.Random, world: World) -> Clause:
    """A movement whose opposite is clear: half and full turns without a side are not."""
    while True:
        clause = rng.choice(commands.MOTIONS)(rng, world)
        if clause.kind == "move" or abs(clause.calls[0][1]["degrees"]) not in (180, 360):
            return clause


def _opposite(call: tuple[str, dict]) -> tuple[tuple[str, dict], str]:
    name, arguments = call
    if name == "move":
        other = {"direction": commands.OPPOSITE[arguments["direction"]], "distance_m": arguments["distance_m"]}
        return ("move", other), move_plan(other)
    return ("turn", {"degrees": -arguments["degrees"]}), turn_plan(-arguments["degrees"])


_OTHER_WAY = ["now the other way", "the other way", "the opposite", "now do the opposite", "and back again", "undo that", "now in the other direction",
              "and the same the other way", "now reverse that", "the same in the opposite direction", "no, the other way", "and back",
              "other direction", "the other way round", "go back to where you were", "in the opposite direction", "now back again", "take that back",
              "wrong way, the other one", "the same, but the other way"]


def other_way(rng: random.Random, world: World) -> list[Turn]:
    clause = _sided(rng, world)
    call, plan = _opposite(clause.calls[0])
    words = list(_OTHER_WAY)
    side = call[1].get("direction") or ("left" if call[1]["degrees"] > 0 else "right")
    if side in ("left", "right"):
        words += [f"the same to the {side}", f"now {side}", f"no, I meant {side}", f"and the same {side}", f"and now to the {side}",
                  f"not that way, {side}", f"{side} this time"]
    else:
        words += [f"and the same {side}", f"now {side}", f"no, {side}", f"and now {side} again", f"same distance {side}"]
    return [_first(rng, clause), _next(rng, words, [call], f"the opposite: {plan}")]


_AGAIN = ["do that again", "again", "once more", "repeat that", "the same again", "one more time", "and again", "repeat", "do it again", "same again",
          "another time", "one more", "do the same again", "encore", "same thing again", "and once more", "repeat the last command",
          "let's do that again", "now again", "do it once more"]


def again(rng: random.Random, world: World) -> list[Turn]:
    clause = part(rng, world, commands.MOTIONS + [commands.say, commands.report], ("verb", "bare", "open"))
    return [_first(rng, clause), _next(rng, _AGAIN, clause.calls, f"again: {clause.plan}")]


def more(rng: random.Random, world: World) -> list[Turn]:
    """The same direction, another amount."""
    clause = _sided(rng, world)
    if clause.kind == "move":
        text, value = numbers.length(rng)
        arguments = {"direction": clause.calls[0][1]["direction"], "distance_m": value}
        call, plan = ("move", arguments), move_plan(arguments)
    else:
        text, value = numbers.angle(rng)
        value = value if clause.calls[0][1]["degrees"] > 0 else -value
        call, plan = ("turn", {"degrees": value}), turn_plan(value)
    text = text.removeprefix("exactly ").removeprefix("just ")
    words = [f"{text} more", f"and {text} more", f"{text} further", f"add {text}", f"continue for {text}", f"a bit more, {text}",
             f"keep going, {text}", f"not enough, {text} more"]
    if not text.startswith(("a ", "one ", "half ", "three quarter", "three-quarter")):
        words += [f"another {text}", f"and another {text}", f"now another {text}"]
    return [_first(rng, clause), _next(rng, words, [call], plan)]


def scaled(rng: random.Random, world: World) -> list[Turn]:
    """Twice or half as far, with amounts that are easy to double and to halve."""
    value, way = rng.choice([1, 2, 3, 4, 5, 6, 8, 10, 0.5]), rng.choice(list(commands.OPPOSITE))
    amount = {0.5: "half a metre", 1: "one metre"}.get(value, rng.choice([f"{value} m", f"{value} metres", f"{value} meters"]))
    factor = rng.choice([2, 2, 0.5] if value != 0.5 else [2])
    arguments, then = {"direction": way, "distance_m": value}, {"direction": way, "distance_m": numbers.plain(value * factor)}
    first = Clause(f"{rng.choice(['move', 'drive', 'go'])} {rng.choice(commands.SAID[way])} {amount}", [("move", arguments)], move_plan(arguments), "move")
    words = ["half as far", "now half that", "and now half the distance"]
    if factor == 2:
        words = ["twice as far", "now twice that", "double that", "and now twice the distance", "now double the distance"]
    return [_first(rng, first), _next(rng, words, [("move", then)], f"{'twice' if factor == 2 else 'half of'} {value} m: {move_plan(then)}")]


def put_it(rng: random.Random, world: World) -> list[Turn]:
    """Pick, perhaps carry, then put "it" somewhere."""
    clause = part(rng, world, [commands.pick], ("verb", "whole"))
    thing, spot = clause.calls[0][1]["object"], rng.choice(world.spots)
    turns = [_first(rng, clause)]
    if rng.random() < 0.35:
        place = rng.choice(world.places)
        p = commands.the(rng, place)
        turns.append(_next(rng, [f"bring it to {p}", f"take it to {p}", f"now go to {p}", f"carry it to {p}", f"and drive to {p} with it",
                                 f"deliver it to {p}"],
                           [("go_to", {"place": place})], f"the {thing} is held, go to {place}"))
    w = where(rng, spot)
    turns.append(_next(rng, [f"and put it {w}", f"put it {w}", f"now place it {w}", f"set it down {w}", f"drop it {w}", f"leave it {w}",
                             f"and now put it {w}", f"ok, it goes {w}", f"put that {w}", f"place it {w}", f"now put it down {w}", f"it belongs {w}",
                             f"and leave it {w}", f"lay it {w}", f"you can put it {w}"],
                       [("place", {"object": thing, "location": spot})], f"it is the {thing}, place the {thing} at {spot}"))
    return turns


def as_well(rng: random.Random, world: World) -> list[Turn]:
    """The same for another thing, place or speed."""
    builder = rng.choice([commands.pick, commands.place, commands.go_to, commands.set_speed])
    clause = part(rng, world, [builder], ("verb",))
    if builder is commands.set_speed:
        text, value = numbers.speed(rng)
        return [_first(rng, clause), _next(rng, [f"make it {text}", f"no, {text}", f"better {text}", f"{text} instead", f"let's say {text}",
                                                 f"now {text}", f"actually {text}", f"too fast, {text}"],
                                           [("set_speed", {"mps": value})], f"set speed {value} m/s")]
    name, arguments = clause.calls[0]
    key = next(iter(arguments))
    other = rng.choice([n for n in (world.places if key == "place" else world.things) if n != arguments[key]])
    arguments, t = arguments | {key: other}, commands.the(rng, other)
    if builder is commands.go_to:
        words = [f"and now {t}", f"then {t}", f"now to {t}", f"and after that {t}", f"next {t}", f"no, {t}", f"I meant {t}", f"{t} instead", f"next stop: {t}"]
    else:
        words = [f"and {t} too", f"{t} as well", f"and {t}", f"the same with {t}", f"also {t}", f"now {t}", f"and also {t}", f"same for {t}",
                 f"do that with {t} too"]
    plan = {"pick": f"pick the {other}", "go_to": f"go to {other}", "place": f"place the {other} at {arguments.get('location')}"}[name]
    return [_first(rng, clause), _next(rng, words, [(name, arguments)], plan)]


def there(rng: random.Random, world: World) -> list[Turn]:
    """Go somewhere, then do something there."""
    clause = part(rng, world, [commands.go_to], ("verb", "whole"))
    thing = rng.choice(world.things)
    t = commands.the(rng, thing)
    return [_first(rng, clause), _next(rng, [f"and take {t} from there", f"pick up {t} there", f"now get {t}", f"there, grab {t}",
                                             f"once there, take {t}", f"and get {t} there"],
                                       [("pick", {"object": thing})], f"pick the {thing}")]


def and_your(rng: random.Random, now: State | None) -> list[Turn]:
    """One question after another, the second elliptic."""
    one, two = rng.sample(["battery", "position", "speed", "status"], 2)
    short = rng.choice({"battery": ["the battery", "your battery", "the charge"], "position": ["your position", "the location", "the coordinates"],
                        "speed": ["your speed", "the speed"], "status": ["your status", "the status"]}[two])
    words = rng.choice([f"and {short}", f"and {short}", f"what about {short}", f"how about {short}", rng.choice(QUESTIONS[two]), f"ok, and {short}",
                        f"now {short}"])
    made = []
    for what, user in ((one, question(rng, one)), (two, words[0].upper() + words[1:] + rng.choice(["?", "?", ""]))):
        made.append(Turn(user, [], now.answer(what), f"the state has the {what}", "follow-up") if now else
                    Turn(user, [("report", {"what": what})], "", f"report {what}", "follow-up"))
    return made


_KINDS = [other_way, other_way, again, more, more, scaled, put_it, put_it, as_well, as_well, there]


def follow_up(rng: random.Random, world: World, now: State | None) -> list[Turn]:
    """Two or three turns; the last one is to be answered."""
    if rng.random() < 0.08:
        return and_your(rng, now)
    turns = rng.choice(_KINDS)(rng, world)
    if turns[-1].calls[0][0] in ("move", "turn") and rng.random() < 0.25:  # a longer chain: the same or the opposite once more
        name, arguments = turns[-1].calls[0]
        if rng.random() < 0.5 or abs(arguments.get("degrees", 0)) in (180, 360):
            turns.append(_next(rng, _AGAIN, turns[-1].calls, "again: " + (move_plan(arguments) if name == "move" else turn_plan(arguments["degrees"]))))
        else:
            call, plan = _opposite((name, arguments))
            turns.append(_next(rng, _OTHER_WAY, [call], f"the opposite: {plan}"))
    return turns
