"""What the pixels of a rendered scene are labelled with."""

from __future__ import annotations

from enum import IntEnum


class Label(IntEnum):
    """What a pixel shows."""

    SKY = 0
    FLOOR = 1
    WALL = 2
    CEILING = 3
    OPENING = 4  # windows, doors, their frames, curtains
    TABLE = 5  # and desks and counters
    SEAT = 6
    BED = 7
    STORAGE = 8
    OBJECT = 9  # small things
    PLANT = 10
    LAMP = 11
    PICTURE = 12  # and screens and signs on walls
    RUG = 13
    WIRE = 14  # cables, ropes, overhead lines
    APPLIANCE = 15
    ROAD = 16
    PAVEMENT = 17
    GRASS = 18
    BUILDING = 19
    VEHICLE = 20
    PERSON = 21
    TREE = 22
    POLE = 23  # lamp posts, traffic lights and signs
    FENCE = 24
    STREET_FURNITURE = 25
