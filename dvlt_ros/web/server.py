"""The page at its address, and each visitor's files at theirs: who does not have the visitor's token gets nothing."""

from __future__ import annotations

from pathlib import Path

from fastapi import HTTPException
from fastapi.responses import FileResponse
from nicegui import app, ui

from ..backends import DEFAULT_MODEL
from ..errors import DvltError
from .files import WRITERS
from .page import Page
from .residence import Residence
from .session import Session

STYLE = (Path(__file__).parent / "page.css").read_text()

sessions: dict[str, Session] = {}  # by token, while the visitor is here


@app.get("/results/{token}/scene.{kind}")
def result(token: str, kind: str) -> FileResponse:
    """The visitor's scene as the sliders show it; runs on a thread."""
    session = sessions.get(token)
    if session is None or kind not in WRITERS:
        raise HTTPException(404, "no such scene")
    try:
        path = session.file(kind)  # type: ignore[arg-type]  # checked above
    except DvltError as error:
        raise HTTPException(409, str(error)) from error
    headers = {"Cache-Control": "no-store", "Content-Encoding": "identity"}  # packing points again gains nothing
    return FileResponse(path, filename=f"{session.scene_name}.{kind}", headers=headers)


@app.on_shutdown
def close_sessions() -> None:
    """Visitors' folders do not outlive the server."""
    for session in sessions.values():
        session.close()


def leave(session: Session) -> None:
    sessions.pop(session.token, None)
    session.close()


def run_page(residence: Residence, host: str, port: int, open_browser: bool) -> None:
    """Serves until it is stopped. Everything that a browser needs comes from this process."""

    limits = residence.steps(DEFAULT_MODEL)  # before the first visitor: loading takes its time

    @ui.page("/")
    def visit() -> None:
        ui.add_css(STYLE)
        ui.colors(primary="#1769aa")
        page = Page(residence)
        sessions[page.session.token] = page.session
        ui.context.client.on_delete(lambda: leave(page.session))
        page.show_steps(*limits)

    ui.run(
        host=host, port=port, title="dvlt_ros", show=open_browser, reload=False, show_welcome_message=True,
        favicon="🧊", reconnect_timeout=30.0,
    )  # fmt: skip
