"""The pool of templates that a task description chooses from, each with the words that select it."""

from __future__ import annotations

from typing import NamedTuple


class Entry(NamedTuple):
    """A template, and the roles it plays."""

    template: str
    roles: frozenset[str]


# What words mean the same role. The first of each line is its name; a task may use any of them.
_SYNONYMS = """
color colour colors colours colored coloured hue tint shade paint painted
background backdrop behind backgrounds ground surroundings surrounding foreground
texture textures pattern patterns surface textured patterned weave finish markings
material materials fabric substance made
size sizes big small large little tiny huge scale dimension dimensions magnitude
position positions location located where placed placement lies situated spot side corner
shape shapes form outline geometric geometry figure silhouette contour
count number many quantity amount counting
action actions activity activities doing performing gesture pose motion verb sport sports exercise
scene scenes place places environment setting landscape indoor outdoor room rooms venue
weather rain snow fog climate sky
time day night season hour daytime
emotion emotions feeling feelings facial expression expressions mood face faces
style styles artist artistic movement genre art
land satellite aerial remote overhead orbit cover landuse
medical scan x-ray xray mri ct disease diagnosis pathology tissue lesion organ radiograph
character characters letter letters digit digits handwritten glyph symbol alphabet script
clothing clothes garment garments wearing wear fashion outfit apparel
quality blurry blur noisy exposure sharpness
age old young person people gender
sketch sketches drawing drawings drawn doodle cartoon line
painting paintings watercolor watercolour
food foods dish dishes meal cuisine
defect defects damage fault flaw crack inspection
brand brands logo logos company
topic topics subject subjects theme about discussed discusses domain
sentiment sentiments opinion opinions polarity positive negative review reviews attitude rating tone
intent intents intention want wants request requests customer query banking banker support ask asks
question questions answer answers answering expected asked
language languages written tongue
spam toxic offensive hateful abusive harmful
urgency urgent priority
formality formal informal register polite
product products item items category
"""
_CANONICAL = {word: line.split()[0] for line in _SYNONYMS.strip().splitlines() for word in line.split()}

_IMAGE = """
: {label} | a photo of a {label} | a photo of the {label} | a picture of a {label} | an image of a {label}
color: a {label} object | the object is {label} | the color of the object is {label} | something {label} in color
background: an object on a {label} background | the background is {label} | a {label} background | \
in front of a {label} backdrop | the color of the background is {label}
texture: a {label} texture | an object with a {label} texture | a {label} pattern | the surface is {label}
material: an object made of {label} | the material is {label}
size: a {label} object | the object is {label} | the size of the object is {label}
position: an object on the {label} | an object at the {label} of the picture | the object is in the {label}
shape: an object in the shape of a {label} | the shape is a {label} | a {label} shape
count: {label} objects | there are {label} objects in the picture
action: a photo of a person {label} | a photo of a person doing {label} | someone is {label}
scene: a photo of a {label} | a view of a {label} | a photo taken in a {label} | the scene is a {label}
weather: a photo taken in {label} weather | the weather is {label}
time: a photo taken at {label} | it is {label}
emotion: a photo of a {label} face | a person who looks {label} | the emotion is {label}
style: art in the style of {label} | a {label} artwork | the style is {label}
land: a satellite photo of {label} | an aerial view of {label} | a centered satellite photo of {label}
medical: a medical scan showing {label} | an x-ray with {label} | a microscope image of {label}
character: a handwritten {label} | a photo of the character {label} | the letter {label} | the digit {label}
clothing: a photo of a person wearing a {label} | a {label}, a piece of clothing | a product photo of a {label}
quality: a {label} photo | the photo is {label}
age: a photo of a {label} person | a {label} person
sketch: a sketch of a {label} | a drawing of a {label} | a line drawing of a {label}
painting: a painting of a {label} | a watercolor of a {label}
food: a photo of {label}, a type of food | a dish of {label}
defect: a photo of a surface with {label} | a {label} defect
brand: the logo of {label} | a {label} product
"""
_TEXT = """
: {label} | This text is about {label}. | This is {label}.
topic: This text is about {label}. | The topic is {label}. | An article about {label}. | {label} news.
sentiment: The sentiment of this text is {label}. | A {label} review. | The opinion is {label}. | It was {label}.
emotion: The author feels {label}. | The emotion is {label}. | Someone is feeling {label}.
intent: The customer wants {label}. | This request is about {label}. | The intent is {label}.
question: The question asks for {label}. | The answer is {label}. | This question is about {label}.
language: This text is written in {label}. | The language is {label}.
spam: This message is {label}. | This comment is {label}.
urgency: This message is {label}. | The urgency is {label}.
formality: The tone is {label}. | This is written in a {label} way.
product: A product from {label}. | The product category is {label}.
style: A {label} story. | The genre is {label}.
scene: This happens in {label}. | This takes place in {label}.
"""


def pool(kind: str) -> list[Entry]:
    """The templates for ``"images"`` or ``"texts"``; those without a role come first and fit any task."""
    entries: dict[str, set[str]] = {}
    for line in {"images": _IMAGE, "texts": _TEXT}[kind].strip().splitlines():
        role, _, templates = line.partition(":")
        for template in templates.split(" | "):
            entries.setdefault(template.strip(), set()).update({role} - {""})
    return [Entry(template, frozenset(roles)) for template, roles in entries.items()]


def roles_of(words: list[str]) -> frozenset[str]:
    """The roles that some words name."""
    return frozenset(_CANONICAL[word] for word in words if word in _CANONICAL)
