"""User turns made of commands: politeness, several commands in one message, corrections, slips of the keyboard."""

import random
from dataclasses import dataclass, field

import commands
import frames
import numbers_spoken as numbers
from commands import Clause, World


@dataclass
class Turn:
    """One user message and the answer to it: calls, or a sentence.

    `results` are the tools' answers where the conversation has them, one per call, and `reply` the sentence after them.
    """

    user: str
    calls: list[tuple[str, dict]] = field(default_factory=list)
    text: str = ""
    plan: str = ""
    kind: str = ""
    results: list[str] = field(default_factory=list)
    reply: str = ""


_LEAD = ["now ", "ok, ", "okay ", "robot, ", "hey robot, ", "hey, ", "then ", "alright, ", "so, ", "next, ", "well, ", "um, ", "hi, ", "right, ",
         "ok now ", "hi robot, ", "hello, ", "listen, ", "great, now ", "good, ", "uh ", "and now ", "perfect, ", "thanks, now ", "all right, ",
         "Eitri, ", "buddy, ", "hmm, ", "yes, ", "no, "]
_ASK = ["please ", "please ", "could you ", "can you ", "would you ", "could you please ", "can you please ", "will you ", "would you please ",
        "can you quickly ", "can you just "]
_WISH = ["I want you to ", "I'd like you to ", "go ahead and ", "I need you to ", "you should ", "you can ", "let's ", "try to ", "you have to ",
         "just ", "quickly ", "carefully ", "slowly ", "kindly ", "I would like you to ", "you need to ", "you may ", "time to ",
         "do me a favour and ", "do me a favor and ", "be so kind and "]
_AFTER = [" please", ", please", " now", " for me", ", thanks", ", thank you", " right away", " if you can", ", will you", " and that's all",
          " when you are ready", " thanks", ", ok", " quickly", " carefully", ", buddy", " as soon as possible", ", would you", " if possible",
          " then", ", robot", " next"]
_JOIN = [", then ", " and then ", " and ", ", and then ", ". Then ", "; then ", ", after that ", ". After that ", ", afterwards ", ", and ",
         " and after that ", ". Next, ", ". ", ", next ", " then ", " and finally ", ", ", "; ", ". Now ", " and also ", ". Afterwards ",
         ", and when that is done, ", ". Once done, "]

# Sentences around a command that mean nothing for it.
_ASIDE_BEFORE = ["We are running late. ", "I'm busy here. ", "It's a bit messy today. ", "Nice work so far. ", "Let's get started. ",
                 "There is a box in the way. ", "Everybody is waiting. ", "I have my hands full. ", "This is important. ", "It is getting dark. ",
                 "Sorry to bother you. ", "One more thing. ", "The boss is watching. ", "I forgot something. "]
_ASIDE_AFTER = [", I'm in a hurry", ", it's urgent", ", but be careful", ", no rush", ", you are in my way", ", mind the cables", ". Watch your step",
                ". We don't have all day", ", and be quick about it", ". I will explain later", ", someone is waiting", ". Take your time",
                ", it is quite important", ". Don't bump into anything", ", and don't spill anything"]


def dress(rng: random.Random, words: str, form: str = "verb") -> str:
    """The words with what people say around them."""
    before, question, kind = "", form == "whole" and words.startswith(("can ", "could ", "may ")), rng.random()
    if form == "verb" and rng.random() < 0.14:
        framed = frames.framed(rng, words)
        if framed:
            text = framed[0].upper() + framed[1:] if rng.random() < 0.6 else framed
            return rng.choice(["", "", "", frames.remark(rng) + " "]) + (text if text.endswith("?") else text + rng.choice(["", ".", "."]))
    if form in ("verb", "open") and kind < 0.40:
        before = rng.choice(_LEAD if kind < 0.13 else _ASK if kind < 0.28 else _WISH)
        if kind < 0.13 and rng.random() < 0.3:
            before += rng.choice(_ASK)
        question = any(before.endswith(ask) for ask in _ASK if not ask.startswith("please"))
    elif kind < 0.25 and not words.startswith(("and ", "now ", "then ", "ok", "no, ")):
        before = rng.choice(_LEAD)
    after = rng.choice(_AFTER) if rng.random() < 0.2 and form not in ("open", "closed") and not words.endswith(('"', "'", "please")) else ""
    if rng.random() < 0.08 and form not in ("open", "closed") and not after:
        after = rng.choice(_ASIDE_AFTER) if rng.random() < 0.4 else frames.reason(rng)
    text = before + words + after
    if rng.random() < 0.06:
        return (rng.choice(_ASIDE_BEFORE) if rng.random() < 0.4 else frames.remark(rng) + " ") + text[0].upper() + text[1:] + rng.choice([".", ".", "!", ""])
    if rng.random() < 0.6:
        text = text[0].upper() + text[1:]
    elif rng.random() < 0.03:
        text = text.lower() if '"' not in text else text
    if question and rng.random() < 0.7:
        return text + "?"
    return text + rng.choice(["", "", ".", ".", "!"] if rng.random() < 0.9 else [" .", "!!", "...", "", " :)"])


def protected(calls: list[tuple[str, dict]]) -> set[str]:
    """Words that decide an argument, which a slip must not touch."""
    named = {word for _, arguments in calls for value in arguments.values() if isinstance(value, str) for word in value.lower().split()}
    return named | numbers.NUMBER_WORDS


