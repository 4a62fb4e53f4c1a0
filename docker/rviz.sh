#!/bin/bash
# RViz with the map, on the screen of DISPLAY or, without one, on a screen that a browser shows.
set -e
source "/opt/ros/${ROS_DISTRO}/setup.bash"
if [ -z "${DISPLAY}" ]; then
  export DISPLAY=:1 LIBGL_ALWAYS_SOFTWARE=1
  Xvfb "${DISPLAY}" -screen 0 1600x900x24 &
  until [ -e /tmp/.X11-unix/X1 ]; do sleep 0.1; done
  openbox &
  x11vnc -display "${DISPLAY}" -forever -shared -nopw -localhost -quiet &
  websockify --web /usr/share/novnc 6080 localhost:5900 &
fi
exec rviz2 -d /config/reconstruct.rviz
