"""What `reconstruct_bag` consists of: options, the recording's odometry, frames with their places, files."""