def slip(rng: random.Random, text: str, calls: list[tuple[str, dict]]) -> str:
    """The text with one mistyped word."""
    kept = protected(calls) - {"left", "right", "forward", "backward"}
    words = text.split(" ")
    able = [i for i, word in enumerate(words) if word.isalpha() and word.islower() and len(word) > 3 and word not in kept]
    if not able:
        return text
    i = rng.choice(able)
    word, at = words[i], rng.randrange(1, len(words[i]) - 1)
    words[i] = rng.choice([word[:at] + word[at + 1:], word[:at] + word[at + 1] + word[at] + word[at + 2:], word[:at] + word[at] + word[at:]])
    return " ".join(words)


def _turn(rng: random.Random, words: str, clause: Clause, kind: str, form: str) -> Turn:
    user = dress(rng, words, form)
    if rng.random() < 0.05 and all(name != "say" for name, _ in clause.calls):
        user = slip(rng, user, clause.calls)
    return Turn(user, clause.calls, "", clause.plan, kind)


def single(rng: random.Random, world: World) -> Turn:
    """One command."""
    clause = rng.choice(commands.BUILDERS)(rng, world)
    return _turn(rng, clause.words, clause, clause.kind, clause.form)


def part(rng: random.Random, world: World, builders=None, forms: tuple[str, ...] = ("verb", "bare")) -> Clause:
    """A command that can stand inside a longer sentence."""
    while True:
        clause = rng.choice(builders or commands.BUILDERS)(rng, world)
        if clause.form in forms:
            return clause


def several(rng: random.Random, world: World) -> Turn:
    """Two or three commands in one message, most in the order of their words, some in another."""
    clauses = [part(rng, world) for _ in range(rng.choice([1, 1, 1, 1, 2, 2]))] + [part(rng, world, None, ("verb", "bare", "open"))]
    spoken, form = [c.words for c in clauses], clauses[0].form
    kind = rng.random()
    verbs = all(c.form == "verb" for c in clauses)
    if len(clauses) == 2 and verbs and kind < 0.12:
        second, first = spoken
        words = rng.choice([f"{second}, but first {first}", f"before you {second}, {first}", f"{second}, but {first} first",
                            f"{second} after you {first}", f"{second} but before that {first}",
                            f"{second} once you {first}" if clauses[1].kind == "go_to" else f"{second}, but first {first}"])
        clauses, form = clauses[::-1], "bare" if words.startswith("before") else "verb"
    elif kind < 0.20:
        words, form = f"first {spoken[0]}, then {spoken[1]}", "bare"
        words += "".join(rng.choice([" and ", " and finally ", ", and then "]) + more for more in spoken[2:])
    elif len(clauses) == 2 and clauses[0].kind == "go_to" and kind < 0.5:
        joint = rng.choice([" and when you are there, ", ", and once there ", ". When you get there, ", " and there ", ", and when you arrive "])
        words = spoken[0] + joint + spoken[1]
    elif len(clauses) == 2 and verbs and kind < 0.30:
        words = rng.choice([f"{spoken[0]} before you {spoken[1]}", f"after you {spoken[0]}, {spoken[1]}", f"once you {spoken[0]}, {spoken[1]}"
                            if clauses[0].kind == "go_to" else f"{spoken[0]} before you {spoken[1]}"])
        form = "verb" if words.startswith(spoken[0]) else "bare"
    elif len(clauses) == 3 and kind < 0.5:
        words = f"{spoken[0]}, {spoken[1]}{rng.choice([' and ', ', and ', ' and then ', ', then '])}{spoken[2]}"
    else:
        words = spoken[0]
        for more in spoken[1:]:
            joint = rng.choice(_JOIN)
            words += joint + (more[0].upper() + more[1:] if joint == ". " else more)
    form = "open" if clauses[-1].form == "open" and form == "verb" else "closed" if clauses[-1].form == "open" else form
    whole = Clause(words, [call for c in clauses for call in c.calls], ", then ".join(c.plan for c in clauses), "several", form)
    return _turn(rng, words, whole, "several", form)


def corrected(rng: random.Random, world: World) -> Turn:
    """A slip of the tongue and its correction: only the corrected command counts."""
    builder = rng.choice([commands.move, commands.turn, commands.go_to, commands.pick, commands.set_speed])
    wrong, meant = part(rng, world, [builder], ("verb",)), part(rng, world, [builder], ("verb",))
    regret = rng.choice([", no, ", ", no wait, ", "... wait, no, ", ", sorry, ", ", actually ", ", I mean ", ", or rather ", ". No, ",
                         ", scratch that, ", ", correction: ", "... sorry, I mean ", " - no, ", ". Wait, ", ", hang on, ", ". Sorry, I meant ",
                         ", no no, ", ", make that ", ", oh no, ", ", er, "])
    words, form = wrong.words, "verb"
    if builder in (commands.go_to, commands.pick) and rng.random() < 0.6:
        name = next(iter(meant.calls[0][1].values()))
        words += regret + commands.the(rng, name) + rng.choice(["", "", " instead"])
    else:
        words += regret.replace(" make that ", " no, ") + meant.words + rng.choice(["", "", " instead"])
    return _turn(rng, words, meant, meant.kind, form)
