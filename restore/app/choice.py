"""Which models a tab offers, and which settings the chosen ones have a use for, by component."""

from typing import Any

import gradio as gr

from restore.app.models import Models
from restore.app.purpose import Purpose

# Settings, and what a `Kind` says of models that have a use for them.
USES = {"drawn": "has_sampler", "sigma": "needs_sigma", "guidance": "has_guidance"}
USES |= {"ensemble": "ensembles"}


def show_settings(models: Models, model: Any, then: Any, other: Any) -> dict[str, Any]:
    """Shows the settings that the chosen models have a use for."""
    known = models.kinds()
    kinds = [known[name] for name in (model, *(then or ()), other) if name in known]
    used = {name: any(getattr(kind, use) for kind in kinds) for name, use in USES.items()}
    return {name: gr.update(visible=shown) for name, shown in used.items()}


def offer(models: Models, purpose: Purpose, model: Any, then: Any, other: Any) -> dict[str, Any]:
    """Offers the models that are there now; what is chosen stays as far as it is among them."""
    names, every = purpose.names(models), list(models.kinds())
    first = names[0] if names else None
    return {
        "model": gr.update(choices=names, value=model if model in names else first),
        "then": gr.update(choices=every, value=[name for name in then or () if name in every]),
        "other": gr.update(choices=["", *names], value=other if other in names else ""),
    }
