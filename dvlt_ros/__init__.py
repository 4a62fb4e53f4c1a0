"""dvlt_ros: dense, consistent 3D maps from a robot's ordinary camera."""

import sys

if sys.argv[:1] == ["-m"]:  # `python -m dvlt_ros.…` is looking for the module that it will run
    from .programs import leave_interrupts_to_the_system

    leave_interrupts_to_the_system()
