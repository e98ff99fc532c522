"""Single commands: the words a person might use, and the call that is meant.

Each builder returns a Clause. Conventions: left is positive; `put` means `place` alone, `take ... and put` means `pick` and
`place`; `bring X to P` means `pick` and `go_to`; a half turn without a side is +180 and a full one +360; names lose their article.
"""

import random
from dataclasses import dataclass

import names
import numbers_spoken as numbers

OPPOSITE = {"forward": "backward", "backward": "forward", "left": "right", "right": "left"}


@dataclass
class Clause:
    """Words for one command and what they mean.

    `form` says how the words may be dressed: "verb" is an imperative, "bare" a fragment such as "two metres left",
    "whole" a sentence that stands alone, "open" an imperative whose end is open ("say hello"), so that nothing may follow.
    """

    words: str
    calls: list[tuple[str, dict]]
    plan: str
    kind: str
    form: str = "verb"


@dataclass
class World:
    """What this request's system prompt tells the robot; `informed` where it has a state block, which answers questions.

    `varied` where sentences to be said may hold words that nobody knows, as names do (training only).
    """

    places: list[str]
    things: list[str]
    spots: list[str]
    informed: bool = False
    varied: bool = False


def the(rng: random.Random, name: str) -> str:
    """The name as it stands in a sentence, mostly with "the"."""
    if names.bare(name):
        return name
    kind = rng.random()
    if kind < 0.86:
        return f"the {name}"
    if kind < 0.91:
        return f"my {name}" if kind < 0.89 else f"your {name}"
    if kind < 0.96:
        return f"that {name}" if kind < 0.94 else f"this {name}"
    return name if " " not in name else f"the {name}"


def an(rng: random.Random, name: str) -> str:
    """As `the`, or with "a" for a thing of which there may be several."""
    if names.bare(name) or name.endswith("s") or rng.random() < 0.93:
        return the(rng, name)
    return f"{'an' if name[0] in 'aeio' else 'a'} {name}"


def move_plan(arguments: dict) -> str:
    return f"move {arguments['direction']} {arguments['distance_m']} m"


def turn_plan(degrees: int | float) -> str:
    return f"turn {abs(degrees)} degrees {'left' if degrees > 0 else 'right'}, so {degrees}"


SAID = {
    "forward": ["forward", "ahead", "straight ahead", "forwards", "straight on", "to the front", "straight", "straight forward"],
    "backward": ["backward", "back", "backwards", "in reverse", "to the rear", "straight back"],
    "left": ["left", "to the left", "to your left", "leftwards", "to your left side"],
    "right": ["right", "to the right", "to your right", "rightwards", "to your right side"],
}
AROUND = {
    "left": ["left", "to the left", "counterclockwise", "anticlockwise", "to your left", "counter-clockwise", "anti-clockwise", "leftwards"],
    "right": ["right", "to the right", "clockwise", "to your right", "rightwards"],
}


