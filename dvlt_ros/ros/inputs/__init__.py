"""Topics and TF in: images, camera_info, odometry, IMU, measured depth."""
