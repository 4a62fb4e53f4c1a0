"""Meshes as markers of triangles, serialized from arrays.

Each corner would be a Python object, a second's work for what a camera sees in one. The middleware takes serialized
messages, too: everything but the corners is serialized by the message's own type, and the corners are put in between.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from geometry_msgs.msg import Point
from rclpy.serialization import serialize_message
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from ...mapping.surfaces.mesh import Mesh

START = 8  # of the first marker: after the encapsulation and the number of markers
NUMBER = 0x5EA1F00D  # stands for a marker's id
CORNER = (0.71828, 1.41421, 2.23606)  # and for its corners
CORNER_BYTES, COLOR_BYTES = 24, 16


def mesh_markers(head: Header, meshes: Sequence[tuple[int, Mesh]]) -> bytes:
    """A serialized `MarkerArray` with one marker per id; every mesh has triangles."""
    template = _Template.of(head)
    body = b"".join(template.filled(number, mesh) for number, mesh in meshes)
    return template.encapsulation + struct.pack("<I", len(meshes)) + body


def deletions(head: Header, numbers: Sequence[int]) -> MarkerArray:
    """Markers of these ids are gone."""
    return MarkerArray(markers=[Marker(header=head, ns="mesh", id=number, action=Marker.DELETE) for number in numbers])


def delete_all(head: Header) -> MarkerArray:
    return MarkerArray(markers=[Marker(header=head, ns="mesh", action=Marker.DELETEALL)])


@dataclass(frozen=True)
class _Template:
    """The bytes of a marker around its id and its corners; a multiple of 8 long, so that every one is aligned alike."""

    encapsulation: bytes
    before_number: bytes
    before_corners: bytes
    padding: bytes  # between the number of corners and the first one
    after: bytes

    @classmethod
    def of(cls, head: Header) -> _Template:
        encoded, first, size = b"", 0, 1
        for text in ("", "mesh"):  # one of them makes it a multiple of 8
            marker = _marker(head, text)
            encoded = serialize_message(MarkerArray(markers=[marker, marker]))
            first = encoded.index(struct.pack("<3d", *CORNER))
            size = encoded.index(struct.pack("<3d", *CORNER), first + 1) - first
            if size % 8 == 0:
                break
        count = first - 4 if encoded[first - 4 : first] == struct.pack("<I", 1) else first - 8
        number = encoded.index(struct.pack("<I", NUMBER))
        after = first + CORNER_BYTES + 4 + COLOR_BYTES
        return cls(
            encoded[:4], encoded[START:number], encoded[number + 4 : count], encoded[count + 4 : first],
            encoded[after : START + size],
        )  # fmt: skip

    def filled(self, number: int, mesh: Mesh) -> bytes:
        corners = mesh.triangles.reshape(-1)
        count = struct.pack("<I", len(corners))
        colors = np.ones((len(corners), 4), "<f4")
        colors[:, :3] = mesh.colors[corners] / np.float32(255)
        points = mesh.vertices[corners].astype("<f8")
        head = self.before_number + struct.pack("<i", number) + self.before_corners
        return head + count + self.padding + points.tobytes() + count + colors.tobytes() + self.after


def _marker(head: Header, text: str) -> Marker:
    marker = Marker(header=head, ns="mesh", id=NUMBER, type=Marker.TRIANGLE_LIST, action=Marker.ADD, text=text)
    marker.pose.orientation.w = 1.0
    marker.scale.x = marker.scale.y = marker.scale.z = 1.0
    marker.color.a = 1.0
    x, y, z = CORNER
    marker.points, marker.colors = [Point(x=x, y=y, z=z)], [ColorRGBA(a=1.0)]
    return marker