def move(rng: random.Random, _world: World) -> Clause:
    text, value = numbers.length(rng)
    way = rng.choice(["forward", "forward", "backward", "left", "right"])
    arguments = {"direction": way, "distance_m": value}
    clause = lambda words, form="verb": Clause(words, [("move", arguments)], move_plan(arguments), "move", form)
    said = rng.choice(SAID[way])
    kind = rng.random()
    if kind < 0.13:
        return clause(rng.choice([f"{text} {said}", f"{said}, {text}", f"{said} {text}"]), "bare")
    if kind < 0.18:
        bit = rng.choice(["", "", "just "])
        return clause(rng.choice([f"you need to be {bit}{text} further {said.removeprefix('straight ')}", f"I'd like you {text} further {said}"])
                      if way in ("left", "right") else f"you should go {text} {said}", "whole")
    if kind < 0.24:
        return clause(rng.choice([f"move {text} in the {way} direction", f"cover {text} {said}", f"take a step of {text} {said}", f"cover a distance of {text} {said}",
                                  f"drive a distance of {text} {said}", f"go {said} for a distance of {text}", f"make a move of {text} {said}",
                                  f"keep going {said} for {text}", f"get {text} further {said.removeprefix('straight ')}", f"stop after driving {text} {said}"]))
    if way == "backward" and kind < 0.45:
        return clause(f"{rng.choice(['back up', 'reverse', 'back off', 'back away', 'retreat', 'move away', 'pull back', 'step back', 'fall back', 'withdraw', 'back out'])} {rng.choice(['', 'by ', 'about '])}{text}")
    if way == "forward" and kind < 0.30:
        return clause(f"{rng.choice(['advance', 'advance by', 'come closer by', 'drive on for', 'keep going for', 'go on for', 'inch forward', 'pull forward', 'move up', 'close in by', 'come towards me by', 'carry on for', 'push on for'])} {text}")
    verbs = ["move", "drive", "go", "roll", "travel", "head", "run", "move", "drive", "go", "creep", "edge", "glide", "crawl", "walk", "trundle", "scoot", "nudge yourself",
             "proceed", "shift yourself", "slide yourself", "get yourself", "bring yourself", "move yourself"] + {"forward": ["advance", "come"], "backward": ["step", "come"]}.get(
        way, ["slide", "strafe", "shift", "sidestep", "step", "shuffle"])
    verb = rng.choice(verbs)
    return clause(rng.choice([f"{verb} {said} {text}", f"{verb} {text} {said}", f"{verb} {said} by {text}", f"{verb} {said} for {text}",
                              f"{rng.choice(['take', 'do', 'make it', 'give me'])} {text} {said}", f"{verb} {text} {said}", f"{verb} {said} {text}"]))


_HALF = ["turn around", "make a half turn", "do a u-turn", "make a U-turn", "face the other way", "turn right around", "spin halfway round", "do an about-face",
         "turn round", "do a 180", "turn yourself around", "look behind you", "make an about turn", "spin around to face the other way", "do a one-eighty"]
_FULL = ["spin all the way around", "make a full turn", "do a full turn", "turn a full circle", "do a complete rotation", "do a 360", "spin once",
         "turn once around", "make one full rotation", "go once round on the spot", "do a full spin", "rotate one full turn"]


def turn(rng: random.Random, _world: World) -> Clause:
    side = rng.choice(["left", "right"])
    sign = 1 if side == "left" else -1
    verb = rng.choice(["turn", "turn", "rotate", "spin", "pivot", "swing", "swivel", "veer", "twist", "wheel", "face", "look", "swing yourself", "point yourself"])
    kind, form = rng.random(), "verb"
    if kind < 0.70:
        text, value = numbers.angle(rng)
        around = rng.choice(AROUND[side])
        words = rng.choice([f"{verb} {around} {text}", f"{verb} {text} {around}", f"{verb} {around} by {text}", f"{verb} by {text} {around}",
                            f"do {text} {around}", f"make a {side} turn of {text}", f"change your heading by {text} {around}", f"adjust your heading {text} {around}",
                            f"{verb} {text} towards the {side}", f"correct your course {text} {around}", f"{verb} {around}, {text} exactly", f"{rng.choice(['turn yourself', 'turn on the spot', 'make a turn of', 'rotate in place'])} {text} {around}"])
    elif kind < 0.78:
        text, value = numbers.angle(rng)
        words, form = rng.choice([f"{text} {rng.choice(AROUND[side])}", f"{side} {text}", f"{side} turn, {text}"]), "bare"
    elif kind < 0.87:
        value = rng.choice([90, 90, 90, 45, 180, 360])
        words = {
            90: [f"{verb} {side}", f"make a {side} turn", f"take a {side} turn", f"face {side}", f"make a quarter turn to the {side}",
                 f"do a quarter turn {side}", f"take a {side}", f"turn to your {side}", f"look {side}", f"{verb} a quarter turn to the {side}",
                 f"turn to face {side}"],
            45: [f"do an eighth of a turn {side}", f"make half a right angle to the {side}", f"turn half {side}"],
            180: [f"{verb} half a turn to the {side}", f"do a half turn to the {side}", f"turn around to the {side}", f"do a half turn {side}"],
            360: [f"{verb} a full turn to the {side}", f"do a full circle to the {side}", f"make one complete turn {side}"],
        }[value]
        words = rng.choice(words)
    else:
        sign, value = 1, rng.choice([180, 180, 360])
        words = rng.choice(_HALF if value == 180 else _FULL)
    return Clause(words, [("turn", {"degrees": sign * value})], turn_plan(sign * value), "turn", form)


