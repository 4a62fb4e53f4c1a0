"""The page at its address, and each visitor's files at theirs: who does not have the visitor's token gets nothing."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from fastapi import HTTPException
from fastapi.responses import FileResponse
from nicegui import app, ui

from ..backends import DEFAULT_MODEL
from ..errors import DvltError
from ..programs import answer_first
from .choices import choices
from .files import WRITERS
from .model_host import ModelHost
from .page import Page
from .session import Session
from .visitors.guard import Guard
from .visitors.uploads import MAX_BYTES, MAX_VISITORS

FORM_BYTES = 2**20  # of an upload's own words, beside the files
SHUTDOWN_S = 3  # that open connections get
STYLE = (Path(__file__).parent / "page.css").read_text()

sessions: dict[str, Session] = {}  # by token, while the visitor is here


@app.get("/results/{token}/scene.{kind}")
def result(token: str, kind: str) -> FileResponse:
    """The visitor's scene as the sliders show it; runs on a thread."""
    session = sessions.get(token)
    if session is None or kind not in WRITERS:
        raise HTTPException(404, "no such scene")
    try:
        path = session.file(kind)
    except DvltError as error:
        raise HTTPException(409, str(error)) from error
    headers = {"Cache-Control": "no-store", "Content-Encoding": "identity"}  # packing points again gains nothing
    return FileResponse(path, filename=f"{session.scene_name}.{kind}", headers=headers)


@app.on_startup
def let_a_second_interrupt_end_the_process() -> None:
    """The server's own answer to a second Ctrl-C is a traceback."""
    answer = signal.getsignal(signal.SIGINT)
    if callable(answer):
        answer_first(lambda number: answer(number, None), signal.SIGINT)


@app.on_shutdown
def close_sessions() -> None:
    """Visitors' folders do not outlive the server."""
    for session in list(sessions.values()):
        session.close()


def leave(session: Session) -> None:
    sessions.pop(session.token, None)
    session.close()


def held_by_others(session: Session) -> int:
    """Bytes on disk of all other visitors."""
    return sum(other.upload_bytes for other in list(sessions.values()) if other is not session)


def run_page(model_host: ModelHost, host: str, port: int, open_browser: bool, own_weights: Sequence[str] = ()) -> None:
    """Serves until it is stopped. Everything that a browser needs comes from this process.

    ``own_weights``: checkpoints that visitors can choose beside the known ones.
    """

    app.add_middleware(Guard, host=host, max_body_bytes=MAX_BYTES + FORM_BYTES)
    limits = model_host.steps(DEFAULT_MODEL)  # before the first visitor: loading takes its time

    @ui.page("/")
    def visit() -> None:
        ui.add_css(STYLE)
        ui.colors(primary="#1769aa")
        if len(sessions) >= MAX_VISITORS:
            ui.label(f"{MAX_VISITORS} visitors are here already: please come back later.").classes("dvlt-empty")
            return
        page = Page(model_host, choices(own_weights), held_by_others)
        sessions[page.session.token] = page.session
        ui.context.client.on_delete(lambda: leave(page.session))
        page.show_steps(*limits)

    ui.run(
        host=host, port=port, title="dvlt_ros", show=open_browser, reload=False, show_welcome_message=True,
        favicon="🧊", reconnect_timeout=30.0, timeout_graceful_shutdown=SHUTDOWN_S,
    )  # fmt: skip
    if model_host.is_busy:  # nothing is left to do, and the network cannot be interrupted
        sys.stdout.flush()
        os._exit(0)
