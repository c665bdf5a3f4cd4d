"""The served app against what a stranger may send; what is refused before it serves."""

import json
import socket
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from entry import ROOT
from png_bytes import png
from serving import Server, served
from test_canvas import bomb

from restore.app import server as module
from restore.app.options import Options
from restore.types import InputError

PHOTO = png(np.random.default_rng(0).integers(0, 256, (20, 28, 3), dtype=np.uint8))
RUN_OF_DENOISING = [None, None, None, "denoiser", [], "", 12.5, 0, 1, 0, 0, None, False]


def ran(server: Server, photo: dict[str, Any], **changed: Any) -> dict[str, Any]:
    names = (
        "photo",
        "canvas",
        "strength_map",
        "model",
        "then",
        "other",
        "sigma",
        "strength",
        "samples",
    )
    names += ("seed", "steps", "guidance", "ensemble")
    given = dict(zip(names, RUN_OF_DENOISING, strict=True))
    given |= {"photo": photo, **changed}
    return server.call("denoising-run", "click", list(given.values()))


def accepted(server: Server, content: bytes = PHOTO) -> dict[str, Any]:
    """An uploaded photo, as the page keeps it."""
    ended = server.call("denoising-photo", "upload", [server.uploaded("a.png", content)])
    assert ended["success"], ended
    kept = next(one for one in ended["output"]["data"] if isinstance(one, dict) and "path" in one)
    return {"path": kept["path"], "orig_name": "photo.png", "meta": {"_type": "gradio.FileData"}}


def error_of(ended: dict[str, Any]) -> str:
    assert not ended.get("success"), ended
    return json.dumps(ended["output"])


def test_no_progress_is_shown_on_a_canvas(server: Server) -> None:
    """The page reads a canvas before it changes its state, so that an old one may come last."""
    config = server.config()
    canvases = {one["id"] for one in config["components"] if one["type"] == "imageeditor"}
    assert len(canvases) == 2
    for one in config["dependencies"]:
        assert canvases.isdisjoint(one["show_progress_on"] or one["outputs"]), one["targets"]


def test_a_strength_map_is_taken_away_each_time(server: Server) -> None:
    """An update that is kept loses its value to Gradio, so that an old map would stay in use."""
    for _ in range(3):
        (said,) = server.call("editing-no_map", "click", [])["output"]["data"]
        assert said["value"] is None and said["visible"] is False
        cleared = server.call("editing-photo", "clear", [])["output"]["data"]
        assert {"value": None, "visible": False} in [
            {key: one[key] for key in ("value", "visible") if key in one}
            for one in cleared
            if isinstance(one, dict)
        ]


def test_a_photo_is_restored(server: Server) -> None:
    ended = ran(server, accepted(server))
    assert ended["success"], ended
    said = json.dumps(ended["output"])
    assert "denoiser: 28 x 20, 8 bits, noise level 12.5" in said and "job.zip" in said


def test_the_upload_itself_is_not_kept(server: Server) -> None:
    uploaded = server.uploaded("a.png", png(np.full((5, 5), 7, np.uint8)))
    assert server.get(f"/gradio_api/file={uploaded['path']}")[0] == 200
    assert server.call("denoising-photo", "upload", [uploaded])["success"]
    assert server.get(f"/gradio_api/file={uploaded['path']}")[0] in (403, 404)


BAD = [("81 megapixels", bomb(9000, 9000)), ("no image", b"no image"), ("half", PHOTO[:300])]


@pytest.mark.parametrize("content", [one[1] for one in BAD], ids=[one[0] for one in BAD])
def test_a_bad_upload_is_a_message_and_the_next_request_works(
    server: Server, content: bytes
) -> None:
    path = server.uploaded("a.png", content)
    ended = server.call("denoising-photo", "upload", [path])
    assert str(server.folder) not in json.dumps(ended)
    assert server.get(f"/gradio_api/file={path['path']}")[0] in (403, 404)
    assert ran(server, accepted(server))["success"]