_GO = ["go to", "drive to", "head to", "head over to", "move to", "navigate to", "come to", "go over to", "proceed to", "make your way to",
       "drive over to", "return to", "go back to", "wait at", "travel to", "get to", "get yourself to", "run to", "drive yourself to", "head for",
       "roll over to", "find your way to", "go wait at", "move over to", "come over to", "drive back to", "park at", "park yourself at",
       "go and stand at", "go straight to", "visit", "take yourself to", "pop over to", "make for", "set off for", "leave for", "hurry to", "rush over to",
       "join me at", "come and find me at", "come with me to", "accompany me to", "walk to", "walk over to", "swing by", "stop by", "drop by", "report to",
       "take up position at", "station yourself at", "position yourself at", "get over to", "get going to", "set course for", "drive up to", "approach",
       "be at", "show up at", "go on to", "continue to", "go down to", "go up to", "go along to", "bring yourself to", "relocate to"]
_GO_WHOLE = ["I need you at {p}", "meet me at {p}", "you are needed at {p}", "I'm waiting at {p}, come", "your next stop is {p}", "let's meet at {p}",
             "you should be at {p}", "we need you at {p}", "you can wait at {p}", "next destination: {p}", "destination {p}", "I want you at {p}",
             "it's time to go to {p}", "to {p}", "off to {p}", "{p} next", "on to {p}", "off you go to {p}", "back to {p}", "over to {p}", "straight to {p}",
             "I'd like to see you at {p}", "they are expecting you at {p}", "someone is waiting for you at {p}", "see you at {p}", "your place is at {p}",
             "your destination is {p}", "target: {p}", "{p} is where I need you", "{p} is your next stop", "there is work for you at {p}", "I'll be at {p}, join me"]
_GO_STAY = ["", "", "", "", "", "", "", " and wait there", " and stay there", " and wait for me", " and wait", " and remain there", " and stop there"]


def go_to(rng: random.Random, world: World) -> Clause:
    place = rng.choice(world.places)
    form = "whole" if rng.random() < 0.18 else "verb"
    where = the(rng, place)
    if form == "whole":
        words = rng.choice(_GO_WHOLE).format(p=where)
        words = words.replace(" at ", rng.choice([" in ", " at "])) if any(room in place for room in names.ROOMS) else words
    else:
        words = f"{rng.choice(_GO)} {where}{rng.choice(_GO_STAY)}"
    return Clause(words, [("go_to", {"place": place})], f"go to {place}", "go_to", form)


_PICK = ["pick up {t}", "pick {t} up", "grab {t}", "take {t}", "get {t}", "grasp {t}", "lift {t}", "fetch {t}", "collect {t}", "pick {t}",
         "lift up {t}", "get hold of {t}", "take hold of {t}", "hold {t}", "pick up {t}", "pick {t} up", "lift {t} up", "seize {t}", "retrieve {t}",
         "get me {t}", "hand me {t}", "pass me {t}", "bring me {t}", "fetch me {t}", "grip {t}", "go get {t}", "take {t} in your gripper",
         "pick up {t} with your arm", "grab {t} for me", "take {t} with you", "go grab {t}", "snatch {t}", "scoop up {t}", "secure {t}", "go and get {t}",
         "close your gripper around {t}", "use your arm to lift {t}", "use your gripper to take {t}", "get a hold of {t}", "raise {t}", "clasp {t}",
         "reach for {t}", "reach out and take {t}", "pick {t} up off {s}", "take {t} from {s}", "get {t} off {s}", "grab {t} from {s}", "pick up {t} from {s}",
         "lift {t} off {s}", "fetch {t} from {s}", "take {t} that is on {s}", "remove {t} from {s}", "get {t} out of {s}", "take {t} out of {s}",
         "pick up {t} lying on {s}", "collect {t} from {s}", "take {t} off {s}"]
