"""The part of the real tf2_ros that dvlt_ros uses."""

from .buffer import Buffer as Buffer
from .exceptions import ConnectivityException as ConnectivityException
from .exceptions import ExtrapolationException as ExtrapolationException
from .exceptions import InvalidArgumentException as InvalidArgumentException
from .exceptions import LookupException as LookupException
from .exceptions import TransformException as TransformException
from .static_transform_broadcaster import StaticTransformBroadcaster as StaticTransformBroadcaster
from .transform_broadcaster import TransformBroadcaster as TransformBroadcaster
