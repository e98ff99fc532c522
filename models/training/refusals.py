"""What the robot's functions cannot do, and what it says then."""

import random

import names
from commands import World, go_to, the
from talk import Turn, dress

REFUSAL = "Sorry, I cannot do that."

# {t} a thing, {p} a place, {n} a person.  Many are near misses of a command on purpose: "turn on", "stop the music", "place an order".
_DEEDS = ("fly to {p}|make me a coffee|cook dinner|swim across the pool|order a pizza|play some music|tell me a joke|open {p}|book a flight|"
          "jump over {t}|paint {t}|climb the wall|call my mother|send an email|translate this into French|eat {t}|repair {t}|buy {t}|sing a song|"
          "dance with me|wash {t}|take a photo|throw {t} out of the window|turn on the lights|lock {p}|clean {p}|write a poem|"
          "explain quantum physics|cut {t} in half|charge my phone|drive the car|read me a book|set an alarm|break {t}|burn {t}|water the plants|"
          "vacuum {p}|iron my shirt|solve this equation|give me a massage|teleport to {p}|weigh {t}|count to ten|whistle a tune|dig a hole|"
          "build me a house|feed the cat|walk the dog|melt {t}|print a document|hack the computer|dim the lights|turn off the radio|"
          "turn up the volume|turn down the heating|switch off the light in {p}|stop the music|stop the car outside|place an order for {t}|"
          "place a bet|set a timer for ten minutes|set the table|set the temperature to 20 degrees|move to another city|report the news|"
          "report the crime to the police|pick a number between one and ten|pick a winner|pick the lock of {p}|go shopping|go to sleep|go on holiday|"
          "take a nap|take a picture of {t}|take a shower|drive me to the airport|run a marathon|find my keys|find out who took {t}|follow {n}|"
          "kiss {n}|call {n}|text {n} that I am late|invite {n} to dinner|hug {n}|film {t}|scan {t}|sell {t}|hide {t} from {n}|fold {t}|unscrew {t}|"
          "open {t}|close {t}|fill {t} with water|empty {t}|heat {t}|freeze {t}|peel {t}|sharpen {t}|glue {t} together|stack the chairs|"
          "sort the mail|mow the lawn|do the dishes|do my homework|do a backflip|do a handstand|knit me a scarf|bake a cake|fry an egg|"
          "boil some water|pour me a drink|mix a cocktail|brew some tea|sweep {p}|mop {p}|decorate {p}|guard {p}|heat {p}|air {p}|paint {p}|"
          "burn down {p}|knock on the door|ring the bell|press the button|pull the lever|push the wall over|kick {t}|throw {t} at {n}|"
          "juggle three balls|catch the ball|play chess with me|play football|watch a film|show me a video|draw a cat|sketch {p}|compose a symphony|"
          "write some Python code|write a letter to {n}|summarise this article|download the update|restart the router|connect to the wifi|"
          "post this on the internet|search the web for {t}|google the opening hours|check my email|check the weather|book a table for two|"
          "pay the bill|lend me some money|transfer 50 euros to {n}|invest in shares|vote for me|marry me|fall in love|become human|grow a plant|"
          "shrink to half your size|turn into a cat|turn invisible|turn back time|travel to the moon|dive into the sea|float in the air|lift off|"
          "fly in a circle|jump up and down|climb up a ladder|climb onto {t}|crawl under the fence|ride a bicycle|skip rope|land on the roof|"
          "break into {p}|spy on {n}|remember my birthday|forget everything|cut my hair|tie my shoes|change a nappy|take my temperature|"
          "measure my height|diagnose my illness|teach me Spanish|spell encyclopedia|recite the alphabet|divide 100 by 7|multiply 12 and 13|"
          "convert ten dollars to euros|plan my day|remind me to buy {t}|cancel my meeting|schedule a call with {n}|wake me up at seven|shoot {t}|"
          "drop a bomb|attack {n}|destroy {p}|flood {p}|set fire to {t}|smash {t}|pour water on {t}|eat lunch|drink {t}|smell {t}|taste {t}|"
          "hand over your password").split("|")