_PICK_WHOLE = ["I need {t}", "can I have {t}", "could I have {t}", "give me {t}", "I want {t}", "may I have {t}", "I'd like to have {t}", "{t}, please", "I could use {t}", "I'm after {t}", "we need {t}",
               "do you see {t}? take it", "there is {t}, pick it up", "see {t}? grab it", "{t} needs picking up", "{t} is yours to carry", "is that {t}? get it"]


def pick(rng: random.Random, world: World) -> Clause:
    thing = rng.choice(world.things)
    form = "whole" if rng.random() < 0.1 else "verb"
    words = rng.choice(_PICK_WHOLE if form == "whole" else _PICK).format(t=an(rng, thing), s=the(rng, rng.choice(world.spots)))
    return Clause(words, [("pick", {"object": thing})], f"pick the {thing}", "pick", form)


ON = ["on", "on", "on", "onto", "in", "in", "into", "at", "next to", "on top of", "by", "inside", "near", "beside", "under", "over on", "over in"]
_PLACE = ["put {t} {w}", "place {t} {w}", "set {t} down {w}", "drop {t} {w}", "leave {t} {w}", "put {t} down {w}", "lay {t} {w}", "set {t} {w}",
          "deposit {t} {w}", "put {t} back {w}", "stick {t} {w}", "position {t} {w}", "drop off {t} {w}", "lay {t} down {w}", "put away {t} {w}",
          "release {t} {w}", "lower {t} {w}", "put {t} {w}", "store {t} {w}", "return {t} {w}", "rest {t} {w}", "stand {t} {w}",
          "let go of {t} {w}", "hang {t} {w}", "slide {t} {w}", "tuck {t} {w}", "dump {t} {w}", "ease {t} down {w}", "find a spot for {t} {w}", "file {t} {w}",
          "make sure {t} ends up {w}", "set {t} aside {w}", "unload {t} {w}", "pop {t} {w}", "let {t} down {w}", "put {t} gently {w}", "throw {t} {w}"]
_PLACE_WHOLE = ["{t} goes {w}", "{t} should go {w}", "I want {t} {w}", "{t} belongs {w}", "I'd like {t} {w}", "{t} has to be {w}", "{t} needs to be {w}", "{t} lives {w}", "I want to see {t} {w}", "{t} had better be {w}"]


def where(rng: random.Random, spot: str) -> str:
    return f"{rng.choice(ON)} {the(rng, spot)}"


def place(rng: random.Random, world: World) -> Clause:
    thing, spot = rng.choice(world.things), rng.choice(world.spots)
    form = "whole" if rng.random() < 0.07 else "verb"
    at = where(rng, spot)
    if form == "verb" and rng.random() < 0.05:
        spot, at = "here", rng.choice(["here", "right here", "down here"])
    words = rng.choice(_PLACE_WHOLE if form == "whole" else _PLACE).format(t=the(rng, thing), w=at)
    if at == "here":
        words = words.replace(" down down ", " down ")
    return Clause(words, [("place", {"object": thing, "location": spot})], f"place the {thing} at {spot}", "place", form)


