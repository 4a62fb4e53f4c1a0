# RViz in a browser: a screen of its own, shown by noVNC on port 6080.
ARG DISTRIBUTION=jazzy
FROM ros:${DISTRIBUTION}-ros-base
ENV DEBIAN_FRONTEND=noninteractive
RUN apt-get update \
    && apt-get install --yes --no-install-recommends "ros-${ROS_DISTRO}-rviz2" xvfb x11vnc novnc websockify \
        libgl1-mesa-dri openbox \
    && rm -rf /var/lib/apt/lists/*
COPY config/reconstruct.rviz config/fastdds.xml /config/
COPY docker/rviz.sh /rviz.sh
EXPOSE 6080
ENTRYPOINT ["/rviz.sh"]
