"""Questions on the state, small talk, and the sentences after a tool's result."""

import json
import random
from dataclasses import dataclass

from commands import REPORTS, World
from talk import Turn

DONE = "Done."


@dataclass
class State:
    """The state block of a system prompt."""

    battery: int
    x: float
    y: float
    speed: float
    status: str
    holding: str

    def block(self, style: int) -> str:
        """The state as lines, as one sentence or as a list; styles 0 to 3."""
        held = self.holding or "nothing"
        if style == 1:
            return (f"State: battery {self.battery} %, position x {self.x} m, y {self.y} m, speed {self.speed} m/s, "
                    f"status {self.status}, holding {held}.")
        if style == 2:
            return (f"- battery: {self.battery}%\n- position: x={self.x}, y={self.y}\n- speed: {self.speed} m/s\n"
                    f"- status: {self.status}\n- gripper: {held}")
        if style == 3:
            return (f"Your battery is at {self.battery} %. You are at x {self.x} m, y {self.y} m. Your speed is {self.speed} m/s. "
                    f"Your status is {self.status}. You hold {held}.")
        return (f"Battery: {self.battery} %\nPosition: x {self.x} m, y {self.y} m\nSpeed: {self.speed} m/s\n"
                f"Status: {self.status}\nHolding: {held}")

    def answer(self, what: str) -> str:
        """The sentence that answers a question on `what`."""
        return {
            "battery": f"The battery is at {self.battery} %.",
            "position": f"I am at x {self.x} m, y {self.y} m.",
            "speed": f"My speed is {self.speed} m/s.",
            "status": f"My status is: {self.status}.",
            "holding": f"I am holding the {self.holding}." if self.holding else "I am holding nothing.",
        }[what]


def state(rng: random.Random, world: World) -> State:
    status = rng.choice(["idle", "driving", "charging", "waiting", "picking", "stopped", "searching", "blocked", "ready", "turning", "placing",
                         "paused", "busy", "lost", "parked", "on the way to the " + rng.choice(world.places),
                         "waiting at the " + rng.choice(world.places)])
    return State(rng.randint(1, 100), round(rng.uniform(-20, 20), 1), round(rng.uniform(-20, 20), 1), round(rng.uniform(0, 2), rng.choice([1, 1, 2])), status,
                 rng.choice(["", rng.choice(world.things), rng.choice(world.things)]))


QUESTIONS = {
    "battery": ["how much battery is left", "what is your battery level", "how full is the battery", "what's the charge",
                "how much charge do you have", "is the battery low", "what's your battery at", "how is your battery", "how's the battery doing",
                "do you need charging", "how many percent are left", "how much power do you have left", "what does the battery say",
                "are you low on battery", "is your battery full", "what is the state of charge", "do you have enough battery", "battery level",
                "what percentage is your battery at", "how much juice have you got", "is there enough power left"],
    "position": ["where are you", "what is your position", "where are you now", "what are your coordinates", "which position are you at",
                 "what's your location", "where are you right now", "where exactly are you", "whereabouts are you", "what is your current location",
                 "what's your x and y", "at which coordinates are you", "where have you got to", "where do you stand", "where did you end up",
                 "your position", "can you tell me where you are"],
    "speed": ["how fast are you going", "what is your speed", "how fast are you", "what's your current speed", "at what speed are you driving",
              "how quickly are you moving", "how fast do you drive", "are you moving fast", "what speed are you doing", "how fast are we going",
              "what is your velocity", "what speed is set", "your speed", "can you tell me how fast you are", "how fast are you driving right now"],
    "status": ["what are you doing", "what is your status", "what's your state", "what are you up to", "how are things", "what are you busy with",
               "what's your current status", "what are you doing right now", "are you busy", "are you idle", "what is going on", "are you ready",
               "what's up with you", "your status", "what state are you in"],
    "holding": ["what are you holding", "what do you have in your gripper", "what is in your hand", "are you holding something",
                "what are you carrying", "what's in your gripper", "is your gripper empty", "are you carrying anything",
                "do you have something in your hand", "what did you pick up", "which object are you holding", "what's in the gripper"],
}
_OPENER = ["", "", "", "", "tell me, ", "hey, ", "robot, ", "and ", "so ", "hi, ", "ok, ", "quick question: ", "excuse me, "]


