"""restore: image restoration by regression, adversarial training and diffusion."""

__version__ = "0.1.0"
