"""Whole user turns: politeness, several commands, questions on the state, follow-ups, refusals."""

import random
from dataclasses import dataclass, field

import commands
import names
import numbers_spoken as numbers
from commands import Clause, World

REFUSAL = "Sorry, I cannot do that."


@dataclass
class Turn:
    """One user message and the answer to it: calls, or a sentence."""

    user: str
    calls: list[tuple[str, dict]] = field(default_factory=list)
    text: str = ""
    plan: str = ""
    kind: str = ""


_BEFORE = ["please ", "could you ", "can you ", "would you ", "now ", "ok, ", "okay ", "robot, ", "hey robot, ", "hey, ", "then ", "I want you to ", "I'd like you to ", "go ahead and ",
           "could you please ", "can you please ", "alright, ", "so, ", "next, ", "well, ", "um, ", "hi, ", "quickly ", "carefully ", "slowly "]
_AFTER = [" please", ", please", " now", " for me", ", thanks", ", thank you", " right away", " if you can", " would you", " and that's all"]
_JOIN = [", then ", " and then ", " and ", ", and then ", ". Then ", "; then ", ", after that ", ". After that ", ", afterwards ", " before you "]


def _dress(rng: random.Random, words: str) -> str:
    kind = rng.random()
    before = rng.choice(_BEFORE) if kind < 0.45 else ""
    after = rng.choice(_AFTER) if 0.35 < kind < 0.6 else ""
    text = before + words + after
    if rng.random() < 0.6:
        text = text[0].upper() + text[1:]
    if before.startswith(("could", "can", "would")) and rng.random() < 0.7:
        return text + "?"
    return text + rng.choice(["", "", ".", ".", "!"])


def single(rng: random.Random, world: World) -> Turn:
    clause = rng.choice(commands.BUILDERS)(rng, world)
    return Turn(_dress(rng, clause.words), clause.calls, "", clause.plan, clause.kind)


def several(rng: random.Random, world: World) -> Turn:
    """Two or three commands in one sentence."""
    clauses = [rng.choice(commands.BUILDERS)(rng, world) for _ in range(rng.choice([2, 2, 2, 3]))]
    words = clauses[0].words
    first = True
    order = [clauses[0]]
    for clause in clauses[1:]:
        joint = rng.choice(_JOIN)
        if joint == " before you " and first and len(clauses) == 2:
            words = f"{words}{joint}{clause.words}"
        else:
            joint = ", then " if joint == " before you " else joint
            words = f"{words}{joint}{clause.words}"
        order.append(clause)
        first = False
    calls = [call for clause in order for call in clause.calls]
    return Turn(_dress(rng, words), calls, "", ", then ".join(c.plan for c in order), "several")


REFUSED = ("fly to {p}|make me a coffee|what is the weather like|cook dinner|swim across the pool|order a pizza|play some music|tell me a joke|open {p}|book a flight|jump over {t}|paint {t}|"
           "climb the wall|call my mother|send an email|translate this into French|eat {t}|repair {t}|buy {t}|sing a song|dance with me|wash {t}|what is the capital of France|take a photo|"
           "throw {t} out of the window|turn on the lights|lock {p}|clean {p}|write a poem|explain quantum physics|who won the match|cut {t} in half|charge my phone|drive the car|read me a book|"
           "set an alarm|what time is it|break {t}|burn {t}|water the plants|vacuum {p}|iron my shirt|solve this equation|give me a massage|teleport to {p}|weigh {t}|count to ten|"
           "whistle a tune|dig a hole|build me a house|feed the cat|walk the dog|how old are you|melt {t}|print a document|hack the computer|dim the lights").split("|")


def refused(rng: random.Random, world: World) -> Turn:
    words = rng.choice(REFUSED).format(p="the " + rng.choice(world.places), t="the " + rng.choice(world.things))
    question = words.startswith(("what", "who", "how"))
    user = words[0].upper() + words[1:] + "?" if question else _dress(rng, words)
    return Turn(user, [], REFUSAL, "no function fits", "refusal")


def unknown_place(rng: random.Random, world: World, split: str) -> Turn:
    """A place that the system prompt's list does not have."""
    place = names.draw(rng, names.place, split)
    while place in world.places:
        place = names.draw(rng, names.place, split)
    clause = commands.go_to(rng, World([place], world.things, world.spots))
    return Turn(_dress(rng, clause.words), [], f"Sorry, I do not know the place {place}.", f"{place} is not a known place", "unknown place")


@dataclass
class State:
    """The state block of a system prompt."""

    battery: int
    x: float
    y: float
    speed: float
    status: str
    holding: str

    def block(self) -> str:
        return (f"Battery: {self.battery} %\nPosition: x {self.x} m, y {self.y} m\nSpeed: {self.speed} m/s\n"
                f"Status: {self.status}\nHolding: {self.holding or 'nothing'}")


