"""Who wants no more what he has asked for, whether it runs or waits in the queue."""

import threading

import gradio as gr


class Wish(threading.Event):
    """What a visitor asked for. It is set to end it; of what is dropped nothing is shown."""

    dropped = False


class Stops:
    """A wish of each visitor, from the press of Restore to the end of what it asked for."""

    def __init__(self) -> None:
        self._wishes: dict[str, Wish] = {}

    def ask(self, request: gr.Request) -> None:
        """A visitor asks, and may wait: from now on it can be stopped."""
        self.begun(request)

    def begun(self, request: gr.Request) -> Wish:
        """What this visitor has asked for, set if it is wanted no more."""
        return self._wishes.setdefault(str(request.session_hash), Wish())

    def stop(self, request: gr.Request) -> None:
        """Asks to stop; nothing happens where nothing was asked for."""
        if wish := self._wishes.get(str(request.session_hash)):
            wish.set()

    def drop(self, request: gr.Request) -> None:
        """Asks to stop, and to show nothing more: its photo is gone."""
        if wish := self._wishes.pop(str(request.session_hash), None):
            wish.dropped = True
            wish.set()

    def ended(self, request: gr.Request, wish: Wish) -> None:
        """Forgets a wish, and none that the visitor has had since."""
        if self._wishes.get(str(request.session_hash)) is wish:
            del self._wishes[str(request.session_hash)]