def bring(rng: random.Random, world: World) -> Clause:
    """Two calls in one idiom."""
    thing = rng.choice(world.things)
    t = the(rng, thing)
    if rng.random() < 0.45:
        place = rng.choice(world.places)
        p = the(rng, place)
        words = rng.choice(["bring {t} to {p}", "carry {t} to {p}", "take {t} to {p}", "deliver {t} to {p}", "take {t} over to {p}",
                            "carry {t} over to {p}", "transport {t} to {p}", "get {t} to {p}", "pick up {t} and bring it to {p}",
                            "grab {t} and take it to {p}", "fetch {t} and carry it to {p}", "pick {t} up and drive to {p} with it",
                            "get {t} and come to {p}"]).format(t=t, p=p)
        return Clause(words, [("pick", {"object": thing}), ("go_to", {"place": place})], f"pick the {thing}, then go to {place}", "several")
    spot = rng.choice(world.spots)
    words = rng.choice(["pick up {t} and put it {w}", "take {t} and place it {w}", "grab {t} and set it down {w}", "take {t} and leave it {w}",
                        "pick {t} up and put it {w}", "get {t} and drop it {w}", "lift {t} and lay it {w}", "take {t}, put it {w}",
                        "grab {t}, then put it down {w}", "fetch {t} and put it {w}", "move {t} onto {s}", "transfer {t} to {s}",
                        "pick up {t}, then place it {w}", "collect {t} and deposit it {w}"])
    words = words.format(t=t, w=where(rng, spot), s=the(rng, spot))
    calls = [("pick", {"object": thing}), ("place", {"object": thing, "location": spot})]
    return Clause(words, calls, f"pick the {thing}, then place the {thing} at {spot}", "several")


def pair(rng: random.Random, world: World) -> Clause:
    """One verb for two things or two places."""
    joint = rng.choice([" and ", " and then ", ", then ", " and after that "])
    kind = rng.random()
    if kind < 0.4:
        one, two = rng.sample(world.things, 2)
        words = f"{rng.choice(['pick up', 'grab', 'take', 'get', 'collect', 'fetch'])} {the(rng, one)}{joint}{the(rng, two)}"
        return Clause(words, [("pick", {"object": one}), ("pick", {"object": two})], f"pick the {one}, then pick the {two}", "several")
    if kind < 0.75:
        one, two = rng.sample(world.places, 2)
        words = rng.choice([f"{rng.choice(_GO[:12])} {the(rng, one)}{joint}{rng.choice(['', 'to '])}{the(rng, two)}",
                            f"{rng.choice(['drive', 'go', 'run'])} from {the(rng, one)} to {the(rng, two)}"])
        return Clause(words, [("go_to", {"place": one}), ("go_to", {"place": two})], f"go to {one}, then go to {two}", "several")
    one, two = rng.sample(world.things, 2)
    spot = rng.choice(world.spots)
    words = f"{rng.choice(['put', 'place', 'leave', 'set', 'drop'])} {the(rng, one)} and {the(rng, two)} {where(rng, spot)}"
    calls = [("place", {"object": thing, "location": spot}) for thing in (one, two)]
    return Clause(words, calls, f"place the {one} at {spot}, then place the {two} at {spot}", "several")


_SPEED = ["set your speed to", "set the speed to", "drive at", "go at", "change speed to", "limit your speed to", "slow down to", "speed up to",
          "keep to", "use a speed of", "set speed", "drive at", "change your speed to", "reduce your speed to", "increase the speed to", "move at",
          "run at", "stay at", "accelerate to", "brake to", "slow to", "make your speed", "adjust your speed to", "don't drive faster than",
          "don't go above", "cruise at", "travel at", "bring your speed to", "cap the speed at",
          "take it down to", "bring it up to", "keep your speed at", "put your speed at", "ease off to", "drop to", "go no faster than", "roll along at", "crawl along at",
          "stick to", "maintain", "hold a speed of", "settle at", "pick up speed to", "lower your speed to", "raise your speed to", "make it", "take it up to", "slow yourself to",
          "never exceed", "do not exceed", "keep below"]


