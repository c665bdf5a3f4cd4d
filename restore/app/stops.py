"""Who wants no more what he has asked for, whether it runs or waits in the queue."""

import threading

import gradio as gr


class Stops:
    """An event for each visitor, from the press of Restore to the end of what it asked for."""

    def __init__(self) -> None:
        self._events: dict[str, threading.Event] = {}

    def ask(self, request: gr.Request) -> None:
        """A visitor asks, and may wait: from now on it can be stopped."""
        self.begun(request)

    def begun(self, request: gr.Request) -> threading.Event:
        """The event of what this visitor has asked for, set if it is wanted no more."""
        return self._events.setdefault(str(request.session_hash), threading.Event())

    def stop(self, request: gr.Request) -> None:
        """Asks to stop; nothing happens where nothing was asked for."""
        if event := self._events.get(str(request.session_hash)):
            event.set()

    def ended(self, request: gr.Request) -> None:
        self._events.pop(str(request.session_hash), None)
