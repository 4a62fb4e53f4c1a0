"""What a robot's sensors tell the mapper, read from messages that rclpy or rosbags has decoded. Needs neither."""
