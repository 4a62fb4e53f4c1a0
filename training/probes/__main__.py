from dvlt_ros import programs

from .command import main

programs.run(main)
