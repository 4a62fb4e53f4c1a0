"""The ROS 2 side: messages, parameters, TF and the node. The only package that imports rclpy."""
