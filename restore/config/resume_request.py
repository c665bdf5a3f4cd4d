"""What `train.py resume.path=FOLDER` asks for, on a command line that Hydra never reads."""

from pathlib import Path
from typing import Any, NamedTuple

from restore.types import InputError


class ResumeRequest(NamedTuple):
    """What `train.py resume.path=FOLDER key=value` asks for."""

    folder: Path
    allow_inexact: bool
    settings: dict[str, Any]  # by dotted key


def resume_request(arguments: list[str]) -> ResumeRequest | None:
    """What `resume.path` asks for; None where a new run is asked for. The stored config is the
    base, so that Hydra composes nothing: its groups and flags have no meaning here."""
    named = [one for one in arguments if one.startswith("resume.path=")]
    if set(named) <= {"resume.path=null"}:  # as a new run has it
        return None
    from hydra.core.override_parser.overrides_parser import OverridesParser

    settings: dict[str, Any] = {}
    parsed = [argument for argument in arguments if not argument.startswith("-")]
    for one in OverridesParser.create().parse_overrides(parsed):
        if one.is_delete() or one.is_sweep_override() or one.package is not None:
            raise InputError(f"{one.input_line}: a resumed run takes plain key=value only")
        settings[one.key_or_group] = one.value()
    flags = [argument for argument in arguments if argument.startswith("-")]
    if flags or "experiment" in settings:
        wrong = flags[0] if flags else "experiment="
        raise InputError(f"{wrong} has no meaning with resume.path, which knows its own run")
    allow = settings.pop("resume.allow_inexact", False)
    if not isinstance(allow, bool):
        raise InputError(f"resume.allow_inexact={allow} must be true or false")
    return ResumeRequest(Path(str(settings.pop("resume.path"))), allow, settings)
