"""Single commands: the words a person might use, and the call that is meant.

Each builder returns a Clause: the words without politeness, the calls, and a plan for the thinking mode.
"""

import random
from dataclasses import dataclass

import names
import numbers_spoken as numbers


@dataclass
class Clause:
    """Words for one command and what they mean."""

    words: str
    calls: list[tuple[str, dict]]
    plan: str
    kind: str


@dataclass
class World:
    """What this request's system prompt tells the robot."""

    places: list[str]
    things: list[str]
    spots: list[str]


def _the(rng: random.Random, name: str) -> str:
    if name.split()[0] in {"room", "station", "bay", "shelf", "zone", "gate"} and name[-1].isdigit():
        return name
    return name if " " not in name and rng.random() < 0.03 else f"the {name}"


def move(rng: random.Random, _world: World) -> Clause:
    text, value = numbers.length(rng)
    way = rng.choice(["forward", "forward", "backward", "left", "right"])
    said = {
        "forward": ["forward", "ahead", "straight ahead", "forwards", "straight on", "to the front"],
        "backward": ["backward", "back", "backwards", "in reverse", "to the rear"],
        "left": ["left", "to the left", "to your left", "leftwards"],
        "right": ["right", "to the right", "to your right", "rightwards"],
    }[way]
    verbs = ["move", "drive", "go", "roll", "travel", "advance" if way == "forward" else "move", "head", "come" if way == "forward" else "shift"]
    forms = [
        lambda: f"{rng.choice(verbs)} {rng.choice(said)} {text}",
        lambda: f"{rng.choice(verbs)} {text} {rng.choice(said)}",
        lambda: f"{rng.choice(verbs)} {rng.choice(said)} by {text}",
        lambda: f"{rng.choice(verbs)} {rng.choice(said)} for {text}",
        lambda: f"{rng.choice(['take', 'do'])} {text} {rng.choice(said)}",
        lambda: f"{text} {rng.choice(said)}",
    ]
    if way == "backward":
        forms += [lambda: f"{rng.choice(['back up', 'reverse', 'back off'])} {rng.choice(['', 'by ', 'about '])}{text}"] * 2
    if way in ("left", "right"):
        forms += [lambda: f"{rng.choice(['slide', 'strafe', 'sidestep', 'shift'])} {text} {rng.choice(said)}",
                  lambda: f"{rng.choice(['slide', 'strafe', 'shift'])} {rng.choice(said)} {text}"]
    return Clause(rng.choice(forms)(), [("move", {"direction": way, "distance_m": value})], f"move {way} {value} m", "move")


def turn(rng: random.Random, _world: World) -> Clause:
    side = rng.choice(["left", "right"])
    sign = 1 if side == "left" else -1
    verb = rng.choice(["turn", "turn", "rotate", "spin", "pivot", "swing"])
    kind = rng.random()
    if kind < 0.78:
        text, value = numbers.angle(rng)
        around = {"left": ["left", "to the left", "counterclockwise", "anticlockwise", "to your left"],
                  "right": ["right", "to the right", "clockwise", "to your right"]}[side]
        words = rng.choice([f"{verb} {rng.choice(around)} {text}", f"{verb} {text} {rng.choice(around)}",
                            f"{verb} {rng.choice(around)} by {text}", f"{text} {rng.choice(around)}", f"{verb} by {text} {rng.choice(around)}"])
    elif kind < 0.86:
        value, words = 90, rng.choice([f"{verb} {side}", f"make a {side} turn", f"take a {side} turn", f"face {side}", f"a quarter turn to the {side}", f"do a quarter turn {side}"])
    elif kind < 0.93:
        sign, value = 1, 180
        words = rng.choice(["turn around", "make a half turn", "do a u-turn", "make a U-turn", "face the other way", "turn right around", "spin halfway round", "do an about-face"])
    else:
        sign, value = 1, 360
        words = rng.choice(["spin all the way around", "make a full turn", "do a full turn", "turn a full circle", "do a complete rotation"])
    degrees = sign * value
    shown = f"turn {value} degrees {'left' if degrees > 0 else 'right'}"
    return Clause(words, [("turn", {"degrees": degrees})], shown, "turn")


def go_to(rng: random.Random, world: World) -> Clause:
    place = rng.choice(world.places)
    the = _the(rng, place)
    words = rng.choice([f"go to {the}", f"drive to {the}", f"head to {the}", f"head over to {the}", f"move to {the}", f"navigate to {the}",
                        f"come to {the}", f"go over to {the}", f"proceed to {the}", f"make your way to {the}", f"drive over to {the}",
                        f"return to {the}", f"go back to {the}", f"meet me at {the}", f"wait at {the}", f"I need you at {the}", f"travel to {the}"])
    return Clause(words, [("go_to", {"place": place})], f"go to {place}", "go_to")