def escapes(folder: Path) -> list[str]:
    (folder / "link").unlink(missing_ok=True)
    (folder / "link").symlink_to("/etc/passwd")
    secret, up = folder / "secret.txt", "../" * 12
    secret.write_text("hidden words")
    places = ["/etc/passwd", f"{up}etc/passwd", str(secret), "secret.txt", str(folder / "link")]
    places += ["/proc/self/environ", f"{folder}/server.log", "file:///etc/passwd", "~/.bashrc"]
    encoded = [quote(place, safe="") for place in places]
    twice = [quote(quote(place, safe=""), safe="") for place in places]
    slashes = [place.replace("/", "\\") for place in places]
    return [*places, *encoded, *twice, *(quote(one) for one in slashes), "%00/etc/passwd"]


def test_no_file_of_the_machine_is_served(server: Server) -> None:
    for place in escapes(server.folder):
        for route in ("/gradio_api/file=", "/file=", "/gradio_api/file/", "/file/", "/static/"):
            code, body = server.get(route + quote(place, safe="/%"))
            assert code in (400, 403, 404, 405, 422), (route, place, code)
            assert b"root:" not in body and b"hidden words" not in body
    for route in ("/gradio_api/proxy=http://127.0.0.1:1/x", "/proxy=http://example.com/"):
        assert server.get(route)[0] in (400, 403, 404)


def test_no_path_of_the_machine_is_taken_as_a_photo(server: Server) -> None:
    for place in ("/etc/passwd", "../../../etc/passwd", str(server.folder / "secret.txt")):
        given = {"path": place, "meta": {"_type": "gradio.FileData"}}
        for part, kind in (("denoising-photo", "upload"), ("inpainting-mask", "upload")):
            data = [given] if part == "denoising-photo" else [given, given]
            assert not server.call(part, kind, data)["success"]
        assert not ran(server, given)["success"]
    assert Path("/etc/passwd").exists()
    url = {"path": "http://127.0.0.1:1/x.png", "meta": {"_type": "gradio.FileData"}}
    assert not ran(server, url)["success"]


@pytest.mark.parametrize(
    "changed",
    [
        {"model": "../../etc/passwd"},
        {"model": ["denoiser"]},
        {"model": None},
        {"then": ["nobody"]},
        {"then": ["blind"] * 9},
        {"other": "/etc"},
        {"steps": 10**9},
        {"samples": 10**6},
        {"sigma": "1"},
        {"sigma": -5},
        {"photo": None},
        {"photo": "/etc/passwd"},
        {"canvas": {"layers": "x"}, "seed": {}},
    ],
    ids=str,
)
def test_wrong_values_are_a_message(server: Server, changed: dict[str, Any]) -> None:
    if changed in ({"steps": 10**9}, {"samples": 10**6}):
        changed = {**changed, "model": "sketcher"}
    photo = {} if "photo" in changed else {"photo": accepted(server)}
    error = error_of(ran(server, **{"photo": None, **photo, **changed}))
    assert "Traceback" not in error and str(ROOT) not in error


def test_a_huge_upload_is_rejected(server: Server) -> None:
    code, _ = server.upload("a.png", bytes(module.MAX_BYTES + 1))
    assert code == 413
    assert ran(server, accepted(server))["success"]


def test_a_huge_canvas_is_rejected(server: Server) -> None:
    """What a canvas sends goes another way than uploads, which Gradio does not cap."""
    for path in ("/gradio_api/component_server", "/gradio_api/queue/join", "/nowhere"):
        assert server.announced(path, module.MAX_BYTES + 2**21) == 413
    assert server.get("/")[0] == 200


def test_twenty_at_once(server: Server) -> None:
    """Two work, sixteen wait, and the others are told that the app is busy."""
    number, photo = server.event("editing-run", "click"), accepted(server)
    data = [photo, None, None, "sketcher", [], "", None, 1.0, 8, 0, 400, None, False]
    sessions = [uuid.uuid4().hex for _ in range(20)]
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda one: server.join(number, data, one), sessions))
    codes = [code for code, _ in answers]
    assert set(codes) <= {200, 503} and 16 <= codes.count(200) <= 18 and 503 in codes
    assert any("full" in json.dumps(answer) for code, answer in answers if code == 503)
    stop = server.event("editing-stop", "click")
    for code, session in zip(codes, sessions, strict=True):
        if code == 200:
            server.post("/gradio_api/cancel", _cancel(session, answers, sessions))
            server.join(stop, [], session)
    assert server.get("/")[0] == 200


