"""What people say around a command that is not part of it: polite frames, reasons, remarks, and words that nobody knows."""

import random

import names

_FRAMES = ("I was wondering if you could {v}?|any chance you could {v}?|is it possible for you to {v}?|would it be possible to {v}?|I'd appreciate it if you would {v}|"
           "make sure to {v}|be sure to {v}|remember to {v}|don't forget to {v}|your job is to {v}|the next step is to {v}|what I need is for you to {v}|"
           "see if you can {v}|feel free to {v}|it would be great if you could {v}|it would help if you could {v}|would you be able to {v}?|are you able to {v}?|"
           "your task now is to {v}|I'd love you to {v}|I'd prefer you to {v}|I want to see you {v}|let me see you {v}|you had better {v}|you might want to {v}|"
           "it's time for you to {v}|I must ask you to {v}|we need you to {v}|they want you to {v}|I'm asking you to {v}|why don't you {v}?|could I ask you to {v}?|"
           "could I get you to {v}?|may I ask you to {v}?|do you think you could {v}?|you are supposed to {v}|I told you to {v}|I said {v}|I'll have you {v}|"
           "all you have to do is {v}|the plan is that you {v}|get ready and {v}|be a dear and {v}|be nice and {v}|for me, {v}|you know what, {v}|"
           "first things first, {v}|before anything else, {v}|for a start, {v}|to begin with, {v}|if you don't mind, {v}|if you would, {v}|when you have a moment, {v}|"
           "as soon as you can, {v}|if it is not too much trouble, {v}|without further ado, {v}|by the way, {v}|while you are at it, {v}|in that case, {v}|"
           "this time, {v}|here is what I want: {v}|new task: {v}|next task: {v}|your orders: {v}|instruction: {v}|command: {v}|robot: {v}|my dear robot, {v}|"
           "hey you, {v}|attention, {v}|quick, {v}|easy now, {v}|on my mark, {v}|one, two, three, {v}|ready? {v}|please, please {v}|pretty please {v}").split("|")
_GERUND_FRAMES = ("would you mind {g}?|how about {g}?|what about {g}?|I suggest {g}|could you try {g}?|do you mind {g}?|I'd recommend {g}|"
                  "you could help me by {g}|let's try {g}|you can begin by {g}|help me out by {g}|I was thinking of you {g}").split("|")
_DOUBLED = frozenset("stop put set get run drop spin grip pop cut hit sit slip swim step".split())
_VERBS = frozenset("""accelerate advance announce back brake bring carry check collect come deliver deposit drive drop fetch find get go grab grasp grip halt head
    hold lay leave lift limit lower make move navigate park pick pivot place position proceed put read reduce release report rest retrieve return reverse roll
    rotate run say seize set shift slide slow spin stand stick stop store strafe swing swivel take transfer transport travel turn veer visit wait approach hurry
    rush walk scoop snatch creep edge glide crawl hang tuck dump face""".split())

_SUBJECTS = ("my colleague|somebody|the customer|the other robot|my sister|the boss|a visitor|the new guy|the whole team|my neighbour|the technician|the night shift|"
             "the manager|everyone here|my back|this place|the floor|the weather|the whole morning|my phone|the delivery|our guest|the inspector|the cleaner|"
             "this thing|the old one|the next batch|the camera crew|the dog|my coffee").split("|")
_PREDICATES = ("is waiting|looks great today|has just left|wants to see this|needs it soon|told me about it|is almost done|was late again|broke yesterday|"
               "will be here in a minute|does not like noise|keeps falling over|is hurting|is a mess|has been busy all day|could not do it|is out sick|"
               "is on the phone|is not ready yet|asked for it twice|never works|was worse last week|is about to begin|has no time|is very proud of you|"
               "would love that|is really tired|gets cold quickly|must not see it|does that all the time").split("|")
_REASONS = (" because {s} {p}| since {s} {p}|, {s} {p}| so that we can start| so we can begin| so that nobody trips| before it gets dark| while I hold the door|"
            " to save time| to be on the safe side| as we discussed| like last time| like you did yesterday| just in case| the way I showed you|"
            " when nobody is looking| without making noise| in one go| if there is nothing in the way| as a test| once and for all| for the demo|"
            " for our guests| before {s} comes| otherwise {s} complains| or {s} will be upset| and then I'll leave you alone").split("|")


def gerund(words: str) -> str | None:
    """The imperative as a gerund ("put it down" -> "putting it down"); none where its first word is no verb known here."""
    verb, _, rest = words.partition(" ")
    if verb not in _VERBS:
        return None
    stem = verb + verb[-1] if verb in _DOUBLED else verb[:-1] if verb.endswith("e") and not verb.endswith("ee") else verb
    return f"{stem}ing {rest}".rstrip()


def framed(rng: random.Random, words: str) -> str | None:
    """An imperative in a longer sentence that asks for the same."""
    if rng.random() < 0.2:
        form = gerund(words)
        return form and rng.choice(_GERUND_FRAMES).format(g=form)
    return rng.choice(_FRAMES).format(v=words)


def _filled(rng: random.Random, form: str) -> str:
    text = form.format(s=rng.choice(_SUBJECTS), p=rng.choice(_PREDICATES))
    return names.varied(rng, text) if rng.random() < 0.3 else text


def remark(rng: random.Random) -> str:
    """A sentence beside the point, one in three with words that nobody knows."""
    text = _filled(rng, rng.choice(["{s} {p}", "{s} {p}", "I think {s} {p}", "you know, {s} {p}", "by the way, {s} {p}", "they say {s} {p}", "sadly {s} {p}"]))
    return text[0].upper() + text[1:] + rng.choice([".", ".", "!", "..."])


def reason(rng: random.Random) -> str:
    """Why or how, after a command."""
    return _filled(rng, rng.choice(_REASONS))