def state(rng: random.Random, world: World) -> State:
    status = rng.choice(["idle", "driving", "charging", "waiting", "picking", "stopped", "searching", "blocked", "on the way to the " + rng.choice(world.places)])
    return State(rng.randint(1, 100), round(rng.uniform(-20, 20), 1), round(rng.uniform(-20, 20), 1), round(rng.uniform(0, 2), 1), status,
                 rng.choice(["", rng.choice(world.things), rng.choice(world.things)]))


QUESTIONS = {
    "battery": ["how much battery is left", "what is your battery level", "how full is the battery", "what's the charge", "how much charge do you have", "is the battery low", "what's your battery at"],
    "position": ["where are you", "what is your position", "where are you now", "what are your coordinates", "which position are you at", "what's your location"],
    "speed": ["how fast are you going", "what is your speed", "how fast are you", "what's your current speed", "at what speed are you driving", "how quickly are you moving"],
    "status": ["what are you doing", "what is your status", "what's your state", "what are you up to", "how are things", "what are you busy with"],
    "holding": ["what are you holding", "what do you have in your gripper", "what is in your hand", "are you holding something", "what are you carrying"],
}


def asked(rng: random.Random, now: State) -> Turn:
    """A question that the state block answers."""
    what = rng.choice(list(QUESTIONS))
    words = rng.choice(QUESTIONS[what])
    answer = {
        "battery": f"The battery is at {now.battery} %.",
        "position": f"I am at x {now.x} m, y {now.y} m.",
        "speed": f"My speed is {now.speed} m/s.",
        "status": f"My status is: {now.status}.",
        "holding": f"I am holding the {now.holding}." if now.holding else "I am holding nothing.",
    }[what]
    words = rng.choice(["", "", "", "tell me, ", "hey, ", "robot, ", "and "]) + words
    return Turn(words[0].upper() + words[1:] + rng.choice(["?", "?", "?", ""]), [], answer, f"the state has the {what}", "question")


def asked_without_state(rng: random.Random) -> Turn:
    """The same questions where no state is given: the robot reports."""
    what = rng.choice(["battery", "position", "speed", "status"])
    words = rng.choice(QUESTIONS[what])
    return Turn(words[0].upper() + words[1:] + rng.choice(["?", "?", ""]), [("report", {"what": what})], "", f"report {what}", "report")


def follow_up(rng: random.Random, world: World) -> tuple[Turn, Turn]:
    """Two turns, the second one understood only through the first."""
    kind = rng.choice(["other way", "again", "put it", "back", "more", "twice"])
    if kind == "put it":
        clause = commands.pick(rng, world)
        thing, spot = clause.calls[0][1]["object"], rng.choice(world.spots)
        words = rng.choice(["and put it on the {s}", "put it on the {s}", "now place it on the {s}", "set it down on the {s}", "drop it into the {s}", "leave it at the {s}", "and now put it in the {s}"])
        second = Turn(_dress(rng, words.format(s=spot)), [("place", {"object": thing, "location": spot})], "", f"it is the {thing}, place {thing} at {spot}", "follow-up")
    elif kind == "again":
        clause = rng.choice([commands.move, commands.turn])(rng, world)
        second = Turn(_dress(rng, rng.choice(["do that again", "again", "once more", "repeat that", "the same again", "one more time"])), clause.calls, "", f"again: {clause.plan}", "follow-up")
    elif kind in ("other way", "back"):
        clause = rng.choice([commands.move, commands.turn])(rng, world)
        name, arguments = clause.calls[0]
        if name == "move":
            other = {"forward": "backward", "backward": "forward", "left": "right", "right": "left"}[arguments["direction"]]
            call, plan = ("move", {"direction": other, "distance_m": arguments["distance_m"]}), f"move {other} {arguments['distance_m']} m"
        else:
            degrees = -arguments["degrees"]
            call, plan = ("turn", {"degrees": degrees}), f"turn {abs(degrees)} degrees {'left' if degrees > 0 else 'right'}"
        second = Turn(_dress(rng, rng.choice(["now the other way", "the other way", "the opposite", "now do the opposite", "and back again", "undo that", "now in the other direction", "and the same the other way"])),
                      [call], "", f"the opposite: {plan}", "follow-up")
    elif kind == "more":
        clause = commands.move(rng, world)
        text, value = numbers.length(rng)
        way = clause.calls[0][1]["direction"]
        second = Turn(_dress(rng, rng.choice([f"another {text}" if not text.startswith(("a ", "one ")) else f"and {text} more", f"{text} more", f"and {text} more", f"{text} further"])),
                      [("move", {"direction": way, "distance_m": value})], "", f"move {way} {value} m", "follow-up")
    else:
        clause = commands.go_to(rng, world)
        thing = rng.choice(world.things)
        second = Turn(_dress(rng, rng.choice([f"and take the {thing} from there", f"pick up the {thing} there", f"now get the {thing}"])), [("pick", {"object": thing})], "", f"pick {thing}", "follow-up")
    first = Turn(_dress(rng, clause.words), clause.calls, "", clause.plan, clause.kind)
    return first, second
