"""What a worker of a loader is told when it starts."""

import os
import signal
import threading


def leave_signals_to_the_trainer(worker: int) -> None:
    """A scheduler signals all processes of a group, and a training without its workers can save
    nothing. Of SIGTERM only the trainer's own counts, which waits for its workers to end."""
    trainer = os.getppid()

    def obey() -> None:
        while signal.sigwaitinfo({signal.SIGTERM}).si_pid != trainer:
            pass
        os._exit(0)

    for number in (signal.SIGUSR1, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=obey, daemon=True).start()