def pick(rng: random.Random, world: World) -> Clause:
    thing = rng.choice(world.things)
    the = _the(rng, thing)
    words = rng.choice([f"pick up {the}", f"pick {the} up", f"grab {the}", f"take {the}", f"get {the}", f"grasp {the}", f"lift {the}", f"fetch {the}",
                        f"collect {the}", f"pick {the}", f"lift up {the}", f"get hold of {the}", f"take hold of {the}", f"hold {the}"])
    return Clause(words, [("pick", {"object": thing})], f"pick {thing}", "pick")


def place(rng: random.Random, world: World) -> Clause:
    thing, spot = rng.choice(world.things), rng.choice(world.spots)
    the, there = _the(rng, thing), _the(rng, spot)
    where = f"{rng.choice(['on', 'onto', 'in', 'into', 'at', 'next to', 'on top of', 'by'])} {there}"
    words = rng.choice([f"put {the} {where}", f"place {the} {where}", f"set {the} down {where}", f"drop {the} {where}", f"leave {the} {where}",
                        f"put {the} down {where}", f"lay {the} {where}", f"set {the} {where}", f"deposit {the} {where}"])
    return Clause(words, [("place", {"object": thing, "location": spot})], f"place {thing} at {spot}", "place")


def bring(rng: random.Random, world: World) -> Clause:
    thing, spot = rng.choice(world.things), rng.choice(world.spots)
    the, there = _the(rng, thing), _the(rng, spot)
    words = rng.choice([f"pick up {the} and put it on {there}", f"take {the} and place it on {there}", f"grab {the} and set it down on {there}",
                        f"take {the} and leave it at {there}", f"pick {the} up and put it in {there}", f"get {the} and drop it into {there}"])
    calls = [("pick", {"object": thing}), ("place", {"object": thing, "location": spot})]
    return Clause(words, calls, f"pick {thing}, then place {thing} at {spot}", "pick+place")


def set_speed(rng: random.Random, _world: World) -> Clause:
    text, value = numbers.speed(rng)
    words = rng.choice([f"set your speed to {text}", f"set the speed to {text}", f"drive at {text}", f"go at {text}", f"change speed to {text}", f"limit your speed to {text}",
                        f"slow down to {text}", f"speed up to {text}", f"keep to {text}", f"use a speed of {text}", f"set speed {text}", f"from now on drive at {text}"])
    return Clause(words, [("set_speed", {"mps": value})], f"set speed {value} m/s", "set_speed")


def stop(rng: random.Random, _world: World) -> Clause:
    words = rng.choice(["stop", "halt", "freeze", "stop right there", "stop now", "stop moving", "hold it", "emergency stop", "stop immediately", "don't move",
                        "stop at once", "hold still", "stay where you are", "stand still", "cease all motion", "stop everything"])
    return Clause(words, [("stop", {})], "stop", "stop")


REPORTS = {
    "battery": ["the battery", "your battery", "the battery level", "your charge", "the charge level", "how much charge is left"],
    "position": ["your position", "the position", "where you are", "your location", "your coordinates"],
    "speed": ["your speed", "the speed", "how fast you are going", "your current speed", "your velocity"],
    "status": ["your status", "the status", "your state", "what you are doing", "how you are doing"],
}


def report(rng: random.Random, _world: World) -> Clause:
    what = rng.choice(list(REPORTS))
    of = rng.choice(REPORTS[what])
    words = rng.choice([f"report {of}", f"tell me {of}", f"let me know {of}", f"check {of}", f"read out {of}", f"send me {of}", f"show me {of}"])
    return Clause(words, [("report", {"what": what})], f"report {what}", "report")


GREETINGS = ("hello|good morning|good evening|welcome|thank you|goodbye|dinner is ready|please step aside|the delivery is here|watch out|excuse me|"
             "lunch is served|the door is open|I am coming through|be careful|your parcel has arrived|it is time to go|the meeting starts now|well done|happy birthday|"
             "the floor is wet|please stand back|I am on my way|nice to meet you|come here|see you tomorrow|everything is fine|the task is done").split("|")


def say(rng: random.Random, world: World) -> Clause:
    text = rng.choice(GREETINGS)
    if rng.random() < 0.5:
        text = rng.choice([f"the {rng.choice(world.things)} is {rng.choice(['here', 'missing', 'ready', 'broken', 'gone', 'at the ' + rng.choice(world.places)])}",
                           f"{text} {rng.choice(['everyone', 'team', 'my friend', 'all', 'doctor', 'sir', 'madam'])}", f"I am at the {rng.choice(world.places)}",
                           f"I have the {rng.choice(world.things)}", f"please bring the {rng.choice(world.things)}"])
    words = rng.choice([f'say "{text}"', f"say {text}", f'announce "{text}"', f"announce that {text}" if " is " in text else f'say "{text}"', f'speak the words "{text}"',
                        f'say the following: "{text}"', f"say '{text}'", f'say out loud "{text}"'])
    return Clause(words, [("say", {"text": text})], f'say "{text}"', "say")


BUILDERS = [move, move, move, turn, turn, turn, go_to, go_to, pick, pick, place, place, bring, set_speed, stop, report, say]