# Any of these verbs with any of these objects is beyond the robot.
_VERBS = ("polish|knead|rent|paint|plant|milk|photocopy|varnish|bake|grill|roast|stir|whisk|chop|grate|mash|marinate|sew|crochet|embroider|weave|tailor|dye|bleach|starch|tune|"
          "inflate|refuel|tow|charter|insure|register|unlock|hack|upload|livestream|record|edit|print|laminate|shred|notarise|translate|memorise|recite|rehearse|conduct|"
          "choreograph|train|tame|shear|saddle|vaccinate|bandage|x-ray|prescribe|fertilise|harvest|prune|rake|shovel|bury|excavate|demolish|plaster|tile|wallpaper|weld|"
          "solder|calibrate|disinfect|fumigate|dissolve|distil|ferment|filter|microwave|defrost|toast|season|garnish|blow-dry|style|braid|shampoo|shave|manicure").split("|")
_OBJECTS = ("my bicycle|the carpet|a cake|some bread|the curtains|our garden|the neighbour's car|my jacket|the piano|a pizza|this letter|the contract|the roof|the hedge|"
            "my hair|a cow|the horse|the windows|an omelette|the steak|a new program|the database|my passport|the photos|a scarf|the fence|the bathroom tiles|the radiator|"
            "my shoes|the boat|a helicopter|the salad|the soup|my beard|the printer|the ceiling|a poem|the tyres|the lawn|some noodles|{t}|{t}|{p}").split("|")
_QUESTIONS = ("what is the weather like|what is the capital of France|who won the match|what time is it|how old are you|who is the president|"
              "what is two plus two|will it rain tomorrow|how tall is the Eiffel Tower|why is the sky blue|what day is it today|how do I bake bread|"
              "who wrote Hamlet|what does {t} cost|when does the train leave|what's the news|how far is the moon|can you fly|can you swim|"
              "do you dream|what is the meaning of life|who invented {t}|what colour is {t}|how heavy is {t}|what is for lunch|is {n} at home|"
              "when was {n} born|what's the temperature in {p}|how many people are in {p}|who is in {p}|is the door of {p} locked|"
              "what do you think of {n}|which team is the best|how do I get rich|do you like music|what's your favourite colour|who is your father|"
              "where can I buy {t}|what does this word mean|how is the traffic|what year is it|how many legs does a spider have|what's 15 times 4|"
              "is it cold outside|when is my next appointment|did anyone call|what's the wifi password|who painted the Mona Lisa|"
              "what's in the news today|which planet is the largest|how deep is the ocean|what language do they speak in Brazil").split("|")


def refused(rng: random.Random, world: World) -> Turn:
    """Something that no function does."""
    fill = {"p": the(rng, rng.choice(world.places)), "t": the(rng, rng.choice(world.things)), "n": rng.choice([*names.PEOPLE, "my boss", "the neighbour"])}
    if rng.random() < 0.25:
        words = rng.choice(_QUESTIONS).format(**fill)
        user = rng.choice(["", "", "hey, ", "robot, ", "tell me, ", "so, "]) + words
        user = user[0].upper() + user[1:] + rng.choice(["?", "?", ""])
    else:
        deed = rng.choice(_DEEDS) if rng.random() < 0.65 else f"{rng.choice(_VERBS)} {rng.choice(_OBJECTS)}"
        user = dress(rng, deed.format(**fill))
    return Turn(user, [], REFUSAL, "no function fits", "refusal")


def unknown_place(rng: random.Random, world: World, split: str) -> Turn:
    """A place that the system prompt's list does not have."""
    place = names.draw(rng, names.place, split)
    while place in world.places:
        place = names.draw(rng, names.place, split)
    clause = go_to(rng, World([place], world.things, world.spots))
    return Turn(dress(rng, clause.words, clause.form), [], f"Sorry, I do not know the place {place}.", f"{place} is not a known place", "refusal")
