"""
Codes that are short enough for a telephone, such as ``7-crossover-clockwork``: a number, a word of three syllables or more, and one of two.

The two lists have no word in common. So a word that was left out, or swapped, is noticed before anything is tried. A guess is right once in
1.6 million times, and there is one guess (:mod:`.code`).
"""

from __future__ import annotations

import re
import secrets
from difflib import get_close_matches
from typing import Final

from nbdtun.errors import ConfigError

NUMBERS: Final = 99

_LONG: Final = """
acrobat alphabet amethyst animal antelope appetite aquarium argument asterisk avenue avocado balcony banister barometer bicycle
boulevard broccoli buffalo butterfly calendar camera camomile canopy cardamom caravan carpenter cathedral cauliflower celery
chandelier chocolate cinnamon citadel clarinet colander coconut coriander crocodile crossover cucumber customer cylinder daffodil
dandelion decimal diagram dinosaur dominoes dragonfly elephant elevator embassy emerald envelope espresso estuary factory festival
flamingo formula furniture gallery gardener general geranium gondola granary gravity hamburger harbinger harmony hazelnut
hemisphere holiday horizon hospital hurricane icicle indigo interval jubilee juniper kangaroo kilogram labyrinth lavender lemonade
library lullaby magazine magnolia mandolin marathon meadowlark melody microscope minaret molecule mosquito museum narrator
nightingale november nutcracker octagon octopus orchestra overcoat paragraph parasol pelican pentagon peppermint philosopher
photograph pineapple pomegranate porcelain pyramid quarterdeck raspberry rectangle rhinoceros saxophone sycamore tambourine
telephone umbrella
"""
_SHORT: Final = """
airfield almond anchor apple apron artist atlas autumn badger basket beacon bishop blanket blossom bottle bracelet breakfast
bridle bronco bucket button cabin cactus candle canyon carbon castle cello chapel cherry chisel cider clockwork cobalt copper
cotton crystal curtain dolphin donkey dragon eagle easel falcon feather fiddle flannel forest furnace galley garlic ginger glacier
goblet granite grapefruit hammer harbour hazel hedgehog helmet herring honey jacket jasmine jigsaw kettle kitchen kitten ladder
lantern lemon lentil lizard lobster magnet mango marble meadow mirror monkey mustard needle nutmeg onion orchard otter oyster
paddle panda pantry parsley pebble pencil pepper pigeon pistol plaster pocket pumpkin quarry rabbit radish ribbon rocket saddle
saffron salmon sandal satchel scissors shadow silver sparrow spinach squirrel sunset tablet teapot thimble tiger timber tunnel
turnip valley velvet violin walnut
"""
FIRST: Final = tuple(_LONG.split())
SECOND: Final = tuple(_SHORT.split())

_FORM: Final = re.compile(r"([1-9][0-9]?)-([a-z]+)-([a-z]+)", re.ASCII)


def make_code() -> str:
    """Make a new one."""
    return f"{1 + secrets.randbelow(NUMBERS)}-{secrets.choice(FIRST)}-{secrets.choice(SECOND)}"


def parse_code(text: str) -> str:
    """
    Return the code that ``text`` means; capitals, and spaces for dashes, mean the same.

    :raise ConfigError: it cannot be one.
    """
    code = "-".join(re.split(r"[\s-]+", text.strip().lower()))
    found = _FORM.fullmatch(code)
    if found is None:
        raise ConfigError(f"{text!r} is not a code; one looks like 7-crossover-clockwork")
    for word, words in ((found[2], FIRST), (found[3], SECOND)):
        if word not in words:
            near = get_close_matches(word, words, 1)
            remedy = f"did they say {near[0]}?" if near else "ask for it again"
            raise ConfigError(f"{text!r} is not a code: none has the word {word!r} there", remedy)
    return code
