"""The ROS 2 side: messages, parameters, TF and the node. The only room that imports rclpy."""
