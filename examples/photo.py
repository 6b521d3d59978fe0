"""A photo in, depth out: the default model, a preview, and lossless files."""

import sys
from pathlib import Path

import keendepth

photo = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("coffee.png")
out = Path(sys.argv[2]) if len(sys.argv) > 2 else Path("out")
out.mkdir(exist_ok=True)

image = keendepth.read_image(photo, fov=65)  # or leave fov out: EXIF, else a guess that says so
depth = keendepth.load("indoor-small+median")(image)

print(f"{depth.kind} depth in {depth.unit}, {depth.size[1]} x {depth.size[0]}, camera {depth.camera.source}")
keendepth.write(out / "depth.exr", depth)
keendepth.write(out / "depth.npz", depth)
keendepth.write(out / "cloud.ply", depth, image=image)