def question(rng: random.Random, what: str) -> str:
    """A question on one entry of the state, or a request to be told of it."""
    if what in REPORTS and rng.random() < 0.2:
        verb = rng.choice(["tell me", "tell me", "let me know", "tell us"])
        words = rng.choice(["", "", "please ", "can you ", "could you "]) + f"{verb} {rng.choice(REPORTS[what])}"
    else:
        words = rng.choice(_OPENER) + rng.choice(QUESTIONS[what])
    if rng.random() < 0.7:
        words = words[0].upper() + words[1:]
    return words + rng.choice(["?", "?", "?", ""])


def asked(rng: random.Random, now: State) -> Turn:
    """A question that the state block answers."""
    what = rng.choice(list(QUESTIONS))
    return Turn(question(rng, what), [], now.answer(what), f"the state has the {what}", "question")


def asked_without_state(rng: random.Random) -> Turn:
    """The same questions where no state is given: the robot calls `report`."""
    what = rng.choice(["battery", "position", "speed", "status"])
    return Turn(question(rng, what), [("report", {"what": what})], "", f"report {what}", "report")


def asked_places(rng: random.Random, world: World) -> Turn:
    """Which places are known, where the system prompt lists them."""
    words = rng.choice(["which places do you know", "where can you go", "what places are there", "which places can you go to",
                        "what are the known places", "list the places", "where can I send you", "what rooms do you know"])
    answer = f"I know these places: {', '.join(world.places)}."
    return Turn(words[0].upper() + words[1:] + rng.choice(["?", "?", ""]), [], answer, "list the known places", "question")


_TALK = {
    "Hello! What can I do for you?": ["hello", "hi", "hey", "good morning", "hi there", "hello robot", "good evening", "hey robot", "hi robot",
                                      "good afternoon", "hey there"],
    "You are welcome.": ["thanks", "thank you", "thank you very much", "thanks a lot", "great, thank you", "well done", "good job", "good robot",
                         "perfect, thanks", "nice work", "cheers"],
    "I am a small robot. I can drive, turn, pick and place objects, report and speak.":
        ["who are you", "what are you", "what can you do", "what are your functions", "how can you help me", "help", "introduce yourself",
         "what are you able to do", "tell me about yourself"],
    "Goodbye.": ["bye", "goodbye", "see you later", "good night", "see you", "bye bye", "that's all for today"],
}


def small_talk(rng: random.Random) -> Turn:
    """Greetings, thanks, and who the robot is."""
    answer = rng.choice(list(_TALK))
    words = rng.choice(_TALK[answer])
    words = words[0].upper() + words[1:] if rng.random() < 0.6 else words
    ends = ["?", "?", ""] if answer.startswith("I am") and words.lower() != "help" else ["", ".", "!"]
    return Turn(words + rng.choice(ends), [], answer, "small talk", "talk")


_FAILURES = ["path blocked", "object not found", "battery too low", "arm is busy", "gripper is not empty", "place not reachable", "out of reach",
             "motor fault", "timeout", "obstacle ahead"]


def _measured(rng: random.Random, what: str, now: State) -> str:
    if what == "position":
        return rng.choice([json.dumps({"x": now.x, "y": now.y}), json.dumps({"position": {"x": now.x, "y": now.y}}), f"x {now.x} m, y {now.y} m",
                           json.dumps({"ok": True, "x": now.x, "y": now.y})])
    value, text = {"battery": (now.battery, f"{now.battery} %"), "speed": (now.speed, f"{now.speed} m/s"), "status": (now.status, now.status)}[what]
    key = {"battery": ["battery", "battery_percent", "percent"], "speed": ["speed", "speed_mps", "mps"], "status": ["status", "state"]}[what]
    return rng.choice([text, json.dumps({rng.choice(key): value}), json.dumps({what: text}), json.dumps({"ok": True, rng.choice(key): value}),
                       json.dumps({"value": value})])


def with_results(rng: random.Random, turn: Turn, world: World) -> Turn:
    """The turn with the tools' results and the robot's sentence after them."""
    now, results, said, failed = state(rng, world), [], [], ""
    for name, arguments in turn.calls:
        if rng.random() < 0.12:
            failed = failed or rng.choice(_FAILURES)
            results.append(rng.choice([json.dumps({"ok": False, "error": failed}), json.dumps({"error": failed}), f"error: {failed}"]))
        elif name == "report":
            results.append(_measured(rng, arguments["what"], now))
            said.append(now.answer(arguments["what"]))
        else:
            results.append(rng.choice(['{"ok": true}', '{"ok": true}', "ok", "done", '{"status": "ok"}', '{"result": "success"}', "true",
                                       '{"success": true}', "OK"]))
    reply = f"That failed: {failed}." if failed else " ".join(said) or DONE
    return Turn(turn.user, turn.calls, turn.text, turn.plan, turn.kind, results, reply)
