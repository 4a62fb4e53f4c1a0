"""The 3D view of the page: a .glb by its address, and splats in the place of its points."""

from __future__ import annotations

from pathlib import Path

from nicegui.element import Element
from nicegui.elements import scene as nicegui_scene

THREE = str(Path(nicegui_scene.__file__).parent / "dist")  # three.js with its loaders, as NiceGUI's own scene has it
SPLATS = str(Path(__file__).parent / "splats")


class Viewer(Element, component="viewer.js", esm={"nicegui-scene": THREE, "dvlt-splats": SPLATS}):
    """The camera moves to see everything with each new scene, and stays where it is otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self._props.update({"url": "", "scene": 0, "pointSize": 2, "splatsUrl": ""})

    def show(self, url: str, scene: int, splats_url: str) -> None:
        """``scene`` counts the scenes: the same one again has other points or frusta only.

        ``splats_url``: of a PLY that is shown in the place of the points; empty: the points.
        """
        self._props.update({"url": url, "scene": scene, "splatsUrl": splats_url})
        self.update()

    def set_point_size(self, pixels: float) -> None:
        self._props["pointSize"] = pixels
        self.update()

    def scroll_into_view(self) -> None:
        """Where the visitor sees it, wherever the page was."""
        self.run_method("scroll_into_view")

    def reset_view(self) -> None:
        """Back to where the camera began."""
        self.run_method("reset_view")
