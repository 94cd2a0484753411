"""Photographs as facts, with texts about them written by hand: faithful ones, and ones that invent something.

Each scene has regions (label, what is said of it, box in an image of 640 x 480), a brief text, and the words written in
the image.  An invention names the rule that must catch it.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.core import Box, Size
from harness.data_engine.facts import Facts, Thing


@dataclass(frozen=True, slots=True)
class Photograph:
    """Facts, faithful texts, and inventions as (rule, text)."""

    facts: Facts
    faithful: tuple[str, ...]
    invented: tuple[tuple[str, str], ...]


def photograph(
    brief: str,
    things: list[tuple[str, str, Box]],
    faithful: list[str],
    invented: list[tuple[str, str]],
    words: tuple[str, ...] = (),
) -> Photograph:
    regions = tuple(Thing(f"r{number}", *thing) for number, thing in enumerate(things, 1))
    return Photograph(Facts(Size(640, 480), brief, regions, words), tuple(faithful), tuple(invented))


STREET = photograph(
    "A red double decker bus drives down a city street.",
    [
        ("bus", "a red double decker bus", (60, 120, 330, 420)),
        ("car", "a small white car", (420, 300, 560, 380)),
        ("person", "a man in a black coat", (580, 260, 630, 430)),
        ("traffic light", "", (350, 40, 380, 130)),
    ],
    [
        "A red double decker bus drives down a street on the left. To the right of the bus is a small white car.",
        "The image shows a city street with a red bus and a white car. A man in a black coat is on the right.",
        "A traffic light is above the car, and a person wearing a black coat can be seen on the right side.",
        "On the left, a double decker bus that is red is driving on the street. The car is white and small.",
    ],
    [
        ("noun", "A red double decker bus drives down a street on the left, next to a cyclist."),
        ("count", "Two red double decker buses drive down the street, and a small white car follows."),
        ("attribute", "A white double decker bus drives down a city street, to the left of a small car."),
        ("attribute", "A red bus is on the left of the image, and a large white car is on the right."),
        ("place", "A red double decker bus is driving on the right, and a white car is to the left of the bus."),
        ("place", "The traffic light is below the car in the street."),
    ],
)
KITCHEN = photograph(
    "Two people are cooking in a kitchen.",
    [
        ("woman", "a woman with blond hair", (100, 90, 240, 470)),
        ("man", "a tall man with a blue shirt", (330, 60, 470, 470)),
        ("bowl", "", (250, 300, 320, 350)),
        ("refrigerator", "a silver refrigerator", (500, 50, 640, 470)),
        ("bottle", "", (20, 250, 45, 340)),
        ("bottle", "", (50, 255, 75, 340)),
    ],
    [
        "Two people are cooking in a kitchen. The woman has blond hair, and the man to her right wears a blue shirt.",
        "A woman and a tall man cook in a kitchen. There is a bowl between them, and two bottles are on the left.",
        "In this kitchen, a silver fridge stands on the right side. A lady with blond hair is to the left of the man.",
        "The image shows a man and a woman. The man is tall and has a blue shirt. A couple of bottles are on the left.",
    ],
    [
        ("noun", "Two people are cooking in a kitchen while a dog watches them."),
        ("noun", "A woman and a man cook pasta in a kitchen with a silver refrigerator."),
        ("count", "Three people are cooking in a kitchen, with a bowl between them."),
        ("count", "A woman and a man are in a kitchen with several bowls and two bottles."),
        ("attribute", "A woman with black hair cooks next to a tall man in a kitchen."),
        ("attribute", "A woman with blond hair cooks next to a man with a red shirt."),
        ("place", "The refrigerator is on the left, and two people are cooking in the kitchen."),
        ("place", "A tall man stands to the left of the woman in the kitchen."),
    ],
)
BEACH = photograph(
    "A group of people on a beach with surfboards.",
    [
        ("person", "", (50, 200, 100, 380)),
        ("person", "", (150, 210, 200, 390)),
        ("person", "", (260, 190, 310, 400)),
        ("surfboard", "a yellow surfboard", (90, 230, 130, 400)),
        ("surfboard", "a white surfboard", (300, 220, 350, 410)),
        ("dog", "a small brown dog", (500, 350, 570, 420)),
        ("umbrella", "a blue and white umbrella", (430, 100, 600, 250)),
    ],
    [
        "Three people are on a beach with two surfboards. A small brown dog is on the right, below an umbrella.",
        "A group of people stands on a beach. One surfboard is yellow and the other is white.",
        "On the right side of the image, there is a blue and white umbrella above a small dog.",
        "The dog is brown and small. It is to the right of the people, who have surfboards.",
    ],
    [
        ("noun", "Three people are on a beach with two surfboards and a volleyball."),
        ("count", "Five people are on a beach with two surfboards and a small brown dog."),
        ("count", "A group of people on a beach with surfboards watches two dogs."),
        ("attribute", "Three people are on a beach with a red surfboard and a white surfboard."),
        ("attribute", "A small black dog is on the right, below a blue and white umbrella."),
        ("place", "A small brown dog is on the left of the beach, and the people are on the right."),
        ("place", "The umbrella is below the dog on the beach."),
    ],
)
DESK = photograph(
    "A desk with a laptop, a cup of coffee and a stack of books.",
    [
        ("laptop", "an open silver laptop", (200, 150, 420, 330)),
        ("cup", "a green cup of coffee", (470, 260, 530, 330)),
        ("books", "a stack of books", (40, 180, 160, 330)),
        ("lamp", "a black lamp", (520, 20, 620, 240)),
    ],
    [
        "A silver laptop is in the middle of the desk, and a stack of books is to its left.",
        "An open laptop sits on a desk between books and a green cup. A black lamp is in the upper right corner.",
        "The desk has a green mug of coffee, which is to the right of the laptop. The lamp above the cup is black.",
        "There are books on the left side and a lamp on the right side of the picture.",
    ],
    [
        ("noun", "A silver laptop is in the middle of the desk, with a keyboard in front of it."),
        ("noun", "A desk with a laptop, a cup of tea and a stack of books."),
        ("count", "Two laptops and a green cup of coffee are on the desk."),
        ("attribute", "A black laptop is on the desk, next to a green cup of coffee."),
        ("attribute", "A silver laptop sits on a desk with a red cup of coffee."),
        ("place", "A stack of books is to the right of the laptop on the desk."),
        ("place", "A black lamp is in the lower left corner, near the laptop."),
    ],
)
STATION = photograph(
    "A yellow train at a platform with a sign.",
    [
        ("train", "a long yellow train", (0, 150, 450, 400)),
        ("sign", "a blue sign", (480, 60, 600, 110)),
        ("bench", "", (500, 330, 620, 400)),
        ("suitcase", "a large black suitcase", (455, 340, 490, 400)),
    ],
    [
        'A long yellow train is at a platform. The blue sign on the right reads "Oxford".',
        "A yellow train stands at the platform on the left. There is a black suitcase to the left of a bench.",
        "Below the blue sign there is a bench, and a large suitcase is next to it.",
    ],
    [
        ("noun", 'A long yellow train is at a platform. The blue sign on the right reads "London".'),
        ("noun", "A yellow train stands at the platform, and a conductor waits by the bench."),
        ("count", "Two yellow trains stand at a platform with a blue sign."),
        ("count", "A yellow train is at platform 9, next to a bench."),
        ("attribute", "A yellow train is at a platform with a red sign and a bench."),
        ("place", "A bench is above the blue sign, to the right of the train."),
        ("place", "The suitcase is on the left of the train at the platform."),
    ],
    ("OXFORD",),
)
PHOTOGRAPHS = {"street": STREET, "kitchen": KITCHEN, "beach": BEACH, "desk": DESK, "station": STATION}

# Written after the rules, and read by them once before any change: see `test_checks`.
PARK = photograph(
    "A boy is flying a colorful kite in a park.",
    [
        ("boy", "a young boy in a green jacket", (280, 250, 350, 440)),
        ("kite", "a colorful kite", (420, 30, 520, 120)),
        ("tree", "a tall tree", (20, 80, 140, 400)),
        ("bench", "a wooden bench", (480, 340, 620, 420)),
        ("dog", "a white dog", (200, 380, 260, 440)),
    ],
    [
        "A boy wearing a green jacket flies a kite in the park. His white dog is to the left of him.",
        "In a park, a child is flying a colorful kite. A tall tree grows on the left, and a bench stands on the right.",
        "The kite is high above the wooden bench. A boy with a dog is near the middle of the picture.",
        "On the left-hand side, there is a tree. The white dog is between the tree and the boy.",
        "A young boy and a dog are in a park. The kite, which is colorful, flies in the upper right part of the photo.",
    ],
    [
        ("noun", "A boy is flying a colorful kite in a park, and a girl is watching."),
        ("noun", "A young boy in a green jacket throws a frisbee to a white dog."),
        ("count", "Two boys are flying a colorful kite in a park."),
        ("count", "A boy is flying three kites in a park next to a bench."),
        ("attribute", "A boy in a red jacket is flying a colorful kite."),
        ("attribute", "A boy is in a park with a black dog and a kite."),
        ("place", "A tall tree is on the right side of the park, next to a boy."),
        ("place", "The white dog is to the right of the boy in the park."),
        ("place", "The bench is above the kite."),
    ],
)
LIVING_ROOM = photograph(
    "A cat sleeps on a couch in a living room.",
    [
        ("couch", "a large grey couch", (60, 220, 400, 420)),
        ("cat", "an orange cat", (180, 230, 270, 300)),
        ("tv", "", (470, 140, 620, 270)),
        ("pillow", "a blue pillow", (70, 230, 130, 290)),
        ("pillow", "a white pillow", (330, 230, 390, 290)),
        ("clock", "a round clock", (300, 30, 360, 90)),
    ],
    [
        "An orange cat is sleeping on a large gray sofa in a living room. There are two pillows on the couch.",
        "The living room has a couch and a television. A round clock hangs above the couch.",
        "A blue pillow is to the left of the cat, and a white pillow is to its right.",
        "A cat lies on the sofa between two pillows. To the right of the sofa, there is a TV.",
        (
            "The animal on the couch is an orange cat. The pillow on "
            "the left is blue, while the one on the right is white."
        ),
    ],
    [
        ("noun", "An orange cat sleeps on a couch in a living room with a fireplace."),
        ("noun", "A dog sleeps on a large grey couch between two pillows."),
        ("count", "Two orange cats sleep on a couch in a living room."),
        ("count", "A cat sleeps on a couch with four pillows."),
        ("attribute", "A black cat sleeps on a large grey couch."),
        ("attribute", "An orange cat is on a small couch in a living room."),
        ("attribute", "A cat sleeps on the couch with a red pillow and a white pillow."),
        ("place", "The television is to the left of the couch in the living room."),
        ("place", "The clock is below the cat in the living room."),
        ("place", "The blue pillow is to the right of the cat."),
    ],
)
HARBOR = photograph(
    "Several boats are docked in a harbor.",
    [
        ("boat", "a small red boat", (30, 300, 150, 380)),
        ("boat", "a white sailboat", (220, 150, 340, 390)),
        ("boat", "a blue boat", (430, 310, 560, 390)),
        ("lighthouse", "a tall white lighthouse", (560, 60, 610, 260)),
        ("bird", "", (100, 60, 130, 80)),
    ],
    [
        "Three boats are docked in a harbor. The one on the left is small and red.",
        "Several boats lie in the harbor, and a tall white lighthouse stands on the right.",
        "A white sailboat is in the middle, a red boat is on the left, and a blue boat is on the right.",
        "There is a bird in the top left of the image, above the red boat.",
        "A lighthouse can be seen to the right of the boats. It is tall and white.",
    ],
    [
        ("noun", "Several boats are docked in a harbor, and a fisherman stands on the pier."),
        ("count", "Seven boats are docked in a harbor near a lighthouse."),
        ("count", "Several birds fly above the boats in the harbor."),
        ("count", "Two lighthouses stand on the right side of the harbor."),
        ("attribute", "A small green boat is on the left of the harbor."),
        ("attribute", "Three boats are in the harbor, and the lighthouse is red."),
        ("place", "The red boat is to the right of the white sailboat."),
        ("place", "A tall white lighthouse stands on the left side of the image."),
        ("place", "A bird is in the bottom right corner of the image."),
    ],
)
TABLE = photograph(
    "A plate of food on a table with two glasses.",
    [
        ("plate", "a white plate with pizza", (220, 220, 420, 360)),
        ("pizza", "", (240, 230, 400, 345)),
        ("glass", "a glass of water", (100, 120, 150, 240)),
        ("glass", "a glass of red wine", (480, 110, 535, 240)),
        ("fork", "", (180, 240, 205, 360)),
        ("knife", "", (435, 240, 455, 360)),
    ],
    [
        (
            "A white plate with pizza is on a table. There is a glass "
            "of water on the left and a glass of wine on the right."
        ),
        (
            "The table has a plate of pizza in the center, with a fork "
            "to the left of the plate and a knife to the right of it."
        ),
        "Two glasses stand on the table above the fork and the knife.",
        "A pizza lies on a plate. The plate is white, and a knife is on its right.",
    ],
    [
        ("noun", "A plate of pizza is on a table with a candle."),
        ("noun", "A white plate with pasta is on a table with two glasses."),
        ("count", "A plate of pizza on a table with three glasses."),
        ("count", "Two plates of food are on the table."),
        ("attribute", "A blue plate with pizza is on a table."),
        ("place", "The fork is to the right of the plate on the table."),
        ("place", "The knife is on the left side of the image, beside the plate."),
    ],
)
HELD_OUT = {"park": PARK, "living room": LIVING_ROOM, "harbor": HARBOR, "table": TABLE}
