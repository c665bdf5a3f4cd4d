"""What the words of `restore` have in common: how they are read, examples, shell completion.

Importing this module must stay instant.
"""

import argparse
from collections.abc import Mapping
from typing import Any

from restore.errors import DONE

# Of words whose arguments stand in cli.py; rooms bring their own.
EXAMPLES = {
    "doctor": "  restore doctor                     each fault with its cure; exit code 1 for any",
    "sweep": """  restore sweep multirun/EXPERIMENT/TIME
  restore sweep multirun/EXPERIMENT/TIME --by digits_half/hole_psnr --over seed
  restore sweep multirun/EXPERIMENT/TIME --resume
  restore sweep multirun/EXPERIMENT/ONE multirun/EXPERIMENT/OTHER --record NAME     as a study""",
    "task": """  restore task flowers_masks given
  python evaluate.py outputs=given benchmark=flowers_masks    once given/outputs holds results""",
    "schema": """  restore schema network
  restore schema --write .schema --settings .vscode/settings.json""",
    "new": "  restore new mylab && cd mylab && pip install -e . && pytest",
    "train": """  restore train experiment=inpaint_photos debug=smoke
  restore train --help task               what the keys of a section mean""",
    "evaluate": "  restore evaluate checkpoint=RUN 'baseline=[telea]' benchmark=photos_masks",
    "completion": """  eval "$(restore completion bash)"       in ~/.bashrc
  eval "$(restore completion zsh)"        in ~/.zshrc
  restore completion fish > ~/.config/fish/completions/restore.fish""",
}

ABOUT = "complete words and options of restore in a shell"
_BASH = """_restore() {
    local current=${COMP_WORDS[COMP_CWORD]} options=""
    if [ "$COMP_CWORD" -eq 1 ]; then
        COMPREPLY=($(compgen -W "%s" -- "$current"))
        return
    fi
    case ${COMP_WORDS[1]} in
%s
    esac
    case $current in
        -*) COMPREPLY=($(compgen -W "$options" -- "$current")) ;;
        *) COMPREPLY=($(compgen -f -- "$current")) ;;
    esac
}
complete -o filenames -F _restore restore
"""


class WordParser(argparse.ArgumentParser):
    """Takes a list on both sides of an option, as `restore predict MODEL -o DIR INPUT`.

    By itself argparse gives an empty list to what it calls INPUT where an option follows MODEL, and
    refuses INPUT as "unrecognized".
    """

    _mixes = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        parsed, left = super().parse_known_args(args, namespace)
        if not left or self._mixes:
            return parsed, left
        self._mixes = True  # in Python 3.11 what is called here calls this method
        return self.parse_known_intermixed_args(args, namespace)


def complete(shell: str, words: Mapping[str, argparse.ArgumentParser]) -> int:
    """Prints what the shell has to read."""
    options = {name: _options(parser) for name, parser in words.items()}
    if shell == "fish":
        for name, own in options.items():
            print(f"complete -c restore -n __fish_use_subcommand -f -a {name}")
            seen = f"complete -c restore -n '__fish_seen_subcommand_from {name}'"
            for option in own:
                kind = "-l" if option.startswith("--") else "-s"
                print(f"{seen} {kind} {option.lstrip('-')}")
        return DONE
    if shell == "zsh":
        print("autoload -U +X bashcompinit && bashcompinit")
    cases = "\n".join(
        f'        {name}) options="{" ".join(own)}" ;;' for name, own in options.items()
    )
    print(_BASH % (" ".join(options), cases), end="")
    return DONE


def _options(parser: argparse.ArgumentParser) -> list[str]:
    return [option for action in parser._actions for option in action.option_strings]