def _cancel(session: str, answers: list[Any], sessions: list[str]) -> bytes:
    event = answers[sessions.index(session)][1]["event_id"]
    return json.dumps({"session_hash": session, "fn_index": 0, "event_id": event}).encode()


def test_nothing_is_open_that_nobody_asked_for(server: Server) -> None:
    assert server.get("/monitoring")[0] in (403, 404)
    assert server.get("/gradio_api/runs")[0] in (403, 404)
    info = json.loads(server.get("/gradio_api/info")[1])
    assert info["named_endpoints"] == {} and info["unnamed_endpoints"] == {}


REFUSED = [
    (["--host", "0.0.0.0"], "lets others reach the app: set RESTORE_APP_AUTH"),
    (["--host", "192.168.0.1"], "lets others reach the app"),
    (["--host", "0.0.0.0", "--auth", "none.txt"], "--auth none.txt cannot be read"),
    (["--host", "0.0.0.0", "--auth", "empty.txt"], "--auth empty.txt holds no line NAME:PASSWORD"),
    (["--auth", "empty.txt"], "--auth empty.txt holds no line NAME:PASSWORD"),
    (["--host", "0.0.0.0", "--auth", "short.txt"], "short.txt: each line is NAME:PASSWORD"),
    (["nowhere"], "nowhere does not exist"),
    (["--device", "nonsense"], "--device nonsense cannot be used"),
]


@pytest.mark.parametrize(("arguments", "says"), REFUSED, ids=[" ".join(one[0]) for one in REFUSED])
def test_refused_before_it_serves(
    arguments: list[str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from restore import cli

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(module.AUTH, raising=False)
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "short.txt").write_text("me:1234567\n")
    monkeypatch.setattr(sys, "argv", ["restore", "app", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and says in error


def test_passwords_come_from_a_file_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(module.AUTH, raising=False)
    assert module.check_users(Options()) == []
    (tmp_path / "a.txt").write_text("me:12345678\n\nyou:with:colon\n")
    users = module.check_users(Options(host="0.0.0.0", auth=tmp_path / "a.txt"))
    assert users == [("me", "12345678"), ("you", "with:colon")]
    known = module._check(users)
    assert known("me", "12345678") and known("you", "with:colon")
    assert not known("me", "with:colon") and not known("me", "") and not known("me:12345678", "")
    monkeypatch.setenv(module.AUTH, "me:12345678")
    assert module.check_users(Options(host="::")) == [("me", "12345678")]
    for host, alone in (("127.0.0.1", True), ("::1", True), ("localhost", True), ("", False)):
        assert module.is_loopback(host) is alone


def test_without_gradio_one_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'gradio>=6.31'"):
        module.serve(Options())


def test_a_port_in_use_is_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match="another program has the port"):
            module.serve(Options(port=port))
    with pytest.raises(InputError, match="cannot be served"):
        module.check_port(Options(host="192.0.2.1"))
    for port in (65536, 0, -1):
        with pytest.raises(InputError, match=f"--port {port} must be from 1 to 65535"):
            module.check_port(Options(port=port))


@pytest.mark.slow
@pytest.mark.ci
def test_a_password_is_asked_and_settings_of_other_apps_are_not_read(
    outputs: Path, tmp_path: Path
) -> None:
    more = {
        module.AUTH: "me:12345678",
        "GRADIO_ALLOWED_PATHS": "/",
        "GRADIO_SHARE": "True",
        "GRADIO_MCP_SERVER": "True",
        "GRADIO_RUN_HISTORY": "True",
    }
    arguments = ["--host", "0.0.0.0", "--device", "cpu", str(outputs / "blind")]
    with served(arguments, tmp_path, **more) as one:
        assert one.get("/config")[0] == 401
        assert one.upload("a.png", PHOTO)[0] == 401
        assert one.get("/gradio_api/file=/etc/passwd")[0] in (401, 403)
        form = "application/x-www-form-urlencoded"
        assert one.post("/login", b"username=me&password=12345679", form)[0] == 400
        assert one.post("/login", b"username=me&password=12345678", form)[0] == 200
        assert one.get("/config")[0] == 200
        assert one.get("/gradio_api/file=/etc/passwd")[0] == 403