def set_speed(rng: random.Random, _world: World) -> Clause:
    text, value = numbers.speed(rng)
    call, plan = [("set_speed", {"mps": value})], f"set speed {value} m/s"
    kind = rng.random()
    if kind < 0.08:
        return Clause(rng.choice([f"speed {text}", f"{text} from now on", f"new speed: {text}", f"speed: {text}", f"only {text}", f"{text} is fast enough"]),
                      call, plan, "set_speed", "bare")
    if kind < 0.14:
        return Clause(rng.choice([f"your speed should be {text}", f"I want a speed of {text}", f"the speed limit here is {text}", f"you may drive at {text}"]),
                      call, plan, "set_speed", "whole")
    if kind < 0.24:
        return Clause(f"{rng.choice(['from now on', 'for now', 'from here on', 'in here'])} {rng.choice(_SPEED)} {text}", call, plan, "set_speed", "bare")
    return Clause(f"{rng.choice(_SPEED)} {text}", call, plan, "set_speed")


_STOP = ["stop", "halt", "freeze", "stop right there", "stop now", "stop moving", "hold it", "stop immediately", "don't move", "stop at once",
         "hold still", "stay where you are", "stand still", "cease all motion", "stop everything", "come to a halt", "stop driving",
         "stop this instant", "do not move", "stay put", "pause", "abort", "stop the motors", "stop what you are doing", "don't move another inch",
         "come to a stop", "hold your position", "brake", "stop right away", "quit moving",
         "stay right there", "freeze right there", "cut the motors", "cease", "break off", "hold on", "stay there", "wait right there",
         "hold up", "stop for a moment", "don't go on", "don't take another step", "stop in your tracks", "stop the robot", "stop yourself",
         "stop rolling", "interrupt what you are doing", "stay exactly where you are", "stop and wait", "cut it out", "remain where you are"]
_STOP_WHOLE = ["emergency stop", "emergency", "whoa, stop", "no, stop", "stop, stop", "stop stop stop", "wait, stop", "that's far enough",
               "enough, stop", "stop it", "STOP", "that'll do", "no further", "not another step", "danger, stop", "look out, stop", "enough", "stop, you are too close",
               "stop, there is someone in front of you", "stop or you will hit it", "I said stop", "you must stop", "this is an emergency, stop", "HALT", "that is enough"]


def stop(rng: random.Random, _world: World) -> Clause:
    form = "whole" if rng.random() < 0.25 else "verb"
    return Clause(rng.choice(_STOP_WHOLE if form == "whole" else _STOP), [("stop", {})], "stop", "stop", form)


REPORTS = {
    "battery": ["the battery", "your battery", "the battery level", "your charge", "the charge level", "your battery level", "the battery status",
                "the state of charge"],
    "position": ["your position", "the position", "where you are", "your location", "your coordinates", "your current position", "your whereabouts"],
    "speed": ["your speed", "the speed", "how fast you are going", "your current speed", "your velocity", "your driving speed"],
    "status": ["your status", "the status", "your state", "what you are doing", "your current status", "the robot status", "your current state"],
}


def report(rng: random.Random, world: World) -> Clause:
    """An order to report; "tell me" and "give me" count as questions where a state block can answer them."""
    what = rng.choice(list(REPORTS))
    of = rng.choice(REPORTS[what])
    verbs = ["report", "report", "report back", "check", "read out"]
    if not of.startswith(("where", "how", "what")):
        verbs += ["give a report on", "send a report on", "measure", "check on", "report on"]
        verbs += [] if world.informed else ["send me", "give me", "show me", "get me"]
    verbs += [] if world.informed else ["tell me", "let me know", "tell us", "tell me"]
    words = f"{rng.choice(verbs)} {of}"
    if rng.random() < 0.15:
        words = rng.choice([f"send a {what} report", f"give me a {what} report", f"do a {what} check", f"make a {what} report", f"send me a {what} update"])
    return Clause(words, [("report", {"what": what})], f"report {what}", "report")


