"""Keys that keep the random streams of tasks apart, and from those of data (-1 to -10, -15, -16).

A key is part of every number that was drawn with it: none changes, and none is used again.
"""

from enum import IntEnum


class Key(IntEnum):
    TRAINING = -11  # noise and times of diffusion
    VALIDATION = -12
    SAMPLING = -13
    ADVERSARY = -14  # labels and input noise of both players
    LATENT = -17  # draws of an autoencoder's latents
    TEACHER = -18  # through which views a teacher sees a batch
