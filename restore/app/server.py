"""Serves the app: to this machine alone, or with a password to others."""

import hmac
import importlib.util
import ipaddress
import os
import signal
import socket
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from restore import zoo
from restore.app.options import Options
from restore.errors import DONE
from restore.folder import HOMES
from restore.types import InputError

AUTH = "RESTORE_APP_AUTH"
MAX_BYTES = 2**26  # of an upload
_MORE = 2**20  # of a request, around an upload
_QUEUE = 16  # who waits; the next one is told that the app is busy
_SHORTEST = 8  # characters of a password
# What Gradio could do besides: other ways in, other files, what visitors are told of errors.
_CLOSED: dict[str, Any] = {
    "share": False,
    "allowed_paths": [],
    "show_error": False,
    "enable_monitoring": False,
    "run_history": False,
    "mcp_server": False,
    "ssr_mode": False,
    "pwa": False,
    "footer_links": [],
}


def serve(options: Options) -> int:
    """Runs until it is interrupted; the exit code.

    Raises:
        InputError: Gradio is not installed, a place without models, no password although others
            could reach the app, a port in use, a device that is not there.
    """
    check_installed()
    users = check_users(options)
    check_port(options)
    places = check_places(options.models)
    check_device(options.device)
    with tempfile.TemporaryDirectory(prefix="restore-app-") as folder:
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the folder goes
        launch(options, places, users, folder)
        print(
            f"restore app: http://{_shown(options.host)}:{options.port} (Ctrl-C ends it)",
            flush=True,
        )
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            return DONE


def check_installed() -> None:
    if importlib.util.find_spec("gradio") is None:
        raise InputError(
            "restore app needs Gradio: pip install 'gradio>=6.31', or the extra `app` of restore"
        )


def check_places(given: Sequence[str]) -> list[Path]:
    """Where models are looked for beside released ones: by default outputs/ and multirun/.

    Raises:
        InputError: a place or a name that is not there.
    """
    places = [Path(one) if Path(one).is_dir() else zoo.find(one) for one in given]
    for place in places:
        if not place.exists():
            raise InputError(f"{place} does not exist: give run folders, or folders that hold some")
    return places or list(HOMES)


def check_users(options: Options) -> list[tuple[str, str]]:
    """Names and passwords; none where only this machine reaches the app.

    Raises:
        InputError: others could reach it and no password is set, or one that is no password.
    """
    source, text = f"--auth {options.auth}", ""
    try:
        if options.auth is not None:
            text = options.auth.read_text(encoding="utf-8")
        elif AUTH in os.environ:
            source, text = AUTH, os.environ[AUTH]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{source} cannot be read: give a file of NAME:PASSWORD lines") from error
    users = []
    for line in text.splitlines():
        name, _, password = line.strip().partition(":")
        if not line.strip():
            continue
        if not name or len(password) < _SHORTEST:
            raise InputError(
                f"{source}: each line is NAME:PASSWORD, with {_SHORTEST} characters or more"
            )
        users.append((name, password))
    if not users and (text or options.auth is not None):
        raise InputError(f"{source} holds no line NAME:PASSWORD: give one, or leave it out")
    if not users and not is_loopback(options.host):
        raise InputError(
            f"--host {options.host} lets others reach the app: set {AUTH}=NAME:PASSWORD, or "
            "--auth FILE with such lines"
        )
    return users


def check_port(options: Options) -> None:
    """Raises InputError for a port that cannot be had, before seconds are spent on models."""
    if not 0 < options.port < 2**16:
        raise InputError(f"--port {options.port} must be from 1 to 65535")
    kind = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    try:
        with socket.socket(kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((options.host, options.port))
    except OSError as error:
        raise _not_served(options) from error


def _not_served(options: Options) -> InputError:
    return InputError(
        f"--host {options.host} --port {options.port} cannot be served: another program has the "
        "port, or this machine has no such address"
    )


def check_device(device: str | None) -> None:
    """Raises InputError for a device on which every restoration would fail."""
    import torch

    from restore.precision import usable

    with usable(f"--device {device}"):
        torch.empty(1, device=device)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server at that host."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def launch(options: Options, places: list[Path], users: list[tuple[str, str]], folder: str) -> Any:
    """Serves in a thread of its own; the Blocks. folder: for uploads and results."""
    _isolate(folder)
    from starlette.middleware import Middleware

    from restore.app import canvas
    from restore.app.limit import BodyLimit
    from restore.app.models import Models
    from restore.app.page import CSS, page, theme

    canvas.limit_pixels()
    blocks = page(Models(places, options.packages, options.device))
    blocks.queue(max_size=_QUEUE, api_open=False)
    settings: dict[str, Any] = {
        "server_name": options.host,
        "server_port": options.port,
        "max_file_size": MAX_BYTES,
        "auth": _check(users) if users else None,
        "css": CSS,
        "theme": theme(),
        "app_kwargs": {"middleware": [Middleware(BodyLimit, most=MAX_BYTES + _MORE)]},
        "quiet": True,
        "prevent_thread_lock": True,
        "inbrowser": False,
    }
    try:
        blocks.launch(**settings, **_CLOSED)
    except OSError as error:
        raise _not_served(options) from error
    return blocks


def _isolate(folder: str) -> None:
    """Gives Gradio one folder, and nothing of the settings of other apps, nor of the network."""
    for name in [name for name in os.environ if name.startswith("GRADIO_")]:
        del os.environ[name]  # no setting of another app opens this one
    os.environ |= {
        "GRADIO_TEMP_DIR": folder,
        "GRADIO_ANALYTICS_ENABLED": "False",
        "HF_HUB_OFFLINE": "1",
    }


def _check(users: list[tuple[str, str]]) -> Any:
    """Compares in constant time."""

    def known(name: str, password: str) -> bool:
        given = f"{name}:{password}".encode()
        return any([hmac.compare_digest(given, f"{n}:{p}".encode()) for n, p in users])

    return known


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
