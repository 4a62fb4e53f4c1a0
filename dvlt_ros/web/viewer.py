"""The 3D view of the page: a .glb by its address."""

from __future__ import annotations

from pathlib import Path

from nicegui.element import Element
from nicegui.elements import scene as nicegui_scene

THREE = str(Path(nicegui_scene.__file__).parent / "dist")  # three.js with its loaders, as NiceGUI's own scene has it


class Viewer(Element, component="viewer.js", esm={"nicegui-scene": THREE}):
    """The camera moves to see everything with each new scene, and stays where it is otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self._props.update({"url": "", "scene": 0, "pointSize": 2})

    def show(self, url: str, scene: int) -> None:
        """``scene`` counts the scenes: the same one again has other points or frusta only."""
        self._props.update({"url": url, "scene": scene})
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
