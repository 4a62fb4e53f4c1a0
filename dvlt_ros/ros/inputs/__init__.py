"""Subscriptions and TF: images, camera_info, odometry, IMU, measured depth."""