GREETINGS = ("hello|good morning|good evening|welcome|thank you|goodbye|dinner is ready|please step aside|the delivery is here|watch out|excuse me|"
             "lunch is served|the door is open|I am coming through|be careful|your parcel has arrived|it is time to go|the meeting starts now|"
             "well done|happy birthday|the floor is wet|please stand back|I am on my way|nice to meet you|come here|see you tomorrow|"
             "everything is fine|the task is done|good night|hi there|attention please|we are closing soon|please follow me|make way|"
             "please keep quiet|the lift is out of order|your order is ready|mind the step|the show begins in five minutes|I am ready|"
             "thanks for your help|sorry for the delay|tea is ready|please wash your hands|the experiment is running|"
             "do not touch|the coffee is fresh").split("|")
_WHO = ["everyone", "team", "my friend", "all", "doctor", "sir", "madam", "ladies and gentlemen", "colleagues", "kids"] + names.PEOPLE


def _sentence(rng: random.Random, world: World) -> str:
    kind = rng.random()
    at = rng.choice([place for place in world.places if not names.bare(place)] or ["door"])
    if kind < 0.35:
        return rng.choice(GREETINGS)
    if kind < 0.5:
        return f"{rng.choice(GREETINGS)} {rng.choice(_WHO)}"
    if kind < 0.75:
        state = rng.choice(["here", "missing", "ready", "broken", "gone", "full", "on the way", "late", "at the " + at])
        return f"the {rng.choice(world.things)} is {state}"
    return rng.choice([f"I am at the {at}", f"I have the {rng.choice(world.things)}", f"please bring the {rng.choice(world.things)}",
                       f"we meet at the {at}", f"I cannot find the {rng.choice(world.things)}"])


_SAY_THAT = ["announce that", "say that", "let everyone know that", "tell everyone that", "tell people that", "tell them that", "inform everyone that",
             "let them know that", "inform them that", "pass on that", "call out that", "tell us that"]
_SAY_QUOTED = ["say", "say", "announce", "speak the words", "say the following:", "say out loud", "call out", "shout", "speak this sentence:", "say:", "tell them", "repeat after me:",
               "read this aloud:", "tell everybody", "speak:", "greet them with", "answer them with", "the message is", "use these words:", "please utter"]


def say(rng: random.Random, world: World) -> Clause:
    text = _sentence(rng, world)
    if world.varied and rng.random() < 0.4:
        text = names.varied(rng, text)
    if rng.random() < 0.25:
        text = text[0].upper() + text[1:] + rng.choice(["", ".", "!"])
    plain = text[0].islower() and rng.random() < 0.5
    if plain:
        words = rng.choice([f"say {text}", f"say {text}", f"tell them: {text}", f"say the words {text}", f"say aloud: {text}", f"announce: {text}",
                            f"say: {text}", f"tell {rng.choice(_WHO)}: {text}", f"make an announcement: {text}", f"repeat after me: {text}", f"read this aloud: {text}",
                            f"the message is: {text}", f"pass this on: {text}", f"use your voice: {text}", f"speak: {text}", f"let them hear this: {text}"])
        if " is " in text and rng.random() < 0.5:
            words = f"{rng.choice(_SAY_THAT)} {text}"
    else:
        text_in = rng.choice([f'"{text}"', f'"{text}"', f"'{text}'"])
        words = f"{rng.choice(_SAY_QUOTED)} {text_in}"
    return Clause(words, [("say", {"text": text})], f'say "{text}"', "say", "open" if plain else "verb")


BUILDERS = [move] * 7 + [turn] * 7 + [go_to] * 5 + [pick] * 4 + [place] * 4 + [bring] * 4 + [pair] * 2 + [set_speed] * 4 + [stop] * 3 + [report] * 3 + [say] * 3
MOTIONS = [move, move, turn]
