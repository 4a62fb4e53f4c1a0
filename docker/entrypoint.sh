#!/bin/bash
# A command in the workspace, with room in Fast DDS's shared memory for images and clouds.
set -e
source "/opt/ros/${ROS_DISTRO}/setup.bash"
source /ws/install/setup.bash
profile=/ws/install/dvlt_ros/share/dvlt_ros/config/fastdds.xml
export FASTDDS_DEFAULT_PROFILES_FILE="${FASTDDS_DEFAULT_PROFILES_FILE:-${profile}}"
if [ "${ROS_DISTRO}" = jazzy ]; then  # Fast DDS 2 has another name for it
  export FASTRTPS_DEFAULT_PROFILES_FILE="${FASTRTPS_DEFAULT_PROFILES_FILE:-${profile}}"
  unset FASTDDS_DEFAULT_PROFILES_FILE
fi
exec "$@"
