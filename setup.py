from glob import glob

from setuptools import find_packages, setup

package_name = "dvlt_ros"
# Executables are called dvlt_NAME: installed by pip they lie on the PATH beside everything else.
COMMANDS = (
    "bag_to_dataset",
    "benchmark",
    "demo",
    "evaluate",
    "evaluate_benchmarks",
    "evaluate_trajectory",
    "export",
    "merge_maps",
    "play_camera",
    "prepare",
    "probe",
    "reconstruct",
    "reconstruct_bag",
    "render",
    "train",
    "web",
)
NEW_COMMANDS = ("export", "merge_maps", "probe", "render", "web")  # which never had a name without dvlt_

setup(
    name=package_name,
    version="0.1.0",
    # `training/` reaches the package through the link dvlt_ros/training: never installed under so generic a name.
    packages=find_packages(include=[package_name, f"{package_name}.*"]),
    package_data={
        package_name: [
            "**/*.safetensors",
            "**/*.json",
            "checkpoints/*/NOTICE",
            "checkpoints/*/README.md",
            "demo/**/*.jpg",
            "demo/**/*.yaml",
            "demo/*.npz",
            "web/*.css",
            "web/**/*.js",
        ],
        f"{package_name}.training": ["configs/**/*.yaml", "**/*.json"],
    },
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{package_name}"]),
        (f"share/{package_name}", ["package.xml"]),
        (f"share/{package_name}/launch", sorted(glob("launch/*.launch.*"))),
        (f"share/{package_name}/config", sorted(glob("config/*.*"))),
    ],
    python_requires=">=3.11",
    # OpenCV is missing here because it has many names (apt's cv2, opencv-python, -headless): package.xml asks for it.
    install_requires=[
        "huggingface_hub",
        "matplotlib",
        "numpy",
        "pillow",
        "pyyaml",
        "safetensors",
        "setuptools",
        "torch>=2.5",
        "tqdm",
        "transforms3d",
    ],
    extras_require={
        "bags": ["rosbags>=0.11,<0.12"],
        "benchmarks": ["OpenEXR", "embreex", "h5py", "scipy", "small-gicp>=1.0.1,<2", "trimesh"],
        "evaluation": ["evo>=1.31,<2", "scipy"],
        "gsplat": ["gsplat>=1.5,<2"],
        "heif": ["pillow-heif>=1.1,<2"],
        "loops": ["gtsam>=4.3,<5"],
        "onnx": ["onnx>=1.19,<2", "onnxruntime>=1.23,<2", "onnxscript>=0.5,<1"],
        "rerun": ["rerun-sdk>=0.41,<0.42"],
        "test": [
            "hypothesis",
            "octomap-python",
            "plyfile",
            "pycolmap",
            "pytest",
            "pytest-timeout",
            "pytest-xdist>=3.6,<4",
        ],
        "training": [
            "accelerate",
            "dacite",
            "hydra-core",
            "rosbags",
            "tensorboard",
        ],
        "wandb": ["wandb>=0.31,<0.32"],
        "web": ["nicegui>=3.18,<4", "pillow-heif>=1.1,<2"],
    },
    zip_safe=False,
    maintainer="dvlt_ros maintainers",
    maintainer_email="dvlt_ros@users.noreply.github.com",
    description="Dense, consistent 3D maps from a robot's ordinary camera, with the Déjà View transformer.",
    license="Apache-2.0",
    keywords=["ROS 2", "Jazzy", "Kilted", "Lyrical", "Rolling", "3D reconstruction", "mapping"],
    entry_points={
        "console_scripts": [
            *(f"dvlt_{name} = dvlt_ros.programs:{name}" for name in COMMANDS),
            *(f"{name} = dvlt_ros.old_names:main" for name in COMMANDS if name not in NEW_COMMANDS),
        ]
    },
)
